package pci_test

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

const devices = "sys/bus/pci/devices/"

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
func link(to string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
}

func uevent(driver, class, id, subsys string) *fstest.MapFile {
	s := ""
	if driver != "" {
		s = "DRIVER=" + driver + "\n"
	}
	return file(s + "PCI_CLASS=" + class + "\nPCI_ID=" + id + "\nPCI_SUBSYS_ID=" + subsys + "\nPCI_SLOT_NAME=x\n")
}

func machine() fstest.MapFS {
	return fstest.MapFS{
		devices + "0000:00:02.0/uevent":                uevent("i915", "30000", "8086:46A6", "17AA:22E7"),
		devices + "0000:00:02.0/boot_vga":              file("1\n"),
		devices + "0000:00:02.0/iommu_group":           link("../../../../kernel/iommu_groups/0"),
		devices + "0000:00:02.0/driver":                link("../../../../bus/pci/drivers/i915"),
		devices + "0000:00:02.0/driver_override":       file("(null)\n"),
		devices + "0000:00:02.0/reset_method":          file("flr pm\n"),
		devices + "10000:e0:06.0/uevent":               uevent("", "60400", "8086:464D", "0000:0000"),
		devices + "10000:e0:06.0/secondary_bus_number": file("225\n"),
		// without uevent: a modalias, and single attributes
		devices + "0000:03:00.0/modalias":    file("pci:v0000144Dd0000A80Asv0000144Dsd0000A801bc01sc08i02\n"),
		devices + "0000:03:00.0/iommu_group": link("../../../kernel/iommu_groups/31"),
		devices + "0000:04:00.0/vendor":      file("0x10de\n"),
		devices + "0000:04:00.0/device":      file("0x1f91\n"),
		devices + "0000:04:00.0/class":       file("0x030200\n"),
		devices + "0000:04:00.0/driver":      link("../../bus/pci/drivers/nouveau"),
		// virtual functions
		devices + "0000:05:00.0/uevent":       uevent("igb", "20000", "8086:10C9", "8086:0000"),
		devices + "0000:05:00.0/sriov_numvfs": file("2\n"),
		devices + "0000:05:00.0/virtfn0":      link("../0000:05:10.0"),
		devices + "0000:05:00.0/virtfn1":      link("../0000:05:10.2"),
		devices + "0000:05:10.0/uevent":       uevent("", "20000", "8086:10CA", "8086:0000"),
		devices + "0000:05:10.0/physfn":       link("../0000:05:00.0"),
	}
}

func TestFunctions(t *testing.T) {
	functions, err := pci.Functions(machine())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range functions {
		got = append(got, fmt.Sprintf("%s %s %s:%s %s:%s %q %s", f.Address, f.Class, f.Vendor, f.Device, f.SubsystemVendor, f.SubsystemDevice, f.Driver, f.Group))
	}
	want := []string{
		`0000:00:02.0 030000 8086:46a6 17aa:22e7 "i915" 0`,
		`0000:03:00.0 010802 144d:a80a 144d:a801 "" 31`,
		`0000:04:00.0 030200 10de:1f91 ????:???? "nouveau" none`,
		`0000:05:00.0 020000 8086:10c9 8086:0000 "igb" none`,
		`0000:05:10.0 020000 8086:10ca 8086:0000 "" none`,
		`10000:e0:06.0 060400 8086:464d 0000:0000 "" none`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// One broken function hides no other, and what is known of it is kept.
func TestFunctionsPartly(t *testing.T) {
	m := machine()
	m[devices+"0000:04:00.0/class"] = file("rubbish\n")
	m[devices+"0000:03:00.0/iommu_group"] = link("../kernel/iommu_groups/many")
	m[devices+"not-an-address/uevent"] = file("")
	m[devices+"00:02.0/uevent"] = uevent("i915", "30000", "8086:46A6", "17AA:22E7")
	m[devices+"0000:00:02.0/boot_vga"] = file("maybe\n")
	functions, err := pci.Functions(m)
	if len(functions) != 6 {
		t.Errorf("%d functions, want 6", len(functions))
	}
	for _, want := range []string{"0000:04:00.0: class", "0000:03:00.0: IOMMU group", "not-an-address", `"00:02.0" is not how the kernel writes 0000:00:02.0`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v lacks %q", err, want)
		}
	}
	for _, f := range functions {
		if f.Address.String() == "0000:04:00.0" && (f.Class.Known() || f.Vendor.String() != "10de") {
			t.Errorf("kept of the broken function: %+v", f)
		}
	}
	var op *pci.OpError
	if !errors.As(err, &op) {
		t.Errorf("%T is no *OpError", err)
	}
	if yes, err := pci.BootVGA(m, pci.NewAddress(0, 0, 2, 0)); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("boot_vga that is neither 0 nor 1: %v, %v", yes, err)
	}
}

