package assign

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// Facts are what a plan is decided from: the machine, and of the groups in question
// what a listing does not read.
type Facts struct {
	laptop    *laptop.Laptop
	functions map[pci.Address]function
	risks     []laptop.Finding // of all of them, if they change hands together
	kinds     kindsFacts
	noted     *Residues // nil when nothing is noted of any function
}

// A function is the state of one PCI function that a plan changes or depends on.
type function struct {
	driver, override string
	control          string // runtime power control, auto or on; empty when not stated
	resets           string // reset methods, in their order; empty when not stated
	stays            bool   // with the host, as bridges do
	id               string // what it is, see Identity
	residue          Residue
	below            []Residue // left in the USB devices that hang on it
	instance         uint64    // see Identity
	virtual          Claim     // if it has virtual functions or is one

	driverctl string        // driver that driverctl keeps for it
	holders   []GroupHolder // of its group, when it is with vfio-pci
}

// Read gathers the facts about the groups of the given functions, which are those that
// a plan is to hand over together. It opens a few attributes of each member and changes
// nothing. An error means that something a plan depends on could not be read; nothing
// should then be planned.
func Read(fsys fs.FS, l *laptop.Laptop, devices []pci.Address) (*Facts, error) {
	f := &Facts{laptop: l, functions: map[pci.Address]function{}}
	var errs []error
	var handed []*laptop.Device
	done := map[iommu.GroupID]bool{}
	var open *laptop.Open // read once, and only where a group may be open
	for _, a := range devices {
		d := l.Function(a)
		if d == nil {
			continue // NewPlan says so
		}
		g := l.Group(d.PCI.Group)
		if g == nil || done[g.ID] {
			continue
		}
		done[g.ID] = true
		for _, member := range g.Devices {
			s, err := readFunction(fsys, l, member)
			if s.driver == VFIODriver {
				if open == nil {
					o, _ := laptop.ReadOpen(fsys) // who cannot be seen is not named; VFIO refuses all the same
					open = &o
				}
				s.holders = groupHolders(fsys, *open, g.ID)
			}
			if s.driver == VFIODriver || s.override != "" {
				s.driverctl = driverctl(fsys, member)
			}
			f.functions[member] = s
			if err != nil {
				errs = append(errs, err)
			}
			if d := l.Function(member); d != nil && !laptop.StaysWithHost(*d.PCI) {
				handed = append(handed, d)
			}
		}
	}
	var err error
	if f.risks, err = laptop.Risks(fsys, l, handed); err != nil {
		errs = append(errs, err)
	}
	return f, errors.Join(errs...)
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
	s.id = identify(*d.PCI)
	s.driver, err = pci.Driver(fsys, a)
	note(err)
	s.override, err = pci.DriverOverride(fsys, a)
	note(err)
	s.control, err = pci.RuntimeControl(fsys, a)
	note(err)
	s.instance = instance(fsys, "", a.String())
	methods, err := pci.ResetMethods(fsys, a)
	note(err)
	s.resets = strings.Join(methods, " ")
	s.virtual, err = virtualClaim(fsys, a)
	note(err)
	return s, errors.Join(errs...)
}

// identity says what function a is, and what the host has of it.
func (f *Facts) identity(a pci.Address) Identity {
	id := Identity{Device: a.String(), ID: f.functions[a].id, Instance: f.functions[a].instance}
	for i := range f.laptop.Devices {
		d := &f.laptop.Devices[i]
		if d.PCI == nil || d.PCI.Address != a {
			if d.USB == nil || d.USB.Controller != a {
				continue
			}
		}
		id.parts(d)
	}
	return id
}

// parts notes the network interfaces and disks that a driver has made of a device.
func (i *Identity) parts(d *laptop.Device) {
	for _, c := range d.Classes {
		switch c.Class {
		case "net":
			i.Interfaces = append(i.Interfaces, c.Name)
		case "block":
			i.Disks = append(i.Disks, c.Name)
		}
	}
}

// findings says what a member's own state means for a hand-over: somebody else may have
// prepared it for a guest, and keeps it.
func (s function) findings(a pci.Address) []laptop.Finding {
	var found []laptop.Finding
	by := ""
	if s.driverctl != "" {
		by = "; driverctl sets " + s.driverctl + " for it at each boot"
	}
	file := "/" + deviceDir("", a.String())
	if s.driver == VFIODriver {
		found = append(found, laptop.Finding{
			Code: laptop.BoundToVFIO, Severity: laptop.Warning, Device: "pci:" + a.String(),
			Detail:   a.String() + " was bound to vfio-pci before, and stays so after its release" + by,
			Evidence: file + "/driver",
		})
	} else if s.override != "" {
		found = append(found, laptop.Finding{
			Code: laptop.ForeignOverride, Severity: laptop.Warning, Device: "pci:" + a.String(),
			Detail:   a.String() + " has the driver override " + plain.Short(s.override) + ", which is in no lease and comes back with its release" + by,
			Evidence: file + "/" + override,
		})
	}
	for _, h := range s.holders {
		found = append(found, laptop.Finding{
			Code: laptop.HeldElsewhere, Severity: laptop.Block, Device: "pci:" + a.String(),
			Detail:   "the IOMMU group of " + a.String() + " is in use: " + h.String() + " has it open",
			Evidence: "/proc/" + strconv.Itoa(h.PID) + "/fd",
			Remedy:   "stop that guest, or end the process",
		})
	}
	return found
}

// A RefusedError says why functions are not handed over.
type RefusedError struct {
	Devices  []pci.Address
	Others   []string         // what else was asked for, as usb:1-4
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
	for _, id := range e.Others {
		b.WriteString(" " + id)
	}
	for i, f := range e.Findings {
		b.WriteString([]string{": ", "; "}[min(i, 1)] + f.Detail)
	}
	return b.String()
}

// Is reports whether target is [ErrRefused], or [errors.ErrUnsupported] when a reason is
// that this host cannot: it has no working IOMMU, or the device does not make the virtual
// functions or the mediated device that were asked for.
func (e *RefusedError) Is(target error) bool {
	return target == ErrRefused || target == errors.ErrUnsupported &&
		slices.ContainsFunc(e.Findings, func(f laptop.Finding) bool {
			return f.Code == laptop.NoIOMMU || f.Code == laptop.NoVirtual || f.Code == laptop.NoMediated
		})
}
