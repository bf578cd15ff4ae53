package assign_test

import (
	"testing"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
)

// A process has ended when all of its threads have: the first of them may be gone while
// another is in the kernel for good.
func TestProcessAlive(t *testing.T) {
	for _, c := range []struct {
		stat  string
		alive bool
	}{
		{"4711 (indy) D 1 1 1 0 -1 0 1 0 0 0 0 0 0 0 20 0 1 0 99 0 0", true},
		{"4711 (a) Z (b) S 1 1 1 0 -1 0 1 0 0 0 0 0 0 0 20 0 1 0 99 0 0", true},
		{"4711 (indy) S 1 1 1 0 -1 0 1 0 0 0 0 0 0 0 20 0 1 0 98 0 0", false},
		{"4711 (indy) Z 1 1 1 0 -1 0 1 0 0 0 0 0 0 0 20 0 2 0 99 0 0", true},
		{"4711 (indy) Z 1 1 1 0 -1 0 1 0 0 0 0 0 0 0 20 0 1 0 99 0 0", false},
		{"4711 (indy) Z 1 1 1 0 -1 0 1 0 0 0 0 0 0 0 20 0 0 0 99 0 0", false},
		{"4711 (indy) Z 1 1 1 0 -1 0 1 0 0 0 0 0 0 0 20 0 ? 0 99 0 0", false},
		{"4711 (indy) X 1 1 1 0 -1 0 1 0 0 0 0 0 0 0 20 0 2 0 99 0 0", false},
		{"4711 (indy) S 1", false},
	} {
		m := new(hostfs.Tree)
		put(m, "proc/4711/stat", c.stat)
		if got := (assign.Process{PID: 4711, Started: "99"}).Alive(m); got != c.alive {
			t.Errorf("%s: alive %t", c.stat, got)
		}
	}
}
