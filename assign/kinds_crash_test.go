package assign_test

import (
	"fmt"
	"testing"

	"github.com/project-independence/indy/internal/journal/journaltest"
	"github.com/project-independence/indy/internal/sim"
)

// TestCrashKinds crashes hand-over, release and recovery of USB devices, virtual functions
// and mediated devices as TestCrashPoints does those of groups.
func TestCrashKinds(t *testing.T) {
	total := 0
	for _, c := range kindCases() {
		if c.writes == 0 {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			boot := func(n int) *sim.Kernel {
				m := c.boot(t).Tree()
				if err := m.Put(bootID, fmt.Appendf(nil, "00000000-0000-4000-8000-%012d\n", n)); err != nil {
					t.Fatal(err)
				}
				k, err := sim.New(m, sim.Options{VFIO: true})
				if err != nil {
					t.Fatal(err)
				}
				return k
			}
			first, second := boot(1), boot(2)
			tr := &trial{T: t, plan: mustPlanRequest(t, first, c.request(t))}
			tr.start = world{first.Clone(), journaltest.New()}
			closer := max(2, len(tr.plan.Steps)*len(tr.plan.Steps)/3)
			tr.try(second, thinning{double: closer, triple: 60 * closer, boot: 10, again: 20})
			total += tr.count.total()
		})
	}
	t.Logf("crash points of kinds: %d", total)
	if !t.Failed() && total < 1000 {
		t.Errorf("only %d crash points", total)
	}
}
