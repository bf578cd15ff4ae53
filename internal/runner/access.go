package runner

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// An Access reaches into the directories of guests for a process that may not enter them. A
// [Dir] with one asks it, and opens nothing by itself; who starts a runner needs none.
type Access interface {
	Dial(ctx context.Context, guest string) (net.Conn, error)       // [Dir.Dial]
	Open(ctx context.Context, guest, file string) (*os.File, error) // [Dir.Open]
	Locked(ctx context.Context, guest string) (bool, error)         // [Dir.Locked]
	Forget(ctx context.Context, guest string) error                 // [Dir.Forget]
}

// accessLimit is how long an Access may take for what takes a moment.
const accessLimit = time.Second

// Kept are the names of the files that [Dir.Open] opens: what the runner last said of the guest,
// and the last of what [Dir.Console], [Dir.Log] and [Dir.Events] are.
func Kept() []string { return []string{stateFile, consoleFile, logFile, eventsFile} }

// Open opens one of the files in which a runner keeps something, for reading. It follows no link
// and waits for no other end, whatever a runner has put there.
func (d Dir) Open(file string) (*os.File, error) {
	if !slices.Contains(Kept(), file) {
		return nil, fmt.Errorf("guest %s: %.40q is none of %q", d.Name, file, Kept())
	}
	if d.By != nil {
		ctx, cancel := context.WithTimeout(context.Background(), accessLimit)
		defer cancel()
		return d.By.Open(ctx, d.Name, file)
	}
	f, err := os.OpenFile(d.file(file), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		_ = f.Close()
		return nil, fmt.Errorf("%s is no file of a runner's", d.file(file))
	}
	return f, nil
}

// OpenLog opens the last of what the runner had to tell.
func (d Dir) OpenLog() (*os.File, error) { return d.Open(logFile) }

// OpenEvents opens the last of the events.
func (d Dir) OpenEvents() (*os.File, error) { return d.Open(eventsFile) }

// OpenConsole opens the last of what the guest wrote to its serial port.
func (d Dir) OpenConsole() (*os.File, error) { return d.Open(consoleFile) }
