package qemu

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/pci"
)

func TestROMs(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	data := []byte("\x55\xaa\x01 an option ROM")
	good := write("good.rom", data)
	sum := guest.Digest(sha256.Sum256(data))
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	large := write("large.rom", nil)
	if err := os.Truncate(large, maxROM+1); err != nil {
		t.Fatal(err)
	}
	nic := pci.NewAddress(0, 1, 0, 0)
	open := func(file string, d guest.Digest) (*inheritance, error) {
		h := &inheritance{rights: own{}}
		t.Cleanup(h.close)
		fds, err := openROMs(h, guest.Guest{Name: "a", Devices: []pci.Address{nic}, ROMs: []guest.ROM{{Device: nic, File: file, SHA256: d}}})
		if err == nil && !slices.Equal(fds, []int{3}) || err != nil && (len(fds) > 0 || len(h.files) > 0) {
			t.Errorf("%s: descriptors %v with the error %v", file, fds, err)
		}
		return h, err
	}

	h, err := open(good, sum)
	if err != nil {
		t.Fatal(err)
	}
	// Whoever has the file may do with it what they want: QEMU gets what was compared.
	write("good.rom", []byte("something else, which is longer than it was"))
	if got, err := os.ReadFile(procFD(h.files[0])); err != nil || !bytes.Equal(got, data) {
		t.Errorf("QEMU would read %q, %v", got, err)
	}
	if _, err := h.files[0].WriteAt([]byte("x"), 0); !errors.Is(err, syscall.EPERM) {
		t.Errorf("written: %v", err)
	}
	if err := h.files[0].Truncate(1); !errors.Is(err, syscall.EPERM) {
		t.Errorf("shortened: %v", err)
	}
	if st, err := h.files[0].Stat(); err != nil || st.Mode().Perm() != 0o444 {
		t.Errorf("mode %v, %v: QEMU runs as somebody else", st.Mode(), err)
	}

	var wrong *ROMError
	_, err = open(good, sum)
	if !errors.As(err, &wrong) || wrong.Want != sum || wrong.Got == sum || wrong.Device != nic ||
		!strings.Contains(err.Error(), sum.String()) || !strings.Contains(err.Error(), wrong.Got.String()) {
		t.Errorf("other content: %v", err)
	}
	for file, want := range map[string]string{
		write("empty.rom", nil): "is empty", fifo: "is no file", dir: "is no file", large: "more than",
	} {
		if _, err := open(file, sum); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", file, err)
		}
	}
	if _, err := open(filepath.Join(dir, "none"), sum); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such file: %v", err)
	}
}

func procFD(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// A device has no option ROM unless a file is named for it; the function's own is never
// used.
func TestArgsROM(t *testing.T) {
	nic, disk := address(t, "0000:01:00.0"), address(t, "0000:02:00.0")
	g := guest.Guest{Name: "a", Memory: 1 << 30, Devices: []pci.Address{nic, disk}, ROMs: []guest.ROM{{Device: disk, File: "x", SHA256: guest.Digest{1}}}}
	l := Layout{Accelerator: TCG, QMP: 3, Serial: 4, ROMs: []int{5}}
	args, err := Args(g, l)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`{"bootindex":1,"bus":"port0","driver":"vfio-pci","host":"0000:01:00.0","id":"device0","rombar":0}`,
		`{"bootindex":2,"bus":"port1","driver":"vfio-pci","host":"0000:02:00.0","id":"device1","rombar":1,"romfile":"/proc/self/fd/5"}`,
	} {
		if !slices.Contains(args, want) {
			t.Errorf("no %s in %q", want, args)
		}
	}
	l.ROMs = nil
	if _, err := Args(g, l); err == nil || !strings.Contains(err.Error(), "ROMs") {
		t.Errorf("without its descriptor: %v", err)
	}
	l.ROMs = []int{4}
	if _, err := Args(g, l); err == nil {
		t.Error("with a descriptor that is another's")
	}
}

// Check finds a wrong ROM before any device is taken for the guest.
func TestCheckROM(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a.rom")
	if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	nic := address(t, "0000:01:00.0")
	g := guest.Guest{Name: "a", Memory: 1 << 30, Devices: []pci.Address{nic}, ROMs: []guest.ROM{{Device: nic, File: name, SHA256: guest.Digest{1}}}}
	var wrong *ROMError
	if err := Check(g, Options{}); !errors.As(err, &wrong) {
		t.Errorf("%v", err)
	}
	g.ROMs[0].SHA256 = guest.Digest(sha256.Sum256([]byte("x")))
	if err := Check(g, Options{}); err != nil {
		t.Error(err)
	}
}
