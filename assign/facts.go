package assign

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// Facts are what a plan is decided from: the machine, and of the groups in question
// what a listing does not read.
type Facts struct {
	laptop    *laptop.Laptop
	functions map[pci.Address]function
	regions   map[iommu.GroupID][]iommu.Region
}

// A function is the state of one PCI function that a plan changes or depends on.
type function struct {
	driver, override string
	control          string   // runtime power control, auto or on; empty when not stated
	stays            bool     // with the host, as bridges do
	resets           []string // reset methods
	resetsKnown      bool
	virtual          int // virtual functions in use
}

// Read gathers the facts about the groups of the given functions. It opens a few
// attributes of each member and changes nothing. An error means that something a
// plan depends on could not be read; nothing should then be planned.
func Read(fsys fs.FS, l *laptop.Laptop, devices []pci.Address) (*Facts, error) {
	f := &Facts{laptop: l, functions: map[pci.Address]function{}, regions: map[iommu.GroupID][]iommu.Region{}}
	var errs []error
	resets := statesResets(fsys, l)
	for _, a := range devices {
		d := l.Function(a)
		if d == nil {
			continue // NewPlan says so
		}
		g := l.Group(d.PCI.Group)
		if g == nil {
			continue
		}
		if _, done := f.regions[g.ID]; done {
			continue
		}
		regions, err := iommu.ReservedRegions(fsys, g.ID)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		f.regions[g.ID] = regions
		for _, member := range g.Devices {
			s, err := readFunction(fsys, l, member)
			s.resetsKnown = s.resetsKnown || resets
			f.functions[member] = s
			if err != nil {
				errs = append(errs, err)
			}
		}
	}
	return f, errors.Join(errs...)
}

// statesResets reports whether the machine's kernel states reset methods, so that a
// function without any has no such file. Kernels before 5.15 state none at all.
func statesResets(fsys fs.FS, l *laptop.Laptop) bool {
	for i := range l.Devices {
		if f := l.Devices[i].PCI; f != nil {
			if _, err := pci.ResetMethods(fsys, f.Address); err == nil {
				return true
			}
		}
	}
	return false
}

func readFunction(fsys fs.FS, l *laptop.Laptop, a pci.Address) (function, error) {
	var s function
	var errs []error
	note := func(err error) {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	d := l.Function(a)
	if d == nil {
		return s, fmt.Errorf("group member %s: %w", a, fs.ErrNotExist)
	}
	var err error
	s.stays = laptop.StaysWithHost(*d.PCI) || pci.Forwards(fsys, *d.PCI)
	s.driver, err = pci.Driver(fsys, a)
	note(err)
	s.override, err = pci.DriverOverride(fsys, a)
	note(err)
	s.control, err = pci.RuntimeControl(fsys, a)
	note(err)
	s.resets, err = pci.ResetMethods(fsys, a)
	s.resetsKnown = err == nil
	note(err)
	vfs, err := pci.VirtualFunctions(fsys, a)
	s.virtual = len(vfs)
	note(err)
	return s, errors.Join(errs...)
}

// groupFindings says what the kernel reserves for a group.
func (f *Facts) groupFindings(g *iommu.Group) []laptop.Finding {
	for _, r := range f.regions[g.ID] {
		// direct-relaxable regions are given up when a guest takes over; direct ones
		// are not, and VFIO refuses the group.
		if r.Type == "direct" {
			return []laptop.Finding{{
				Code: laptop.ReservedDirect, Severity: laptop.Block, Device: "pci:" + g.Devices[0].String(),
				Detail:   fmt.Sprintf("the firmware keeps memory %#x-%#x mapped for IOMMU group %s (RMRR), so VFIO refuses it", r.Start, r.End, g.ID),
				Evidence: "/sys/kernel/iommu_groups/" + g.ID.String() + "/reserved_regions",
				Remedy:   "look for a firmware setting that takes the device from the firmware's hands, or update the firmware",
			}}
		}
	}
	return nil
}

// findings says what a member's own state means for a hand-over.
func (s function) findings(a pci.Address) []laptop.Finding {
	var findings []laptop.Finding
	add := func(code laptop.Code, severity laptop.Severity, detail, attribute, remedy string) {
		findings = append(findings, laptop.Finding{
			Code: code, Severity: severity, Device: "pci:" + a.String(), Detail: detail,
			Evidence: "/sys/bus/pci/devices/" + a.String() + "/" + attribute, Remedy: remedy,
		})
	}
	if s.virtual > 0 {
		add(laptop.VirtualInUse, laptop.Block, fmt.Sprintf("%s has %d virtual functions enabled, which would vanish", a, s.virtual),
			"sriov_numvfs", "release them and write 0 to sriov_numvfs first")
	}
	if s.resetsKnown && len(s.resets) == 0 {
		add(laptop.NoReset, laptop.Warning, "the kernel knows no way to reset "+a.String()+": what one guest leaves in it the next one finds",
			"reset_method", "")
	}
	if s.driver == VFIODriver {
		add(laptop.BoundToVFIO, laptop.Warning, a.String()+" was bound to vfio-pci before, and stays so after its release", "driver", "")
	}
	return findings
}

// A RefusedError says why functions are not handed over.
type RefusedError struct {
	Devices  []pci.Address
	Findings []laptop.Finding // at least one
}

// ErrRefused is what every *[RefusedError] answers to in [errors.Is].
var ErrRefused = errors.New("refused as unsafe")

// Error gives the devices and each reason.
func (e *RefusedError) Error() string {
	var b strings.Builder
	b.WriteString("refused to hand over")
	for _, a := range e.Devices {
		b.WriteString(" " + a.String())
	}
	for i, f := range e.Findings {
		b.WriteString([]string{": ", "; "}[min(i, 1)] + f.Detail)
	}
	return b.String()
}

// Is reports whether target is [ErrRefused], or [errors.ErrUnsupported] when the
// reason is that this host has no working IOMMU.
func (e *RefusedError) Is(target error) bool {
	return target == ErrRefused || target == errors.ErrUnsupported &&
		slices.ContainsFunc(e.Findings, func(f laptop.Finding) bool { return f.Code == laptop.NoIOMMU })
}
