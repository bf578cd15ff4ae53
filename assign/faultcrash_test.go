package assign_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/internal/sim"
)

const never = 1 << 30

// once looks at each crash of one act on the largest group, and at nothing after it.
func once(t *testing.T, name string, from func(*trial) world, do func(*trial) act, double int) counts {
	t.Helper()
	c := tried(t, false)
	c.crash(name, from(c), do(c), thinning{double: double, triple: never, boot: never, again: 5}, func(string, world) {})
	return c.count
}

func atStart(c *trial) world      { return c.start }
func whenAssigned(c *trial) world { return c.assigned }
func assigning(c *trial) act      { return c.assign }
func releasing(c *trial) act      { return c.release }

// Row 1: killed at each operation of a hand-over of a whole group.
func TestFault01KilledAssigning(t *testing.T) {
	if n := once(t, "assign", atStart, assigning, never); n.single < 50 {
		t.Errorf("%d points only", n.single)
	}
}

// Row 2: killed at each operation of its release.
func TestFault02KilledReleasing(t *testing.T) {
	if n := once(t, "release", whenAssigned, releasing, never); n.single < 50 {
		t.Errorf("%d points only", n.single)
	}
}

// Row 3: killed while one is recovered from which every third of those deaths has left.
func TestFault03KilledRecovering(t *testing.T) {
	if n := once(t, "release", whenAssigned, releasing, 3); n.double < 200 {
		t.Errorf("%d points only", n.double)
	}
}

// Row 20: of many that want one group, one gets it, and the others are told who.
func TestFault20OneOwner(t *testing.T) {
	k := emulated(t, sim.Options{})
	dir := filepath.Join(t.TempDir(), "leases")
	var mu sync.Mutex
	var winners []string
	var wg sync.WaitGroup
	var losers []error
	plan := mustPlan(t, k, "0000:02:00.0") // before the machine is changed under who reads it
	for i := range 32 {
		wg.Go(func() {
			p := *plan
			p.Guest = fmt.Sprintf("guest-%d", i)
			// Each has a store of its own, as each process does.
			_, err := (&assign.Store{Dir: dir}).Assign(t.Context(), &assign.Host{FS: k}, take(&p))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				winners = append(winners, p.Guest)
			} else {
				losers = append(losers, err)
			}
		})
	}
	wg.Wait()
	if len(winners) != 1 {
		t.Fatalf("%d got it: %v", len(winners), winners)
	}
	for _, err := range losers {
		var held *assign.HeldError
		if !errors.As(err, &held) || !errors.Is(err, assign.ErrRefused) || !strings.Contains(err.Error(), `guest "guest-`) {
			t.Errorf("%v does not say who has it", err)
		} else if held.Lease.State == assign.Assigned && held.Lease.Guest != winners[0] {
			t.Errorf("%v names another guest than %s", err, winners[0])
		}
	}
}
