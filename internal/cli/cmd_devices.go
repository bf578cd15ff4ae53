package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

func newDevicesCommand(env *Env) *cobra.Command {
	var flags reading
	var role string
	var tree bool
	cmd := &cobra.Command{
		Use:   "devices",
		Short: "what is in this laptop, by role, with the verdict on each",
		Long: `List every PCI function and USB device of the machine by role, and what is on neither
bus, such as the TPM, the keyboard and the battery: what it is, which driver and IOMMU
group it has, and whether it can go to a guest.

Verdicts: assignable; with-companions, together with the rest of its IOMMU group;
share-only, on no bus that can be handed over; refused, with the reason; unknown, with
what is not known. "indy why DEVICE" says more.

` + exitHelp,
		Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if role != "" && !slices.Contains(laptop.Roles(), laptop.Role(role)) {
				return usageError{fmt.Errorf("no role %q; the roles are %s", role, joinRoles(laptop.Roles()))}
			}
			if tree && flags.json {
				return usageError{errors.New("--tree draws for people; --json has no tree")}
			}
			return flags.look(env, func(m *machine) error {
				switch {
				case flags.json:
					return writeDevicesJSON(env, m, laptop.Role(role))
				case tree:
					return writeDevicesTree(env, m, laptop.Role(role))
				}
				return writeDevices(env, m, laptop.Role(role))
			})
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&role, "role", "", "only devices of this role")
	cmd.Flags().BoolVar(&tree, "tree", false, "show what hangs on what")
	_ = cmd.RegisterFlagCompletionFunc("role", func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return strings.Split(joinRoles(laptop.Roles()), ", "), cobra.ShellCompDirectiveNoFileComp
	})
	return cmd
}

func joinRoles(roles []laptop.Role) string {
	s := make([]string, len(roles))
	for i, r := range roles {
		s[i] = string(r)
	}
	return strings.Join(s, ", ")
}

func plays(d *laptop.Device, role laptop.Role) bool {
	return role == "" || slices.Contains(d.Roles, role)
}

func writeDevices(env *Env, m *machine, role laptop.Role) error {
	if err := writeHeading(env, m); err != nil {
		return err
	}
	t := table{least: []int{6, 13, 0, 6, 10, 10}}
	t.add("ROLE", "ADDRESS", "GROUP", "DRIVER", "VERDICT", "DEVICE")
	t.colours = []func(int, string) colour{4: verdictCell}
	for _, r := range laptop.Roles() {
		for i := range m.Devices {
			d := &m.Devices[i]
			if d.Role() != r || !plays(d, role) {
				continue
			}
			group := "-"
			if d.Group().IsValid() {
				group = d.Group().String()
			}
			t.add(joinRoles(d.Roles), d.Where(), group, or(d.Driver(), "-"), shortVerdict(d), m.names.Name(d))
		}
	}
	if len(t.rows) > 1 {
		t.narrow(env, 1)
		t.write(env, env.Stdout)
		return nil
	}
	return writeNone(env)
}

func writeNone(env *Env) error {
	_, err := fmt.Fprintln(env.Stdout, "no such devices")
	return err
}

func verdictCell(_ int, cell string) colour {
	word, _, _ := strings.Cut(cell, ":")
	return verdictColour(laptop.Verdict(word))
}

// writeHeading says what machine it is, and how much is in it.
func writeHeading(env *Env, m *machine) error {
	identity, err := laptop.ReadIdentity(m.fsys)
	m.err = errors.Join(m.err, err)
	functions, usbDevices, others := 0, 0, 0
	for i := range m.Devices {
		switch d := &m.Devices[i]; {
		case d.PCI != nil:
			functions++
		case d.USB != nil:
			usbDevices++
		default:
			others++
		}
	}
	if s := identity.String(); s != "" {
		fmt.Fprintln(env.Stdout, env.paint(bold, printable(s)))
	}
	counts := count(functions, "PCI function") + ", " + count(usbDevices, "USB device")
	if others > 0 {
		counts += ", " + count(others, "other device")
	}
	_, err = fmt.Fprintf(env.Stdout, "%s\n\n", strings.Join(wrap(counts+", "+iommuLine(m.Laptop), env.Width), "\n"))
	return err
}

