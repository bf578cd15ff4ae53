package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// groups gives the functions the groups they would have. What a kernel has made holds:
// it is changed only as far as what is derived of the facts changes.
func (s *supposition) groups(assume []Assumption, o WhatIfOptions) error {
	var enable, less bool
	var more []string
	text := ""
	for _, a := range assume {
		switch a.Kind {
		case AssumeIOMMU:
			enable = true
		case AssumeNoOverride:
			less = true
		case AssumeACSOverride:
			more, text = append(more, a.ACS...), a.String()
		}
	}
	if less && more != nil {
		return &AssumptionError{text, fmt.Errorf("not together with %s", AssumeNoOverride)}
	}
	if !enable && !less && more == nil {
		return nil
	}
	functions := make([]pci.Function, 0, len(s.now.Devices))
	for i := range s.now.Devices {
		if f := s.now.Devices[i].PCI; f != nil {
			functions = append(functions, *f)
		}
	}
	t, err := iommu.ReadTopology(s.fsys, functions, iommu.TopologyOptions{Wake: o.Wake})
	if err != nil {
		s.errs = append(s.errs, err)
	}
	line, active, err := overrides(s.fsys)
	if err != nil {
		s.errs = append(s.errs, err)
		s.unknown("whether an ACS override is active could not be read")
	}
	if less || more != nil {
		// What an override that is assumed does to verdicts is put in last, so that what
		// else there is to say of a device is not hidden behind it.
		s.host.commandLine = line + "\n"
	}
	more = slices.DeleteFunc(more, func(kind string) bool { return slices.Contains(active, kind) })
	if text != "" && len(more) == 0 {
		s.note("the override is on the kernel's command line already")
		s.host.commandLine = ""
	}
	if s.now.IOMMU.Enabled {
		if enable {
			s.note("the kernel has made IOMMU groups: the IOMMU works already")
		}
		switch {
		case less && active == nil:
			s.note("no ACS override is on the kernel's command line")
		case less:
			s.merge(t.Derive())
		case len(more) > 0:
			s.overrideBy(active, more)
			s.part(t.WithACSOverride(active...), more)
		}
		return nil
	}
	if !enable {
		s.note("without IOMMU groups no ACS override makes a difference; add %s", AssumeIOMMU)
		return nil
	}
	t = t.WithACSEnabled()
	before := t
	if !less {
		t = t.WithACSOverride(active...)
	}
	t = t.WithACSOverride(more...)
	s.enable(t.Derive())
	if len(more) > 0 || active != nil && !less {
		s.vouched(before.Derive(), s.then.Groups)
	}
	if len(more) > 0 {
		s.overrideBy(active, more)
	}
	return nil
}

func (s *supposition) overrideBy(active, more []string) {
	s.override = "pcie_acs_override=" + strings.Join(slices.Concat(active, more), ",")
	s.cost("indy hands over nothing under an override unless with --allow %s, whichever group it is in", ACSOverride)
}

// refuseOverridden refuses, under an override that is assumed, what is in a group.
func (s *supposition) refuseOverridden() {
	if s.override == "" {
		return
	}
	for i := range s.then.Devices {
		d := &s.then.Devices[i]
		if d.PCI == nil || d.PCI.IsBridge() || isPlatform(*d.PCI) || !d.Group().IsValid() {
			continue
		}
		d.Findings = append([]Finding{{
			Code: ACSOverride, Severity: Block, Device: d.ID(), Evidence: "/proc/cmdline",
			Detail: oneLine("the kernel is told to take functions for isolated that are not (" + s.override + ")"),
			Remedy: "start the kernel without it, and use the groups there are",
		}}, d.Findings...)
		d.Verdict = verdict(d.Findings)
	}
}

// overrides returns the kernel's command line without pcie_acs_override=, and the values of
// that, from /proc/cmdline. Only a kernel with the patch minds them.
func overrides(fsys fs.FS) (line string, values []string, err error) {
	text, err := hostfs.ReadString(fsys, "proc/cmdline")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	c, err := iommu.ReadCommandLine(fsys)
	return iommu.WithoutACSOverride(text), c.ACSOverride, err
}