// vanishing fails every read below one function with the kernel's errno, as when
// it is unplugged after the directory was listed.
type vanishing struct {
	fstest.MapFS
	prefix string
	errno  error
}

func (v vanishing) Open(name string) (fs.File, error) {
	if strings.HasPrefix(name, v.prefix) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: v.errno}
	}
	return v.MapFS.Open(name)
}
func (v vanishing) ReadFile(name string) ([]byte, error) {
	if f, err := v.Open(name); err != nil {
		return nil, err
	} else {
		f.Close()
	}
	return v.MapFS.ReadFile(name)
}
func (v vanishing) ReadLink(name string) (string, error) {
	if strings.HasPrefix(name, v.prefix) {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: v.errno}
	}
	return v.MapFS.ReadLink(name)
}
func (v vanishing) Lstat(name string) (fs.FileInfo, error) {
	if strings.HasPrefix(name, v.prefix) {
		return nil, &fs.PathError{Op: "lstat", Path: name, Err: v.errno}
	}
	return v.MapFS.Lstat(name)
}

func TestFunctionVanishes(t *testing.T) {
	functions, err := pci.Functions(vanishing{machine(), devices + "0000:03:00.0", syscall.ENOENT})
	if len(functions) != 5 {
		t.Errorf("%d functions, want the 5 that are left", len(functions))
	}
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "0000:03:00.0") {
		t.Errorf("error: %v", err)
	}
	functions, err = pci.Functions(vanishing{machine(), devices + "0000:03:00.0", syscall.EIO})
	if len(functions) != 6 || !errors.Is(err, syscall.EIO) {
		t.Errorf("a function that cannot be read: %d functions, %v", len(functions), err)
	}
}

func TestNoBus(t *testing.T) {
	if functions, err := pci.Functions(fstest.MapFS{}); len(functions) != 0 || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v, %v", functions, err)
	}
}

func TestAttributes(t *testing.T) {
	m := machine()
	gpu, vmd := pci.NewAddress(0, 0, 2, 0), pci.NewAddress(0x10000, 0xe0, 6, 0)
	if s, err := pci.DriverOverride(m, gpu); s != "" || err != nil {
		t.Errorf("override: %q, %v", s, err)
	}
	if s, err := pci.Driver(m, gpu); s != "i915" || err != nil {
		t.Errorf("driver: %q, %v", s, err)
	}
	if s, err := pci.Driver(m, vmd); s != "" || err != nil {
		t.Errorf("no driver: %q, %v", s, err)
	}
	if _, err := pci.Driver(m, pci.NewAddress(0, 9, 9, 0)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("driver of nothing: %v", err)
	}
	if r, err := pci.ResetMethods(m, gpu); !slices.Equal(r, []string{"flr", "pm"}) || err != nil {
		t.Errorf("reset methods: %v, %v", r, err)
	}
	if _, err := pci.ResetMethods(m, vmd); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reset methods nobody states: %v", err)
	}
	if yes, err := pci.BootVGA(m, gpu); !yes || err != nil {
		t.Errorf("boot_vga: %v, %v", yes, err)
	}
	if _, err := pci.BootVGA(m, pci.NewAddress(0, 4, 0, 0)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("boot_vga of a 3D controller: %v", err)
	}
	if vfs, err := pci.VirtualFunctions(m, pci.NewAddress(0, 5, 0, 0)); len(vfs) != 2 || err != nil {
		t.Errorf("virtual functions: %v, %v", vfs, err)
	}
	if pf, err := pci.PhysicalFunction(m, pci.NewAddress(0, 5, 0x10, 0)); pf != pci.NewAddress(0, 5, 0, 0) || err != nil {
		t.Errorf("physical function: %v, %v", pf, err)
	}
	functions, _ := pci.Functions(m)
	for _, f := range functions {
		if want := f.Address == vmd; pci.Forwards(m, f) != want || f.IsBridge() != want {
			t.Errorf("%s forwards: %v", f.Address, !want)
		}
	}
	// A bridge's header with a class of its own, and a GPU switch that is an endpoint.
	odd := pci.Function{Address: vmd, Class: pci.NewClass(0x088000)}
	if !pci.Forwards(m, odd) {
		t.Error("secondary_bus_number makes a bridge whatever the class")
	}
	if (pci.Function{Class: pci.NewClass(0x068000)}).IsBridge() {
		t.Error("class 0680 is an endpoint")
	}
}

