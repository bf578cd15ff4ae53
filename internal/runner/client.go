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
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The deadlines of whoever asks a runner.
const (
	statusLimit = 190 * time.Millisecond // for the status; a runner that is there takes less
	askLimit    = 10 * time.Second       // for all else
	endLimit    = 5 * time.Second        // for a runner that has ended to be gone
)

// maxAnswer is how long an answer may be, but for pictures and what is followed.
const maxAnswer = 1 << 20

// An AnswerError is that a runner could not do what was asked.
type AnswerError struct {
	Guest string
	Code  int // of HTTP
	Text  string
}

// Error returns what the runner said.
func (e *AnswerError) Error() string {
	return e.Text
}

// Status returns what the guest is doing, within 200 milliseconds whatever its runner and
// its QEMU are doing. A guest without a runner is [Stopped], or [Failed]. Of a runner that
// takes longer to answer it is what it last saved, and Detail says so. host is the running
// host, of which files in proc are read. The error is of what is kept of the guest.
func (d Dir) Status(ctx context.Context, host fs.FS) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, statusLimit)
	defer cancel()
	var s Status
	asked := d.ask(ctx, http.MethodGet, "/v1/status", nil, &s)
	if asked == nil {
		return s, nil
	}
	var refused *AnswerError
	if errors.As(asked, &refused) {
		return Status{Name: d.Name}, asked
	}
	held := d.Locked()
	s, err := d.read()
	switch {
	case errors.Is(err, fs.ErrNotExist) && held:
		return Status{Name: d.Name, State: Starting, Devices: []string{}, Phases: []Phase{}}, nil
	case errors.Is(err, fs.ErrNotExist):
		return Status{Name: d.Name, State: Stopped, Devices: []string{}, Phases: []Phase{}}, nil
	case err != nil:
		return Status{Name: d.Name}, err
	case held && s.State == Starting && !errors.Is(asked, context.DeadlineExceeded):
		return s, nil // it does not listen yet
	case held && !s.Over():
		if s.killed() { // and its keeper is still there
			s.State, s.Ready, s.QEMU = Stopping, false, 0
			s.Detail = fmt.Sprintf("its runner (process %d) was killed, or crashed, which its log says; its devices are given back", s.PID)
			return s, nil
		}
		s.Detail = fmt.Sprintf("its runner (process %d) has not answered within %v, this is from before", s.PID, statusLimit)
		if !errors.Is(asked, context.DeadlineExceeded) || stopped(host, s.PID) {
			s.State, s.Detail = Unresponsive, fmt.Sprintf("its runner (process %d) does not answer", s.PID)
		}
		return s, nil
	case !s.Over():
		f := Failure{
			Message: fmt.Sprintf("its runner (process %d) was killed, or crashed, which its log says, and QEMU with it; devices that it still has are given back by indy recover, or when it is started again", s.PID),
			Exit:    1,
		}
		s.State, s.Detail, s.Failure, s.Ready, s.QEMU = Failed, "", &f, false, 0
	}
	s.PID = 0
	return s, nil
}

// killed reports whether the runner whose status this is has ended without saying so.
func (s Status) killed() bool { return s.PID > 0 && !s.Over() && unix.Kill(s.PID, 0) == unix.ESRCH }

// Stop ends the guest and returns when its devices are given back. The status says whether
// all went well. When ctx ends the guest is stopped all the same.
func (d Dir) Stop(ctx context.Context, how StopRequest) (Status, error) {
	var s Status
	err := d.ask(ctx, http.MethodPost, "/v1/stop", how, &s)
	if err == nil {
		err = d.untilFree(ctx)
	}
	return s, err
}

// untilFree waits until the runner that has ended holds the lock no more.
func (d Dir) untilFree(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, endLimit, fmt.Errorf("the runner of guest %s does not end", d.Name))
	defer cancel()
	for d.Locked() {
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// Suspend has the guest's processors stand still because somebody says so; see [Dir.Resume].
func (d Dir) Suspend(ctx context.Context) (Status, error) { return d.short(ctx, "/v1/suspend") }

// Resume lets them go on, for whatever reasons they stand still, and wakes a guest that
// sleeps. It does not when a device that is assigned to the guest does not work.
func (d Dir) Resume(ctx context.Context) (Status, error) { return d.short(ctx, "/v1/resume") }

// Hold has the guest stand still for a reason, until [Dir.LetGo] with the same. A guest that
// does by itself, as it sleeps, is not held; the status says which holds there are. When ctx
// ends the guest may stand still all the same.
func (d Dir) Hold(ctx context.Context, how SuspendRequest) (Status, error) {
	var s Status
	err := d.ask(ctx, http.MethodPost, "/v1/suspend", how, &s)
	return s, err
}

// LetGo takes back a reason for which the guest stands still. It goes on when there is no
// other one, and when its devices work.
func (d Dir) LetGo(ctx context.Context, r Reason) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var s Status
	err := d.ask(ctx, http.MethodPost, "/v1/resume", ResumeRequest{r}, &s)
	return s, err
}

// Powerdown presses the guest's power button, and does not wait for what the guest makes of
// it.
func (d Dir) Powerdown(ctx context.Context) (Status, error) { return d.short(ctx, "/v1/powerdown") }

func (d Dir) short(ctx context.Context, path string) (Status, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var s Status
	err := d.ask(ctx, http.MethodPost, path, nil, &s)
	return s, err
}