// enable makes the groups of a machine whose kernel has made none.
func (s *supposition) enable(derived []iommu.DerivedGroup) {
	var groups []iommu.Group
	var doubts []iommu.Unread
	for _, d := range derived {
		g := iommu.Group{Known: len(d.Unknown) == 0}
		for _, a := range d.Devices {
			if f := s.now.Function(a); f == nil || f.PCI.Class.Sub() != 0x0806 { // the IOMMU itself is in none
				g.Devices = append(g.Devices, a)
			}
		}
		if len(g.Devices) > 0 {
			groups = append(groups, g)
		}
		doubts = append(doubts, d.Unknown...)
	}
	s.unread(doubts)
	s.then.regroup(groups)
	s.then.IOMMU.Enabled, s.then.IOMMU.Unstated = len(groups) > 0, false
	s.then.IOMMU.Kind = "unknown"
	s.then.IOMMU.InterruptRemapping = iommu.Unknown
	if tables := firmwareTables(s.fsys); len(tables) > 0 {
		s.note("the firmware describes an IOMMU in its table %s", strings.Join(tables, ", "))
	} else {
		s.unknown("whether the machine has an IOMMU to switch on: no table DMAR, IVRS or VIOT of the firmware is among the facts")
	}
	s.unknown("whether interrupts would be remapped: without that nothing is handed over")
	s.unknown("which memory the firmware would have mapped for devices (RMRR): such a device is not handed over")
	s.cost("the host must be started anew; its own devices go through the IOMMU then, too, which takes a little of their speed unless it is started with iommu=pt")
}

// firmwareTables are the tables of the firmware that describe an IOMMU.
func firmwareTables(fsys fs.FS) []string {
	entries, _ := fs.ReadDir(fsys, "sys/firmware/acpi/tables") // what is not there is not known
	var found []string
	for _, e := range entries {
		switch e.Name() {
		case "DMAR", "IVRS", "VIOT":
			found = append(found, e.Name())
		}
	}
	return found
}

// unread says what was not readable and could make a difference, once for each function
// that decides.
func (s *supposition) unread(links []iommu.Unread) {
	between := map[pci.Address][]pci.Address{}
	for _, u := range links {
		for _, a := range []pci.Address{u.Device, u.With} {
			if a.IsValid() && !slices.Contains(between[u.At], a) && len(between[u.At]) < maxNamed {
				between[u.At] = append(between[u.At], a)
			}
		}
	}
	said := map[pci.Address]bool{}
	for _, u := range links {
		if said[u.At] {
			continue
		}
		said[u.At] = true
		all := between[u.At]
		slices.SortFunc(all, pci.Address.Compare)
		if len(all) < 2 {
			s.unknown("%v", u)
			continue
		}
		s.unknown("whether %s share a group, which %s decides: %v", addresses(all), u.At, u.Err)
	}
}

// part parts the kernel's groups as far as the override would.
func (s *supposition) part(t *iommu.Topology, more []string) {
	now, then := t.Derive(), t.WithACSOverride(more...).Derive()
	before, after := linked(now), linked(then)
	var groups []iommu.Group
	for _, g := range s.now.Groups {
		if len(before.parts(g.Devices)) > 1 {
			// What holds them together is not among the facts; it may do so still.
			s.unknown("whether group %s would be parted: the kernel has it for a reason that is not among the facts", g.ID)
			groups = append(groups, g)
			continue
		}
		parts := after.parts(g.Devices)
		if len(parts) < 2 {
			groups = append(groups, g)
			continue
		}
		for _, p := range parts {
			groups = append(groups, iommu.Group{Devices: p, Others: g.Others, Known: g.Known})
		}
		if len(g.Others) > 0 {
			s.unknown("in which part of group %s its members on no PCI bus would be: %s", g.ID, some(g.Others, len(g.Others)))
		}
	}
	// What the kernel has in two groups it has told apart.
	var doubts []iommu.Unread
	for _, d := range then {
		for _, u := range d.Unknown {
			if f, with := s.now.Function(u.Device), s.now.Function(u.With); f != nil && with != nil && f.Group() == with.Group() {
				doubts = append(doubts, u)
			}
		}
	}
	s.unread(doubts)
	if len(groups) == len(s.now.Groups) {
		s.note("the override parts no group of this machine, as far as the facts tell")
		return
	}
	s.host.made = s.then.regroup(groups)
	s.vouched(now, s.then.Groups)
}