func TestInPath(t *testing.T) {
	got := pci.InPath("../../devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0/nvme/nvme0/nvme0n1")
	want := []pci.Address{pci.NewAddress(0, 0, 0xe, 0), pci.NewAddress(0x10000, 0xe0, 6, 0), pci.NewAddress(0x10000, 0xe1, 0, 0)}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := pci.InPath("../devices/virtual/block/dm-0"); len(got) != 0 {
		t.Errorf("virtual: %v", got)
	}
}

// The saved machines state facts in plain files; a plain reading of each must agree.
func TestSavedMachines(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d saved machines, %v", len(files), err)
	}
	for _, name := range files {
		m, err := hostfs.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		functions, err := pci.Functions(m)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		entries, _ := m.ReadDir("sys/bus/pci/devices")
		if len(functions) != len(entries) || len(entries) == 0 {
			t.Errorf("%s: %d functions of %d", name, len(functions), len(entries))
		}
		for _, f := range functions {
			for attribute, got := range map[string]string{
				"class": f.Class.String(), "vendor": f.Vendor.String(), "device": f.Device.String(),
				"subsystem_vendor": f.SubsystemVendor.String(), "subsystem_device": f.SubsystemDevice.String(),
			} {
				if want, err := hostfs.ReadString(m, devices+f.Address.String()+"/"+attribute); err == nil && want != "0x"+got {
					t.Errorf("%s: %s %s is %s, want %s", name, f.Address, attribute, got, want)
				}
			}
			above, err := pci.Bridges(m, f.Address)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			for _, b := range above {
				if i := slices.IndexFunc(functions, func(f pci.Function) bool { return f.Address == b }); i < 0 || !functions[i].IsBridge() {
					t.Errorf("%s: %s sits behind %s, which is no bridge", name, f.Address, b)
				}
			}
		}
	}
}

// inLab returns the files of that name on the emulated laptop, as its kernel wrote them.
func inLab(t testing.TB, pattern string) []string {
	m, err := hostfs.Open(filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-intel.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	names, err := fs.Glob(m, pattern)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v, %v", pattern, names, err)
	}
	var texts []string
	for _, name := range names {
		data, err := fs.ReadFile(m, name)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(data))
	}
	return texts
}

func FuzzUevent(f *testing.F) {
	f.Add("DRIVER=nvme\nPCI_CLASS=10802\nPCI_ID=144D:A80A\nPCI_SUBSYS_ID=144D:A801\n", "pci:v0000144Dd0000A80Asv0000144Dsd0000A801bc01sc08i02\n")
	f.Add("PCI_ID=\nPCI_CLASS==\n", "pci:")
	for _, uevent := range inLab(f, "sys/devices/pci*/*/uevent") {
		f.Add(uevent, "")
	}
	for _, modalias := range inLab(f, "sys/devices/pci*/*/modalias") {
		f.Add("", modalias)
	}
	f.Fuzz(func(t *testing.T, uevent, modalias string) {
		m := fstest.MapFS{devices + "0000:00:02.0/uevent": file(uevent), devices + "0000:00:02.0/modalias": file(modalias)}
		functions, _ := pci.Functions(m)
		if len(functions) != 1 {
			t.Fatalf("%d functions", len(functions))
		}
	})
}

func BenchmarkFunctions(b *testing.B) {
	m := new(hostfs.Tree)
	for i := range 120 {
		a := pci.NewAddress(0, uint8(i/8), uint8(i%8), 0).String()
		if err := errors.Join(
			m.Put(devices+a+"/uevent", []byte("DRIVER=nvme\nPCI_CLASS=10802\nPCI_ID=144D:A80A\nPCI_SUBSYS_ID=144D:A801\n")),
			m.Symlink("../../../../kernel/iommu_groups/7", devices+a+"/iommu_group")); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := pci.Functions(m); err != nil {
			b.Fatal(err)
		}
	}
}
