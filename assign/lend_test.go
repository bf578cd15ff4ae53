package assign_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/sim"
	"github.com/project-independence/indy/pci"
)

// lending is a kernel to which one lease is lent with each write.
type lending struct {
	*sim.Kernel
	lease string
	wrote func(lease, name, value string)
}

func (l lending) WriteFile(name string, data []byte) error {
	l.wrote(l.lease, name, string(data))
	return l.Kernel.WriteFile(name, data)
}

// TestLendOwn: while two leases are worked on by one process, each write is made with the
// lease that it belongs to.
func TestLendOwn(t *testing.T) {
	k := emulated(t, sim.Options{})
	store := &assign.Store{Dir: t.TempDir(), StateDir: t.TempDir()}
	devices := []string{"0000:02:00.0", "0000:01:00.0"}
	lent, writes := 0, map[string]int{}
	h := &assign.Host{FS: k}
	inside := false
	wrote := func(lease, name, value string) {
		for _, d := range devices {
			if strings.Contains(name+" "+value, d) {
				if !strings.HasPrefix(lease, d+"@") {
					t.Errorf("%q to %s is made with the lease %s", value, name, lease)
				}
				writes[d]++
			}
		}
		if !inside { // in the middle of the first one's write
			inside = true
			if _, err := store.Assign(t.Context(), h, take(mustPlan(t, k, devices[1]))); err != nil {
				t.Error(err)
			}
		}
	}
	h.Lend = func(fd int) (hostfs.FS, func([]pci.Address) error, func()) {
		name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err != nil {
			t.Error(err)
		}
		lent++
		return lending{k, filepath.Base(name), wrote}, nil, func() { lent-- }
	}
	if _, err := store.Assign(t.Context(), h, take(mustPlan(t, k, devices[0]))); err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		if _, err := store.Release(t.Context(), h, address(t, d)); err != nil {
			t.Error(err)
		}
		if writes[d] < 6 {
			t.Errorf("%d writes for %s", writes[d], d)
		}
	}
	if lent != 0 {
		t.Errorf("%d leases are still lent", lent)
	}
}
