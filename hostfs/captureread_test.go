package hostfs_test

import (
	"errors"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/audio"
	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/doctor"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/power"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/uevent"
	"github.com/project-independence/indy/usb"
)

// readAll asks every package for all that it can read of a machine. Whoever writes a
// function that reads another file adds it here.
func readAll(fsys fs.FS) {
	l, _ := laptop.Read(fsys)
	_, _ = laptop.ReadMachine(fsys)
	_, _ = laptop.ReadPlatform(fsys)
	_, _ = laptop.ReadIdentity(fsys)
	_, _ = laptop.Identify(fsys, l)
	_, _ = laptop.ReadPlaces(fsys, l)
	for _, k := range laptop.AssumptionKinds() {
		_, _ = laptop.WhatIf(fsys, l, []laptop.Assumption{{Kind: k, ACS: []string{"downstream"}, Device: "webcam", Port: "1-1"}}, laptop.WhatIfOptions{})
	}
	names := laptop.NewNames(fsys).Of(fsys)
	var all []*laptop.Device
	for i := range l.Devices {
		all = append(all, &l.Devices[i])
	}
	_, _ = laptop.Losses(fsys, l, all)
	for i := range l.Devices {
		_, _ = laptop.Facts(fsys, l, &l.Devices[i], laptop.FactOptions{})
		_, _ = laptop.Options(fsys, l, &l.Devices[i])
		_ = names.Name(&l.Devices[i])
		_, _ = laptop.Risks(fsys, l, []*laptop.Device{&l.Devices[i]})
		_, _, _ = laptop.Judge(fsys, l, &l.Devices[i])
	}
	_, _ = laptop.ReadAddressWidth(fsys)
	_, _ = power.ReadBattery(fsys)
	_, _ = power.ReadLid(fsys)
	_ = power.LidInputs(fsys)
	var request assign.Request
	for i := range l.Devices {
		switch d := &l.Devices[i]; {
		case d.USB != nil:
			request.USB = append(request.USB, d.USB.Path)
		case d.PCI != nil:
			request.Devices = append(request.Devices, d.PCI.Address)
			request.VFs = append(request.VFs, assign.VFRequest{Physical: d.PCI.Address, Count: 1})
			request.Mediated = append(request.Mediated, assign.MediatedRequest{Parent: d.PCI.Address.String()})
		}
	}
	_, _ = assign.ReadRequest(fsys, l, request)
	functions, _ := pci.Functions(fsys)
	var addresses []pci.Address
	for _, f := range functions {
		a := f.Address
		addresses = append(addresses, a)
		_, _ = pci.ReadFunction(fsys, a)
		_, _ = pci.DriverOverride(fsys, a)
		_, _ = pci.Driver(fsys, a)
		_, _ = pci.ResetMethods(fsys, a)
		_, _ = pci.BootVGA(fsys, a)
		_, _ = pci.Revision(fsys, a)
		_, _ = pci.RuntimeStatus(fsys, a)
		_, _ = pci.PowerState(fsys, a)
		_, _ = pci.PhysicalFunction(fsys, a)
		_, _ = pci.VirtualFunctions(fsys, a)
		_, _ = pci.Bridges(fsys, a)
		_ = pci.Forwards(fsys, f)
		_, _ = pci.RuntimeControl(fsys, a)
		_, _ = pci.Removable(fsys, a)
		_, _ = pci.D3coldAllowed(fsys, a)
		_, _ = pci.ReadConfig(fsys, a)
		_, _ = pci.Link(fsys, a)
		for bar := range 6 {
			_, _ = pci.ResizableSizes(fsys, a, bar)
		}
		_, _ = pci.ReadRelations(fsys, a)
		_, _ = pci.ReadCompanions(fsys, a, functions)
		_, _ = pci.Resources(fsys, a)
		_, _ = pci.ReadTopologyPath(fsys, a)
		_, _ = pci.ReadBusReset(fsys, a, functions)
		_, _ = pci.ReadVPD(fsys, a)
		_, _ = gpu.MediatedTypes(fsys, a)
		_, _ = gpu.ShadowROM(fsys, a)
	}
	for _, a := range addresses {
		_ = power.Forgets(fsys, a)
	}
	bound, _ := power.Devices(fsys, addresses)
	_ = power.Lost(fsys, bound)
	groups, _ := iommu.Groups(fsys, functions)
	for _, g := range groups {
		_, _ = iommu.Type(fsys, g.ID)
		_ = iommu.IsNoIOMMU(fsys, g.ID)
		_, _ = iommu.ReservedRegions(fsys, g.ID)
	}
	_, _ = iommu.ReadStatus(fsys, groups)
	_, _ = iommu.ReadTopology(fsys, functions, iommu.TopologyOptions{Wake: true})
	_, _ = iommu.ReadDMAR(fsys)
	_, _ = iommu.ReadIVRS(fsys)
	_, _ = iommu.ReadBuses(fsys)
	_, _ = iommu.ReadUnits(fsys)
	_, _ = iommu.ReadSettings(fsys)
	devices, _ := usb.Devices(fsys)
	for _, d := range devices {
		_, _ = usb.ReadDevice(fsys, d.Path)
		_, _ = usb.Speed(fsys, d.Path)
		_, _ = usb.ProductName(fsys, d.Path)
		_, _ = usb.ManufacturerName(fsys, d.Path)
		_, _ = usb.Serial(fsys, d.Path)
		_, _ = usb.Removable(fsys, d.Path)
		_, _ = usb.Authorized(fsys, d.Path)
		_, _ = usb.ReadBOS(fsys, d.Path)
		_, _ = usb.ReadDescriptors(fsys, d.Path)
		_, _ = usb.ReadPower(fsys, d.Path)
		_, _ = usb.Version(fsys, d.Path)
		_, _, _ = usb.Lanes(fsys, d.Path)
		_, _ = usb.Configurations(fsys, d.Path)
		_, _ = usb.ActiveConfiguration(fsys, d.Path)
		_, _ = usb.Quirks(fsys, d.Path)
		_, _ = usb.AuthorizedDefault(fsys, d.Path.Bus())
	}
	_, _ = usb.Hubs(fsys)
	_, _ = usb.Ports(fsys)
	cards, _ := audio.Cards(fsys)
	for _, c := range cards {
		_, _ = audio.Codecs(fsys, c)
		_, _ = audio.ReadDetail(fsys, c)
		_, _ = audio.Sinks(fsys, c)
		_, _ = audio.Streams(fsys, c)
		_, _ = audio.USBFormats(fsys, c)
	}
	displays, _ := gpu.Displays(fsys, functions)
	for _, d := range displays {
		for _, c := range d.Connectors {
			_, _ = gpu.ReadEDID(fsys, c)
			_, _ = gpu.Modes(fsys, c)
			_, _ = gpu.Enabled(fsys, c)
			_, _ = gpu.DPMS(fsys, c)
		}
		for _, node := range d.Nodes {
			if card, ok := strings.CutPrefix(node, "dev/dri/"); ok {
				_, _ = gpu.BootDisplay(fsys, card)
			}
		}
	}
	_, _ = gpu.ReadFramebuffer(fsys)
	_, _ = gpu.ReadFacts(fsys, functions)
	_, _ = gpu.MediatedParents(fsys)
	_, _ = gpu.ReadSwitcheroo(fsys)
	_, _ = assign.Read(fsys, l, addresses)
	_, _ = uevent.Seqnum(fsys)
	_ = doctor.Examine(fsys, l, doctor.Options{})
}

