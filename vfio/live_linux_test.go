package vfio_test

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/vfio"
)

// TestLive is for the inside of the emulated laptop: it takes devices from the
// host's drivers and gives them back.
func TestLive(t *testing.T) {
	if os.Getenv("INDY_LAB_INSIDE") != "1" {
		t.Skip("runs inside the emulated laptop only (INDY_LAB_INSIDE=1)")
	}
	if err := vfio.Available(); err != nil {
		t.Fatal(err)
	}
	before := openFiles(t)
	t.Run("NVMe", liveNVMe)
	t.Run("shared group", liveSharedGroup)
	t.Run("address space", liveSpaces)
	if after := openFiles(t); after != before {
		t.Errorf("%d VFIO files are open after the test, %d before", after, before)
	}
}

// openFiles counts the files of VFIO this process has open.
func openFiles(t *testing.T) (n int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if target, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.Contains(target, "vfio") {
			n++
		}
	}
	return n
}

func sysfs(address string) string { return "/sys/bus/pci/devices/" + address }

// write writes one value to a file that exists.
func write(t *testing.T, name, value string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteString(value)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// link returns the last element of a link, "" where there is none.
func link(name string) string {
	target, err := os.Readlink(name)
	if err != nil {
		return ""
	}
	return filepath.Base(target)
}

// rebind has driver take the device; "" is whatever the kernel chooses.
func rebind(t *testing.T, address, driver string) {
	t.Helper()
	dev := sysfs(address)
	write(t, dev+"/driver_override", driver+"\n")
	if _, err := os.Stat(dev + "/driver"); err == nil {
		write(t, dev+"/driver/unbind", address)
	}
	write(t, "/sys/bus/pci/drivers_probe", address)
}

// hand binds the device to vfio-pci until the test is over, and checks that its
// driver has it back then.
func hand(t *testing.T, address, driver string) {
	t.Helper()
	if got := link(sysfs(address) + "/driver"); got != driver {
		t.Fatalf("%s is bound to %q before the test, want %q", address, got, driver)
	}
	t.Cleanup(func() {
		rebind(t, address, "")
		if got := link(sysfs(address) + "/driver"); got != driver {
			t.Errorf("%s is bound to %q after the test, want %q", address, got, driver)
		}
	})
	rebind(t, address, "vfio-pci")
	if got := link(sysfs(address) + "/driver"); got != "vfio-pci" {
		t.Fatalf("%s is bound to %q, want vfio-pci", address, got)
	}
}

func group(t *testing.T, address string) pci.GroupID {
	t.Helper()
	id, err := pci.ParseGroupID(link(sysfs(address) + "/iommu_group"))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// openGroup waits for the node, which comes a little after the driver.
func openGroup(t *testing.T, id pci.GroupID) *vfio.Group {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		g, err := vfio.OpenGroup(id)
		if err == nil {
			t.Cleanup(func() {
				if err := g.Close(); err != nil {
					t.Error(err)
				}
			})
			return g
		}
		if !errors.Is(err, fs.ErrNotExist) || time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func wantStatus(t *testing.T, g *vfio.Group, want vfio.Status) {
	t.Helper()
	got, err := g.Status()
	if err != nil || got != want {
		t.Errorf("group %v: status %+v, %v; want %+v", g.ID(), got, err, want)
	}
}

func liveNVMe(t *testing.T) {
	const address = "0000:02:00.0"
	id := group(t, address)
	_, err := vfio.OpenGroup(id)
	if !errors.Is(err, fs.ErrNotExist) || errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("open before bind: %v, want one that is fs.ErrNotExist alone", err)
	}
	t.Log(err)
	hand(t, address, "nvme")
	g := openGroup(t, id)
	wantStatus(t, g, vfio.Status{Viable: true})
	_, err = vfio.OpenGroup(id)
	if !errors.Is(err, syscall.EBUSY) {
		t.Errorf("second opener: %v, want EBUSY", err)
	}
	t.Log(err)
	a, _ := pci.ParseAddress(address)
	if err := g.Attach(); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, g, vfio.Status{Viable: true, ContainerSet: true})
	_, err = g.OpenDevice(pci.NewAddress(0, 1, 0, 0))
	if !errors.Is(err, syscall.ENODEV) {
		t.Errorf("a device of another group: %v, want ENODEV", err)
	}
	t.Log(err)
	d, err := g.OpenDevice(a)
	if err != nil {
		t.Fatal(err)
	}
	info, err := d.Info()
	if err != nil || !info.PCI || !info.Reset || info.Regions < 9 || info.Interrupts < 5 {
		t.Errorf("info %+v, %v", info, err)
	}
	liveRegions(t, d)
	liveInterrupts(t, d)
	liveHotResetOf(t, d, []string{address})
	b := make([]byte, 4)
	if n, err := d.ReadConfig(b, 0); n != 4 || err != nil {
		t.Errorf("read config: %d, %v", n, err)
	}
	if got := binary.LittleEndian.Uint16(b); got != 0x1b36 {
		t.Errorf("vendor id %04x through VFIO, want 1b36", got)
	}
	if err := d.Reset(); err != nil {
		t.Error(err)
	}
	if _, err := d.ReadConfig(b, 0); err != nil || binary.LittleEndian.Uint16(b) != 0x1b36 {
		t.Errorf("config after the reset: % x, %v", b, err)
	}
	if err := errors.Join(d.Close(), d.Close(), g.Close(), g.Close()); err != nil {
		t.Error(err)
	}
	again := openGroup(t, id)
	wantStatus(t, again, vfio.Status{Viable: true})
}

func liveRegions(t *testing.T, d *vfio.Device) {
	regions, err := d.Regions()
	if err != nil {
		t.Error(err)
	}
	t.Logf("%+v", regions)
	found := map[string]vfio.Region{}
	for _, r := range regions {
		found[r.Name] = r
	}
	if r := found["BAR0"]; r.Size != 16<<10 || !r.Read || !r.Write || !r.Mmap {
		t.Errorf("BAR0 %+v, want 16 KiB to read, write and map", r)
	}
	if r := found["config"]; r.Size != 4096 || !r.Read || r.Mmap {
		t.Errorf("config %+v, want 4 KiB to read and not to map", r)
	}
	r, err := d.Region(0)
	if err != nil || r != found["BAR0"] {
		t.Errorf("region 0 asked alone: %+v, %v", r, err)
	}
	if _, err := d.Region(1000); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("region 1000: %v, want EINVAL", err)
	}
}

