package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
)

// A hanging is a file in user space (FUSE), whose writes return when they are told to.
// Who waits for one is in the kernel, as in a driver that waits: a signal does not end it.
type hanging struct {
	dev    *os.File
	writes chan uint64 // by their number in the protocol
	opens  atomic.Bool // what is said of writes is so of opening, too
}

// hang puts such a file in the place of name, or skips the test.
func hang(t *testing.T, name string) *hanging {
	t.Helper()
	skip := t.Skipf
	if os.Getenv("CI") == "true" {
		skip = t.Fatalf
	}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		skip("no FUSE here: %v", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=100000,user_id=0,group_id=0", fd)
	if err := unix.Mount("indy-test", name, "fuse.indy", unix.MS_NODEV|unix.MS_NOSUID, options); err != nil {
		unix.Close(fd)
		skip("cannot mount FUSE: %v", err)
	}
	h := &hanging{dev: os.NewFile(uintptr(fd), "fuse"), writes: make(chan uint64, 16)} // it can be waited for only now
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.serve()
	}()
	t.Cleanup(func() {
		// Whoever still waits is let go with an error.
		if err := unix.Unmount(name, unix.MNT_DETACH|unix.MNT_FORCE); err != nil {
			t.Error(err)
		}
		h.dev.Close()
		<-done
	})
	return h
}

// serve answers all but writes, as in linux/fuse.h.
func (h *hanging) serve() {
	buf := make([]byte, 1<<18)
	for {
		n, err := h.dev.Read(buf)
		if err != nil || n < 40 {
			return
		}
		opcode, unique := binary.NativeEndian.Uint32(buf[4:]), binary.NativeEndian.Uint64(buf[8:])
		switch opcode {
		case 26: // FUSE_INIT
			out := make([]byte, 64)
			binary.NativeEndian.PutUint32(out[0:], 7)
			binary.NativeEndian.PutUint32(out[4:], 31)
			binary.NativeEndian.PutUint32(out[20:], 1<<16) // max_write
			h.reply(unique, 0, out)
		case 3: // FUSE_GETATTR
			out := make([]byte, 104)
			binary.NativeEndian.PutUint32(out[16+60:], unix.S_IFREG|0o644)
			binary.NativeEndian.PutUint32(out[16+64:], 1)
			h.reply(unique, 0, out)
		case 14: // FUSE_OPEN, with FOPEN_DIRECT_IO
			if h.opens.Load() {
				h.writes <- unique
				continue
			}
			out := make([]byte, 16)
			binary.NativeEndian.PutUint32(out[8:], 1)
			h.reply(unique, 0, out)
		case 16: // FUSE_WRITE
			h.writes <- unique
		case 18, 25: // FUSE_RELEASE, FUSE_FLUSH
			h.reply(unique, 0, nil)
		case 2, 36, 42: // FUSE_FORGET, FUSE_INTERRUPT, FUSE_BATCH_FORGET have no answer
		default:
			h.reply(unique, unix.ENOSYS, nil)
		}
	}
}

func (h *hanging) reply(unique uint64, errno unix.Errno, body []byte) {
	out := make([]byte, 16, 16+len(body))
	binary.NativeEndian.PutUint32(out, uint32(16+len(body)))
	binary.NativeEndian.PutUint32(out[4:], uint32(-int32(errno)))
	binary.NativeEndian.PutUint64(out[8:], unique)
	_, _ = h.dev.Write(append(out, body...))
}

// release lets a write of n bytes return.
func (h *hanging) release(unique uint64, n int) {
	body := make([]byte, 8)
	binary.NativeEndian.PutUint32(body, uint32(n))
	h.reply(unique, 0, body)
}

// An unbind that hangs in the kernel: it is given up at the deadline, the device is not
// written to again until the kernel has come back, others go on, and nothing is left.
func TestFault09UnbindHangs(t *testing.T) {
	const other = "sys/bus/pci/devices/0000:05:00.0/driver_override"
	b := below(t, 100*time.Millisecond, unbind, override, other)
	h := hang(t, filepath.Join(b.root, unbind))
	before := descriptors(t)

	began := time.Now()
	err := b.WriteFile(unbind, []byte("0000:02:00.0"))
	var stuck *assign.StuckError
	if !errors.As(err, &stuck) || !errors.Is(err, assign.ErrStuck) {
		t.Fatalf("it hangs: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	if stuck.File != unbind || stuck.Waited != b.Deadline || stuck.PID <= 0 || stuck.Started == "" {
		t.Errorf("%+v", stuck)
	}
	live := hostfs.Live()
	if stuck.Over(live) {
		t.Error("over while it hangs")
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", stuck.PID))
	if err != nil || !bytes.Contains(status, []byte("State:\tD")) {
		t.Errorf("the process is not in the kernel: %s, %v", status, err)
	}
	if n := descriptors(t); n != before {
		t.Errorf("%d descriptors are kept for a process that is given up", n-before)
	}

	// No other call about the device, by whichever file; calls about others.
	began = time.Now()
	for range 3 {
		if err := b.WriteFile(override, []byte("vfio-pci")); !errors.Is(err, assign.ErrStuck) {
			t.Errorf("a second write: %v", err)
		}
		if _, err := b.ReadFile(override); !errors.Is(err, assign.ErrStuck) {
			t.Errorf("a read: %v", err)
		}
	}
	if took := time.Since(began); took > 50*time.Millisecond {
		t.Errorf("refusing took %s", took)
	}
	if got := b.content(t, override); got != "(null)\n" {
		t.Errorf("written to what hangs: %q", got)
	}
	if err := b.WriteFile(other, []byte("vfio-pci")); err != nil {
		t.Errorf("another device: %v", err)
	}
	if n := len(h.writes); n != 1 {
		t.Errorf("%d writes arrived, not one", n)
	}

	// The kernel comes back: the process is gone, and the device can be written to.
	h.release(<-h.writes, len("0000:02:00.0"))
	for end := time.Now().Add(5 * time.Second); !stuck.Over(live); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not over after the kernel has come back")
		}
	}
	if err := b.WriteFile(override, []byte("nvme\n\n\n")); err != nil {
		t.Errorf("after it came back: %v", err)
	}
	if err := unix.Kill(stuck.PID, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("the process is left: %v", err)
	}
	if s := stuck.Error(); !strings.Contains(s, "/"+unbind) || !strings.Contains(s, "100ms") {
		t.Errorf("it says %q", s)
	}
}