// asking is a machine that notes what is asked of it.
type asking struct {
	*hostfs.Tree
	files, links map[string]bool
}

func (a asking) ReadFile(name string) ([]byte, error) {
	a.files[name] = true
	return a.Tree.ReadFile(name)
}

func (a asking) ReadLink(name string) (string, error) {
	a.links[name] = true
	return a.Tree.ReadLink(name)
}

func (a asking) Stat(name string) (fs.FileInfo, error) {
	st, err := a.Tree.Stat(name)
	if err != nil || !st.IsDir() {
		a.files[name] = true
	}
	return st, err
}

// Files that readers ask for and a capture does not hold.
var notCaptured = []string{
	"proc/self/mounts", // in place of mountinfo, which is there here
	"proc/*/comm",      // a process, which means nothing later
	"proc/*/stat",
	"proc/*/fd/*", "proc/*/maps", "proc/[0-9]*/mountinfo", "proc/*/ns/*",
	"dev/disk/*", "dev/mapper/*", "dev/loop*", // links of udev's, which are names of disks
	"proc/sys/kernel/random/boot_id",            // of leases
	"sys/bus/pci/devices/*/rom",                 // is for a function of its own
	"etc/*", "usr/*", "lib/*", "var/*", "run/*", // lists of names, which are not of the machine
	"bin/*", "boot/*", "efi/*", // nor are programs and what starts the kernel
	"sys/bus/pci/drivers/vfio-pci", "sys/module/vfio", "sys/module/vfio_pci", "sys/module/vfio_iommu_type1", "sys/module/iommufd", // directories
	"dev/vfio/*",
}

