package ioctl_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/internal/ioctl"
)

// asked returns the answer of a process to one request.
func asked(t *testing.T, socket int, verb byte, name, value string) (failed byte, errno unix.Errno, data []byte) {
	t.Helper()
	request := make([]byte, ioctl.AsideValue+len(value))
	request[0] = verb
	copy(request[ioctl.AsideName:], name)
	copy(request[ioctl.AsideValue:], value)
	if _, err := unix.Write(socket, request); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 1<<16)
	n, err := unix.Read(socket, answer)
	if err != nil || n < ioctl.AsideData {
		t.Fatalf("an answer of %d bytes, %v", n, err)
	}
	if count := binary.NativeEndian.Uint32(answer[ioctl.AsideCount:]); verb == ioctl.AsideRead && int(count) != n-ioctl.AsideData {
		t.Errorf("%d bytes counted, %d sent", count, n-ioctl.AsideData)
	}
	return answer[0], unix.Errno(binary.NativeEndian.Uint32(answer[ioctl.AsideErrno:])), answer[ioctl.AsideData:n]
}

// start makes a process that is asked on socket. It has ended when end returns.
func start(t *testing.T, name string) (socket, pid int, end func()) {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	pid, err = ioctl.Aside(ends[1], name)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(ends[1])
	return ends[0], pid, func() {
		t.Helper()
		unix.Close(ends[0])
		var status unix.WaitStatus
		if got, err := unix.Wait4(pid, &status, 0, nil); got != pid || err != nil || !status.Exited() || status.ExitStatus() != 0 {
			t.Errorf("it ended: %d, %v, %v", got, status, err)
		}
	}
}

func TestAside(t *testing.T) {
	socket, _, end := start(t, "a name of more than fifteen bytes")
	file := filepath.Join(t.TempDir(), "attribute")
	if err := os.WriteFile(file, []byte("before"), 0o644); err != nil {
		t.Fatal(err)
	}
	if failed, errno, _ := asked(t, socket, ioctl.AsideWrite, file, "after\n"); failed != 0 || errno != 0 {
		t.Errorf("write: %q, %v", failed, errno)
	}
	if failed, errno, data := asked(t, socket, ioctl.AsideRead, file, ""); failed != 0 || errno != 0 || string(data) != "after\n" {
		t.Errorf("read: %q, %v, %q", failed, errno, data)
	}
	if err := os.WriteFile(file, bytes.Repeat([]byte("x"), ioctl.AsideMost+1), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, data := asked(t, socket, ioctl.AsideRead, file, ""); len(data) != ioctl.AsideMost {
		t.Errorf("%d bytes of a file that has more", len(data))
	}
	for _, test := range []struct {
		verb   byte
		name   string
		failed byte
		errno  unix.Errno
	}{
		{ioctl.AsideWrite, file + "-", 'o', unix.ENOENT},
		{ioctl.AsideRead, "/proc/self/mem", 'r', unix.EIO},
		{ioctl.AsideWrite, "/dev/full", 'w', unix.ENOSPC},
	} {
		if failed, errno, _ := asked(t, socket, test.verb, test.name, "x"); failed != test.failed || errno != test.errno {
			t.Errorf("%s: %q, %v; want %q, %v", test.name, failed, errno, test.failed, test.errno)
		}
	}
	end()
	if _, err := ioctl.Aside(-1, ""); err != nil {
		t.Errorf("a socket that is none is for the process to see: %v", err)
	} else if _, err := unix.Wait4(-1, nil, 0, nil); err != nil {
		t.Error(err)
	}
}

// Descriptors that come with a request are had for as long as the call takes. Without all of
// them there is no call.
func TestAsideKeeps(t *testing.T) {
	socket, pid, end := start(t, "aside")
	dir := t.TempDir()
	kept, err := os.Create(filepath.Join(dir, "kept"))
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func() []os.DirEntry {
		t.Helper()
		all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	answer, read := make([]byte, 1<<16), make(chan error)
	for _, n := range []int{0, 1, ioctl.AsideKept, 0, ioctl.AsideKept + 1, 3} {
		request := make([]byte, ioctl.AsideValue+1)
		request[0] = ioctl.AsideWrite
		copy(request[ioctl.AsideName:], fifo)
		var rights []byte
		if n > 0 {
			fds := make([]int, n)
			for i := range fds {
				fds[i] = int(kept.Fd())
			}
			rights = unix.UnixRights(fds...)
		}
		if err := unix.Sendmsg(socket, request, rights, nil, 0); err != nil {
			t.Fatal(err)
		}
		want := unix.Errno(0)
		if n > ioctl.AsideKept {
			want = unix.EMFILE
		} else {
			for end := time.Now().Add(5 * time.Second); len(open()) != 1+n; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("with %d it has %d open in the call", n, len(open()))
				}
			}
			go func() {
				_, err := os.ReadFile(fifo)
				read <- err
			}()
		}
		if k, err := unix.Read(socket, answer); err != nil || k < ioctl.AsideData {
			t.Fatalf("%d bytes, %v", k, err)
		}
		if got := unix.Errno(binary.NativeEndian.Uint32(answer[ioctl.AsideErrno:])); got != want {
			t.Errorf("with %d: %v, want %v", n, got, want)
		}
		if want == 0 {
			if err := <-read; err != nil {
				t.Error(err)
			}
		}
		if all := open(); len(all) != 1 {
			t.Errorf("with %d it has %d open after the call", n, len(all))
		}
	}
	end()
}

// What has no status of a group says so.
func TestAsideGroup(t *testing.T) {
	socket, _, end := start(t, "aside")
	for name, want := range map[string]struct {
		failed byte
		errno  unix.Errno
	}{
		"/dev/null":                      {ioctl.AsideGroup, unix.ENOTTY},
		filepath.Join(t.TempDir(), "no"): {'o', unix.ENOENT},
	} {
		if failed, errno, _ := asked(t, socket, ioctl.AsideGroup, name, ""); failed != want.failed || errno != want.errno {
			t.Errorf("%s: %q, %v", name, failed, errno)
		}
	}
	end()
}
