package cli

import (
	"errors"
	"io/fs"
	"maps"
	"slices"

	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// A branch is one device with what hangs on it.
type branch struct {
	cells []string // after the first column, which is the name with the lines of the tree
	name  string
	shown bool // whether it is of the role asked for, or above one that is
	below []*branch
}

// writeDevicesTree shows what hangs on what: functions behind bridges, USB devices on
// hubs and controllers, and what is on neither bus below the function it goes through.
func writeDevicesTree(env *Env, m *machine, role laptop.Role) error {
	if err := writeHeading(env, m); err != nil {
		return err
	}
	t := table{least: []int{20, 6, 0, 6, 10, 10}}
	t.add("DEVICE", "ROLE", "GROUP", "DRIVER", "VERDICT", "NAME")
	t.colours = []func(int, string) colour{4: verdictCell}
	for _, b := range m.tree(role) {
		b.rows(&t, "", "")
	}
	if len(t.rows) > 1 {
		t.narrow(env, 0)
		t.write(env, env.Stdout)
		return nil
	}
	return writeNone(env)
}

// rows adds a branch and all below it. The lines of the tree are before what is on the
// same row, and before what is below.
func (b *branch) rows(t *table, before, under string) {
	t.add(append([]string{before + b.name}, b.cells...)...)
	for i, c := range b.below {
		if i == len(b.below)-1 {
			c.rows(t, under+"└─ ", under+"   ")
		} else {
			c.rows(t, under+"├─ ", under+"│  ")
		}
	}
}

// tree returns what hangs on nothing else, with all below it.
func (m *machine) tree(role laptop.Role) []*branch {
	var roots []*branch
	functions := map[pci.Address]*branch{}
	add := func(to, b *branch) {
		if to == nil {
			roots = append(roots, b)
			return
		}
		to.below = append(to.below, b)
	}
	of := func(d *laptop.Device) *branch {
		group := "-"
		if d.Group().IsValid() {
			group = d.Group().String()
		}
		return &branch{
			name: d.Where(), shown: plays(d, role),
			cells: []string{joinRoles(d.Roles), group, or(d.Driver(), "-"), shortVerdict(d), m.names.Name(d)},
		}
	}
	// A bridge may have a higher address than what is behind it.
	for i := range m.Devices {
		if d := &m.Devices[i]; d.PCI != nil {
			functions[d.PCI.Address] = of(d)
		}
	}
	for i := range m.Devices {
		d := &m.Devices[i]
		if d.PCI == nil {
			continue
		}
		var above *branch
		// Without a link, as in some saved machines, nobody says what it is behind.
		if bridges, err := pci.Bridges(m.fsys, d.PCI.Address); err == nil && len(bridges) > 0 {
			above = functions[bridges[len(bridges)-1]]
		}
		add(above, functions[d.PCI.Address])
	}
	ports, controllers := m.hubs(role)
	for i := range m.Devices {
		if d := &m.Devices[i]; d.USB != nil {
			ports[d.USB.Path] = of(d)
		}
	}
	for _, p := range slices.SortedFunc(maps.Keys(ports), usb.PortPath.Compare) {
		above := ports[p.Parent()]
		if above == nil {
			above = functions[controllers[p]]
		}
		add(above, ports[p])
	}
	for i := range m.Devices {
		if d := &m.Devices[i]; d.Other != nil {
			add(functions[d.Controller()], of(d))
		}
	}
	return prune(roots)
}

// hubs returns a branch for each hub, which is none of the laptop's devices, and the
// controller of each USB device.
func (m *machine) hubs(role laptop.Role) (map[usb.PortPath]*branch, map[usb.PortPath]pci.Address) {
	all, err := usb.Devices(m.fsys)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.err = errors.Join(m.err, err)
	}
	controllers := map[usb.PortPath]pci.Address{}
	hubs := map[usb.PortPath]*branch{}
	for _, d := range all {
		controllers[d.Path] = d.Controller
		if d.Hub {
			hub := laptop.Device{USB: &d, Roles: []laptop.Role{""}}
			hubs[d.Path] = &branch{
				name: d.Path.String(), shown: role == "",
				cells: []string{"hub", "-", or(hub.Driver(), "-"), "-", m.names.Name(&hub)},
			}
		}
	}
	return hubs, controllers
}

// prune leaves out what is not shown and has nothing below it that is.
func prune(branches []*branch) []*branch {
	return slices.DeleteFunc(branches, func(b *branch) bool {
		b.below = prune(b.below)
		return !b.shown && len(b.below) == 0
	})
}