// oneOfEach returns a machine with a device of every class and bus that is captured,
// each on an I2C device behind a PCI function.
func oneOfEach(t *testing.T) *hostfs.Tree {
	t.Helper()
	m := new(hostfs.Tree)
	const function = "sys/devices/pci0000:00/0000:00:1f.3"
	link := func(name, target string) {
		if err := m.Symlink("/"+target, name); err != nil {
			t.Fatal(err)
		}
	}
	put := func(name, text string) {
		if err := m.Put(name, []byte(text+"\n")); err != nil {
			t.Fatal(err)
		}
	}
	put(function+"/uevent", "PCI_CLASS=40300\nPCI_ID=8086:1234\nPCI_SUBSYS_ID=1234:5678")
	link("sys/bus/pci/devices/0000:00:1f.3", function)
	for class, name := range map[string]string{
		"class/net": "wlan0", "class/ieee80211": "phy0", "class/rfkill": "rfkill0", "class/bluetooth": "hci0", "class/wwan": "wwan0at0",
		"class/usbmisc": "lp0", "class/tty": "ttyUSB0", "class/video4linux": "video0", "bus/media/devices": "media0", "class/input": "input0",
		"class/hidraw": "hidraw0", "class/spidev": "spidev0.0", "class/nvme": "nvme0", "class/mmc_host": "mmc0", "class/tpm": "tpm0",
		"class/tpmrm": "tpmrm0", "class/mei": "mei0", "class/power_supply": "BAT0", "class/backlight": "panel0", "class/typec": "port0",
		"bus/iio/devices": "iio:device0", "bus/thunderbolt/devices": "0-1", "bus/firewire/devices": "fw0", "class/block": "mmcblk0",
		"class/sound": "card0", "class/mdev_bus": "0000:00:1f.3", "bus/serio/devices": "serio0",
	} {
		dir := function + "/i2c-1/i2c-ELAN0001:00/" + path.Base(strings.TrimSuffix(class, "/devices")) + "/" + name
		put(dir+"/uevent", "A=b")
		link("sys/"+class+"/"+name, dir)
		link(dir+"/device", path.Dir(path.Dir(dir)))
	}
	codec := function + "/i2c-1/i2c-ELAN0001:00/sound/card0/hwC0D0"
	put(codec+"/vendor_id", "0x10ec0257")
	link("sys/class/sound/hwC0D0", codec)
	put("proc/asound/card0/codec#0", "Codec: x")
	put("proc/asound/card0/pcm0p/sub0/status", "closed")
	put("proc/asound/card0/stream0", "x")
	link("sys/bus/hdaudio/devices/hdaudioC0D0", function+"/hdaudioC0D0")
	put(function+"/hdaudioC0D0/widgets/02/caps", "0x00400401")
	put(function+"/mdev_supported_types/i915-1/name", "x")
	return m
}