// shortVerdict is the verdict with the codes that led to it.
func shortVerdict(d *laptop.Device) string {
	s, severity := string(d.Verdict), laptop.Block
	if d.Verdict == laptop.Undecided {
		severity = laptop.Gap
	}
	var codes []string
	for _, f := range d.Findings {
		if f.Severity == severity && !slices.Contains(codes, string(f.Code)) {
			codes = append(codes, string(f.Code))
		}
	}
	if len(codes) > 0 {
		s += ": " + strings.Join(codes, ", ")
	}
	return s
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// iommuLine says in words what the IOMMU does.
func iommuLine(l *laptop.Laptop) string {
	switch {
	case l.IOMMU.Unstated:
		return "IOMMU groups are not stated"
	case !l.IOMMU.Enabled:
		return "no IOMMU at work: nothing can be assigned"
	}
	s := count(len(l.Groups), "IOMMU group")
	if l.IOMMU.Kind != "unknown" {
		s += " (" + l.IOMMU.Kind + ")"
	}
	switch l.IOMMU.InterruptRemapping {
	case iommu.Yes:
		s += ", interrupts remapped"
	case iommu.No:
		s += ", interrupts NOT remapped"
	}
	return s
}

type deviceJSON struct {
	ID              string           `json:"id"`
	Bus             string           `json:"bus"`
	Address         string           `json:"address"` // PCI address, USB port path or kernel's name
	Path            *string          `json:"path"`    // USB port path
	Role            laptop.Role      `json:"role"`
	Roles           []laptop.Role    `json:"roles"`
	Class           pci.Class        `json:"class"`
	VendorID        pci.ID           `json:"vendor_id"`
	DeviceID        pci.ID           `json:"device_id"`
	SubsystemVendor pci.ID           `json:"subsystem_vendor_id"`
	SubsystemDevice pci.ID           `json:"subsystem_device_id"`
	Vendor          *string          `json:"vendor"`
	Device          *string          `json:"device"`
	Driver          string           `json:"driver"`
	Group           iommu.GroupID    `json:"iommu_group"`
	Nodes           []string         `json:"nodes"`
	Classes         []classJSON      `json:"classes"`
	Parts           []partJSON       `json:"parts"`
	PartOf          *string          `json:"part_of"` // id of the device it is a part of
	Verdict         laptop.Verdict   `json:"verdict"`
	Findings        []laptop.Finding `json:"findings"`
}

// A classJSON is one thing the kernel made of a device.
type classJSON struct {
	Class string  `json:"class"`
	Name  string  `json:"name"`
	Node  *string `json:"node"`
}

// A partJSON is one part of a device: another device, or interfaces of a USB device.
type partJSON struct {
	ID         *string     `json:"id"`
	Interfaces []int       `json:"interfaces"`
	Role       laptop.Role `json:"role"`
	Why        string      `json:"why"`
	Evidence   string      `json:"evidence"`
}

func toJSON(m *machine, d *laptop.Device) deviceJSON {
	out := deviceJSON{
		ID: d.ID(), Bus: d.Bus(), Address: d.Where(), Role: d.Role(), Roles: d.Roles, Driver: d.Driver(),
		Group: d.Group(), Nodes: []string{}, Classes: []classJSON{}, Parts: []partJSON{}, Verdict: d.Verdict, Findings: d.Findings,
	}
	if out.Findings == nil {
		out.Findings = []laptop.Finding{}
	}
	for _, n := range d.Nodes {
		out.Nodes = append(out.Nodes, "/"+n)
	}
	known := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	for _, c := range d.Classes {
		in := classJSON{Class: c.Class, Name: c.Name}
		if c.Node != "" {
			in.Node = known("/" + c.Node)
		}
		out.Classes = append(out.Classes, in)
	}
	for _, p := range d.Parts {
		out.Parts = append(out.Parts, partJSON{known(p.ID), append([]int{}, p.Interfaces...), p.Role, p.Why, p.Evidence})
	}
	out.PartOf = known(d.PartOf)
	vendor, device := m.names.VendorDevice(d)
	out.Vendor, out.Device = known(vendor), known(device)
	switch {
	case d.USB != nil:
		path := d.USB.Path.String()
		out.Path = &path
		out.Class = pci.NewClass(uint32(d.USB.Class.Base())<<16 | uint32(d.USB.Class.Sub())<<8 | uint32(d.USB.Class.Protocol()))
		if !d.USB.Class.Known() {
			out.Class = pci.Class{}
		}
		out.VendorID, out.DeviceID = d.USB.Vendor, d.USB.Product
	case d.PCI != nil:
		f := d.PCI
		out.Class, out.VendorID, out.DeviceID = f.Class, f.Vendor, f.Device
		out.SubsystemVendor, out.SubsystemDevice = f.SubsystemVendor, f.SubsystemDevice
	}
	return out
}

func writeDevicesJSON(env *Env, m *machine, role laptop.Role) error {
	identity, err := laptop.ReadMachine(m.fsys)
	m.err = errors.Join(m.err, err)
	devices := []deviceJSON{}
	for i := range m.Devices {
		if d := &m.Devices[i]; plays(d, role) {
			devices = append(devices, toJSON(m, d))
		}
	}
	return writeJSON(env, struct {
		Machine laptop.Machine `json:"machine"`
		Devices []deviceJSON   `json:"devices"`
	}{identity, devices})
}
