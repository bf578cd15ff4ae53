package laptop

import (
	"fmt"
	"slices"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// atPort takes the USB devices that are plugged in at the port of a need, or into a hub
// there, and the controllers whose port it is.
func (r *resolver) atPort(of []int, n guest.Need) ([]int, string) {
	sockets, controllers := r.sockets(n.Port)
	kept := r.sorted(of, func(_ int, d *Device, _ *Place) bool {
		if d.PCI != nil {
			return d.Role() == USBController && slices.Contains(controllers, d.PCI.Address)
		}
		if d.USB == nil {
			return false
		}
		for p := d.USB.Path; p.IsValid(); p = p.Parent() {
			if slices.Contains(sockets, p) {
				return true
			}
		}
		return false
	})
	return kept, r.nothingAt(n, sockets)
}

// nothingAt says why nothing of what is wanted is at a port.
func (r *resolver) nothingAt(n guest.Need, sockets []usb.PortPath) string {
	switch {
	case len(sockets) > 0:
		names := make([]string, len(sockets))
		for i, p := range sockets {
			names[i] = p.String()
		}
		if n.Port.Path().IsValid() {
			return fmt.Sprintf("no %s is plugged in at %s", n.Want, n.Port)
		}
		return fmt.Sprintf("no %s is plugged in at %s (%s)", n.Want, n.Port, some(names, len(names)))
	case slices.ContainsFunc(r.at.Ports, func(p usb.Port) bool { return p.Location.Known() }):
		return fmt.Sprintf("the firmware says of no socket that it is at %s", n.Port)
	}
	return "the firmware does not say where sockets are: name the USB port path"
}

// sockets returns the port paths of the sockets that a need calls its port, both halves of
// each, and the controllers that they are of.
func (r *resolver) sockets(port guest.Port) (paths []usb.PortPath, controllers []pci.Address) {
	named := map[usb.PortPath]bool{}
	if path := port.Path(); path.IsValid() {
		named[path] = true
	}
	panel, position := port.Place()
	physical := map[usb.PhysicalPort]bool{}
	for _, p := range r.at.Ports {
		if panel != "" && isAt(p.Location, panel, position) {
			named[p.Path] = true
		}
		if named[p.Path] && p.Physical.IsValid() {
			physical[p.Physical] = true
		}
	}
	for _, p := range r.at.Ports {
		if named[p.Path] || named[p.Peer] || physical[p.Physical] {
			paths = append(paths, p.Path)
			controllers = append(controllers, p.Controller)
		}
	}
	if path := port.Path(); path.IsValid() && !slices.Contains(paths, path) { // no ports are known
		paths = append(paths, path)
		for i := range r.Devices {
			if d := r.Devices[i].USB; d != nil && d.Path == path {
				controllers = append(controllers, d.Controller)
			}
		}
	}
	return paths, controllers
}

// isAt reports whether a place on the housing is that on a panel (or lid, or dock), and at a
// position of it if that is not empty. Firmware tells left and right as who looks at
// the panel from outside sees them (ACPI 6.5, _PLD): on the left panel, left is to the
// rear.
func isAt(l usb.Location, panel, position string) bool {
	switch panel {
	case "lid":
		return l.Lid
	case "dock":
		return l.Dock
	case "rear":
		panel = "back"
	}
	if l.Panel != panel || l.Dock {
		return false
	}
	switch position {
	case "":
		return true
	case "upper", "lower":
		return l.Vertical == position
	case "center":
		return l.Horizontal == "center"
	case "left", "right":
		return l.Horizontal == position
	}
	// What is left is front and rear: of the two sides, and of what lies flat.
	switch panel + " " + position {
	case "left rear", "right front":
		return l.Horizontal == "left"
	case "left front", "right rear":
		return l.Horizontal == "right"
	case "top rear":
		return l.Vertical == "upper"
	case "top front":
		return l.Vertical == "lower"
	}
	return false
}