// TestCaptureHoldsWhatIsRead: whatever a package asks of a machine, a capture holds
// if it is there. So each file is put there that is asked for and missing, more than
// once, because what is in one file makes readers ask for others.
func TestCaptureHoldsWhatIsRead(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	snapshots, _ := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "sysfs", "ghw"), "*.tar.gz"))
	files = append(append(files, snapshots...), filepath.Join(hosttest.Root(t), "testdata/hosts/lab-intel.txtar"), "")
	missing := map[string]string{} // by what is asked for, with * for what differs
	asked := 0
	for _, file := range files {
		m := oneOfEach(t)
		if file != "" {
			s, err := hostfs.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			m = s.(*hostfs.Tree)
		}
		a := asking{m.Clone(), map[string]bool{}, map[string]bool{}}
		readAll(a)
		for name := range a.files {
			if strings.HasPrefix(name, "sys/class/block/") && !there(m, "sys/class/block") {
				continue // the class would hide sys/block, where the disks are
			}
			if _, err := a.Stat(name); errors.Is(err, fs.ErrNotExist) {
				_ = a.Put(name, []byte("1\n")) // not where another asks for a directory
			}
		}
		for name := range a.links {
			if _, err := a.Lstat(name); errors.Is(err, fs.ErrNotExist) {
				_ = a.Symlink("../x", name)
			}
		}
		readAll(a)
		c, _ := hostfs.Capture(a.Tree, hostfs.CaptureOptions{Raw: true, Wake: true, Config: true})
		if c == nil {
			t.Fatal(file)
		}
		asked += len(a.files) + len(a.links)
		for _, name := range slices.Concat(slices.Collect(maps.Keys(a.files)), slices.Collect(maps.Keys(a.links))) {
			_, err := a.Tree.Lstat(name)
			_, cerr := c.Lstat(name)
			if err == nil && cerr != nil && !slices.ContainsFunc(notCaptured, func(p string) bool { return matches(p, name) }) {
				missing[general(name)] = filepath.Base(file) + ": " + name
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		t.Errorf("asked for and not captured: %s (%s)", name, missing[name])
	}
	if asked < 10_000 {
		t.Errorf("only %d files were asked for", asked)
	}
}

func there(m *hostfs.Tree, name string) bool {
	_, err := m.Lstat(name)
	return err == nil
}

func matches(pattern, name string) bool {
	ok, _ := filepath.Match(pattern, name)
	prefix, below := strings.CutSuffix(pattern, "*")
	return ok || below && strings.HasSuffix(prefix, "/") && !strings.Contains(prefix, "*") && strings.HasPrefix(name, prefix)
}

// general puts * for the names of devices.
func general(name string) string {
	elems := strings.Split(name, "/")
	for i, e := range elems {
		if strings.ContainsAny(e, "0123456789") {
			elems[i] = "*"
		}
	}
	return strings.Join(elems, "/")
}

// What a device's link leads to is captured with the link.
func TestCaptureThroughLink(t *testing.T) {
	m := new(hostfs.Tree)
	const function = "sys/devices/pci0000:00/0000:00:1f.3"
	for name, text := range map[string]string{
		function + "/uevent": "PCI_CLASS=40300\n", "sys/devices/LNXSYSTM:00/device:01/path": "\\_SB_.PC00.HDAS\n",
	} {
		if err := m.Put(name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{
		"sys/bus/pci/devices/0000:00:1f.3": "../../../devices/pci0000:00/0000:00:1f.3",
		function + "/firmware_node":        "../../LNXSYSTM:00/device:01",
		function + "/physical_location":    "../../../../etc",
	} {
		if err := m.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Put("etc/panel", []byte("secret\n")); err != nil {
		t.Fatal(err)
	}
	c, err := hostfs.Capture(m, hostfs.CaptureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := hostfs.ReadString(c, "sys/bus/pci/devices/0000:00:1f.3/firmware_node/path")
	if err != nil || got != `\_SB_.PC00.HDAS` {
		t.Errorf("%q, %v", got, err)
	}
}
