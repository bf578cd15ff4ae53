package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest/qemu"
	"github.com/project-independence/indy/internal/broker"
	"github.com/project-independence/indy/internal/keeper"
	"github.com/project-independence/indy/internal/runner"
)

// attendCommand is the word by which a process runs a guest that another one, which is root,
// keeps.
const attendCommand = "attend"

// The descriptors that such a process is started with.
const (
	keptSocket = 3 + iota
	keptAnnounce
	keptDir
)

// keep starts a process without rights that runs the guest, and does for it what takes rights.
// The lock of the guest's directory stays with this one, which ends last.
func (r *guestRun) keep(dir runner.Dir, announce io.WriteCloser) error {
	// Who stops guests so stops the runner, which is in the same control group and sees to it.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	said, ok := announce.(*os.File)
	if !ok {
		return fmt.Errorf("what is announced goes to a %T", announce)
	}
	fails := func(err error) error { // which nobody else tells
		f := explainFailure(err)
		return errors.Join(err, json.NewEncoder(said).Encode(runner.Status{Name: r.name, State: runner.Failed, Failure: &f}))
	}
	id, err := broker.ApartID()
	if err != nil {
		return fails(err)
	}
	open, err := dir.Give(r.env.Host, id)
	if err != nil {
		return fails(broker.NoIdentity(err))
	}
	var gone atomic.Bool
	c := keeper.Config{Host: r, QEMU: qemu.Options{Jail: r.env.jail()}, Gone: func() { gone.Store(true); dir.Gone() }, Explain: explainFailure}
	started := false
	err = keeper.Keep(c, func(socket *os.File) (keeper.Runner, error) {
		p, err := r.env.StartApart(id, []*os.File{socket, said, open}, "guest", attendCommand, r.name)
		if err != nil {
			return nil, err
		}
		started = true
		return p, said.Close()
	})
	if !started {
		err = fails(err)
	}
	dir.Gone()
	if !gone.Load() { // or it may be that of the guest's next start
		// What stays of a guest that failed is nobody's who is given the same identity later.
		err = errors.Join(err, open.Chown(0, 0))
	}
	return errors.Join(err, open.Close())
}

func newGuestAttendCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use:    attendCommand + " NAME",
		Short:  "run a guest that another process of indy keeps",
		Hidden: true,
		Args:   usage(cobra.ExactArgs(1)),
		RunE: func(_ *cobra.Command, args []string) error {
			for fd := keptSocket; fd <= keptDir; fd++ {
				if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
					return fmt.Errorf("this process was not started to run a guest: %w", err)
				}
			}
			c, err := keeper.NewClient(os.NewFile(keptSocket, "keeper"))
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, stop := interruptible()
			defer stop()
			open := os.NewFile(keptDir, args[0])
			defer open.Close() // which has it stay open until then
			return runGuest(ctx, env, runner.Given(args[0], open), os.NewFile(keptAnnounce, "announce"), c, c.Gone)
		},
	}
}
