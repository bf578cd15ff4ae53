package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// An AssumptionKind names a kind of change that a machine can be judged with before
// anybody makes it.
type AssumptionKind string

// The kinds.
const (
	// AssumeACSOverride: the kernel has the ACS override patch, and is started with
	// pcie_acs_override=.
	AssumeACSOverride AssumptionKind = "acs-override"
	// AssumeNoOverride: it is started without.
	AssumeNoOverride AssumptionKind = "disable-override"
	// AssumeIOMMU: the IOMMU works.
	AssumeIOMMU AssumptionKind = "enable-iommu"
	// AssumeMove: a USB device is plugged into another port.
	AssumeMove AssumptionKind = "move-port"
)

// AssumptionKinds returns the kinds in the order in which they take effect.
func AssumptionKinds() []AssumptionKind {
	return []AssumptionKind{AssumeIOMMU, AssumeNoOverride, AssumeACSOverride, AssumeMove}
}

// An Assumption is one change.
type Assumption struct {
	Kind AssumptionKind
	ACS  []string // of AssumeACSOverride: downstream, multifunction, or both

	// Of AssumeMove: a USB device, by a word that [Laptop.Find] knows, and where it is
	// plugged in then, by the path of a port (3-1), by the socket of a controller
	// (0000:00:14.0/4), or by a controller alone for any port of it.
	Device, Port string
}

// ParseAssumption reads acs-override, acs-override=downstream, acs-override=multifunction,
// disable-override, enable-iommu or move-port=DEVICE:PORT.
func ParseAssumption(text string) (Assumption, error) {
	kind, arg, given := strings.Cut(text, "=")
	a := Assumption{Kind: AssumptionKind(kind)}
	bad := func(why string) (Assumption, error) {
		return Assumption{}, &AssumptionError{oneLine(plain.Short(text)), errors.New(why)}
	}
	switch a.Kind {
	case AssumeACSOverride:
		a.ACS = []string{"downstream", "multifunction"}
		if !given {
			return a, nil
		}
		a.ACS = strings.Split(arg, ",")
		for _, k := range a.ACS {
			if k != "downstream" && k != "multifunction" {
				return bad("expected downstream, multifunction, or both with a comma between")
			}
		}
	case AssumeNoOverride, AssumeIOMMU:
		if given {
			return bad("it takes no argument")
		}
	case AssumeMove:
		// An address has colons, too, but USB devices have none.
		word := strings.TrimPrefix(arg, "usb:")
		var ok bool
		if a.Device, a.Port, ok = strings.Cut(word, ":"); !ok || a.Device == "" || a.Port == "" {
			return bad("expected DEVICE:PORT such as 1-4:3-1, 1-4:0000:00:0d.0/2 or 1-4:0000:00:0d.0")
		}
	default:
		kinds := make([]string, 0, 4)
		for _, k := range AssumptionKinds() {
			kinds = append(kinds, string(k))
		}
		return bad("there is no such kind; the kinds are " + strings.Join(kinds, ", "))
	}
	return a, nil
}

// String writes what ParseAssumption reads.
func (a Assumption) String() string {
	switch a.Kind {
	case AssumeACSOverride:
		return string(a.Kind) + "=" + strings.Join(a.ACS, ",")
	case AssumeMove:
		return string(a.Kind) + "=" + a.Device + ":" + a.Port
	}
	return string(a.Kind)
}

// MarshalText writes the assumption as String does.
func (a Assumption) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// An AssumptionError says what is wrong with an assumption: that there is no such kind,
// or nothing of this machine that it can be about.
type AssumptionError struct {
	Text string
	Err  error
}

// Error returns the assumption and what is wrong with it.
func (e *AssumptionError) Error() string { return "what if " + e.Text + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *AssumptionError) Unwrap() error { return e.Err }

// An Outlook is what would be different, by the facts of a machine, if assumptions came
// true.
type Outlook struct {
	WhatIf  []Assumption `json:"what_if"`
	Changes []Change     `json:"changes"` // in the order of Laptop.Devices
	Cost    []string     `json:"cost"`    // what it costs, of safety above all
	Unknown []string     `json:"unknown"` // what the facts do not tell
	Notes   []string     `json:"notes"`   // what else there is to say, as that nothing changes

	// Then is the machine as it would be. Groups that change have numbers there that no
	// group has now; the kernel gives others.
	Then *Laptop `json:"-"`
}

