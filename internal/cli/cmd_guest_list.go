package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/spf13/cobra"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/store"
	"github.com/project-independence/indy/internal/runner"
)

// A listedGuest is what --json says of one.
type listedGuest struct {
	Name      string       `json:"name"`
	File      string       `json:"file"` // of its definition
	Locked    bool         `json:"locked"`
	CPUs      int          `json:"cpus"`
	Memory    int64        `json:"memory"` // in bytes
	Firmware  string       `json:"firmware"`
	TPM       bool         `json:"tpm"`
	Network   string       `json:"network"`
	Autostart *int         `json:"autostart"` // the priority; null when it does not start by itself
	Disks     []listedDisk `json:"disks"`
	Needs     int          `json:"needs"` // how many devices it wants
	State     runner.State `json:"state"` // empty when it is not known
	Detail    string       `json:"detail"`
	Ready     bool         `json:"ready"`
}

type listedDisk struct {
	File     string `json:"file"`
	Format   string `json:"format"`
	ReadOnly bool   `json:"read_only"`
}

func listed(e store.Entry) listedGuest {
	l := listedGuest{
		Name: e.Name, File: filepath.Join(e.Dir, "guest.yaml"), Locked: e.Locked, CPUs: max(e.CPUs, 1), Memory: e.Memory, Firmware: e.Firmware.String(),
		TPM: e.TPM, Network: e.Network.String(), Disks: []listedDisk{}, Needs: len(e.Devices),
	}
	if e.Autostart != nil {
		l.Autostart = &e.Autostart.Priority
	}
	for _, k := range e.Disks {
		l.Disks = append(l.Disks, listedDisk{inFolder(e, k.File), k.Format.String(), k.ReadOnly})
	}
	return l
}

// inFolder returns the path of a file that a definition names.
func inFolder(e store.Entry, file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(e.Dir, file)
}

func newGuestListCommand(env *Env) *cobra.Command {
	var flags reading
	cmd := &cobra.Command{
		Use:   "list",
		Short: "the guests there are",
		Long: `List the guests, with what each is doing and has. A definition that cannot be read is named with the
line that is wrong, and hides no other.

` + exitHelp,
		Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			s, err := env.guests()
			if err != nil {
				return err
			}
			all, lerr := s.List()
			if flags.json {
				out := struct {
					Guests []listedGuest `json:"guests"`
				}{[]listedGuest{}}
				every, states := env.withShared(all)
				for i, now := range states {
					l := listed(every[i])
					l.State, l.Detail, l.Ready = now.State, now.Detail, now.Ready
					out.Guests = append(out.Guests, l)
				}
				err = writeJSON(env, out)
			} else {
				every, states := env.withShared(all)
				writeGuests(env, every, states, lerr == nil)
			}
			if lerr != nil {
				return partlyRead{lerr}
			}
			return err
		},
	}
	flags.addJSON(cmd)
	return cmd
}

// states returns what guests are doing, in their order. All are asked at once: one that does
// not answer delays no other.
func (e *Env) states(all []store.Entry) []runner.Status {
	states := make([]runner.Status, len(all))
	var asked sync.WaitGroup
	for i, g := range all {
		dir, err := e.guestRun(g.Name)
		if err != nil {
			continue
		}
		asked.Go(func() { states[i], _ = dir.Status(context.Background(), e.Host) }) // or it is not known
	}
	asked.Wait()
	return states
}

// withShared returns guests of one's own, and those that the daemon has, with what each is
// doing.
func (e *Env) withShared(own []store.Entry) ([]store.Entry, []runner.Status) {
	all, states := e.sharedGuests()
	return append(own, all...), append(e.states(own), states...)
}

func writeGuests(env *Env, all []store.Entry, states []runner.Status, whole bool) {
	if len(all) == 0 {
		if whole {
			fmt.Fprintln(env.Stdout, "there are no guests; make one with: indy guest create NAME --iso FILE")
		}
		return
	}
	var t table
	t.add("GUEST", "STATE", "CPUS", "MEMORY", "DISKS", "DEVICES", "NETWORK", "STARTS", "")
	for i, e := range all {
		starts, locked := "by hand", ""
		if e.Autostart != nil {
			starts = fmt.Sprintf("with the host, %d", e.Autostart.Priority)
		}
		if e.Locked {
			locked = "locked"
		}
		t.add(e.Name, or(string(states[i].State), "unknown"), fmt.Sprint(max(e.CPUs, 1)), guest.FormatSize(e.Memory), fmt.Sprint(len(e.Disks)), fmt.Sprint(len(e.Devices)), e.Network.String(), starts, locked)
	}
	t.write(env, env.Stdout)
}
