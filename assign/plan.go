package assign

import (
	"fmt"
	"slices"
	"strings"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// VFIODriver is the driver that holds a function for a guest.
const VFIODriver = "vfio-pci"

// A Request says which functions a guest wants.
type Request struct {
	Guest      string        // name of the guest, may be empty
	Locked     bool          // the guest is one that only admins change
	Devices    []pci.Address // whole functions
	Companions bool          // take along the other functions of their groups
	Allow      []laptop.Code // refusals overridden by name

	// What is no whole function. A request names at least one device of any kind.
	USB      []usb.PortPath
	VFs      []VFRequest
	Mediated []MediatedRequest
}

// A Plan is every write that hands functions over, decided before anything is
// touched. It is a value: it can be printed, stored and carried out later.
type Plan struct {
	Guest    string           `json:"guest"`
	Locked   bool             `json:"locked,omitempty"` // the guest is one that only admins change
	Devices  []pci.Address    `json:"devices"`          // all functions that change hands
	Groups   []iommu.GroupID  `json:"groups"`
	Steps    []Step           `json:"steps"`
	Findings []laptop.Finding `json:"findings"` // warnings, and refusals that were overridden

	// Identities says what the devices of the steps were when it was planned. One that
	// says something else later is another device under the same address.
	Identities []Identity `json:"identities,omitempty"`

	// What is no whole function.
	USB      []USBDevice        `json:"usb,omitempty"`
	VFs      []VirtualFunctions `json:"vfs,omitempty"`
	Mediated []MediatedDevice   `json:"mediated,omitempty"`

	// virtual are the claims of functions that are or may have virtual ones.
	virtual []Claim
}

// A Step is one write with what must hold before it, and the writes that take it
// back, in their order. A step without undo is taken back by that of another.
type Step struct {
	Bus    string  `json:"bus,omitempty"` // as in sys/bus; empty is pci
	Device string  `json:"device"`        // name in sys/bus/BUS/devices
	Prior  Check   `json:"prior"`
	Do     Write   `json:"do"`
	Undo   []Write `json:"undo"`
}

// Keeps reports whether the step writes nothing, because what it would write is so: it is
// there for its undo, which puts that back if it is not so any more.
func (s Step) Keeps() bool { return s.Prior == s.Do.After }

// dir is the directory of the step's device, whether or not it is there.
func (s Step) dir() string { return deviceDir(s.Bus, s.Device) }

// deviceDir is the directory of a device, below the root; no bus is pci.
func deviceDir(bus, device string) string {
	if bus == "" {
		bus = "pci"
	}
	return "sys/bus/" + bus + "/devices/" + device
}

// A Write is one value for one file, and what holds once the kernel has acted on
// it. One that takes back a step is not made when its outcome holds already.
type Write struct {
	File  string `json:"file"` // below the root, without the leading slash
	Value string `json:"value"`
	After Check  `json:"after"`

	// Only says what must still be so for a write that takes back a step: else somebody
	// else has the device, and keeps it. Nil makes it in any case.
	Only *Check `json:"only,omitempty"`
}

// A Check is a statement about a device: that its driver or an attribute in its directory
// is the named value, or with Not that it is any other. None is the empty value.
type Check struct {
	// What is "driver", the name of the bound driver; "present", which is "yes" or
	// empty; or an attribute, such as driver_override or power/control. An attribute
	// that is "(null)" or not there is empty.
	What string `json:"what"`
	Is   string `json:"is"`
	Not  bool   `json:"not,omitempty"`
}

const (
	driver   = "driver"
	present  = "present" // "yes" while the device is there
	override = "driver_override"
	control  = "power/control"
)

// String says what the check demands, as `driver is nvme`.
func (c Check) String() string {
	is := c.Is
	if is == "" {
		is = "none"
	}
	if c.Not {
		return c.What + " is not " + is
	}
	return c.What + " is " + is
}

func (c Check) holds(value string) bool { return (value == c.Is) != c.Not }

// NewPlan decides how to carry out a request on the machine the facts describe. It
// touches nothing. The error is a *[RefusedError] when the request is unsafe or
// cannot work, with all the reasons.
func NewPlan(f *Facts, r Request) (*Plan, error) {
	if r.empty() {
		return nil, fmt.Errorf("plan: no device named")
	}
	asked := r.ids()
	r = r.withExisting(f)
	p := &Plan{Guest: r.Guest, Locked: r.Locked, Devices: []pci.Address{}, Groups: []iommu.GroupID{}, Steps: []Step{}}
	var refused []laptop.Finding
	for _, a := range r.Devices {
		refused = append(refused, p.include(f, r, a)...)
	}
	for _, finding := range f.risks {
		if p.concerns(r, finding) {
			refused = append(refused, p.weigh(r, finding)...)
		}
	}
	slices.SortFunc(p.Devices, pci.Address.Compare)
	functions := slices.Clone(p.Devices)
	refused = append(refused, p.includeKinds(f, r)...)
	if len(refused) > 0 {
		return nil, &RefusedError{Devices: r.Devices, Others: asked, Findings: distinct(refused)}
	}
	slices.SortFunc(p.Groups, iommu.GroupID.Compare)
	p.Findings = distinct(p.Findings)
	for _, a := range functions {
		p.Steps = append(p.Steps, steps(a, f.functions[a])...)
		p.Identities = append(p.Identities, f.identity(a))
	}
	return p, nil
}

// claims are what a lease of the plan needs to itself.
func (p *Plan) claims() []Claim {
	claims := []Claim{}
	for _, g := range p.Groups {
		claims = append(claims, GroupClaim(g))
	}
	return append(claims, p.claimsOfKinds()...)
}

// include adds the group of function a to the plan, once, and returns what speaks
// against it.
func (p *Plan) include(f *Facts, r Request, a pci.Address) []laptop.Finding {
	d := f.laptop.Function(a)
	if d == nil {
		return []laptop.Finding{{
			Code: laptop.NoGroup, Severity: laptop.Block, Device: "pci:" + a.String(), Detail: "no such function in this machine",
			Evidence: "/sys/bus/pci/devices/" + a.String(), Remedy: "indy devices lists what there is",
		}}
	}
	var refused []laptop.Finding
	weigh := func(finding laptop.Finding) { refused = append(refused, p.weigh(r, finding)...) }
	for _, finding := range d.Findings {
		if finding.Code != laptop.NoReset { // the risks have it of all that is handed over
			weigh(finding)
		}
	}
	g := f.laptop.Group(d.PCI.Group)
	if g == nil || slices.Contains(p.Groups, g.ID) {
		return refused
	}
	p.Groups = append(p.Groups, g.ID)
	var left []string
	for _, member := range g.Devices {
		state := f.functions[member]
		if state.stays {
			continue
		}
		if !r.Companions && !slices.Contains(r.Devices, member) {
			left = append(left, member.String())
			continue
		}
		p.Devices = append(p.Devices, member)
		if state.virtual != "" {
			p.virtual = append(p.virtual, state.virtual)
		}
		for _, finding := range state.findings(member) {
			weigh(finding)
		}
		for _, finding := range state.residues(r) {
			weigh(finding)
		}
	}
	if len(left) > 0 {
		weigh(laptop.Finding{
			Code: laptop.Companions, Severity: laptop.Block, Device: d.ID(),
			Detail: fmt.Sprintf("IOMMU group %s changes hands as one, and %s would stay behind", g.ID, strings.Join(left, ", ")),
			// The guest could reach what stays behind, and VFIO refuses such a group.
			Evidence: "/sys/kernel/iommu_groups/" + g.ID.String() + "/devices",
			Remedy:   "add --with-companions to hand over the whole group",
		})
	}
	return refused
}

// weigh keeps what a plan shall tell, and returns what speaks against it.
func (p *Plan) weigh(r Request, finding laptop.Finding) (refused []laptop.Finding) {
	if finding.Severity == laptop.Block || finding.Severity == laptop.Gap {
		if !finding.Code.Overridable() || !slices.Contains(r.Allow, finding.Code) {
			return []laptop.Finding{finding}
		}
		finding.Detail = "overridden by --allow " + string(finding.Code) + ": " + finding.Detail
		finding.Severity = laptop.Warning
	}
	if finding.Severity == laptop.Warning {
		p.Findings = append(p.Findings, finding)
	}
	return nil
}

// concerns reports whether a finding is about a function that changes hands, or was
// wished for and does not.
func (p *Plan) concerns(r Request, finding laptop.Finding) bool {
	a, err := pci.ParseAddress(strings.TrimPrefix(finding.Device, "pci:"))
	return err == nil && (slices.Contains(p.Devices, a) || slices.Contains(r.Devices, a))
}

// steps moves one function to vfio-pci. The override comes first, so that no other
// driver can take the function in between.
func steps(a pci.Address, s function) []Step {
	if s.driver == VFIODriver {
		// Held before us: not ours to bind, and not ours to give back. But a release resets it.
		var all []Step
		for _, w := range s.settings(a) {
			all = append(all, Step{Device: a.String(), Prior: w.After, Do: w, Undo: []Write{w}})
		}
		return all
	}
	const devices, drivers = "sys/bus/pci/devices/", "sys/bus/pci/drivers/"
	addr := a.String()
	overrideFile := devices + addr + "/driver_override"
	// sysfs drops an empty write; a line without text clears the override.
	cleared := Write{overrideFile, "\n", Check{What: override}, &Check{What: override, Is: VFIODriver}}
	tie := Step{
		Device: addr,
		Prior:  Check{What: override, Is: s.override},
		Do:     Write{File: overrideFile, Value: VFIODriver, After: Check{What: override, Is: VFIODriver}},
		Undo:   []Write{cleared},
	}
	all := []Step{tie}
	if s.driver != "" {
		// The function goes back to the very driver it came from, which drivers_probe
		// does not promise. It can only while no override names another.
		all[0].Undo = append(all[0].Undo, Write{drivers + s.driver + "/bind", addr, Check{What: driver, Is: s.driver}, &Check{What: driver}})
		all = append(all, Step{
			Device: addr,
			Prior:  Check{What: driver, Is: s.driver},
			Do:     Write{File: drivers + s.driver + "/unbind", Value: addr, After: Check{What: driver}},
			Undo:   []Write{},
		})
	}
	if s.override != "" {
		all[0].Undo = append(all[0].Undo, Write{overrideFile, s.override, Check{What: override, Is: s.override}, &Check{What: override}})
	}
	all[0].Undo = append(all[0].Undo, s.settings(a)...)
	return append(all, Step{
		Device: addr,
		Prior:  Check{What: driver},
		Do:     Write{File: "sys/bus/pci/drivers_probe", Value: addr, After: Check{What: driver, Is: VFIODriver}},
		Undo:   []Write{{File: drivers + VFIODriver + "/unbind", Value: addr, After: Check{What: driver, Is: VFIODriver, Not: true}}},
	})
}

// settings are the writes that put back what a lease changes of a function besides its driver.
func (s function) settings(a pci.Address) []Write {
	var all []Write
	put := func(what, value string) {
		all = append(all, Write{File: deviceDir("", a.String()) + "/" + what, Value: value, After: Check{What: what, Is: value}})
	}
	if s.control != "" {
		// vfio-pci sets auto while it has a function and leaves on behind, which would
		// cost a notebook the function's power saving for good.
		put(control, s.control)
	}
	if strings.Contains(s.resets, " ") {
		// A reset sets one method at a time. Of a single one it need not.
		put(resetMethods, s.resets)
	}
	return all
}

func distinct(findings []laptop.Finding) []laptop.Finding {
	kept := []laptop.Finding{}
	for _, f := range findings {
		if !slices.Contains(kept, f) {
			kept = append(kept, f)
		}
	}
	return kept
}
