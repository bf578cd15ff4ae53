package ioctl_test

import (
	"encoding/binary"
	"errors"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/ioctl"
)

// inPipe returns a pipe with n bytes in it.
func inPipe(t *testing.T, n int) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	if _, err := w.Write(make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	return r, w
}

func control(t *testing.T, f *os.File, call func(fd uintptr)) {
	t.Helper()
	c, err := f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Control(call); err != nil {
		t.Fatal(err)
	}
}

func TestStructFills(t *testing.T) {
	r, _ := inPipe(t, 7)
	b := make([]byte, 4)
	control(t, r, func(fd uintptr) {
		if _, err := ioctl.Struct(fd, unix.TIOCINQ, b); err != nil {
			t.Errorf("FIONREAD: %v", err)
		}
	})
	if got := binary.NativeEndian.Uint32(b); got != 7 {
		t.Errorf("FIONREAD filled %d, want 7", got)
	}
}

func TestStructOnTerminal(t *testing.T) {
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		hosttest.Missing(t, "no pseudo terminal: %v", err)
	}
	defer pty.Close()
	want := []byte{25, 0, 80, 0, 0, 0, 0, 0} // struct winsize: 25 rows, 80 columns
	if binary.NativeEndian.Uint16(want) != 25 {
		t.Skip("big endian")
	}
	got := make([]byte, len(want))
	control(t, pty, func(fd uintptr) {
		if _, err := ioctl.Struct(fd, unix.TIOCSWINSZ, want); err != nil {
			t.Fatalf("TIOCSWINSZ: %v", err)
		}
		if _, err := ioctl.Struct(fd, unix.TIOCGWINSZ, got); err != nil {
			t.Fatalf("TIOCGWINSZ: %v", err)
		}
		if _, err := ioctl.Value(fd, unix.TCFLSH, unix.TCIOFLUSH); err != nil {
			t.Errorf("TCFLSH: %v", err)
		}
	})
	if string(got) != string(want) {
		t.Errorf("window size is % x, want % x", got, want)
	}
}

func TestIntSetsCloseOnExec(t *testing.T) {
	const fionclex, fioclex = 0x5450, 0x5451 // asm-generic/ioctls.h
	if ioctl.IO(0, 0) != 0 {
		t.Skip("an architecture with numbers of its own")
	}
	r, _ := inPipe(t, 0)
	control(t, r, func(fd uintptr) {
		for _, c := range []struct {
			req  uint
			want int
		}{{fionclex, 0}, {fioclex, unix.FD_CLOEXEC}} {
			if _, err := ioctl.Int(fd, c.req); err != nil {
				t.Fatalf("request %#x: %v", c.req, err)
			}
			if got, _ := unix.FcntlInt(fd, unix.F_GETFD, 0); got != c.want {
				t.Errorf("after request %#x the flags are %d, want %d", c.req, got, c.want)
			}
		}
	})
}

func TestErrorsAreErrnos(t *testing.T) {
	zero, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer zero.Close()
	control(t, zero, func(fd uintptr) {
		tests := map[string]struct {
			call func() (int, error)
			want syscall.Errno
		}{
			"int":       {func() (int, error) { return ioctl.Int(fd, ioctl.IO(';', 100)) }, syscall.ENOTTY},
			"value":     {func() (int, error) { return ioctl.Value(fd, ioctl.IO(';', 101), 1) }, syscall.ENOTTY},
			"struct":    {func() (int, error) { return ioctl.Struct(fd, ioctl.IO(';', 103), make([]byte, 8)) }, syscall.ENOTTY},
			"empty":     {func() (int, error) { return ioctl.Struct(fd, ioctl.IO(';', 103), nil) }, syscall.EINVAL},
			"too short": {func() (int, error) { return ioctl.Struct(fd, 2<<30|60<<16|'T'<<8|1, make([]byte, 59)) }, syscall.EINVAL},
			"bad fd":    {func() (int, error) { return ioctl.Int(^uintptr(0), ioctl.IO(';', 100)) }, syscall.EBADF},
		}
		for name, test := range tests {
			n, err := test.call()
			var errno syscall.Errno
			if !errors.As(err, &errno) || errno != test.want || n != 0 {
				t.Errorf("%s: got %d, %v; want 0, %v", name, n, err, test.want)
			}
		}
	})
}

func TestInterruptedCallIsMadeAgain(t *testing.T) {
	calls := 0
	n, err := ioctl.Again(func() (uintptr, syscall.Errno) {
		if calls++; calls < 3 {
			return ^uintptr(0), syscall.EINTR
		}
		return 5, 0
	})
	if n != 5 || err != nil || calls != 3 {
		t.Errorf("got %d, %v after %d calls; want 5 after 3", n, err, calls)
	}
}

func TestIO(t *testing.T) {
	if got := ioctl.IO(';', 100) &^ (1 << 29); got != 0x3b64 {
		t.Errorf("IO(';', 100) = %#x, want 0x3b64, VFIO_GET_API_VERSION", got)
	}
}

func ExampleStruct() {
	// How many bytes wait in a pipe.
	r, w, _ := os.Pipe()
	w.WriteString("hello")
	b := make([]byte, 4)
	ioctl.Struct(r.Fd(), unix.TIOCINQ, b)
	os.Stdout.WriteString("waiting: " + string('0'+rune(binary.NativeEndian.Uint32(b))) + "\n")
	// Output: waiting: 5
}
