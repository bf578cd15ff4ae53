package daemon

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/internal/runner"
)

// Runners start the processes that guests have, and speak with them. A daemon that is
// started anew finds all that run: what there is of them is in their directories.
type Runners interface {
	// Start starts the runner of a guest, and does not wait for what it makes of it.
	// [runner.ErrRuns] is that there is a runner already. The key is the passphrase of the
	// guest's disks, if somebody has given it; it is kept nowhere.
	Start(name string, key []byte) (Starts, error)

	// Runner returns what speaks with the runner of a guest, if there is one or not.
	Runner(name string) (Runner, error)

	// Names are the guests that have a directory: those that run, and those that failed.
	Names() ([]string, error)
}

// Starts is a runner that starts its guest; see [runner.Launched], which is one.
type Starts interface {
	// Next waits for the next that the runner has to say; [io.EOF] is that there is no more.
	Next() (runner.Status, error)
	Close() error
}

// A Runner speaks with the process of one guest; see [runner.Dir], which is one.
type Runner interface {
	Status(context.Context) (runner.Status, error)
	Stop(context.Context, runner.StopRequest) (runner.Status, error)
	Suspend(context.Context) (runner.Status, error)
	Resume(context.Context) (runner.Status, error)
	Hold(context.Context, runner.SuspendRequest) (runner.Status, error)
	LetGo(context.Context, runner.Reason) (runner.Status, error)
	Powerdown(context.Context) (runner.Status, error)
	Top(context.Context) (runner.Top, error)
	Screenshot(context.Context, io.Writer) error
	Attach(context.Context) (io.ReadWriteCloser, error)

	// What a runner has kept of each, and what comes until it ends.
	FollowLog(context.Context) (io.ReadCloser, error)
	FollowEvents(context.Context) (io.ReadCloser, error)

	// Forget takes away what is kept of a guest that has failed.
	Forget() error

	// They open files with the last of each.
	OpenLog() (*os.File, error)
	OpenEvents() (*os.File, error)
	OpenConsole() (*os.File, error)
}

// ErrNoRunner is that a guest does not do what is asked because it does not run.
var ErrNoRunner = errors.New("it is not running")

// Directories are runners of which each has a directory below Root, as the command has
// them. Launch starts one.
type Directories struct {
	Root   string
	Host   fs.FS // of which proc says whether what is there is of this boot
	Launch func(name string, key []byte) (*runner.Launched, error)
	By     runner.Access // reaches into them; nil is that this process does
}

// Runner returns the directory of a guest.
func (d Directories) Runner(name string) (Runner, error) {
	dir, err := runner.DirOf(d.Root, name)
	dir.By = d.By
	return directory{dir, d.Host}, err
}

// directory is a guest's on a host that may have been started anew since.
type directory struct {
	runner.Dir
	host fs.FS
}

// Status is that of the directory.
func (d directory) Status(ctx context.Context) (runner.Status, error) {
	return d.Dir.Status(ctx, d.host)
}

// Start starts a runner.
func (d Directories) Start(name string, key []byte) (Starts, error) {
	l, err := d.Launch(name, key)
	if err != nil {
		return nil, err // not a nil *Launched
	}
	return l, nil
}

// runs waits until a guest that is started runs or has failed, or ctx ends, and returns the
// last that its runner said. The start goes on whatever becomes of who waits.
func runs(ctx context.Context, l Starts) (runner.Status, error) {
	type said struct {
		s   runner.Status
		err error
	}
	c := make(chan said, 1)
	go func() {
		defer l.Close()
		for {
			s, err := l.Next()
			if err == nil && s.State == runner.Starting {
				continue
			}
			if errors.Is(err, io.EOF) {
				err = nil
			}
			c <- said{s, err}
			return
		}
	}()
	select {
	case a := <-c:
		return a.s, a.err
	case <-ctx.Done():
		return runner.Status{}, context.Cause(ctx)
	}
}

// Names lists the directories.
func (d Directories) Names() ([]string, error) {
	all, err := os.ReadDir(d.Root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range all {
		if e.IsDir() && guest.ValidateName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// maxKept is how much of a file of a runner's is read; a runner keeps less.
const maxKept = 1 << 20

// sinceBoot is the time since the kernel started, asleep or not, CLOCK_BOOTTIME.
func sinceBoot() float64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano()).Seconds()
}
