package cli

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/uevent"
)

// The words of the event in JSON.
const (
	added   = "added"
	removed = "removed"
	changed = "changed"
	resync  = "resync"
)

// An item is one line of what is told.
type item struct {
	event  string
	device *laptop.Device
	was    *laptop.Device // of a changed one
}

// An onlooker knows the devices as they were when it looked last.
type onlooker struct {
	*watching
	env     *Env
	lists   *laptop.Names
	names   *laptop.Names // as of the last look
	devices []laptop.Device
	seen    uint64 // events that were sent before it looked
	err     error  // what could not be read then
}

// look reads the machine anew, and says what cannot be read if that is new.
func (o *onlooker) look() {
	o.seen, _ = uevent.Seqnum(o.env.Host) // without it, all events count
	l, err := laptop.Read(o.env.Host)
	if err != nil {
		// What could not be listed has not gone for that.
		for i := range o.devices {
			if d := &o.devices[i]; find(l.Devices, d.ID()) == nil && exists(o.env.Host, d) {
				l.Devices = append(l.Devices, *d)
			}
		}
		if o.err == nil || o.err.Error() != err.Error() {
			o.env.report(nil, partlyRead{err}, exitFailed, o.json)
		}
	}
	o.devices, o.err = l.Devices, err
	o.names = o.lists.Of(o.env.Host)
	for i := range o.devices {
		if o.devices[i].PCI == nil {
			o.names.Name(&o.devices[i]) // while it can be asked; when it has gone it cannot
		}
	}
}

// exists reports whether a device is still in sysfs.
func exists(fsys fs.FS, d *laptop.Device) bool {
	dir := "sys/bus/" + d.Bus() + "/devices/" + d.Where()
	if d.Other != nil {
		dir = "sys/devices/" + d.Other.Path
	}
	_, err := fs.Stat(fsys, dir)
	return err == nil
}

func find(devices []laptop.Device, id string) *laptop.Device {
	if i := slices.IndexFunc(devices, func(d laptop.Device) bool { return d.ID() == id }); i >= 0 {
		return &devices[i]
	}
	return nil
}

// update looks again and prints what is different.
func (o *onlooker) update(n news) error {
	before, names, seen := o.devices, o.names, o.seen
	o.look()
	if n.lost != nil {
		if err := o.printLost(n.lost); err != nil {
			return err
		}
	}
	for _, c := range difference(before, o.devices, func(id string) bool {
		number, went := n.went[id]
		return went && (number == 0 || number > seen)
	}) {
		n := o.names
		if c.event == removed {
			n = names
		}
		if err := o.print(c, n); err != nil {
			return err
		}
	}
	return nil
}

// difference returns what went, and then what came and what changed. A device that
// went says whether one of that id has been removed meanwhile: then it has gone, also
// when one like it is there now.
func difference(before, after []laptop.Device, went func(id string) bool) []item {
	var changes []item
	for i := range before {
		was := &before[i]
		if now := find(after, was.ID()); now == nil || went(was.ID()) || replaced(was, now) {
			changes = append(changes, item{event: removed, device: was})
		}
	}
	for i := range after {
		now := &after[i]
		was := find(before, now.ID())
		switch {
		case was == nil || went(now.ID()) || replaced(was, now):
			changes = append(changes, item{event: added, device: now})
		case was.Driver() != now.Driver() || !slices.Equal(was.Roles, now.Roles) || !slices.Equal(was.Nodes, now.Nodes):
			changes = append(changes, item{changed, now, was})
		}
	}
	return changes
}

// replaced reports whether two devices with the same id are not the same: another
// model, or plugged in anew. What is unknown of one tells nothing.
func replaced(was, now *laptop.Device) bool {
	differ := func(a, b pci.ID) bool { return a.Known() && b.Known() && a != b }
	switch {
	case was.USB != nil && now.USB != nil:
		a, b := was.USB, now.USB
		return differ(a.Vendor, b.Vendor) || differ(a.Product, b.Product) || a.Number != 0 && b.Number != 0 && a.Number != b.Number
	case was.PCI != nil && now.PCI != nil:
		a, b := was.PCI, now.PCI
		return differ(a.Vendor, b.Vendor) || differ(a.Device, b.Device) || differ(a.SubsystemVendor, b.SubsystemVendor) ||
			differ(a.SubsystemDevice, b.SubsystemDevice)
	}
	return false
}

type watchJSON struct {
	Event  string      `json:"event"`
	Device *deviceJSON `json:"device"`
}

// print writes one line, in one write.
func (o *onlooker) print(c item, names *laptop.Names) error {
	if role := laptop.Role(o.role); !plays(c.device, role) && (c.was == nil || !plays(c.was, role)) {
		return nil
	}
	if o.json {
		d := toJSON(&machine{names: names}, c.device)
		return o.encode(watchJSON{c.event, &d})
	}
	sign, paint := "+", green
	switch c.event {
	case removed:
		sign, paint = "-", red
	case changed:
		sign, paint = "~", yellow
	}
	name := names.Name(c.device)
	if c.was != nil {
		name += " (" + c.differs() + ")"
	}
	line := printable(fmt.Sprintf("%-14s  %-16s  %-13s  %s", joinRoles(c.device.Roles), c.device.ID(), or(c.device.Driver(), "-"), name))
	if o.env.Width > 0 {
		line = cut(line, max(o.env.Width-len(sign+" "), 60))
	}
	_, err := fmt.Fprintf(o.env.Stdout, "%s %s\n", o.env.paint(paint, sign), line)
	return err
}

// differs says how a changed device was before.
func (c item) differs() string {
	var s []string
	if d := c.was.Driver(); d != c.device.Driver() {
		s = append(s, "driver was "+or(d, "none"))
	}
	if !slices.Equal(c.was.Roles, c.device.Roles) {
		s = append(s, "was "+joinRoles(c.was.Roles))
	}
	if !slices.Equal(c.was.Nodes, c.device.Nodes) {
		nodes := ""
		for _, n := range c.was.Nodes {
			nodes += " /" + n
		}
		s = append(s, "nodes were"+or(nodes, " none"))
	}
	return strings.Join(s, "; ")
}

func (o *onlooker) printLost(why error) error {
	if o.json {
		return o.encode(watchJSON{Event: resync})
	}
	o.env.errorf("%v; all devices were read again", why)
	return nil
}

func (o *onlooker) encode(v any) error {
	return writeLine(o.env, v, "")
}