// A Change is what would be different of one device. Its group is told by its members, as
// numbers are given out anew at each start: PCI addresses, and the names of members on no
// PCI bus. It is nil for a device in none.
type Change struct {
	Device         string    `json:"device"` // id, as it is now
	GroupBefore    []string  `json:"group_before"`
	GroupAfter     []string  `json:"group_after"`
	LooksSplit     bool      `json:"looks_split"` // then only an override keeps it apart from what it can reach
	VerdictBefore  Verdict   `json:"verdict_before"`
	VerdictAfter   Verdict   `json:"verdict_after"`
	FindingsBefore []Finding `json:"findings_before"`
	FindingsAfter  []Finding `json:"findings_after"`
}

// WhatIfOptions say how far WhatIf goes.
type WhatIfOptions struct {
	// Wake reads the configuration space of sleeping functions, too, as
	// [iommu.TopologyOptions] has it.
	Wake bool
}

// WhatIf judges the machine l as it would be if all the assumptions came true together.
// It changes nothing. For what is about groups it reads the configuration space of
// bridges and of functions that share a slot, and the kernel's command line; for
// [AssumeMove] the ports.
//
// An assumption that cannot be about this machine is an *[AssumptionError], a word that
// names no device a *[FindError], and there is no Outlook then. Any other error joins what
// could not be read; the Outlook is what follows from the rest.
func WhatIf(fsys fs.FS, l *Laptop, assume []Assumption, o WhatIfOptions) (*Outlook, error) {
	s := supposition{
		fsys: fsys, now: l, then: l.suppose(), host: asIf{FS: fsys}, split: map[pci.Address]bool{},
		Outlook: &Outlook{WhatIf: slices.Clone(assume), Changes: []Change{}, Cost: []string{}, Unknown: []string{}, Notes: []string{}},
	}
	if err := s.groups(assume, o); err != nil {
		return nil, err
	}
	var ports []usb.Port
	for i, a := range assume {
		if a.Kind != AssumeMove {
			continue
		}
		if i == slices.IndexFunc(assume, func(a Assumption) bool { return a.Kind == AssumeMove }) {
			var err error
			if ports, err = usb.Ports(fsys); err != nil && !errors.Is(err, fs.ErrNotExist) {
				s.errs = append(s.errs, err)
			}
		}
		if err := s.movePort(a, ports); err != nil {
			return nil, err
		}
	}
	if err := s.then.judgeAgain(s.host); err != nil {
		s.errs = append(s.errs, err)
	}
	s.refuseOverridden()
	s.compare()
	for _, lines := range [][]string{s.Cost, s.Unknown, s.Notes} {
		for i := range lines {
			lines[i] = oneLine(lines[i])
		}
	}
	s.Then = s.then
	return s.Outlook, errors.Join(s.errs...)
}

// A supposition is a machine now and then, and what is to be said of the difference.
type supposition struct {
	fsys      fs.FS
	now, then *Laptop
	host      asIf                 // by which the machine is judged then
	split     map[pci.Address]bool // what looks split then, and is not isolated
	override  string               // the argument of the kernel that does so, empty without
	*Outlook
	errs []error
}

func (s *supposition) cost(format string, args ...any) {
	s.Cost = append(s.Cost, fmt.Sprintf(format, args...))
}

func (s *supposition) unknown(format string, args ...any) {
	s.Unknown = append(s.Unknown, fmt.Sprintf(format, args...))
}

func (s *supposition) note(format string, args ...any) {
	s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
}

// compare finds the devices of which group or findings differ.
func (s *supposition) compare() {
	before, after := s.now.members(), s.then.members()
	for i := range s.now.Devices {
		a, b := &s.now.Devices[i], &s.then.Devices[i]
		c := Change{
			Device: a.ID(), GroupBefore: before[a.Group()], GroupAfter: after[b.Group()], LooksSplit: b.PCI != nil && s.split[b.PCI.Address],
			VerdictBefore: a.Verdict, VerdictAfter: b.Verdict,
			FindingsBefore: append([]Finding{}, a.Findings...), FindingsAfter: append([]Finding{}, b.Findings...),
		}
		// Groups with other members have other numbers.
		if a.Group() != b.Group() || !slices.Equal(a.Findings, b.Findings) {
			s.Changes = append(s.Changes, c)
		}
	}
}

// members are the members of each group, by its number.
func (l *Laptop) members() map[iommu.GroupID][]string {
	of := make(map[iommu.GroupID][]string, len(l.Groups))
	for i := range l.Groups {
		g := &l.Groups[i]
		names := make([]string, 0, len(g.Devices)+len(g.Others))
		for _, a := range g.Devices {
			names = append(names, a.String())
		}
		for _, o := range g.Others {
			names = append(names, oneLine(o))
		}
		of[g.ID] = names
	}
	return of
}
