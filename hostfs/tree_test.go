package hostfs_test

import (
	"errors"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/project-independence/indy/hostfs"
)

func TestTree(t *testing.T) {
	var tr hostfs.Tree
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(tr.Put("sys/devices/pci0000:00/0000:00:02.0/vendor", []byte("0x8086\n")))
	must(tr.Symlink("../../../devices/pci0000:00/0000:00:02.0", "sys/bus/pci/devices/0000:00:02.0"))
	must(tr.Symlink("/sys/devices", "abs"))
	must(tr.Symlink("../../../../../sys/devices", "sys/out"))
	must(tr.Symlink("loop", "loop"))
	must(tr.Mkdir("sys/empty"))
	for _, name := range []string{
		"sys/bus/pci/devices/0000:00:02.0/vendor", "abs/pci0000:00/0000:00:02.0/vendor", "sys/out/pci0000:00/0000:00:02.0/vendor",
	} {
		if s, err := hostfs.ReadString(&tr, name); err != nil || s != "0x8086" {
			t.Errorf("%s: %q, %v", name, s, err)
		}
	}
	must(tr.WriteFile("sys/bus/pci/devices/0000:00:02.0/vendor", []byte("0x1002\n")))
	if s, _ := hostfs.ReadString(&tr, "sys/devices/pci0000:00/0000:00:02.0/vendor"); s != "0x1002" {
		t.Errorf("a write through a link did not reach the file: %q", s)
	}
	if err := tr.WriteFile("sys/devices/new", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("WriteFile created a file: %v", err)
	}
	if _, err := tr.ReadFile("loop"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("loop: %v", err)
	}
	if _, err := tr.ReadFile("../etc/passwd"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a name with ..: %v", err)
	}
	if got, err := hostfs.ReadLinkBase(&tr, "sys/bus/pci/devices/0000:00:02.0"); err != nil || got != "0000:00:02.0" {
		t.Errorf("ReadLinkBase: %q, %v", got, err)
	}
	c := tr.Clone()
	must(c.Remove("sys/devices"))
	if _, err := tr.Stat("sys/devices"); err != nil {
		t.Errorf("removing from a clone changed the tree: %v", err)
	}
	if _, err := c.Stat("abs"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("dangling link: %v", err)
	}
	must(tr.Remove("loop"))
	if err := fstest.TestFS(&tr, "sys/devices/pci0000:00/0000:00:02.0/vendor", "sys/empty"); err != nil {
		t.Error(err)
	}
}
