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
	cmd := &cobra.Command{
		Use:   "devices",
		Short: "what is in this laptop, by role, with the verdict on each",
		Long: `List every PCI function and USB device of the machine by role: what it is, which
driver and IOMMU group it has, and whether it can go to a guest.

Verdicts: assignable; with-companions, together with the rest of its IOMMU group;
refused, with the reason; unknown, with what is not known. "indy why DEVICE" says more.

` + exitHelp,
		Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if role != "" && !slices.Contains(laptop.Roles(), laptop.Role(role)) {
				return usageError{fmt.Errorf("no role %q; the roles are %s", role, joinRoles(laptop.Roles()))}
			}
			return flags.look(env, func(m *machine) error {
				if flags.json {
					return writeDevicesJSON(env, m, laptop.Role(role))
				}
				return writeDevices(env, m, laptop.Role(role))
			})
		},
	}
	flags.add(cmd)
	cmd.Flags().StringVar(&role, "role", "", "only devices of this role")
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
	identity, err := laptop.ReadIdentity(m.fsys)
	m.err = errors.Join(m.err, err)
	functions := 0
	for i := range m.Devices {
		if m.Devices[i].PCI != nil {
			functions++
		}
	}
	if s := identity.String(); s != "" {
		fmt.Fprintln(env.Stdout, env.paint(bold, printable(s)))
	}
	fmt.Fprintf(env.Stdout, "%s, %s, %s\n\n", count(functions, "PCI function"), count(len(m.Devices)-functions, "USB device"), iommuLine(m.Laptop))

	var t table
	t.add("ROLE", "ADDRESS", "GROUP", "DRIVER", "VERDICT", "DEVICE")
	t.colours = []func(int, string) colour{4: func(_ int, cell string) colour {
		word, _, _ := strings.Cut(cell, ":")
		return verdictColour(laptop.Verdict(word))
	}}
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
		t.write(env, env.Stdout)
	} else {
		fmt.Fprintln(env.Stdout, "no such devices")
	}
	return nil
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
	if !l.IOMMU.Enabled {
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
	Address         string           `json:"address"` // PCI address or USB port path
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
	Verdict         laptop.Verdict   `json:"verdict"`
	Findings        []laptop.Finding `json:"findings"`
}

func toJSON(m *machine, d *laptop.Device) deviceJSON {
	out := deviceJSON{
		ID: d.ID(), Bus: d.Bus(), Address: d.Where(), Role: d.Role(), Roles: d.Roles, Driver: d.Driver(),
		Group: d.Group(), Nodes: []string{}, Verdict: d.Verdict, Findings: d.Findings,
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
	vendor, device := m.names.VendorDevice(d)
	out.Vendor, out.Device = known(vendor), known(device)
	if d.USB != nil {
		path := d.USB.Path.String()
		out.Path = &path
		out.Class = pci.NewClass(uint32(d.USB.Class.Base())<<16 | uint32(d.USB.Class.Sub())<<8 | uint32(d.USB.Class.Protocol()))
		if !d.USB.Class.Known() {
			out.Class = pci.Class{}
		}
		out.VendorID, out.DeviceID = d.USB.Vendor, d.USB.Product
		return out
	}
	f := d.PCI
	out.Class, out.VendorID, out.DeviceID = f.Class, f.Vendor, f.Device
	out.SubsystemVendor, out.SubsystemDevice = f.SubsystemVendor, f.SubsystemDevice
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
