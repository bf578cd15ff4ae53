package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
)

// A side is one of the two machines.
type side struct {
	*machine
	label      string // the file it is saved in
	done       func()
	identities []laptop.Identity
	byID       map[string]*laptop.Device
}

func readSide(env *Env, file string) (*side, error) {
	s := &side{label: file}
	return s, s.read(env, &reading{from: file, given: func() bool { return true }})
}

func (s *side) read(env *Env, r *reading) error {
	fsys, done, err := r.open(env)
	if err != nil {
		var wrong usageError
		if errors.As(err, &wrong) {
			err = usageError{errors.New("an empty word names no saved machine")}
		}
		return err
	}
	s.machine, s.done = readMachine(env, fsys), done
	s.identities, err = laptop.Identify(fsys, s.Laptop)
	s.err = errors.Join(s.err, err)
	s.byID = make(map[string]*laptop.Device, len(s.Devices))
	for i := range s.Devices {
		s.byID[s.Devices[i].ID()] = &s.Devices[i]
	}
	return nil
}

func (s *side) failed() error {
	if s.err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", s.label, s.err)
}

// A diff is what became of each device, with what changed about those that are still
// there.
type diff struct {
	before, after *side
	rows          []laptop.Matched
	changes       [][]change // by row
}

type change struct {
	Field  string  `json:"field"`
	Before *string `json:"before"`
	After  *string `json:"after"`
}

func newDiff(before, after *side) *diff {
	d := &diff{before: before, after: after, rows: laptop.Match(before.identities, after.identities)}
	now := map[string]string{} // IDs after by those before
	for _, r := range d.rows {
		if r.Outcome == laptop.Same || r.Outcome == laptop.Moved {
			now[r.Before] = r.After
		}
	}
	for i := range d.rows {
		d.changes = append(d.changes, d.changesOf(&d.rows[i], now))
	}
	return d
}

// changesOf compares what the host makes of a device that is still there.
func (d *diff) changesOf(r *laptop.Matched, now map[string]string) []change {
	changes := []change{}
	if r.Outcome != laptop.Same && r.Outcome != laptop.Moved {
		return changes
	}
	note := func(field, before, after string) {
		if before != after {
			changes = append(changes, change{field, unlessEmpty(before), unlessEmpty(after)})
		}
	}
	a, b := d.before.byID[r.Before], d.after.byID[r.After]
	note("address", a.Where(), b.Where())
	note("driver", a.Driver(), b.Driver())
	note("roles", joinRoles(a.Roles), joinRoles(b.Roles))
	note("nodes", joinNodes(a.Nodes), joinNodes(b.Nodes))
	note("iommu_group", groupNumber(a), groupNumber(b))
	note("group_members", d.before.members(a, now), d.after.members(b, nil))
	note("verdict", string(a.Verdict), string(b.Verdict))
	for _, e := range r.Evidence {
		if e.Weight == 0 && e.Agrees != iommu.Yes {
			note(string(e.Kind), e.Before, e.After)
		}
	}
	return changes
}

func unlessEmpty(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// joinNodes leaves out the nodes of USB devices, which get another number at every
// replug.
func joinNodes(nodes []string) string {
	var kept []string
	for _, n := range nodes {
		if !strings.HasPrefix(n, "dev/bus/usb/") {
			kept = append(kept, "/"+n)
		}
	}
	return strings.Join(kept, ", ")
}

func groupNumber(d *laptop.Device) string {
	if !d.Group().IsValid() {
		return ""
	}
	return d.Group().String()
}

// members are the functions of a device's group by their addresses now: numbers of
// groups and buses change without anything having changed.
func (s *side) members(d *laptop.Device, now map[string]string) string {
	if !d.Group().IsValid() {
		return ""
	}
	g := s.Group(d.Group())
	if g == nil {
		return ""
	}
	var members []string
	for _, a := range g.Devices {
		id := "pci:" + a.String()
		if now != nil {
			id = or(now[id], id+" (not there any more)")
		}
		members = append(members, strings.TrimPrefix(id, "pci:"))
	}
	slices.Sort(members)
	return strings.Join(members, ", ")
}

// An extent is how far a device that is still there is otherwise.
type extent int

const (
	equal      extent = iota
	renumbered        // numbers that the kernel gives anew are others
	judged            // its group and verdict are, because the IOMMU works or does no more
	otherwise
)

// extent returns how far a change is one.
func (d *diff) extent(c change) extent {
	both := c.Before != nil && c.After != nil
	switch c.Field {
	case "address":
		return renumbered
	case "iommu_group":
		if both { // other members are a change of their own
			return renumbered
		}
		fallthrough
	case "group_members", "verdict":
		if d.otherIOMMU() {
			return judged
		}
	case "nodes":
		if both && withoutNumbers(*c.Before) == withoutNumbers(*c.After) {
			return renumbered
		}
	}
	return otherwise
}

func withoutNumbers(s string) string {
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, s)
}

