package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/audio"
	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// sitting adds the only keyboard and pointer, and screens.
func (x *losing) sitting() {
	goes := x.needs.goesWith(x.set)
	for _, kind := range []struct {
		code     Code
		what     string
		severity Severity
		is       func(string) bool
		remedy   string
	}{
		{OnlyKeyboard, "keyboard", Block, func(kind string) bool { return kind == "keyboard" }, anotherKeyboard},
		{OnlyPointer, "mouse, touchpad or touchscreen", Warning, isPointer, "plug a mouse in where it stays with the host"},
	} {
		gone, going, staying := x.needs.seat.lost(kind.is, goes)
		if going == iommu.No || staying == iommu.Yes || len(gone) == 0 {
			continue
		}
		loss := Loss{Kind: kind.code, Severity: kind.severity, Remedy: kind.remedy, Evidence: "sys/class/input"}
		loss.What = "the host is left without a " + kind.what + ": " + namesOf(gone)
		if going == iommu.Unknown || staying == iommu.Unknown {
			loss.Severity, loss.Remedy = Gap, lookAgain
			loss.What = "whether the host is left without a " + kind.what + " is not known: " + namesOf(gone)
		}
		var via []string
		if in := gone[0]; in.class.Name != "" {
			loss.Evidence = in.class.Source("uevent")
			via = []string{in.class.Name}
		}
		x.add(gone[0].device, loss, via...)
	}
	for _, d := range x.set {
		if d.Display != nil {
			x.screens(d)
		}
	}
}

// screens adds what a display function shows.
func (x *losing) screens(d *Device) {
	f, dark := x.needs.screen(d)
	if dark {
		x.add(d, Loss{Kind: f.Code, What: f.Detail, Severity: f.Severity, Evidence: strings.TrimPrefix(f.Evidence, "/"), Remedy: f.Remedy})
	}
	for _, c := range d.Display.Connectors {
		if c.Status == gpu.Connected && !(c.Panel && dark) {
			x.add(d, Loss{
				Kind: Screen, What: "the screen on " + c.Name + " goes dark", Severity: Warning,
				Evidence: "sys/class/drm/" + c.Card + "-" + c.Name + "/status", Remedy: "plug it into another GPU's socket if there is one",
			}, c.Name)
		}
	}
}

// consoles adds the kernel's consoles: serial lines that /proc/consoles names, and the
// frame buffer on which the text console is. The kernel takes a console away that goes
// with its device and runs on, so this is a warning; what a getty on it loses is a
// node that is open.
func (x *losing) consoles() {
	text, err := fs.ReadFile(x.fsys, "proc/consoles")
	file, names := "proc/consoles", parseConsoles(string(text))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			x.note(fmt.Errorf("consoles: %w", err))
		}
		file = "sys/class/tty/console/active"
		active := x.attribute(ClassDevice{Class: "tty", Name: "console"}, "active")
		names = strings.Fields(active)
	}
	for _, name := range names {
		if strings.HasPrefix(name, "tty") && strings.Trim(name[3:], "0123456789") == "" {
			x.frameBufferConsole(name)
			continue
		}
		p, err := linkedPath(x.fsys, "sys/class/tty/"+name)
		if err != nil {
			x.note(unlessMissing(fmt.Errorf("console %s: %w", name, err), 0))
			continue
		}
		if d := x.at(p); d != nil {
			x.add(d, Loss{
				Kind: Console, What: "the kernel writes its messages to " + name, Severity: Warning, Evidence: file,
				Remedy: "start the kernel with another console=",
			}, name)
		}
	}
}

// maxConsoles is how many lines of /proc/consoles are taken.
const maxConsoles = 64

// parseConsoles returns the consoles in /proc/consoles that are enabled: name, what can
// be done with it, flags in parentheses with E for enabled, and the number.
func parseConsoles(text string) []string {
	var names []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		from, to := strings.IndexByte(line, '('), strings.IndexByte(line, ')')
		if len(f) < 3 || from < 0 || to < from || !strings.Contains(line[from:to], "E") || len(names) == maxConsoles {
			continue
		}
		if name := f[0]; fs.ValidPath(name) && !strings.Contains(name, "/") && printable(name) {
			names = append(names, name)
		}
	}
	return names
}

// at returns the device of the set in whose path a class device is, the one nearest to
// it, or nil.
func (x *losing) at(path string) *Device {
	c := carrierOf(path)
	u := Use{Port: c.port, Functions: pci.InPath(path)}
	for _, d := range x.set {
		if d.Other != nil && d.Other.Path == c.path && c.path != "" {
			return d
		}
	}
	return x.owner(u)
}

// frameBufferConsole adds the GPU on whose frame buffer the text console is: fb0, while
// the driver of frame buffers has consoles (vtcon*/bind).
func (x *losing) frameBufferConsole(name string) {
	entries, err := fs.ReadDir(x.fsys, "sys/class/vtconsole")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		x.note(fmt.Errorf("consoles: %w", err))
	}
	for _, e := range entries {
		c := ClassDevice{Class: "vtconsole", Name: e.Name()}
		if !strings.Contains(x.attribute(c, "name"), "frame buffer") || x.attribute(c, "bind") != "1" {
			continue
		}
		p, err := linkedPath(x.fsys, "sys/class/graphics/fb0")
		if err != nil {
			x.note(unlessMissing(fmt.Errorf("console %s: %w", name, err), 0))
			return
		}
		if d := x.at(p); d != nil {
			x.add(d, Loss{
				Kind: Console, What: "the text console is on its frame buffer fb0", Severity: Warning, Evidence: c.Source("bind"),
				Remedy: "write 0 to /" + c.Source("bind"),
			}, name, "fb0")
		}
		return
	}
}

