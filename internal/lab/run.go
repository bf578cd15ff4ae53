package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Run boots m, runs its command and returns the command's exit status, which for a
// command that a signal ended is 128 and the signal's number.
//
// When there is no status, because the kernel panicked or QEMU failed or ended, the
// status is -1 and the error quotes the end of the console. When ctx ends first, QEMU
// is stopped and the error wraps ctx's cause. QEMU never outlives Run or this process,
// and no temporary file is left in any case.
func (l *Lab) Run(ctx context.Context, m Machine) (status int, err error) {
	if err := m.check(); err != nil {
		return -1, fmt.Errorf("emulated laptop: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return -1, fmt.Errorf("emulated laptop: %w", context.Cause(ctx))
	}
	files, err := l.memoryFiles(&m)
	defer closeAll(files)
	if err != nil {
		return -1, fmt.Errorf("emulated laptop: %w", err)
	}

	var lines serialLines
	console, verdict, stderr := &tail{max: 4 << 10}, &tail{max: 4 << 10}, &tail{max: 4 << 10}
	ends, err := lines.open(
		io.MultiWriter(console, orDiscard(m.Console)), orDiscard(m.Stdout), verdict)
	if err != nil {
		return -1, fmt.Errorf("emulated laptop: %w", err)
	}
	qemu := exec.CommandContext(ctx, l.qemu, l.arguments(&m)...)
	qemu.ExtraFiles = append(ends, files...)
	qemu.Stderr = stderr
	qemu.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	qemu.Cancel = func() error { return syscall.Kill(-qemu.Process.Pid, syscall.SIGTERM) }
	qemu.WaitDelay = 3 * time.Second
	ended := runPinned(qemu, func() { closeAll(ends) })
	writeErr := lines.wait()

	if ctx.Err() != nil {
		return -1, fmt.Errorf("emulated laptop: %w%s", context.Cause(ctx), console.quote("its console ends with"))
	}
	status, err = parseVerdict(verdict.String())
	if err == nil && writeErr != nil {
		err = fmt.Errorf("passing on what it printed: %w", writeErr)
	}
	if err != nil {
		if ended != nil {
			err = fmt.Errorf("%w; QEMU: %w", err, ended)
		}
		return -1, fmt.Errorf("emulated laptop: %w%s%s", err,
			stderr.quote("QEMU says"), console.quote("its console ends with"))
	}
	return status, nil
}

// runPinned runs qemu from a thread of its own, because the kernel ends the child
// together with the thread, not the process, that started it.
func runPinned(qemu *exec.Cmd, started func()) error {
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := qemu.Start()
		started()
		if err == nil {
			err = qemu.Wait()
		}
		ended <- err
	}()
	return <-ended
}

// memoryFiles returns the initial file system and the empty disk, if one is wanted,
// as files without a name, in the order QEMU inherits them.
func (l *Lab) memoryFiles(m *Machine) ([]*os.File, error) {
	data, err := l.initramfs()
	if err != nil {
		return nil, err
	}
	initramfs, err := memoryFile("initramfs")
	if err != nil {
		return nil, err
	}
	files := []*os.File{initramfs}
	if err := l.writeCommand(initramfs, m); err != nil {
		return files, err
	}
	if _, err := initramfs.Write(data); err != nil {
		return files, err
	}
	if m.NVMe != "" {
		return files, nil
	}
	disk, err := memoryFile("nvme")
	if err != nil {
		return files, err
	}
	files = append(files, disk)
	if _, err := disk.Write(m.sector); err != nil {
		return files, err
	}
	return files, disk.Truncate(nvmeSize)
}

func memoryFile(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// parseVerdict understands what came over the status line: "status N" from the
// command, or "error TEXT" when there was no way to run it. The first line counts.
func parseVerdict(s string) (int, error) {
	line, _, complete := strings.Cut(s, "\n")
	if text, ok := strings.CutPrefix(line, "error "); complete && ok {
		return -1, errors.New(text)
	}
	if n, ok := strings.CutPrefix(line, "status "); complete && ok {
		if status, err := strconv.ParseUint(n, 10, 8); err == nil {
			return int(status), nil
		}
	}
	return -1, errors.New("it ended before the command did")
}

// serialLines pass what arrives on the machine's serial lines to writers.
type serialLines struct {
	wg  sync.WaitGroup
	mu  sync.Mutex
	err error // of the writers
}

// open returns the ends that QEMU writes to.
func (s *serialLines) open(to ...io.Writer) (ends []*os.File, err error) {
	for _, w := range to {
		r, end, err := os.Pipe()
		if err != nil {
			closeAll(ends) // the readers see the end and go
			return nil, err
		}
		ends = append(ends, end)
		s.wg.Go(func() {
			defer r.Close()
			if _, err := io.Copy(w, r); err != nil {
				s.mu.Lock()
				s.err = errors.Join(s.err, err)
				s.mu.Unlock()
				io.Copy(io.Discard, r) // or the machine waits for ever
			}
		})
	}
	return ends, nil
}

func (s *serialLines) wait() error {
	s.wg.Wait()
	return s.err
}

func orDiscard(w io.Writer) io.Writer {
	if w == nil {
		return io.Discard
	}
	return w
}

// tail keeps the last max bytes, or a few more, of what is written to it.
type tail struct {
	max int
	b   []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > 2*t.max {
		t.b = append(t.b[:0], t.b[len(t.b)-t.max:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.b) }

// quote returns a paragraph for an error, or nothing if nothing was written.
func (t *tail) quote(what string) string {
	text := strings.TrimSpace(string(bytes.ToValidUTF8(bytes.ReplaceAll(t.b, []byte("\r"), nil), []byte("?"))))
	if text == "" {
		return ""
	}
	return "\n" + what + ":\n" + text
}
