package cli

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/sim"
	"github.com/project-independence/indy/usb"
)

// since is a kernel on which this process has started at another time: it is another one.
type since struct {
	*sim.Kernel
	start string
}

func (s since) ReadFile(name string) ([]byte, error) {
	if self := strconv.Itoa(os.Getpid()); name == "proc/"+self+"/stat" {
		return []byte(self + " (me) S 1 1 1 0 -1 0 1 0 0 0 0 0 0 0 20 0 1 0 " + s.start + " 0 0"), nil
	}
	return s.Kernel.ReadFile(name)
}

// What a killed run left is its guest's next run's own: nobody takes it for left any more,
// and no other run gets it. Two guests without a name are never one.
func TestHoldAfterKilledRun(t *testing.T) {
	for _, guest := range []string{"work", assign.Unnamed} {
		t.Run(guest, func(t *testing.T) {
			saved, err := hostfs.Open(filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-gadgets.txtar"))
			if err != nil {
				t.Fatal(err)
			}
			k, err := sim.New(saved.(*hostfs.Tree), sim.Options{})
			if err != nil {
				t.Fatal(err)
			}
			var ports []usb.PortPath
			for _, s := range []string{"1-3", "12-1"} {
				p, err := usb.ParsePortPath(s)
				if err != nil {
					t.Fatal(err)
				}
				ports = append(ports, p)
			}
			leases, state := t.TempDir(), t.TempDir()
			run := func(start string) (*holding, *Env, func() error, error) {
				env := &Env{Host: since{k, start}, LeaseDir: leases, StateDir: state, Stdout: io.Discard, Stderr: io.Discard}
				r := &holding{request: request{guest: guest}}
				giveBack, err := r.hold(t.Context(), env, readMachine(env, env.Host), nil, ports)
				return r, env, giveBack, err
			}
			killed, _, _, err := run("5")
			if err != nil || len(killed.leases) != 1 {
				t.Fatalf("%+v, %v", killed.leases, err)
			}
			next, env, giveBack, err := run("777")
			if err != nil || len(next.leases) != 1 {
				t.Fatalf("%+v, %v", next.leases, err)
			}
			if same := next.leases[0].ID == killed.leases[0].ID; same != (guest != assign.Unnamed) {
				t.Errorf("it goes on with the lease of the other: %t", same)
			}
			if all, err := env.store().Recover(t.Context(), env.assignHost()); len(all) > 0 || err != nil {
				t.Errorf("taken for left: %+v, %v", all, err)
			}
			var held *assign.HeldError
			if _, _, _, err := run("777"); !errors.As(err, &held) {
				t.Errorf("a second run: %v", err)
			}
			if err := giveBack(); err != nil {
				t.Error(err)
			}
			if left, err := env.store().List(); len(left) > 0 || err != nil {
				t.Errorf("%+v, %v", left, err)
			}
		})
	}
}
