package laptop

import (
	"encoding/hex"
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
	Code      Code          // HostDisk or DefaultRoute
	What      string        // in words, as "/ on dm-0 on nvme0n1p3"
	Node      string        // the disk or network interface by its kernel name
	Functions []pci.Address // every PCI function on the way to it
	Port      usb.PortPath  // the USB device that carries it, if one does
}

// hostUses is what the host needs, and whether all of it is known.
type hostUses struct {
	uses                    []Use
	disksKnown, routesKnown bool
	carriedKnown            bool    // what hangs on each USB controller, and what it is
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
		h.uses[i].What, h.uses[i].Node = oneLine(h.uses[i].What), oneLine(h.uses[i].Node)
	}
	return h, err
}

// defaultRoutes adds to h the devices that carry a default route, from
// /proc/net/route and /proc/net/ipv6_route, through bridges, bonds and VLANs (their
// lower_ links), and says whether they are known.
func (h *hostUses) defaultRoutes(fsys fs.FS) error {
	v4, err4 := fs.ReadFile(fsys, "proc/net/route")
	v6, err6 := fs.ReadFile(fsys, "proc/net/ipv6_route")
	h.routesKnown = err4 == nil && (err6 == nil || errors.Is(err6, fs.ErrNotExist))
	interfaces := append(parseRoutes(string(v4)), parseIPv6Routes(string(v6))...)
	slices.Sort(interfaces)
	carried := len(interfaces) == 0
	for _, name := range slices.Compact(interfaces) {
		hardware, known := h.followInterface(fsys, name, "default route by "+name, map[string]bool{})
		h.routesKnown = h.routesKnown && known
		carried = carried || hardware
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
// adds that as used. It reports whether there is any, and whether each interface on
// the way was found.
func (h *hostUses) followInterface(fsys fs.FS, name, what string, seen map[string]bool) (hardware, known bool) {
	switch {
	case seen[name]:
		return false, true
	case h.tooFar(len(seen)), strings.Contains(name, "/"):
		return false, false
	}
	seen[name] = true
	dir := "sys/class/net/" + name
	target, err := fs.ReadLink(fsys, dir)
	if err != nil {
		h.unread(name, err)
		return false, false
	}
	port, _ := usb.InPath(target)
	if functions := pci.InPath(target); len(functions) > 0 || port.IsValid() {
		h.uses = append(h.uses, Use{Code: DefaultRoute, What: what, Functions: functions, Port: port, Node: name})
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
			below, found := h.followInterface(fsys, lower, what+" over "+lower, seen)
			hardware, known = hardware || below, known && found
		}
	}
	return hardware, known
}

// parseRoutes returns the interfaces with a default route in the table of
// /proc/net/route: destination and mask 00000000, flag RTF_UP. An unreachable
// default has the interface *.
func parseRoutes(text string) []string {
	var interfaces []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 8 || f[0] == "*" || f[1] != "00000000" || f[7] != "00000000" {
			continue
		}
		if flags, err := hex.DecodeString(f[3]); err == nil && len(flags) > 0 && flags[len(flags)-1]&1 != 0 {
			interfaces = append(interfaces, f[0])
		}
	}
	return interfaces
}

// parseIPv6Routes does the same for /proc/net/ipv6_route, whose last field is the
// interface and whose last but one the flags. RTF_REJECT (0x200) leads nowhere.
func parseIPv6Routes(text string) []string {
	var interfaces []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 10 || strings.Trim(f[0], "0") != "" || f[1] != "00" || f[9] == "lo" {
			continue
		}
		flags, err := hex.DecodeString(f[8])
		if err == nil && len(flags) == 4 && flags[3]&1 != 0 && flags[2]&2 == 0 {
			interfaces = append(interfaces, f[9])
		}
	}
	return interfaces
}
