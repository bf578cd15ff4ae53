package assign

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/project-independence/indy/internal/journal"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// format is the number of the records' form, which is in the first of each file. One that
// is not known is not guessed at.
const format = 1

// suffix ends the names of leases in their directory.
const suffix = ".lease"

// What a record says.
const (
	opLease     = "lease"     // the first: who, and what is claimed
	opClaims    = "claims"    // what is claimed from now on
	opPlan      = "plan"      // what will be written
	opDo        = "do"        // a step is about to be made
	opUndo      = "undo"      // a write of a step's undo is about to be made
	opState     = "state"     // how far it has come
	opStuck     = "stuck"     // writes that have not come back
	opOwner     = "owner"     // another process has it from now on
	opLost      = "lost"      // all functions that are in other hands now
	opConfirmed = "confirmed" // the hand-over has been confirmed
)

// A record is one line of a lease's journal. Each has the kernel it was written under.
type record struct {
	Format int    `json:"format,omitempty"`
	BootID string `json:"boot_id"`
	Seq    int    `json:"seq"`
	Op     string `json:"op"`

	Lease   *Lease          `json:"lease,omitempty"`
	Claims  []Claim         `json:"claims,omitempty"`
	Devices []pci.Address   `json:"devices,omitempty"`
	Groups  []iommu.GroupID `json:"groups,omitempty"`
	Plan    *Plan           `json:"plan,omitempty"`
	Step    int             `json:"step,omitempty"`
	State   State           `json:"state,omitempty"`
	Stuck   []StuckWrite    `json:"stuck,omitempty"`
	Confirm *Deadline       `json:"confirm,omitempty"`

	// Process is who wrote the record, or who has the lease from now on.
	Process *Process `json:"process,omitempty"`
	Run     bool     `json:"run,omitempty"`
}

// progress is what the records say besides the lease.
type progress struct {
	seq   int // of the next record
	begun int // steps of the plan that may have been made

	// complete is that it once was handed over as a whole, so that a guest may have used it.
	complete bool
}

// replay makes the lease of its records. With torn somebody was about to write another.
func replay(name string, records []json.RawMessage, torn bool) (*Lease, progress, error) {
	var l *Lease
	var at progress
	wrong := func(format string, args ...any) (*Lease, progress, error) {
		return l, at, &journal.DamageError{Name: name, Why: fmt.Sprintf("record %d %s", at.seq+1, fmt.Sprintf(format, args...))}
	}
	for i, text := range records {
		var r record
		if err := json.Unmarshal(text, &r); err != nil {
			if i == 0 || r.Format > format {
				return nil, at, formatError(name, text)
			}
			return wrong("is not understood: %v", err)
		}
		switch {
		case i == 0 && r.Format != format:
			return nil, at, formatError(name, text)
		case r.Seq != i:
			return wrong("has the number %d", r.Seq)
		case i == 0 && (r.Op != opLease || r.Lease == nil || r.Lease.ID+suffix != base(name)):
			return wrong("is not that of this lease")
		case i > 0 && r.BootID != l.BootID:
			return wrong("was written under another kernel")
		}
		if i == 0 {
			l = r.Lease
			l.BootID = r.BootID
		}
		if !at.apply(l, &r) {
			return wrong("says %q, which cannot be here", r.Op)
		}
		at.seq++
	}
	if l == nil {
		return wrong("is missing")
	}
	if torn && l.Plan != nil && l.State == Assigning {
		at.begun = min(at.begun+1, len(l.Plan.Steps)) // it may have been about this one
	}
	return l, at, nil
}

// apply changes the lease as a record says, if it can.
func (at *progress) apply(l *Lease, r *record) bool {
	switch r.Op {
	case opLease:
		return at.seq == 0
	case opClaims:
		l.Claims = r.Claims
	case opPlan:
		if r.Plan == nil {
			return false
		}
		l.Plan, l.Guest, l.Locked, l.Devices, l.Groups = r.Plan, r.Plan.Guest, r.Plan.Locked, r.Plan.Devices, r.Plan.Groups
		l.State, l.Worker, l.Confirm = Assigning, r.Process, r.Confirm
	case opDo, opUndo:
		if l.Plan == nil || r.Step < 0 || r.Step >= len(l.Plan.Steps) {
			return false
		}
		if r.Op == opDo {
			at.begun = max(at.begun, r.Step+1)
		}
	case opState:
		if l.Plan == nil {
			return false
		}
		l.State, l.Worker = r.State, r.Process
		if r.State == Assigned {
			at.begun, at.complete = len(l.Plan.Steps), true
		}
		if r.Confirm != nil {
			l.Confirm = r.Confirm
		}
	case opStuck:
		l.Stuck = r.Stuck
	case opOwner:
		if r.Process == nil {
			return false
		}
		l.PID, l.Started, l.Run = r.Process.PID, r.Process.Started, r.Run
	case opLost:
		l.Lost = r.Devices
	case opConfirmed:
		l.Confirm = nil
	default:
		return false
	}
	return true
}

// ErrFormat is the cause when a lease was written by another version of indy, in a form
// that this one does not read.
var ErrFormat = errors.New("written by another version of indy, which alone can say what it holds: give it back with that version, or look at its devices with indy why and remove the file")

// formatError says of which form a first record is, as far as it can be told.
func formatError(name string, text json.RawMessage) error {
	var r struct {
		Format int `json:"format"`
	}
	_ = json.Unmarshal(text, &r)
	if r.Format == format {
		return &journal.DamageError{Name: name, Why: "its first record is not understood"}
	}
	return fmt.Errorf("lease %s has the form %d, and this indy knows %d: %w", name, r.Format, format, ErrFormat)
}
