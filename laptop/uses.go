package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// A Use is something the host itself needs a device for.
type Use struct {
	Code      Code          // HostDisk, Hibernation or DefaultRoute
	What      string        // in words, as "/ on dm-0 (LUKS root) on nvme0n1p3"
	Via       []string      // the same link by link, from what is used down to Node
	Node      string        // the disk or network interface by its kernel name
	Evidence  string        // the file or files that say so, as proc/self/mountinfo
	Functions []pci.Address // every PCI function on the way to it
	Port      usb.PortPath  // the USB device that carries it, if one does
}

// hostUses is what the host needs, and whether all of it is known.
type hostUses struct {
	uses                    []Use
	disksKnown, routesKnown bool
	imageKnown              bool            // where the hibernation image would go
	disksWhy                string          // why the disks are not known, when there is more to say
	imageName               string          // what resume= names, when nothing tells which disk that is
	tunnels                 []string        // interfaces with a default route, and nothing that says what they run over
	carriedKnown            bool            // what hangs on each USB controller, and what it is
	mounted                 map[string]bool // the block devices that are mounted or swapped to, and all below
	seat                    seat
	steps                   int     // taken down to the hardware so far
	errs                    []error // what could not be read on the way
}

// unread notes that a network interface could not be followed.
func (h *hostUses) unread(name string, err error) {
	if !errors.Is(err, fs.ErrNotExist) {
		h.errs = append(h.errs, fmt.Errorf("network interface %s: %w", name, err))
	}
}

// tooFar bounds what a saved machine can make of a few disks that lie below many:
// how many devices one use goes through, and how many all uses do together.
func (h *hostUses) tooFar(seen int) bool {
	h.steps++
	return seen > 256 || h.steps > 10_000
}

func readUses(fsys fs.FS, blocks *blocks) (hostUses, error) {
	var h hostUses
	err := errors.Join(h.disksInUse(blocks), h.defaultRoutes(fsys))
	for i := range h.uses {
		u := &h.uses[i]
		u.What, u.Node, u.Evidence = oneLine(u.What), oneLine(u.Node), oneLine(u.Evidence)
		for j, link := range u.Via {
			u.Via[j] = oneLine(link)
		}
	}
	h.disksWhy, h.imageName = oneLine(h.disksWhy), oneLine(h.imageName)
	return h, err
}

// defaultRoutes adds to h the devices that carry a default route, or the routes that
// a VPN sets in its place, from /proc/net/route and /proc/net/ipv6_route, through
// bridges, bonds and VLANs (their lower_ links), and says whether they are known. The
// former has the main table alone, the latter all.
func (h *hostUses) defaultRoutes(fsys fs.FS) error {
	v4, err4 := fs.ReadFile(fsys, "proc/net/route")
	v6, err6 := fs.ReadFile(fsys, "proc/net/ipv6_route")
	h.routesKnown = err4 == nil && (err6 == nil || errors.Is(err6, fs.ErrNotExist))
	by4, by6 := parseRoutes(string(v4)), parseIPv6Routes(string(v6))
	interfaces := slices.Concat(by4, by6)
	slices.Sort(interfaces)
	carried := len(interfaces) == 0
	for _, name := range slices.Compact(interfaces) {
		use := Use{Code: DefaultRoute, Via: []string{"default route"}, Evidence: "proc/net/route"}
		if !slices.Contains(by4, name) {
			use.Evidence = "proc/net/ipv6_route"
		}
		hardware, known := h.followInterface(fsys, name, use, map[string]bool{})
		h.routesKnown = h.routesKnown && known
		carried = carried || hardware
		if known && !hardware {
			h.tunnels = append(h.tunnels, oneLine(name))
		}
	}
	// A tunnel or a modem's ppp0 runs over an interface that nothing here names. If
	// another default route leads to hardware, it is that.
	h.routesKnown = h.routesKnown && carried
	errs := h.errs
	for _, err := range []error{err4, err6} {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("routes: %w", err))
		}
	}
	return errors.Join(errs...)
}

// followInterface walks from a network interface down to the hardware below it and
// adds that as used, for the use whose Via has led there. It reports whether there is
// any, and whether each interface on the way was found.
func (h *hostUses) followInterface(fsys fs.FS, name string, use Use, seen map[string]bool) (hardware, known bool) {
	switch {
	case seen[name]:
		return false, true
	case h.tooFar(len(seen)), strings.Contains(name, "/"):
		return false, false
	}
	seen[name] = true
	use.Via = append(slices.Clip(use.Via), name)
	dir := "sys/class/net/" + name
	target, err := fs.ReadLink(fsys, dir)
	if err != nil {
		h.unread(name, err)
		return false, false
	}
	port, _ := usb.InPath(target)
	if functions := pci.InPath(target); len(functions) > 0 || port.IsValid() {
		use.What = use.Via[0] + " by " + strings.Join(use.Via[1:], " over ")
		use.Functions, use.Port, use.Node = functions, port, name
		h.uses = append(h.uses, use)
		return true, true
	}
	if !strings.Contains(target, "/virtual/") {
		return true, true // on another bus, as SDIO
	}
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		h.unread(name, err)
		return false, false
	}
	known = true
	for _, e := range entries {
		if lower, ok := strings.CutPrefix(e.Name(), "lower_"); ok {
			below, found := h.followInterface(fsys, lower, use, seen)
			hardware, known = hardware || below, known && found
		}
	}
	return hardware, known
}