// vouched says what an override that parts groups costs. The links are those by which
// functions that are apart then are one group now.
func (s *supposition) vouched(now []iommu.DerivedGroup, then []iommu.Group) {
	of := map[pci.Address]iommu.GroupID{}
	for _, g := range then {
		for _, a := range g.Devices {
			of[a] = g.ID
		}
	}
	var lines []string
	for _, d := range now {
		parting := slices.DeleteFunc(slices.Clone(d.Joins), func(j iommu.Join) bool { return of[j.Device] == of[j.With] })
		if len(parting) == 0 {
			continue
		}
		for _, a := range d.Devices {
			s.split[a] = true
		}
		const most = 4
		lines = append(lines, fmt.Sprintf("%s: looks split, is not isolated; %s", addresses(d.Devices), linksText(iommu.Explain(parting), most)))
	}
	if len(lines) == 0 {
		return
	}
	s.cost("a guest with one of the devices that look split may read and write the memory of those they look split from, past the IOMMU: the kernel is told to believe what the hardware does not promise")
	s.Cost = append(s.Cost, lines...)
	s.cost("it takes a kernel with the ACS override patch, which neither kernel.org nor Debian has; others take no notice of pcie_acs_override=")
}

// linksText joins links, of which so many are named.
func linksText(links []string, most int) string {
	s := strings.Join(links[:min(len(links), most)], "; ")
	if more := len(links) - most; more > 0 {
		s += fmt.Sprintf("; and %d more", more)
	}
	return s
}

// merge joins the kernel's groups that only an override keeps apart.
func (s *supposition) merge(derived []iommu.DerivedGroup) {
	sets := sets{}
	var doubts, unsure []iommu.Unread
	for _, g := range s.now.Groups {
		for _, a := range g.Devices {
			sets.join(a, g.Devices[0])
		}
	}
	for _, d := range derived {
		for _, j := range d.Joins {
			if s.now.grouped(j.Device) && s.now.grouped(j.With) {
				sets.join(j.Device, j.With)
			}
		}
		doubts = append(doubts, d.Unknown...)
	}
	var groups []iommu.Group
	index := map[pci.Address]int{} // into groups, by the member that stands for the set
	for _, g := range s.now.Groups {
		if len(g.Devices) == 0 {
			groups = append(groups, g)
			continue
		}
		r := sets.root(g.Devices[0])
		i, ok := index[r]
		if !ok {
			index[r] = len(groups)
			groups = append(groups, g)
			continue
		}
		m := &groups[i]
		m.Devices = append(slices.Clone(m.Devices), g.Devices...)
		m.Others = append(slices.Clone(m.Others), g.Others...)
		m.Known = m.Known && g.Known
		slices.SortFunc(m.Devices, pci.Address.Compare)
	}
	for _, u := range doubts {
		if i, ok := index[sets.root(u.Device)]; ok && sets.root(u.Device) != sets.root(u.With) {
			groups[i].Known = false // there may be more in it
			unsure = append(unsure, u)
		}
	}
	s.unread(unsure)
	if len(groups) == len(s.now.Groups) {
		s.note("the override on the kernel's command line parts no group of this machine")
		return
	}
	s.host.made = s.then.regroup(groups)
	s.note("what is in one group then is not isolated now, either")
}

// grouped reports whether the kernel has a function in a group.
func (l *Laptop) grouped(a pci.Address) bool {
	d := l.Function(a)
	return d != nil && d.Group().IsValid()
}

// sets are disjoint sets of functions, each by one of its members. A function that was
// not joined to any is one by itself.
type sets map[pci.Address]pci.Address

func (s sets) root(a pci.Address) pci.Address {
	for {
		up, ok := s[a]
		if !ok || up == a {
			return a
		}
		if next, ok := s[up]; ok {
			s[a] = next // so that the way gets shorter
		}
		a = up
	}
}

func (s sets) join(a, b pci.Address) {
	if ra, rb := s.root(a), s.root(b); ra != rb {
		s[ra] = rb
	}
}

// linked are the sets of functions that are in one group by what was derived, or may be.
func linked(derived []iommu.DerivedGroup) sets {
	s := sets{}
	for _, d := range derived {
		for _, a := range d.Devices {
			s.join(a, d.Devices[0])
		}
		for _, u := range d.Unknown {
			if u.With.IsValid() {
				s.join(u.Device, u.With)
			}
		}
	}
	return s
}

// parts divides functions by the sets they are in, in the order of the first of each.
func (s sets) parts(of []pci.Address) [][]pci.Address {
	var parts [][]pci.Address
	index := map[pci.Address]int{}
	for _, a := range of {
		r := s.root(a)
		i, ok := index[r]
		if !ok {
			i = len(parts)
			index[r] = i
			parts = append(parts, nil)
		}
		parts[i] = append(parts[i], a)
	}
	return parts
}
