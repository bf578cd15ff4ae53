package vfio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/pci"
)

// socketpair returns two ends of a Unix socket.
func socketpair(t *testing.T) (a *net.UnixConn, b *os.File) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	b = os.NewFile(uintptr(fds[1]), "other end")
	t.Cleanup(func() { b.Close() })
	return connection(t, os.NewFile(uintptr(fds[0]), "this end")), b
}

func connection(t *testing.T, f *os.File) *net.UnixConn {
	t.Helper()
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c.(*net.UnixConn)
}

const childVariable = "INDY_VFIO_CHILD"

// TestHandlesCrossProcesses passes files to a process that could not open them.
func TestHandlesCrossProcesses(t *testing.T) {
	here, there := socketpair(t)
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild$", "-test.v")
	child.Env = append(os.Environ(), childVariable+"=1")
	child.ExtraFiles = []*os.File{there}
	var said strings.Builder
	child.Stdout, child.Stderr = &said, &said
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	there.Close()
	handles := []Handle{{Kind: HandleContainer}, {Kind: HandleGroup, Group: seven}, {Kind: HandleDevice, Group: seven, Device: nvme}, {Kind: HandleIOMMUFD, IOAS: 5}}
	for i := range handles {
		fd, err := unix.MemfdCreate("secret", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		handles[i].File = os.NewFile(uintptr(fd), "secret")
		fmt.Fprintf(handles[i].File, "file %d", i)
	}
	if err := Send(here, handles); err != nil {
		t.Error(err)
	}
	closeHandles(handles)
	answer, err := io.ReadAll(here)
	if err := child.Wait(); err != nil {
		t.Errorf("the child: %v\n%s", err, &said)
	}
	want := "container  - 0 file 0\ngroup 7 - 0 file 1\ndevice 7 0000:02:00.0 0 file 2\niommufd  - 5 file 3\n"
	if string(answer) != want || err != nil {
		t.Errorf("the child got, %v\n%swant\n%s", err, answer, want)
	}
}

// TestChild is the other process.
func TestChild(t *testing.T) {
	if os.Getenv(childVariable) != "1" {
		t.Skip("runs only as the child of TestHandlesCrossProcesses")
	}
	conn := connection(t, os.NewFile(3, "socket"))
	all, err := Receive(conn)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range all {
		b := make([]byte, 100)
		n, _ := h.File.ReadAt(b, 0)
		device := "-"
		if h.Device.IsValid() {
			device = h.Device.String()
		}
		group := ""
		if h.Group.IsValid() {
			group = h.Group.String()
		}
		if flags, err := unix.FcntlInt(h.File.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%v would be passed on to other programs: %#x, %v", h.Kind, flags, err)
		}
		fmt.Fprintf(conn, "%s %s %s %d %s\n", h.Kind, group, device, h.IOAS, b[:n])
	}
	closeHandles(all)
}

func TestHandlesAndRebuild(t *testing.T) {
	eachInterface(t, func(t *testing.T, kind Interface) {
		k := newKernelWith(kind)
		s, d := opened(t, k, kind)
		m := allocate(t, 4096)
		p, err := s.Map(0, m, Read)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Handles()
		wantError(t, err, errAny, "memory is mapped in it")
		if err := p.Unmap(); err != nil {
			t.Fatal(err)
		}
		handles, err := s.Handles()
		if err != nil {
			t.Fatal(err)
		}
		other, err := rebuild(k.host(), handles)
		if err != nil {
			t.Fatal(err)
		}
		if other.Interface() != kind || len(other.Devices()) != 1 || len(other.Groups()) != len(s.Groups()) {
			t.Fatalf("%v, %v, %v", other.Interface(), other.Devices(), other.Groups())
		}
		if err := s.Close(); err != nil { // the devices stay open, by the other
			t.Error(err)
		}
		_, err = d.Info()
		wantError(t, err, fs.ErrClosed)
		theirs := other.Devices()[0]
		if info, err := theirs.Info(); err != nil || theirs.Address() != nvme || !info.PCI {
			t.Errorf("%v, %v", info, err)
		}
		if _, err := other.Map(0, m, Read|Write); err != nil {
			t.Error(err)
		}
		if kind == Groups {
			_, err := openGroup(k.host(), seven)
			wantError(t, err, syscall.EBUSY)
		}
		if err := other.Close(); err != nil {
			t.Error(err)
		}
		if k.groups[seven].node != nil || k.groups[seven].byNode != 0 {
			t.Error("still open")
		}
		s = newSpace(t, k, kind)
		if _, err := s.Open(nvme); err != nil {
			t.Fatal(err)
		}
		for at := range 3 { // one of the duplicates fails
			n := 0
			k.fail = func(call string) error {
				if call == "duplicate" {
					if n++; n == at+1 {
						return syscall.EMFILE
					}
				}
				return nil
			}
			_, err := s.Handles()
			if k.fail = nil; at < len(s.Devices())+len(s.Groups())+1 {
				wantError(t, err, syscall.EMFILE, "hand on an address space")
			}
		}
	})
}

func TestRebuildRefuses(t *testing.T) {
	k := newKernel()
	s, _ := opened(t, k, Groups)
	tests := map[string]func(h []Handle) []Handle{
		"nothing":        func([]Handle) []Handle { return nil },
		"no container":   func(h []Handle) []Handle { return h[1:] },
		"two containers": func(h []Handle) []Handle { return append(h[:1:1], h[0]) },
		"no file":        func(h []Handle) []Handle { h[1].File = nil; return h },
		"no group":       func(h []Handle) []Handle { return []Handle{h[0], h[2]} },
		"group twice": func(h []Handle) []Handle {
			return []Handle{h[0], h[1], {Kind: HandleGroup, Group: seven, File: h[1].File}}
		},
		"zero group":      func(h []Handle) []Handle { h[1].Group = pci.GroupID{}; return h },
		"other kind":      func(h []Handle) []Handle { h[1].Kind = HandleDevice; return h },
		"unknown kind":    func(h []Handle) []Handle { h[1].Kind = "disk"; return h },
		"no address":      func(h []Handle) []Handle { h[2].Device = pci.Address{}; return h },
		"device as group": func(h []Handle) []Handle { h[2].Kind = HandleGroup; return h },
		"no iommufd":      func(h []Handle) []Handle { h[0].Kind = HandleIOMMUFD; return h },
	}
	for name, change := range tests {
		handles, err := s.Handles()
		if err != nil {
			t.Fatal(err)
		}
		got, err := rebuild(k.host(), change(handles))
		if err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	if len(k.open) != 3 {
		t.Errorf("%d files are open, want the container, the group and the device", len(k.open))
	}
}

func TestReceiveRefuses(t *testing.T) {
	null := func() *os.File {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	text := func(s string) string { return string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)))) + s }
	good := `{"handles":[{"kind":"container","group":null}]}`
	for name, c := range map[string]struct {
		b     string
		files int
		ok    bool
	}{
		"as it should be": {text(good), 1, true},
		"no file":         {text(good), 0, false},
		"one too many":    {text(good), 2, false},
		"nothing":         {text(`{}`), 0, false},
		"no JSON":         {text(`x`), 1, false},
		"kind":            {text(`{"handles":[{"kind":"disk\u001b[2J","group":null}]}`), 1, false},
		"address":         {text(`{"handles":[{"kind":"device","group":7,"device":"../../x"}]}`), 1, false},
		"too long":        {"\xff\xff\xff\xff{}", 1, false},
		"cut":             {text(good)[:20], 1, false},
		"two":             {text(good) + text(good), 1, false},
		"very short":      {"\x01", 1, false},
	} {
		before := openDescriptors(t)
		here, there := socketpair(t)
		out := connection(t, there)
		var fds []int
		var files []*os.File
		for range c.files {
			f := null()
			files, fds = append(files, f), append(fds, int(f.Fd()))
		}
		if _, _, err := out.WriteMsgUnix([]byte(c.b), unix.UnixRights(fds...), nil); err != nil {
			t.Fatal(err)
		}
		out.Close()
		all, err := Receive(here)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v, %v", name, all, err)
		}
		var op *OpError
		if err != nil && (!errors.As(err, &op) || strings.ContainsRune(err.Error(), 0x1b)) {
			t.Errorf("%s: %q", name, err)
		}
		closeHandles(all)
		here.Close()
		for _, f := range files {
			f.Close()
		}
		if after := openDescriptors(t); after != before {
			t.Errorf("%s: %d descriptors, %d before", name, after, before)
		}
	}
	here, there := socketpair(t)
	for _, bad := range [][]Handle{nil, {{Kind: HandleGroup}}, make([]Handle, maxHandles+1)} {
		wantError(t, Send(here, bad), errAny, "pass files on: ")
	}
	closedFile := null()
	closedFile.Close()
	wantError(t, Send(here, []Handle{{Kind: HandleGroup, File: closedFile}}), fs.ErrClosed)
	there.Close()
	_, err := Receive(here)
	wantError(t, err, errAny, "take files over: ")
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func FuzzParseMessage(f *testing.F) {
	f.Add([]byte(`{"handles":[{"kind":"container","group":null},{"kind":"device","group":7,"device":"0000:02:00.0","ioas":4294967295}]}`), 2)
	f.Add([]byte(`{"handles":[{"kind":"group","group":-1}]}`), 1)
	f.Add([]byte(`[]`), 0)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		if n < 0 || n > maxHandles {
			return
		}
		all, err := parseMessage(b, make([]*os.File, n))
		if err == nil && len(all) != n || err != nil && len(err.Error()) > 400 {
			t.Errorf("%v, %v", all, err)
		}
	})
}
