package runner

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The descriptors that a runner is started with.
const (
	lockFD     = 3 // locked
	requestFD  = 4 // says what it is to do, a JSON document to the end
	announceFD = 5 // for what it announces
)

// maxRequest is how long a request to start a runner may be.
const maxRequest = 1 << 20

// A Launched is a runner that was started, which says how far it has come.
type Launched struct {
	dir  Dir
	host fs.FS
	said *os.File
	r    *bufio.Reader
	last Status
}

// Launch starts a runner for the guest in d. detach starts the process, which has these files
// from descriptor 3 on and calls [Inherit]; request says to it what it is to do, and is given
// as JSON. host is as with [Dir.Status]. The error is [ErrRuns] if there is a runner.
func Launch(d Dir, host fs.FS, request any, detach func(files []*os.File) error) (*Launched, error) {
	text, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	defer clear(text) // there may be a key in it
	lock, err := d.lockAnew()
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	asked, ask, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer asked.Close()
	said, say, err := os.Pipe()
	if err != nil {
		_ = ask.Close()
		return nil, err
	}
	defer say.Close()
	if err := detach([]*os.File{lock, asked, say}); err != nil {
		return nil, errors.Join(err, ask.Close(), said.Close())
	}
	_ = asked.Close() // so that who does not read it is not waited for
	_, err = ask.Write(text)
	if err = errors.Join(err, ask.Close()); err != nil {
		_ = said.Close()
		return nil, fmt.Errorf("guest %s: its runner has ended at once: %w", d.Name, err)
	}
	return Listen(d, host, said), nil
}

// Listen returns a runner that somebody else has started, of which said is what it announces, as
// [Launched.File] is.
func Listen(d Dir, host fs.FS, said *os.File) *Launched {
	return &Launched{dir: d, host: host, said: said, r: bufio.NewReaderSize(said, maxState)}
}

// lockAnew locks the directory. A runner that has ended may hold it for a moment longer, and
// may be taking it away.
func (d Dir) lockAnew() (*os.File, error) {
	for end := time.Now().Add(endLimit); ; time.Sleep(2 * time.Millisecond) {
		lock, err := d.Lock()
		if err == nil || time.Now().After(end) {
			return lock, err
		}
		if s, e := d.read(); !errors.Is(err, fs.ErrNotExist) && (e == nil && !s.Over() && !s.killed() || !errors.Is(err, ErrRuns)) {
			return nil, err
		}
	}
}

// Next waits for the next that the runner has to say, and returns it. At the end of what it
// announces, the error is [io.EOF] and the status the last one; of a runner that ended before
// it had said how it ended, that is what is known of it otherwise.
func (l *Launched) Next() (Status, error) {
	line, err := l.r.ReadSlice('\n')
	if err != nil {
		if !l.last.Over() && !l.last.Ready {
			if s, e := l.dir.Status(context.Background(), l.host); e == nil && s.Over() {
				l.last = s
			}
		}
		return l.last, io.EOF
	}
	s, err := parseStatus("what the runner says", bytes.Clone(line))
	if err == nil {
		l.last = s
	}
	return s, err
}

// File is what the runner announces, for [Listen] in another process. It is closed by Close, and
// is for those who have not called Next.
func (l *Launched) File() *os.File { return l.said }

// Close stops listening. The runner goes on.
func (l *Launched) Close() error { return l.said.Close() }

// Given is the directory of a guest in a process that was started by who has it, and has handed
// it over open, as [Dir.Give] returns it.
func Given(name string, open *os.File) Dir {
	return Dir{Name: name, Path: fmt.Sprintf("/proc/self/fd/%d", open.Fd())}
}

// Inherit takes over, in a process that [Launch] started, the lock of the guest's directory,
// decodes the request, and returns where to announce. It closes none of the three for
// processes that are started before it is called.
func Inherit(request any) (announce io.WriteCloser, err error) {
	for fd := lockFD; fd <= announceFD; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return nil, fmt.Errorf("this process was not started to run a guest: %w", err)
		}
	}
	asked := os.NewFile(requestFD, "request")
	defer asked.Close()
	text, err := io.ReadAll(io.LimitReader(asked, maxRequest))
	if err != nil {
		return nil, err
	}
	defer clear(text)
	if err := json.Unmarshal(text, request); err != nil {
		return nil, err
	}
	// The lock stays open as long as this process is there.
	return os.NewFile(announceFD, "announce"), nil
}