func liveInterrupts(t *testing.T, d *vfio.Device) {
	interrupts, err := d.Interrupts()
	if err != nil {
		t.Error(err)
	}
	t.Logf("%+v", interrupts)
	counts := map[string]uint32{}
	for _, i := range interrupts {
		counts[i.Name] = i.Count
	}
	if counts["intx"] != 1 || counts["msix"] < 2 || counts["req"] != 1 {
		t.Errorf("interrupts %v, want intx 1, some msix, req 1", counts)
	}
}

func liveHotReset(t *testing.T, g *vfio.Group, address string, want []string) {
	t.Helper()
	a, _ := pci.ParseAddress(address)
	d, err := g.OpenDevice(a)
	if err != nil {
		t.Fatal(err)
	}
	liveHotResetOf(t, d, want)
}

// liveHotResetOf holds what is read from links against what VFIO says.
func liveHotResetOf(t *testing.T, d *vfio.Device, want []string) {
	t.Helper()
	all, err := d.HotReset()
	if err != nil {
		t.Error(err)
		return
	}
	var kernels, names []string
	for _, a := range all {
		kernels = append(kernels, a.Address.String())
		if got := group(t, a.Address.String()); got != a.Group {
			t.Errorf("%v: group %v, is in %v", a.Address, a.Group, got)
		}
	}
	root := os.DirFS("/")
	functions, err := pci.Functions(root)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := pci.ReadBusReset(root, d.Address(), functions)
	if err != nil || !ours.Possible() {
		t.Errorf("%+v, %v", ours, err)
	}
	for _, a := range ours.Functions {
		names = append(names, a.String())
	}
	slices.Sort(kernels)
	t.Logf("a hot reset of %v affects %v", d.Address(), kernels)
	if !slices.Equal(kernels, want) || !slices.Equal(names, want) {
		t.Errorf("a hot reset of %v affects %v, and by its links %v; want %v", d.Address(), kernels, names, want)
	}
}

func liveSharedGroup(t *testing.T) {
	const nic, sound = "0000:04:01.0", "0000:04:02.0"
	id := group(t, nic)
	if other := group(t, sound); other != id {
		t.Fatalf("%s is in group %v, %s in %v", nic, id, sound, other)
	}
	hand(t, nic, link(sysfs(nic)+"/driver"))
	g := openGroup(t, id)
	wantStatus(t, g, vfio.Status{})
	err := g.Attach()
	if !errors.Is(err, vfio.ErrNotViable) {
		t.Errorf("attach: %v, want ErrNotViable", err)
	}
	t.Log(err)
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	hand(t, sound, "snd_hda_intel")
	g = openGroup(t, id)
	wantStatus(t, g, vfio.Status{Viable: true})
	if err := g.Attach(); err != nil {
		t.Error(err)
	}
	for _, s := range []string{nic, sound} {
		a, _ := pci.ParseAddress(s)
		d, err := g.OpenDevice(a)
		if err != nil {
			t.Error(err)
			continue
		}
		regions, err := d.Regions()
		if err != nil || len(regions) < 2 {
			t.Errorf("%s: %+v, %v", s, regions, err)
		}
	}
	liveHotReset(t, g, nic, []string{nic, sound})
	if err := g.Close(); err != nil { // and the devices left open
		t.Error(err)
	}
}
