package ids

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/project-independence/indy/pci"
)

// disk is a host that opens files.
type disk struct {
	fstest.MapFS
	dir string
}

func (d disk) OpenFile(name string) (*os.File, error) { return os.Open(filepath.Join(d.dir, name)) }

// TestPages asks the real lists, read page by page, for every vendor and device that
// they have, and for some that they have not.
func TestPages(t *testing.T) {
	for _, name := range []string{"pci.ids", "usb.ids"} {
		t.Run(name, func(t *testing.T) {
			data := readReal(t, name)
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
			whole := New(data)
			f := Open(disk{dir: dir}, name)
			for v := 0; v <= 0xffff; v += 7 {
				vendor := pci.NewID(uint16(v))
				want, wantOK := whole.Vendor(vendor)
				if got, ok := f.Vendor(vendor); got != want || ok != wantOK {
					t.Fatalf("vendor %s: %q, %v; whole file: %q, %v", vendor, got, ok, want, wantOK)
				}
			}
			if f.list.pages == nil {
				t.Fatal("the file was read whole")
			}
			fresh := Open(disk{dir: dir}, name)
			for _, q := range append(notebook, newer...) {
				v, d := pci.NewID(q[0]), pci.NewID(q[1])
				want, wantOK := whole.Device(v, d)
				if got, ok := fresh.Device(v, d); got != want || ok != wantOK {
					t.Errorf("%s:%s: %q, %v; whole file: %q, %v", v, d, got, ok, want, wantOK)
				}
			}
		})
	}
}

// TestPagesReadLittle: the names of one vendor's device take a part of the file.
func TestPagesReadLittle(t *testing.T) {
	data := readReal(t, "pci.ids")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pci.ids"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	f := Open(disk{dir: dir}, "pci.ids")
	if _, ok := f.Device(pci.NewID(0x8086), pci.NewID(0x1229)); !ok {
		t.Fatal("no name for 8086:1229")
	}
	read := 0
	for _, have := range f.list.pages.have {
		if have {
			read++
		}
	}
	if all := len(f.list.pages.have); read == 0 || read > all/2 {
		t.Errorf("read %d of %d pages", read, all)
	}
}

// TestPagesFail: a file that cannot be read names nothing, and nothing panics.
func TestPagesFail(t *testing.T) {
	data := readReal(t, "pci.ids")
	f := New(nil)
	f.list = list{data: make([]byte, len(data)), pages: &pages{failing{}, make([]bool, (len(data)+pageSize-1)/pageSize)}}
	if name, ok := f.Device(pci.NewID(0x8086), pci.NewID(0x1229)); ok {
		t.Errorf("name %q out of nowhere", name)
	}
}

type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, errors.New("input/output error") }
