package assign

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// kindsFacts are the facts about what is no whole IOMMU group.
type kindsFacts struct {
	usb   map[usb.PortPath]usbState
	vfs   map[pci.Address]physical
	mdevs map[string]mediated // by parent

	parents map[pci.Address]Residue // what is left in functions of which a part is asked for
}

// ReadRequest gathers the facts about all that a request names, as [Read] does for
// functions. Of a USB device it reads what the host does with it, in all of its processes.
func ReadRequest(fsys fs.FS, l *laptop.Laptop, r Request) (*Facts, error) {
	k := kindsFacts{map[usb.PortPath]usbState{}, map[pci.Address]physical{}, map[string]mediated{}, map[pci.Address]Residue{}}
	var errs []error
	functions := slices.Clone(r.Devices)
	for _, v := range r.VFs {
		state, err := readPhysical(fsys, l, v)
		k.vfs[v.Physical] = state
		k.parents[v.Physical] = Residue{}
		functions = append(functions, state.existing...)
		errs = append(errs, err)
	}
	for _, path := range r.USB {
		state, err := readUSB(fsys, l, path)
		k.usb[path] = state
		errs = append(errs, err)
	}
	for _, m := range r.Mediated {
		state, err := readMediated(fsys, l, m)
		k.mdevs[m.Parent] = state
		if a, err := pci.ParseAddress(m.Parent); err == nil {
			k.parents[a] = Residue{}
		}
		errs = append(errs, err)
	}
	f, err := Read(fsys, l, functions)
	f.kinds = k
	return f, errors.Join(append(errs, err)...)
}

// withExisting names the virtual functions that are there already and that r asks for,
// so that they are planned as any other function.
func (r Request) withExisting(f *Facts) Request {
	r.Devices = slices.Clone(r.Devices)
	for _, v := range r.VFs {
		for _, a := range f.kinds.vfs[v.Physical].existing {
			if !slices.Contains(r.Devices, a) {
				r.Devices = append(r.Devices, a)
			}
		}
	}
	return r
}

// empty reports whether a request names nothing.
func (r Request) empty() bool {
	return len(r.Devices)+len(r.USB)+len(r.VFs)+len(r.Mediated) == 0
}

// ids names what a request asks for, beside functions.
func (r Request) ids() []string {
	var all []string
	for _, p := range r.USB {
		all = append(all, "usb:"+p.String())
	}
	for _, v := range r.VFs {
		all = append(all, fmt.Sprintf("%d virtual functions of %s", v.Count, v.Physical))
	}
	for _, m := range r.Mediated {
		all = append(all, m.Type+" of "+m.Parent)
	}
	return all
}

// includeKinds adds what is no whole group to the plan, and returns what speaks against
// it.
func (p *Plan) includeKinds(f *Facts, r Request) []laptop.Finding {
	var refused []laptop.Finding
	for _, path := range r.USB {
		refused = append(refused, p.includeUSB(f, r, path)...)
	}
	for _, v := range r.VFs {
		refused = append(refused, p.includeVFs(f, r, v)...)
	}
	for _, m := range r.Mediated {
		refused = append(refused, p.includeMediated(f, r, m)...)
	}
	return refused
}

// claimsOfKinds are what a lease needs to itself, beside whole groups.
func (p *Plan) claimsOfKinds() []Claim {
	var claims []Claim
	add := func(c Claim) {
		if !slices.Contains(claims, c) {
			claims = append(claims, c)
		}
	}
	for _, d := range p.USB {
		add(USBClaim(d.Path))
		add(d.under())
	}
	for _, v := range p.VFs {
		if v.Made {
			add(VFClaim(v.Physical))
		}
	}
	for _, c := range p.virtual {
		add(c)
	}
	for _, m := range p.Mediated {
		add(MediatedClaim(m.UUID))
		add(m.under())
	}
	return slices.DeleteFunc(claims, func(c Claim) bool { return c == "" })
}

// Names lists all that changes hands: addresses of functions, then usb:PATH and
// mdev:UUID.
func (p *Plan) Names() []string {
	var all []string
	for _, a := range p.Devices {
		all = append(all, a.String())
	}
	for _, d := range p.USB {
		all = append(all, "usb:"+d.Path.String())
	}
	for _, m := range p.Mediated {
		all = append(all, "mdev:"+m.UUID)
	}
	return all
}

// Nodes lists by what a guest opens what changes hands, below the root without the slash:
// dev/vfio/GROUP, and dev/bus/usb/BUS/NUMBER. Of what a plan makes there is none before.
func (p *Plan) Nodes(fsys fs.FS) ([]string, error) {
	made, err := madeGroups(fsys, p)
	var all []string
	for _, g := range slices.Concat(p.Groups, made) {
		all = append(all, "dev/vfio/"+g.String())
	}
	for _, d := range p.USB {
		all = append(all, d.Node)
	}
	return all, err
}

// checkMade looks at what a plan has made, once all is written: each new function has to be
// in a group without strangers, and its node has to appear.
func (h *Host) checkMade(ctx context.Context, p *Plan) error {
	for _, d := range p.USB {
		for _, i := range d.Interfaces {
			s := Step{Bus: "usb", Device: d.Path.String()}
			if err := h.expect(s, Check{What: i.Name + "/" + driver}); err != nil && i.Driver != "" {
				return &OpError{"assign", s.Device, err}
			}
		}
	}
	groups, err := madeGroups(h.FS, p)
	if err != nil {
		return err
	}
	for _, g := range groups {
		if err := h.strangers(p, g); err != nil {
			return err
		}
		if err := h.awaitNode(ctx, g); err != nil {
			return err
		}
		if h.Viable == nil {
			continue
		}
		if err := h.Viable(g); err != nil {
			return err
		}
	}
	return nil
}