// otherIOMMU reports whether one of the machines has an IOMMU at work and the other has
// none, or does not say.
func (d *diff) otherIOMMU() bool {
	before, after := d.before.IOMMU, d.after.IOMMU
	return before.Enabled != after.Enabled || before.Unstated != after.Unstated
}

// changed returns how far a device that is still there is otherwise.
func (d *diff) changed(i int) extent {
	if slices.ContainsFunc(d.rows[i].Evidence, func(e laptop.Comparison) bool { return e.Agrees == iommu.No }) {
		return otherwise
	}
	e := equal
	for _, c := range d.changes[i] {
		e = max(e, d.extent(c))
	}
	return e
}

// differs reports whether anything is otherwise but numbers.
func (d *diff) differs() bool {
	for i, r := range d.rows {
		if r.Outcome != laptop.Same || d.changed(i) > renumbered {
			return true
		}
	}
	return false
}

// device returns the device a row is about, as it is now if it is still there.
func (d *diff) device(r *laptop.Matched) *laptop.Device {
	if r.After != "" {
		return d.after.byID[r.After]
	}
	return d.before.byID[r.Before]
}

// nameNow returns what the machine that a row's device is of calls it.
func (d *diff) nameNow(r *laptop.Matched) string {
	s := d.after
	if r.After == "" {
		s = d.before
	}
	return s.names.Name(d.device(r))
}

type evidenceJSON struct {
	Kind   laptop.Kind `json:"kind"`
	Before *string     `json:"before"`
	After  *string     `json:"after"`
	Agrees *bool       `json:"agrees"`
	Weight int         `json:"weight"`
	Source string      `json:"source"`
}

type diffJSON struct {
	Outcome    laptop.Outcome `json:"outcome"`
	Score      int            `json:"score"`
	Suspicious bool           `json:"suspicious"`
	Before     *string        `json:"before"`
	After      *string        `json:"after"`
	Role       laptop.Role    `json:"role"`
	Name       string         `json:"name"`
	Note       string         `json:"note"`
	Candidates []string       `json:"candidates"`
	Added      []string       `json:"interfaces_added"`
	Removed    []string       `json:"interfaces_removed"`
	Evidence   []evidenceJSON `json:"evidence"`
	Changes    []change       `json:"changes"`
}

func (d *diff) writeJSON(env *Env) error {
	rows := make([]diffJSON, 0, len(d.rows))
	for i := range d.rows {
		r := &d.rows[i]
		about := d.device(r)
		out := diffJSON{
			Outcome: r.Outcome, Score: r.Score, Suspicious: r.Suspicious, Before: unlessEmpty(r.Before), After: unlessEmpty(r.After),
			Role: about.Role(), Name: d.nameNow(r), Note: r.Note, Candidates: append([]string{}, r.Candidates...),
			Added: append([]string{}, r.Added...), Removed: append([]string{}, r.Removed...),
			Evidence: []evidenceJSON{}, Changes: d.changes[i],
		}
		for _, e := range r.Evidence {
			j := evidenceJSON{Kind: e.Kind, Before: unlessEmpty(e.Before), After: unlessEmpty(e.After), Weight: e.Weight, Source: "/" + e.Source}
			if e.Agrees != iommu.Unknown {
				yes := e.Agrees == iommu.Yes
				j.Agrees = &yes
			}
			out.Evidence = append(out.Evidence, j)
		}
		rows = append(rows, out)
	}
	var machines [2]laptop.Machine
	for i, s := range []*side{d.before, d.after} {
		var err error
		machines[i], err = laptop.ReadMachine(s.fsys)
		s.err = errors.Join(s.err, err)
	}
	return writeJSON(env, struct {
		Before  laptop.Machine `json:"before"`
		After   laptop.Machine `json:"after"`
		Devices []diffJSON     `json:"devices"`
	}{machines[0], machines[1], rows})
}
