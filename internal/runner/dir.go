package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest"
)

// The files of a guest's directory.
const (
	lockFile    = "lock"
	stateFile   = "state.json"
	controlFile = "control"
	consoleFile = "console.log"
	logFile     = "log"
	eventsFile  = "events"
)

// maxState is how long a state file may be: QEMU's last words are the longest part of it.
const maxState = 256 << 10

// A Dir is the directory of one guest while it runs. It holds:
//
//	lock         locked for as long as there is a runner
//	state.json   its last [Status]
//	control      the socket on which the runner is asked
//	console.log  the last of what the guest wrote to its serial port
//	log          the last of what the runner has to tell
//	events       the last of the events, a JSON document a line
//	vnc, spice   the socket for viewers of the display, if the guest has such a one
//
// It is gone when a guest has ended well, and stays when it has failed. Only its owner may
// enter it.
type Dir struct {
	Name string // of the guest
	Path string
	By   Access // nil is that this process opens what is in it
}

// DirOf returns the directory of a guest below root. The error is that of a name that no
// guest can have.
func DirOf(root, name string) (Dir, error) {
	if err := guest.ValidateName(name); err != nil {
		return Dir{}, err
	}
	return Dir{Name: name, Path: filepath.Join(root, name)}, nil
}

func (d Dir) file(name string) string { return filepath.Join(d.Path, name) }

// Viewers returns the name of the socket for viewers of a display, which is vnc or spice.
func (d Dir) Viewers(kind guest.ScreenKind) string { return d.file(kind.String()) }

// Console returns the name of the file with what the guest last wrote to its serial port.
func (d Dir) Console() string { return d.file(consoleFile) }

// Log returns the name of the file with what the runner last had to tell.
func (d Dir) Log() string { return d.file(logFile) }

// Events returns the name of the file with the last events.
func (d Dir) Events() string { return d.file(eventsFile) }

// maxSocket is how long the name of a unix socket may be, sun_path of unix(7) less the zero
// byte.
const maxSocket = 107

// ErrRuns is that a guest has a runner already.
var ErrRuns = errors.New("it is running already")

// Lock makes the directory if need be and locks it for whoever has the file, which may be
// handed on to a process that is started. The kernel lets go of the lock when nobody has
// the file open any more. The error is [ErrRuns] when somebody else has it.
func (d Dir) Lock() (*os.File, error) {
	if n := len(d.file(controlFile)); n > maxSocket {
		return nil, fmt.Errorf("%s: a socket there would have a name of %d bytes, more than %d", d.Path, n, maxSocket)
	}
	if err := os.MkdirAll(filepath.Dir(d.Path), 0o755); err != nil {
		return nil, err
	}
	if err := os.Mkdir(d.Path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := d.ours(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(d.file(lockFile), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	whole := unix.Flock_t{Type: unix.F_WRLCK}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &whole)
	if err == nil && !d.is(f) { // its last runner has taken the directory away meanwhile
		err = unix.EAGAIN
	}
	if err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			err = ErrRuns
		}
		return nil, fmt.Errorf("guest %s: %w", d.Name, err)
	}
	return f, nil
}

// ours returns an error if the directory is somebody else's. To root those are its own that
// it has given to runners without rights, in a directory that it alone can change.
func (d Dir) ours() error {
	info, err := os.Lstat(d.Path)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && info.IsDir() && os.Geteuid() == 0 && rootAlone(filepath.Dir(d.Path)) {
		return nil
	}
	if !ok || !info.IsDir() || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is no directory of user %d, who starts the guest", d.Path, os.Geteuid())
	}
	return nil
}

// rootAlone reports whether nobody but root can change what is in a directory.
func rootAlone(dir string) bool {
	info, err := os.Lstat(dir)
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.IsDir() && st.Uid == 0 && info.Mode().Perm()&0o022 == 0
}

