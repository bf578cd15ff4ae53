package laptop

import (
	"fmt"
	"slices"
	"strings"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

const lookAgain = "look at the running machine, or capture it again as root"

// needs tells what the host loses with a device.
type needs struct {
	hostUses
	l         *Laptop
	functions map[pci.Address][]Use     // what depends on a PCI function
	ports     map[usb.PortPath][]Use    // and on a USB device
	carried   map[pci.Address][]*Device // what hangs on a function
	members   map[pci.GroupID][]*Device // the endpoints of groups that were asked for
	bootKnown bool                      // some display says that the firmware started on it
}

func newNeeds(l *Laptop, host hostUses) *needs {
	n := &needs{
		hostUses: host, l: l, functions: map[pci.Address][]Use{}, ports: map[usb.PortPath][]Use{}, carried: map[pci.Address][]*Device{},
		members: map[pci.GroupID][]*Device{},
	}
	for _, u := range host.uses {
		for i, a := range u.Functions {
			if !slices.Contains(u.Functions[:i], a) {
				n.functions[a] = append(n.functions[a], u)
			}
		}
		if u.Port.IsValid() {
			n.ports[u.Port] = append(n.ports[u.Port], u)
		}
	}
	for i := range l.Devices {
		d := &l.Devices[i]
		if c := d.Controller(); c.IsValid() {
			n.carried[c] = append(n.carried[c], d)
		}
		n.bootKnown = n.bootKnown || d.Display != nil && d.Display.BootVGA == gpu.Yes
	}
	return n
}

// remedy says what to do so that the host no longer needs the device for it.
func (u Use) remedy() string {
	switch u.Code {
	case Hibernation:
		return "let the host hibernate to another disk (resume=), or not at all"
	case DefaultRoute:
		return "give the host another way to the network first"
	}
	return "unmount it, or start the host from another disk"
}

// of returns what speaks against handing over the device itself.
func (n *needs) of(d *Device) []Finding {
	var findings []Finding
	add := func(f Finding) {
		f.Device = d.ID()
		findings = append(findings, f)
	}
	var uses []Use
	switch {
	case d.USB != nil:
		uses = n.ports[d.USB.Path]
	case d.PCI != nil:
		uses = n.functions[d.PCI.Address]
	default:
		return nil // it is not handed over
	}
	for _, u := range uses {
		f := Finding{Code: u.Code, Severity: Block, Remedy: u.remedy()}
		below := "/sys/class/block/" + u.Node
		switch u.Code {
		case HostDisk:
			f.Detail = fmt.Sprintf("%s carries a disk the host is using: %s", d.Where(), u.What)
		case Hibernation:
			f.Detail = fmt.Sprintf("%s carries the disk to which the host would hibernate: %s", d.Where(), u.What)
		case DefaultRoute:
			f.Detail = fmt.Sprintf("%s carries the host's %s", d.Where(), u.What)
			below = "/sys/class/net/" + u.Node
		}
		f.Evidence = "/" + strings.ReplaceAll(u.Evidence, ", ", ", /") + ", " + below
		add(f)
	}
	if d.PCI != nil && !d.PCI.Class.Known() {
		add(Finding{
			Code: Partial, Severity: Gap, Detail: "what " + d.Where() + " is could not be read",
			Evidence: evidence(d.PCI.Address, "class"), Remedy: lookAgain,
		})
	}
	if !n.disksKnown && n.plays(d, Storage) {
		f := Finding{
			Code: HostDiskUnknown, Severity: Gap, Detail: "whether the host uses a disk of " + d.Where() + " is not known",
			Evidence: "/proc/self/mountinfo", Remedy: lookAgain,
		}
		if n.disksWhy != "" {
			f.Detail += ": " + n.disksWhy
		}
		add(f)
	}
	if !n.imageKnown && n.plays(d, Storage) {
		add(Finding{
			Code: Hibernation, Severity: Gap, Detail: "whether the host would hibernate to a disk of " + d.Where() + " is not known",
			Evidence: "/sys/power/resume", Remedy: lookAgain,
		})
	}
	if !n.routesKnown && (n.plays(d, Ethernet, WLAN, WWAN, Modem) || mayBeNetwork(d)) {
		add(Finding{
			Code: RouteUnknown, Severity: Gap, Detail: "whether " + d.Where() + " carries the default route is not known",
			Evidence: "/proc/net/route", Remedy: lookAgain,
		})
	}
	if f, ok := n.keyboard(d); ok {
		add(f)
	}
	if d.PCI != nil && len(n.carried[d.PCI.Address]) > 0 {
		add(carries(d.PCI.Address, n.carried[d.PCI.Address]))
	}
	if d.Display != nil {
		if f, ok := n.screen(d); ok {
			add(f)
		}
	}
	return findings
}

// plays reports whether the device, or one that hangs on it, plays one of the roles, or
// may because what hangs on it could not be read.
func (n *needs) plays(d *Device, roles ...Role) bool {
	is := func(d *Device) bool {
		return slices.ContainsFunc(d.Roles, func(r Role) bool { return slices.Contains(roles, r) })
	}
	if !n.carriedKnown && d.PCI != nil && slices.Contains(d.Roles, USBController) {
		return true
	}
	return is(d) || d.PCI != nil && slices.ContainsFunc(n.carried[d.PCI.Address], is)
}

// screen says whether the host's screen goes dark without a display function. The
// kernel states boot_vga for class 0300 alone, but on many notebooks the panel is
// wired to a function of class 0380; one of class 0302 has no screen of its own
// unless a panel says so.
func (n *needs) screen(d *Device) (Finding, bool) {
	f := Finding{
		Code: BootDisplay, Severity: Block, Evidence: evidence(d.PCI.Address, "boot_vga"),
		Remedy: "make another GPU the primary one in the firmware, or share the GPU instead",
	}
	sub := d.PCI.Class.Sub()
	panel, wired := panelOf(d.Display)
	switch {
	case d.Display.BootVGA == gpu.Yes:
		f.Detail = "the firmware started on this display, and the host's screen would go dark"
	case wired && panel.Status == gpu.Connected:
		f.Detail = "the built-in panel " + panel.Name + " is wired to this display, and the host's screen would go dark"
		f.Evidence = "/sys/class/drm"
	case d.Display.BootVGA == gpu.No:
		return f, false
	case sub == 0x0300, !n.bootKnown && (wired || sub == 0x0380):
		f.Code, f.Severity, f.Remedy = BootUnknown, Gap, lookAgain
		f.Detail = "whether the firmware started on this display is not known"
	default:
		return f, false
	}
	return f, true
}

// panelOf returns the built-in panel on one of the display's connectors, one that
// is found there before one that may be.
func panelOf(d *gpu.Display) (panel gpu.Connector, found bool) {
	for _, c := range d.Connectors {
		if c.Panel && c.Status != gpu.Disconnected && (!found || c.Status == gpu.Connected) {
			panel, found = c, true
		}
	}
	return panel, found
}

// mayBeNetwork reports whether a USB device may have a network behind it for all that is
// known: an interface of its vendor's own kind without a driver that would tell.
func mayBeNetwork(d *Device) bool {
	const vendorSpecific = 0xff
	return d.USB != nil && slices.ContainsFunc(d.USB.Interfaces, func(i usb.Interface) bool {
		return i.Driver == "" && i.Class.Base() == vendorSpecific
	})
}
