package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

func newWhyCommand(env *Env) *cobra.Command {
	var flags reading
	cmd := &cobra.Command{
		Use:   "why DEVICE",
		Short: "one device: can it go to a guest, what goes along, and why not",
		Long: `Say all that is known about one device and what led to its verdict, each fact with
the file it comes from and what to do about it.

` + exitHelp,
		Args:              usage(cobra.ExactArgs(1)),
		ValidArgsFunction: completeDevices(env),
		RunE: func(_ *cobra.Command, args []string) error {
			return flags.look(env, func(m *machine) error {
				d, err := m.Find(args[0], m.names)
				if err != nil {
					return err
				}
				if flags.json {
					return writeJSON(env, toJSON(m, d))
				}
				writeWhy(env, m, d)
				return nil
			})
		},
	}
	flags.add(cmd)
	return cmd
}

func writeWhy(env *Env, m *machine, d *laptop.Device) {
	w := env.Stdout
	fmt.Fprintf(w, "%s  %s\n", env.paint(bold, d.Where()), m.names.Name(d))
	var t table
	line := func(label, value string) {
		if value != "" {
			t.add("  "+label, value)
		}
	}
	t.add("  role", joinRoles(d.Roles))
	switch {
	case d.PCI != nil:
		describeFunction(m, d, line)
	case d.USB != nil:
		describeUSB(m, d, line)
	default:
		describeOther(d, line)
	}
	describeParts(m, d, line)
	line("nodes", "/"+strings.Join(d.Nodes, " /"))
	if len(d.Nodes) == 0 {
		t.rows = t.rows[:len(t.rows)-1]
	}
	t.writePlain(w)
	fmt.Fprintf(w, "\nverdict: %s\n", env.paint(verdictColour(d.Verdict), string(d.Verdict)))
	if len(d.Findings) == 0 {
		fmt.Fprintln(w, "  no disk, route or screen of the host depends on it, and it is alone in its IOMMU group")
	}
	for _, f := range d.Findings {
		c := plain
		switch f.Severity {
		case laptop.Block:
			c = red
		case laptop.Warning, laptop.Gap:
			c = yellow
		}
		fmt.Fprintf(w, "  %s: %s\n", env.paint(c, string(f.Code)), printable(f.Detail))
		fmt.Fprintf(w, "    seen in: %s\n", printable(f.Evidence))
		if f.Remedy != "" {
			fmt.Fprintf(w, "    remedy:  %s\n", f.Remedy)
		}
	}
}

func describeFunction(m *machine, d *laptop.Device, line func(label, value string)) {
	f := d.PCI
	line("class", f.Class.String())
	ids := f.Vendor.String() + ":" + f.Device.String()
	if f.SubsystemVendor.Known() {
		ids += ", subsystem " + f.SubsystemVendor.String() + ":" + f.SubsystemDevice.String()
	}
	line("ids", ids)
	line("driver", or(f.Driver, "none"))
	if s, err := pci.DriverOverride(m.fsys, f.Address); err == nil {
		line("driver override", s)
	}
	line("IOMMU group", f.Group.String())
	switch methods, err := pci.ResetMethods(m.fsys, f.Address); {
	case err == nil && len(methods) > 0:
		line("reset methods", strings.Join(methods, " "))
	case errors.Is(err, fs.ErrNotExist):
		line("reset methods", "none stated")
	}
	power, _ := pci.PowerState(m.fsys, f.Address)
	if runtime, err := pci.RuntimeStatus(m.fsys, f.Address); err == nil {
		power = strings.TrimSpace(power + " " + runtime)
	}
	line("power", power)
	if above, err := pci.Bridges(m.fsys, f.Address); err == nil {
		line("behind", joinAddresses(above))
	}
	if pf, err := pci.PhysicalFunction(m.fsys, f.Address); err == nil && pf.IsValid() {
		line("virtual function of", pf.String())
	}
	if vfs, err := pci.VirtualFunctions(m.fsys, f.Address); err == nil {
		line("virtual functions", joinAddresses(vfs))
	}
	if d.Display != nil {
		line("boot display", d.Display.BootVGA.String())
		for _, c := range d.Display.Connectors {
			line("connector", c.Name+" "+string(c.Status)+panel(c))
		}
	}
	for _, c := range m.Carried(f.Address) {
		line("carries", c.Where()+" "+joinRoles(c.Roles)+", "+m.names.Name(c))
	}
	for _, u := range m.Uses {
		for _, a := range u.Functions {
			if a == f.Address {
				line("the host's", u.What)
			}
		}
	}
}

func panel(c gpu.Connector) string {
	if c.Panel {
		return " (built-in panel)"
	}
	return ""
}

func describeUSB(m *machine, d *laptop.Device, line func(label, value string)) {
	u := d.USB
	line("class", u.Class.String())
	line("ids", u.Vendor.String()+":"+u.Product.String())
	if c := u.Controller; c.IsValid() {
		line("controller", c.String())
	}
	if s, err := usb.Speed(m.fsys, u.Path); err == nil {
		line("speed", s+" Mbit/s")
	}
	for _, i := range u.Interfaces {
		line(fmt.Sprintf("interface %d", i.Number), i.Class.String()+" "+or(i.Driver, "no driver"))
	}
}

func describeOther(d *laptop.Device, line func(label, value string)) {
	o := d.Other
	line("bus", o.Bus)
	line("driver", o.Driver) // unknown on a machine that does not state it
	line("path", "/sys/devices/"+o.Path)
	if o.Controller.IsValid() {
		line("behind", o.Controller.String())
	}
}

// describeParts says what the kernel made of the device, and what it is a part of or
// consists of.
func describeParts(m *machine, d *laptop.Device, line func(label, value string)) {
	var classes []string
	for _, c := range d.Classes {
		classes = append(classes, c.Class+"/"+c.Name)
	}
	line("shows as", strings.Join(classes, " "))
	if o := m.Device(d.PartOf); o != nil {
		line("part of", o.Where()+", "+m.names.Name(o))
	}
	for _, p := range d.Parts {
		var what string
		if o := m.Device(p.ID); o != nil {
			what = o.Where()
		} else {
			what = "interfaces " + strings.Trim(fmt.Sprint(p.Interfaces), "[]")
		}
		line("part", what+" "+string(p.Role)+": "+p.Why)
	}
}