// Give gives the directory to somebody, whose runner then works in it, and returns it open,
// with nothing in it that the one before has left. The caller has the lock. host is the running
// host.
func (d Dir) Give(host fs.FS, id uint32) (*os.File, error) {
	if err := d.ours(); err != nil {
		return nil, err
	}
	if before, err := d.read(); err == nil {
		awaitEnd(host, before)
	}
	if err := d.clear(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(d.Path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := f.Chown(int(id), int(id)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Gone takes the directory away that was given to a runner, if nothing is left in it.
func (d Dir) Gone() { _ = os.Remove(d.Path) }

// is reports whether f is the lock that is in the directory now.
func (d Dir) is(f *os.File) bool {
	a, err := f.Stat()
	b, e := os.Lstat(d.file(lockFile))
	return err == nil && e == nil && os.SameFile(a, b)
}

// Locked reports whether somebody has the lock of the directory, a runner or who starts it,
// without taking it. Without a directory it is false.
func (d Dir) Locked() bool {
	if d.By != nil {
		ctx, cancel := context.WithTimeout(context.Background(), accessLimit)
		defer cancel()
		held, err := d.By.Locked(ctx, d.Name)
		return held || err != nil // nobody is taken for gone because that is not known
	}
	f, err := os.OpenFile(d.file(lockFile), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	whole := unix.Flock_t{Type: unix.F_WRLCK}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &whole)
	return err == nil && whole.Type != unix.F_UNLCK
}

// read returns the last status that a runner has saved.
func (d Dir) read() (Status, error) {
	f, err := d.Open(stateFile)
	if err != nil {
		return Status{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxState+1))
	if err != nil {
		return Status{}, err
	}
	return parseStatus(d.file(stateFile), text)
}

// parseStatus reads a status of at most maxState bytes, which is called name in an error.
func parseStatus(name string, text []byte) (Status, error) {
	if len(text) > maxState {
		return Status{}, fmt.Errorf("%s is longer than %d bytes", name, maxState)
	}
	var s Status
	if err := json.Unmarshal(text, &s); err != nil {
		return Status{}, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

func (d Dir) write(s Status) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return renameio.WriteFile(d.file(stateFile), append(text, '\n'), 0o600, renameio.WithTempDir(d.Path))
}

// clear takes away what a runner before has left, but for the lock.
func (d Dir) clear() error { return d.remove(lockFile) }

// remove takes away all of the directory but what is kept, which is the name of a file.
func (d Dir) remove(kept string) error {
	all, err := os.ReadDir(d.Path)
	errs := []error{err}
	for _, e := range all {
		if e.Name() != kept {
			errs = append(errs, os.RemoveAll(d.file(e.Name()))) // whatever a runner has made of it
		}
	}
	return errors.Join(errs...)
}

// gone takes the directory away. Who has the lock still has it, of a file that nobody finds.
func (d Dir) gone() error {
	return errors.Join(d.remove(lockFile), os.Remove(d.file(lockFile)), os.Remove(d.Path))
}

// Forget takes away what is left of a guest that has failed. The error is [ErrRuns] when it
// has a runner.
func (d Dir) Forget() error {
	if d.By != nil {
		ctx, cancel := context.WithTimeout(context.Background(), askLimit)
		defer cancel()
		return d.By.Forget(ctx, d.Name)
	}
	if _, err := os.Lstat(d.Path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	f, err := d.lockAnew() // the runner that failed may have it for a moment longer
	if err != nil {
		return err
	}
	defer f.Close()
	return d.gone()
}

// Guests returns the directories below root of guests that run or have failed, by name.
// A root that is not there has none.
func Guests(root string) ([]Dir, error) {
	all, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) || root == "" {
		return nil, nil
	}
	var dirs []Dir
	for _, e := range all {
		if d, bad := DirOf(root, e.Name()); bad == nil && e.IsDir() {
			dirs = append(dirs, d)
		}
	}
	return dirs, err
}
