package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// controller hands over the USB controller on which the device hangs.
func (c *choices) controller() {
	target := c.Function(c.d.USB.Controller)
	if target == nil {
		return
	}
	c.offer(Option{
		Kind: ViaController, Device: target.ID(), Evidence: "/sys/bus/usb/devices/" + c.d.Where(),
		Detail: "hand over " + target.Where() + ", the USB controller on which it hangs",
	}, c.surveyed, target, c.d)
}

// otherControllers hands over another USB controller: one to which the device can be
// plugged, or, for a controller, one on which less depends.
func (c *choices) otherControllers() {
	if c.d.USB == nil && c.d.Role() != USBController {
		return
	}
	var here usb.Port
	ports, err := usb.Ports(c.fsys)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.errs = append(c.errs, err)
	}
	condition := ""
	if d := c.d.USB; d != nil {
		if i := slices.IndexFunc(ports, func(p usb.Port) bool { return p.Path == d.Path }); i >= 0 {
			here = ports[i]
		}
		removable, err := usb.Removable(c.fsys, d.Path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.errs = append(c.errs, err)
		}
		switch {
		case removable == "fixed", here.Connect == "hardwired", c.d.PartOf != "":
			return // built in
		case removable != "removable" && here.Connect != "hotplug":
			condition = "if it can be unplugged, "
		}
	}
	looked := 0
	for i := range c.Devices {
		o := &c.Devices[i]
		if o.PCI == nil || o.Role() != USBController || o.PartOf != "" || c.tied(o) || c.worth(o, c.d).compare(c.own) > 0 || looked == maxControllers {
			continue
		}
		looked++
		free, known := freePorts(ports, o.PCI.Address)
		if known && len(free) == 0 {
			continue
		}
		where := "a free port"
		if known {
			where += " (" + some(free, len(free)) + ")"
		}
		option := Option{Kind: OtherController, Device: o.ID(), Evidence: evidence(o.PCI.Address, "iommu_group")}
		if c.d.PCI != nil {
			option.Detail = fmt.Sprintf("hand over the USB controller %s instead, and plug what the guest needs into %s of it", o.Where(), where)
			c.offer(option, c.surveyed, o, o)
			continue
		}
		// What the host needs the device for goes with it to the other controller.
		then := c.suppose()
		err := then.move(c.fsys, c.d.USB.Path, o.PCI.Address)
		if err := errors.Join(err, then.judgeAgain(c.fsys)); err != nil {
			c.errs = append(c.errs, err)
		}
		option.Detail = fmt.Sprintf("%splug it into %s of the USB controller %s, and hand over that", condition, where, o.Where())
		c.offer(option, survey(then), then.Function(o.PCI.Address), c.d)
	}
}

// maxControllers is how many other controllers are looked at.
const maxControllers = 16

// freePorts names the sockets of a controller into which something can be plugged, each
// once, as far as any port of it is known.
func freePorts(ports []usb.Port, controller pci.Address) (free []string, known bool) {
	taken := map[usb.PhysicalPort]bool{} // a device in one half of a USB 3 socket fills both
	for _, p := range ports {
		if p.Controller == controller {
			known = true
			taken[p.Physical] = taken[p.Physical] || p.Occupied
		}
	}
	seen := map[usb.PhysicalPort]bool{}
	for _, p := range ports {
		if p.Controller != controller || p.Occupied || p.Connect == "hardwired" || p.Connect == "not used" {
			continue
		}
		name := p.Path.String()
		if p.Physical.IsValid() {
			if taken[p.Physical] || seen[p.Physical] {
				continue
			}
			seen[p.Physical] = true
		}
		if p.Location.Known() {
			name += ": " + placeText(p.Location)
		}
		free = append(free, name)
	}
	return free, known
}
