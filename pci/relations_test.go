package pci_test

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

// A notebook: a graphics card with four functions, of which the kernel ties three to
// the first; a chipset; an integrated GPU that the chipset's audio controller needs;
// a network card with virtual functions.
func notebook(t testing.TB) *hostfs.Tree {
	t.Helper()
	root, card, nic := "pci0000:00/", "pci0000:00/0000:00:01.0/", "pci0000:00/0000:00:1c.0/"
	m := plug(t, root+"0000:00:01.0", root+"0000:00:02.0", root+"0000:00:1f.0", root+"0000:00:1f.3", root+"0000:00:1f.4", root+"0000:00:1c.0",
		card+"0000:01:00.0", card+"0000:01:00.1", card+"0000:01:00.2", card+"0000:01:00.3",
		nic+"0000:02:00.0", nic+"0000:02:00.1", nic+"0000:02:00.2")
	for dir, class := range map[string]string{
		root + "0000:00:01.0": "60400", root + "0000:00:02.0": "30000", root + "0000:00:1f.0": "60100", root + "0000:00:1f.3": "40380",
		root + "0000:00:1f.4": "C0500", root + "0000:00:1c.0": "60400", card + "0000:01:00.0": "30000", card + "0000:01:00.1": "40300",
		card + "0000:01:00.2": "C0330", card + "0000:01:00.3": "C8000", nic + "0000:02:00.0": "20000", nic + "0000:02:00.1": "20000", nic + "0000:02:00.2": "20000",
	} {
		if err := m.Put("sys/devices/"+dir+"/uevent", []byte("PCI_CLASS="+class+"\nPCI_ID=10DE:1F91\nPCI_SUBSYS_ID=1028:097D\n")); err != nil {
			t.Fatal(err)
		}
	}
	tie := func(supplier, consumer string) {
		s, c := supplier[strings.LastIndexByte(supplier, '/')+1:], consumer[strings.LastIndexByte(consumer, '/')+1:]
		link := "../../../virtual/devlink/pci:" + s + "--pci:" + c
		if err := errors.Join(m.Symlink(link, "sys/devices/"+supplier+"/consumer:pci:"+c), m.Symlink(link, "sys/devices/"+consumer+"/supplier:pci:"+s)); err != nil {
			t.Fatal(err)
		}
	}
	tie(card+"0000:01:00.0", card+"0000:01:00.1")
	tie(card+"0000:01:00.0", card+"0000:01:00.2")
	tie(card+"0000:01:00.0", card+"0000:01:00.3")
	tie(root+"0000:00:02.0", root+"0000:00:1f.3")
	tie(root+"0000:00:1f.4", root+"0000:00:01.0") // a bridge
	for name, target := range map[string]string{
		card + "0000:01:00.0/supplier:platform:LNXVIDEO:00": "../x", card + "0000:01:00.0/consumer:backlight:acpi_video0": "../x",
		nic + "0000:02:00.0/virtfn0": "../0000:02:00.2", nic + "0000:02:00.2/physfn": "../0000:02:00.0",
	} {
		if err := m.Symlink(target, "sys/devices/"+name); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Put("sys/devices/"+nic+"0000:02:00.0/sriov_numvfs", []byte("1\n")); err != nil {
		t.Fatal(err)
	}
	return m
}

func companions(t *testing.T, fsys fs.FS, of string) string {
	t.Helper()
	functions, err := pci.Functions(fsys)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pci.ReadCompanions(fsys, address(t, of), functions)
	if err != nil {
		t.Errorf("%s: %v", of, err)
	}
	var s []string
	for _, c := range all {
		if !c.Function.Class.Known() {
			t.Errorf("%s: %+v is not what was listed", of, c)
		}
		s = append(s, fmt.Sprintf("%s %s", c.Function.Address, c.Why))
	}
	return strings.Join(s, ", ")
}

func TestCompanions(t *testing.T) {
	m := notebook(t)
	for of, want := range map[string]string{
		"0000:01:00.0": "0000:01:00.1 consumer, 0000:01:00.2 consumer, 0000:01:00.3 consumer",
		"0000:01:00.1": "0000:01:00.0 supplier, 0000:01:00.2 same-slot, 0000:01:00.3 same-slot",
		"0000:00:02.0": "0000:00:1f.3 consumer", // and not what shares 1f with it
		"0000:00:1f.3": "0000:00:02.0 supplier", // nor here
		"0000:00:1f.4": "",                      // a bridge needs it; bridges are nobody's companions
		"0000:00:01.0": "",
		"0000:02:00.0": "0000:02:00.1 same-slot", // not its virtual function
		"0000:02:00.1": "0000:02:00.0 same-slot", // nor another's
		"0000:02:00.2": "",
		"0000:09:00.0": "",
	} {
		if got := companions(t, m, of); got != want {
			t.Errorf("%s: %q, want %q", of, got, want)
		}
	}
	// The firmware hides the audio function, or a rule removed it: no error, one less.
	for _, name := range []string{devices + "0000:01:00.1", "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/consumer:pci:0000:01:00.1"} {
		if err := m.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := companions(t, m, "0000:01:00.0"), "0000:01:00.2 consumer, 0000:01:00.3 consumer"; got != want {
		t.Errorf("without audio: %q, want %q", got, want)
	}
	// Without any link the slot still tells.
	for _, fn := range []string{"2", "3"} {
		if err := m.Remove("sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/consumer:pci:0000:01:00." + fn); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := companions(t, m, "0000:01:00.0"), "0000:01:00.2 same-slot, 0000:01:00.3 same-slot"; got != want {
		t.Errorf("without links: %q, want %q", got, want)
	}
}

func TestReadRelations(t *testing.T) {
	m := notebook(t)
	r, err := pci.ReadRelations(m, address(t, "0000:01:00.0"))
	if err != nil || r.Integrated || len(r.Suppliers) != 0 ||
		!slices.Equal(r.Consumers, []pci.Address{address(t, "0000:01:00.1"), address(t, "0000:01:00.2"), address(t, "0000:01:00.3")}) {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := pci.ReadRelations(m, address(t, "0000:00:02.0")); err != nil || !r.Integrated {
		t.Errorf("%+v, %v", r, err)
	}
	// Who reads sriov_numvfs while an unbind hangs, hangs too.
	hangs := hosttest.Failing{Tree: m, Fail: func(name string) error {
		if strings.HasSuffix(name, "/sriov_numvfs") || strings.HasSuffix(name, "/driver_override") {
			return syscall.EDEADLK
		}
		return nil
	}}
	if r, err := pci.ReadRelations(hangs, address(t, "0000:02:00.0")); err != nil || !slices.Equal(r.Virtual, []pci.Address{address(t, "0000:02:00.2")}) {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := pci.ReadRelations(m, address(t, "0000:02:00.2")); err != nil || r.Physical != address(t, "0000:02:00.0") {
		t.Errorf("%+v, %v", r, err)
	}
	// As Linux 5.9 wrote them, and what is no address.
	dir := "sys/devices/pci0000:00/0000:00:1f.4/"
	for _, name := range []string{"supplier:0000:00:1f.0", "supplier:pci:nonsense", "consumer:pci:\x1b[2J", "supplier:i2c:5-0010", "consumer", "virtfn", "virtfn3", "virtfns"} {
		if err := m.Symlink("../x", dir+name); err != nil {
			t.Fatal(err)
		}
	}
	r, err = pci.ReadRelations(m, address(t, "0000:00:1f.4"))
	var op *pci.OpError
	if !errors.As(err, &op) || !strings.Contains(err.Error(), "supplier:pci:nonsense") || !strings.Contains(err.Error(), "read virtual functions of 0000:00:1f.4") || len(r.Virtual) != 0 || !slices.Equal(r.Suppliers, []pci.Address{address(t, "0000:00:1f.0")}) {
		t.Errorf("%+v, %v", r, err)
	}
	if strings.ContainsRune(fmt.Sprint(err), '\x1b') {
		t.Errorf("the name of a link is not quoted: %q", err)
	}
	if _, err := pci.ReadRelations(m, address(t, "0000:09:00.0")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
	gone := hosttest.Failing{Tree: m, Fail: func(name string) error {
		if strings.Contains(name, "0000:01:00.2") {
			return syscall.ENODEV
		}
		return nil
	}}
	functions, _ := pci.Functions(m)
	all, err := pci.ReadCompanions(gone, address(t, "0000:01:00.0"), functions)
	if len(all) != 3 || !errors.Is(err, syscall.ENODEV) {
		t.Errorf("one vanished: %v, %v", all, err)
	}
}

// FuzzRelations feeds names of links, of which any device or driver adds some.
func FuzzRelations(f *testing.F) {
	for _, name := range []string{"consumer:pci:0000:01:00.1", "supplier:0000:00:1f.0", "supplier:i2c:5-0010", "virtfn0", "virtfn99999999999999999999", "physfn", "consumer:pci:", ":"} {
		f.Add(name, "../0000:02:00.1")
	}
	f.Add("physfn", "../../../..")
	f.Fuzz(func(t *testing.T, name, target string) {
		m := notebook(t)
		a := address(t, "0000:01:00.0")
		if m.Symlink(target, "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/"+name) != nil {
			return // no name, or no target
		}
		r, err := pci.ReadRelations(m, a)
		if err != nil && len(err.Error()) > 16<<10 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
		for _, b := range append(append(r.Suppliers, r.Consumers...), r.Virtual...) {
			if !b.IsValid() {
				t.Errorf("%+v", r)
			}
		}
		functions, _ := pci.Functions(m)
		_, _ = pci.ReadCompanions(m, a, functions)
	})
}