// Top returns what the guest uses of the host.
func (d Dir) Top(ctx context.Context) (Top, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var t Top
	err := d.ask(ctx, http.MethodGet, "/v1/top", nil, &t)
	return t, err
}

// Screenshot writes the picture on the guest's screen to w, as PNG.
func (d Dir) Screenshot(ctx context.Context, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	r, err := d.open(ctx, http.MethodGet, "/v1/screenshot", nil)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(w, io.LimitReader(r, maxPicture))
	return err
}

// FollowLog returns what the runner has to tell, and goes on until the runner ends or ctx does.
func (d Dir) FollowLog(ctx context.Context) (io.ReadCloser, error) {
	return d.open(ctx, http.MethodGet, "/v1/log?follow=1", nil)
}

// FollowEvents returns the events, a JSON document a line, and goes on until the runner ends
// or ctx does.
func (d Dir) FollowEvents(ctx context.Context) (io.ReadCloser, error) {
	return d.open(ctx, http.MethodGet, "/v1/events?follow=1", nil)
}

// ask asks the runner, and decodes its answer into result.
func (d Dir) ask(ctx context.Context, method, path string, args, result any) error {
	var body []byte
	if args != nil {
		var err error
		if body, err = json.Marshal(args); err != nil {
			return err
		}
	}
	r, err := d.open(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("guest %s: %w", d.Name, err)
	case len(text) > maxAnswer:
		return fmt.Errorf("guest %s: an answer of more than %d bytes", d.Name, maxAnswer)
	}
	if err := json.Unmarshal(text, result); err != nil {
		return fmt.Errorf("guest %s: unexpected answer: %w", d.Name, err)
	}
	return nil
}

// open asks the runner and returns the answer, which the caller closes.
func (d Dir) open(ctx context.Context, method, path string, body []byte) (io.ReadCloser, error) {
	q, err := http.NewRequestWithContext(ctx, method, "http://guest"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	one := &http.Transport{
		DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeader,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return d.Dial(ctx) },
	}
	a, err := one.RoundTrip(q)
	if err != nil {
		return nil, d.failed(ctx, err)
	}
	if a.StatusCode == http.StatusOK {
		return a.Body, nil
	}
	defer a.Body.Close()
	return nil, d.complained(a)
}

// Dial connects to the runner's socket, and to no other one that a runner may have put in its
// place for root to talk to. Without a runner that listens it is [fs.ErrNotExist], or that the
// connection is refused.
func (d Dir) Dial(ctx context.Context) (net.Conn, error) {
	if d.By != nil {
		return d.By.Dial(ctx, d.Name)
	}
	var dir, socket unix.Stat_t
	fd, err := unix.Open(d.file(controlFile), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: d.file(controlFile), Err: err}
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Fstat(fd, &socket), unix.Stat(d.Path, &dir)); err != nil {
		return nil, err
	}
	if socket.Mode&unix.S_IFMT != unix.S_IFSOCK || socket.Uid != dir.Uid {
		return nil, fmt.Errorf("%s is no socket of the guest's runner", d.file(controlFile))
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", fd))
}

// failed says why a runner was not reached.
func (d Dir) failed(ctx context.Context, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("guest %s: its runner does not answer: %w", d.Name, ctx.Err())
	}
	if d.By != nil && errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("guest %s: %w", d.Name, errNotYet)
	}
	if _, e := os.Lstat(d.file(controlFile)); d.By == nil && errors.Is(e, fs.ErrNotExist) {
		return fmt.Errorf("guest %s: %w", d.Name, errNotYet)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("guest %s: its runner ended before it answered; indy guest log %s may say why: %w", d.Name, d.Name, err)
	}
	return fmt.Errorf("guest %s: %w", d.Name, err)
}

// complained is the error that a runner answered.
func (d Dir) complained(a *http.Response) error {
	var said complaint
	text, _ := io.ReadAll(io.LimitReader(a.Body, maxBody))
	if json.Unmarshal(text, &said) != nil || said.Error == "" {
		said.Error = fmt.Sprintf("guest %s: its runner answers %s", d.Name, a.Status)
	}
	return &AnswerError{Guest: d.Name, Code: a.StatusCode, Text: said.Error}
}

// Attach connects to the guest's serial port. What is read begins with the last that the
// guest wrote. The caller closes the connection.
func (d Dir) Attach(ctx context.Context) (io.ReadWriteCloser, error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	conn, err := d.Dial(ctx)
	if err != nil {
		return nil, d.failed(ctx, err)
	}
	end, _ := ctx.Deadline()
	_ = conn.SetDeadline(end)
	q := fmt.Sprintf("GET /v1/console HTTP/1.1\r\nHost: guest\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", consoleProtocol)
	head := &io.LimitedReader{R: conn, N: maxAnswer}
	r := bufio.NewReader(head)
	var a *http.Response
	if _, err = conn.Write([]byte(q)); err == nil {
		a, err = http.ReadResponse(r, nil)
	}
	switch {
	case err != nil:
		err = d.failed(ctx, err)
	case a.StatusCode != http.StatusSwitchingProtocols:
		err = d.complained(a)
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	head.N = math.MaxInt64 // what the guest writes has no end
	return attached{conn, r}, nil
}

// attached is a connection of which a part has been read already.
type attached struct {
	net.Conn
	r *bufio.Reader
}

// Read reads what was read already first.
func (a attached) Read(p []byte) (int, error) { return a.r.Read(p) }