// streams adds the streams that programs play and record.
func (x *losing) streams() {
	if x.played = map[string]bool{}; !slices.ContainsFunc(x.set, func(d *Device) bool { return has(d.Classes, "sound") }) {
		return
	}
	cards, err := audio.Cards(x.fsys)
	x.note(err)
	for _, c := range cards {
		name := fmt.Sprint("card", c.Index)
		i := slices.IndexFunc(x.set, func(d *Device) bool {
			return slices.ContainsFunc(d.Classes, func(k ClassDevice) bool { return k.Class == "sound" && k.Name == name })
		})
		if i < 0 {
			continue
		}
		streams, err := audio.Streams(x.fsys, c)
		if !errors.Is(err, fs.ErrNotExist) {
			x.note(err)
		}
		unknown := len(streams) == 0 && err != nil
		for _, s := range streams {
			unknown = unknown || s.State == ""
			if !s.InUse() {
				continue
			}
			x.played[s.Node()] = true
			does, direction := "plays", "p"
			if s.Capture {
				does, direction = "records", "c"
			}
			x.add(x.set[i], Loss{
				Kind: StreamOpen, What: does + ", " + streamText(s), Severity: Warning,
				Evidence: fmt.Sprintf("proc/asound/%s/pcm%d%s/sub%d/status", name, s.Device, direction, s.Sub),
				Remedy:   "stop the program: while it has the stream open, taking the driver away may block",
			}, s.Node(), name)
		}
		if unknown {
			x.add(x.set[i], Loss{
				Kind: StreamOpen, What: "whether a program has a stream of " + name + " open is not known", Severity: Gap,
				Evidence: "proc/asound/" + name, Remedy: lookAgain,
			}, name)
		}
	}
}

// maxNodeHolders is how many processes are named that have one node open.
const maxNodeHolders = 8

// nodes adds the device nodes that processes have open: those of the devices, and those
// of what the host makes of their disks, as a logical volume that a guest runs from.
func (x *losing) nodes() {
	var first *Device
	seen := map[string]bool{}
	for _, d := range x.set {
		for _, node := range x.nodesOf(d) {
			if first == nil {
				first = d
			}
			x.node(d, node, seen)
		}
	}
	for _, u := range x.needs.uses {
		d := x.owner(u)
		if d == nil || u.Code != HostDisk {
			continue
		}
		for i, link := range u.Via {
			name, _, _ := strings.Cut(strings.TrimPrefix(link, "open as "), " ")
			if isMade(name) || numbered(name, "loop") {
				x.node(d, "dev/"+name, seen, u.Via[i+1:]...)
			}
		}
	}
	if first == nil || x.open.Complete() {
		return
	}
	loss := Loss{Kind: NodeOpen, Severity: Gap, Evidence: "proc", Remedy: "look as root"}
	switch all := x.open.Looked + x.open.Unseen; {
	case !x.open.Known() && x.open.Unseen == 0:
		loss.What, loss.Remedy = "who has device nodes open is not known: a saved machine does not say", "look at the running machine"
	case x.open.Unseen > 0:
		loss.What = fmt.Sprintf("%d of %d processes could not be looked at, and may have device nodes open", x.open.Unseen, all)
	default:
		loss.What = "not all processes could be seen, and those that were not may have device nodes open"
	}
	x.add(first, loss)
}

// node adds that processes have a node open, once for each; via leads from it to d.
func (x *losing) node(d *Device, node string, seen map[string]bool, via ...string) {
	holders := x.open.Nodes[node]
	if len(holders) == 0 || x.played[node] || seen[node] {
		return
	}
	seen[node] = true
	var names []string
	for _, h := range holders[:min(maxNodeHolders, len(holders))] {
		names = append(names, h.String())
	}
	loss := Loss{
		Kind: NodeOpen, What: "/" + node + " is open: " + some(names, len(holders)), Severity: Warning,
		Evidence: fmt.Sprintf("proc/%d/fd", holders[0].PID), Remedy: "stop the program: while it has the node open, taking the driver away may block or break it",
	}
	if holders[0].Mapped {
		loss.Evidence = fmt.Sprintf("proc/%d/maps", holders[0].PID)
	}
	// Whoever reads input devices expects them to be pulled out.
	if strings.HasPrefix(node, "dev/input/") {
		loss.Severity, loss.Remedy = Info, ""
	}
	x.add(d, loss, append([]string{node}, via...)...)
}

// nodesOf returns the device nodes of a device, among them those by which VFIO would
// hand it out.
func (x *losing) nodesOf(d *Device) []string {
	nodes := slices.Clone(d.Nodes)
	if d.PCI == nil {
		return nodes
	}
	if d.PCI.Group.IsValid() && strings.Contains(d.PCI.Driver, "vfio") {
		nodes = append(nodes, "dev/vfio/"+d.PCI.Group.String())
		entries, err := fs.ReadDir(x.fsys, "sys/bus/pci/devices/"+d.Where()+"/vfio-dev")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			x.note(err)
		}
		for _, e := range entries {
			nodes = append(nodes, "dev/vfio/devices/"+e.Name())
		}
	}
	return nodes
}