// Names lists all that a lease holds, as [Plan.Names] does.
func (l *Lease) Names() []string {
	if l.Plan != nil {
		return l.Plan.Names()
	}
	p := Plan{Devices: l.Devices}
	all := p.Names()
	for _, c := range l.Claims {
		if path, ok := strings.CutPrefix(string(c), "usb "); ok {
			all = append(all, "usb:"+path)
		}
		if uuid, ok := strings.CutPrefix(string(c), "mdev "); ok {
			all = append(all, "mdev:"+uuid)
		}
	}
	return all
}

// named reports whether a word names the lease: its ID, or one of the devices that it
// holds, with or without the bus.
func (l *Lease) named(word string) bool {
	return l.ID == word || slices.ContainsFunc(l.Names(), func(name string) bool {
		bare := strings.TrimPrefix(strings.TrimPrefix(name, "usb:"), "mdev:")
		return word == name || word == bare || word == "pci:"+name
	})
}

// HoldingNamed returns the lease with a device, named as in [Plan.Names] or without the
// bus, or with an ID; or [ErrNotHeld].
func (s *Store) HoldingNamed(name string) (*Lease, error) {
	return s.find(name, func(l *Lease) bool { return l.named(name) })
}

// ReleaseNamed is [Store.Release] for the lease that [Store.HoldingNamed] finds.
func (s *Store) ReleaseNamed(ctx context.Context, h *Host, name string) (*Lease, error) {
	o, err := s.lockFound(ctx, h, func() (*Lease, error) { return s.HoldingNamed(name) })
	if err != nil {
		return nil, err
	}
	defer o.close()
	return s.release(ctx, h, o)
}

// madeGroups returns the IOMMU groups of what a plan makes, which have no number before
// it is made. What is not there has none.
func madeGroups(fsys fs.FS, p *Plan) ([]iommu.GroupID, error) {
	var groups []iommu.GroupID
	for _, dir := range p.made() {
		name, err := hostfs.ReadLinkBase(fsys, dir+"/iommu_group")
		if errors.Is(err, fs.ErrNotExist) {
			if _, err := fs.Lstat(fsys, dir); errors.Is(err, fs.ErrNotExist) {
				continue
			}
		}
		var g iommu.GroupID
		if err == nil {
			g, err = pci.ParseGroupID(name)
		}
		if err != nil {
			return groups, fmt.Errorf("IOMMU group of %s: %w", dir[strings.LastIndexByte(dir, '/')+1:], err)
		}
		if !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	slices.SortFunc(groups, iommu.GroupID.Compare)
	return groups, nil
}

// made lists the directories of what the plan makes.
func (p *Plan) made() []string {
	var dirs []string
	for _, v := range p.VFs {
		for _, f := range v.Functions {
			if v.Made {
				dirs = append(dirs, deviceDir("", f.Address.String()))
			}
		}
	}
	for _, m := range p.Mediated {
		dirs = append(dirs, deviceDir("mdev", m.UUID))
	}
	return dirs
}

// strangers refuses a group of a new function in which there is more than what the plan
// hands over and bridges.
func (h *Host) strangers(p *Plan, g iommu.GroupID) error {
	dir := "sys/kernel/iommu_groups/" + g.String() + "/devices"
	entries, err := fs.ReadDir(h.FS, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		a, err := pci.ParseAddress(e.Name())
		if err != nil || slices.Contains(p.Devices, a) {
			continue // a mediated device is alone in its group
		}
		class, err := hostfs.ReadString(h.FS, deviceDir("", e.Name())+"/class")
		if err != nil || !strings.HasPrefix(class, "0x06") {
			return &RefusedError{Devices: p.Devices, Findings: []laptop.Finding{{
				Code: laptop.Companions, Severity: laptop.Block, Device: "pci:" + p.Devices[0].String(),
				Detail:   fmt.Sprintf("the new functions are in IOMMU group %s together with %s, which stays with the host", g, e.Name()),
				Evidence: "/" + dir, Remedy: "hand over the physical function as a whole, or put the card into another slot",
			}}}
		}
	}
	return nil
}

// busy says whether something of a plan that is in no group known before is in use: a
// program has an interface of a USB device, or a guest the group of what was made.
func (h *Host) busy(l *Lease) error {
	if l.Plan == nil {
		return nil
	}
	for _, d := range l.Plan.USB {
		if err := d.claimed(h.FS); err != nil {
			return &BusyError{What: "/" + d.Node, Lease: *l, Err: err}
		}
	}
	groups, err := madeGroups(h.FS, l.Plan)
	if err != nil || h.InUse == nil {
		return err
	}
	for _, g := range groups {
		if err := h.InUse(g); err != nil {
			return &BusyError{Group: g, Lease: *l, Err: err}
		}
	}
	return nil
}

// isLink reports whether a [Check] is about the last element of a link's target.
func isLink(what string) bool {
	return what == driver || what == "physfn" || strings.HasPrefix(what, "virtfn") || strings.HasSuffix(what, "/"+driver)
}

// settingsOf is where the host shows what a function's driver takes by rtnetlink only:
// below it, vf/0/mac and the like.
func settingsOf(dir string) string { return "rtnetlink/" + dir[strings.LastIndexByte(dir, '/')+1:] }

const setting = "vf/" // how the name of such a setting begins
