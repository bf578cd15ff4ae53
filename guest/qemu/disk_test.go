package qemu

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/internal/hosttest"
)

func TestBadDisks(t *testing.T) {
	dir := t.TempDir()
	missing, fifo, empty := filepath.Join(dir, "missing"), filepath.Join(dir, "fifo"), filepath.Join(dir, "empty")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	disk := bootDisk(t, printText, "x")
	link := filepath.Join(dir, "link")
	if err := os.Symlink(disk, link); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		disks []guest.Disk
		is    error
		want  string
	}{
		{"missing", []guest.Disk{{File: missing}}, fs.ErrNotExist, missing},
		{"directory", []guest.Disk{{File: dir}}, syscall.EISDIR, dir},
		{"directory read-only", []guest.Disk{{File: dir, ReadOnly: true}}, nil, "neither a file nor a block device"},
		{"fifo", []guest.Disk{{File: fifo}}, nil, "neither a file nor a block device"},
		{"character device", []guest.Disk{{File: "/dev/null"}}, nil, "neither a file nor a block device"},
		{"empty", []guest.Disk{{File: empty}}, nil, "is empty"},
		{"not qcow2", []guest.Disk{{File: disk, Format: guest.Qcow2}}, nil, "not a qcow2 image"},
		{"one file by two names", []guest.Disk{{File: disk}, {File: link}}, nil, "the same file as disk 1"},
		{"two of them", []guest.Disk{{File: missing}, {File: empty}}, fs.ErrNotExist, "disk 2: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := guestOf()
			g.Disks = tt.disks
			_, err := Start(t.Context(), g, Options{Binary: "/nonexistent", Accelerator: TCG})
			var op *OpError
			if !errors.As(err, &op) || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestNoPermission(t *testing.T) {
	name := bootDisk(t, printText, "x")
	if err := os.Chmod(name, 0); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		// Root may read every file; a thread whose file system identity is another may not.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := unix.Setfsuid(65534); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Setfsuid(0) }()
	}
	_, err := Start(t.Context(), guestOf(name), Options{Binary: "/nonexistent", Accelerator: TCG})
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), name) {
		t.Errorf("%v", err)
	}
}

func qcow2Header(change func(h []byte)) []byte {
	h := make([]byte, 112)
	copy(h, "QFI\xfb")
	binary.BigEndian.PutUint32(h[4:], 3)
	binary.BigEndian.PutUint32(h[20:], 16)
	binary.BigEndian.PutUint64(h[24:], 1<<20)
	binary.BigEndian.PutUint32(h[100:], 104)
	change(h)
	return h
}

func TestQcow2Boots(t *testing.T) {
	needQEMU(t)
	img, err := exec.LookPath("qemu-img")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		hosttest.Missing(t, "qemu-img is not installed; install the package qemu-utils")
	}
	name := filepath.Join(t.TempDir(), "disk.qcow2")
	raw := bootDisk(t, printText, "from qcow2")
	if out, err := exec.Command(img, "convert", "-f", "raw", "-O", "qcow2", raw, name).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out := newConsole()
	g := guestOf()
	g.Disks = []guest.Disk{{File: name, Format: guest.Qcow2}}
	startTest(t, g, Options{Serial: out})
	out.waitFor(t, "from qcow2")
}

// TestRawStaysRaw shows that a raw disk whose guest wrote a qcow2 header with a
// backing file onto it is still a raw disk at the next start.
func TestRawStaysRaw(t *testing.T) {
	vm := startTest(t, guestOf(func() string {
		name := bootDisk(t, printText, "x")
		h := qcow2Header(func(h []byte) { binary.BigEndian.PutUint64(h[8:], 104) })
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt(h, 0); err != nil {
			t.Fatal(err)
		}
		return name
	}()), Options{})
	var nodes []struct {
		Name   string `json:"node-name"`
		Driver string `json:"drv"`
	}
	if err := vm.QMP().Call(t.Context(), "query-named-block-nodes", map[string]bool{"flat": true}, &nodes); err != nil {
		t.Fatal(err)
	}
	if len(nodes) != 2 {
		t.Errorf("nodes %+v", nodes)
	}
	for _, n := range nodes {
		if n.Driver != "raw" && n.Driver != "file" {
			t.Errorf("node %+v", n)
		}
	}
}

func TestDiskInUse(t *testing.T) {
	name := bootDisk(t, printText, "x")
	startTest(t, guestOf(name), Options{})
	_, err := Start(t.Context(), guestOf(name), Options{Accelerator: TCG})
	if err == nil || !strings.Contains(err.Error(), "lock") || !strings.Contains(err.Error(), name) {
		t.Errorf("%v, want one that names %s and its lock", err, name)
	}
}

// TestSendFile gives a running QEMU a disk that it has no right to open.
func TestSendFile(t *testing.T) {
	vm := startTest(t, guestOf(), Options{})
	f, err := os.OpenFile(bootDisk(t, printText, "x"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := vm.QMP().SendFile(t.Context(), f, 100); err != nil {
		t.Fatal(err)
	}
	args := map[string]any{"driver": "file", "node-name": "late", "filename": "/dev/fdset/100", "locking": "on"}
	if err := vm.QMP().Call(t.Context(), "blockdev-add", args, nil); err != nil {
		t.Error(err)
	}
	args["node-name"], args["filename"] = "own", f.Name()
	if err := vm.QMP().Call(t.Context(), "blockdev-add", args, nil); os.Geteuid() == 0 && err == nil {
		t.Error("QEMU opened a file of root by itself")
	}
}
