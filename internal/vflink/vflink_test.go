package vflink_test

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/vflink"
)

func tree(t *testing.T) *hostfs.Tree {
	t.Helper()
	m := new(hostfs.Tree)
	if err := m.Put("sys/bus/pci/devices/0000:05:00.0/vendor", []byte("0x8086\n")); err != nil {
		t.Fatal(err)
	}
	if err := m.Symlink("../../drivers/igb", "sys/bus/pci/devices/0000:05:00.0/driver"); err != nil {
		t.Fatal(err)
	}
	return m
}

// All that is no setting goes to the host below, unchanged.
func TestBelow(t *testing.T) {
	m := tree(t)
	h := vflink.Over(m, nil)
	const vendor = "sys/bus/pci/devices/0000:05:00.0/vendor"
	if err := h.WriteFile(vendor, []byte("0x1234\n")); err != nil {
		t.Fatal(err)
	}
	if b, err := fs.ReadFile(h, vendor); err != nil || string(b) != "0x1234\n" {
		t.Errorf("%q, %v", b, err)
	}
	if d, err := hostfs.ReadLinkBase(h, "sys/bus/pci/devices/0000:05:00.0/driver"); err != nil || d != "igb" {
		t.Errorf("%q, %v", d, err)
	}
	if list, err := fs.ReadDir(h, "sys/bus/pci/devices"); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	if st, err := fs.Lstat(h, "sys/bus/pci/devices/0000:05:00.0/driver"); err != nil || st.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("%v, %v", st, err)
	}
	if _, err := fs.Stat(h, "sys/bus/pci"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{
		"rtnetlink", "rtnetlink/0000:05:00.0/vf/0/nosuch", "rtnetlink/0000:05:00.0/vf/x/mac", "rtnetlink/5/vf/0/mac", "rtnetlink/0000:05:00.0/vf/70000/mac",
	} {
		if _, err := fs.ReadFile(h, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A function without a network interface has no settings; what is no value is refused
// before the kernel is asked.
func TestSettingErrors(t *testing.T) {
	h := vflink.Over(tree(t), nil)
	for _, c := range []struct {
		name, value string
		want        error
	}{
		{"mac", "02:00:00:00:00:01", fs.ErrNotExist},
		{"mac", "02:00:00:00:00", syscall.EINVAL},
		{"mac", "02:00:00:00:00:01:02:03", syscall.EINVAL},
		{"vlan", "4095", fs.ErrNotExist},
		{"vlan", "4096", syscall.EINVAL},
		{"spoofchk", "on\n", fs.ErrNotExist},
		{"spoofchk", "yes", syscall.EINVAL},
	} {
		name := "rtnetlink/0000:05:00.0/vf/0/" + c.name
		err := h.WriteFile(name, []byte(c.value))
		var pe *fs.PathError
		if !errors.Is(err, c.want) || !errors.As(err, &pe) || !strings.HasSuffix(pe.Path, "/"+c.name) && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s = %q: %v, want %v", c.name, c.value, err, c.want)
		}
		if _, err := h.ReadFile(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("read %s: %v", c.name, err)
		}
	}
}

// aside notes what it is asked for.
type aside struct{ asked []string }

func (*aside) Waits(string) bool { return false }

func (a *aside) ReadFile(name string) ([]byte, error) {
	a.asked = append(a.asked, "read "+name)
	return []byte("02:00:00:00:00:01\n"), nil
}

func (a *aside) WriteFile(name string, data []byte) error {
	a.asked = append(a.asked, "write "+name+" "+string(data))
	return syscall.EBUSY
}

// No request of rtnetlink is made by a process that has somebody else for it.
func TestAside(t *testing.T) {
	a := &aside{}
	m := tree(t)
	h := vflink.Over(m, a)
	const vendor, mac = "sys/bus/pci/devices/0000:05:00.0/vendor", "rtnetlink/0000:05:00.0/vf/1/mac"
	if data, err := h.ReadFile(mac); err != nil || string(data) != "02:00:00:00:00:01\n" {
		t.Errorf("%q, %v", data, err)
	}
	if err := h.WriteFile(mac, []byte("02:00:00:00:00:02")); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("%v", err)
	}
	if err := h.WriteFile(vendor, []byte("0x1234\n")); err != nil { // the host below has its own way
		t.Error(err)
	}
	want := []string{"read " + mac, "write " + mac + " 02:00:00:00:00:02"}
	if !slices.Equal(a.asked, want) {
		t.Errorf("asked for %q, want %q", a.asked, want)
	}
}
