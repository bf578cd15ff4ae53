package sim_test

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/sim"
)

// gadgets is a kernel over the saved emulated laptop with devices of many classes.
func gadgets(t testing.TB) *sim.Kernel {
	t.Helper()
	return kernel(t, filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-gadgets.txtar"), sim.Options{})
}

func usbDriver(k *sim.Kernel, name string) string {
	d, _ := hostfs.ReadLinkBase(k, "sys/bus/usb/devices/"+name+"/driver")
	return d
}

// Each multi-interface driver lets go and takes as the kernel's does.
func TestUSBInterfaces(t *testing.T) {
	const drivers = "sys/bus/usb/drivers/"
	for _, c := range []struct {
		name, driver string
		interfaces   []string
		free         []string // without a driver once the last is unbound
		follower     string   // which bind does not take by itself
	}{
		{"keyboard", "usbhid", []string{"1-1:1.0"}, []string{"1-1:1.0"}, ""},
		{"modem", "cdc_acm", []string{"5-1:1.0", "5-1:1.1"}, []string{"5-1:1.0", "5-1:1.1"}, "5-1:1.1"},
		{"ethernet", "cdc_ncm", []string{"6-1:1.0", "6-1:1.1"}, []string{"6-1:1.0", "6-1:1.1"}, "6-1:1.1"},
		{"webcam", "uvcvideo", []string{"12-1:1.0", "12-1:1.1"}, []string{"12-1:1.0", "12-1:1.1"}, "12-1:1.1"},
		{"sound", "snd-usb-audio", []string{"12-2:1.0", "12-2:1.1", "12-2:1.2"}, []string{"12-2:1.2"}, "12-2:1.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := gadgets(t)
			before := state(t, k)
			last := c.interfaces[len(c.interfaces)-1]
			for _, i := range c.interfaces {
				if d := usbDriver(k, i); d != c.driver {
					t.Fatalf("%s has %q", i, d)
				}
				expect(t, k, drivers+c.driver+"/bind", i, map[bool]error{true: syscall.ENODEV, false: syscall.EBUSY}[i != c.interfaces[0]])
			}
			expect(t, k, drivers+c.driver+"/unbind", last, nil)
			expect(t, k, drivers+c.driver+"/unbind", last, syscall.ENODEV)
			var free []string
			for _, i := range c.interfaces {
				if usbDriver(k, i) == "" {
					free = append(free, i)
				}
			}
			if d := cmp.Diff(c.free, free); d != "" {
				t.Errorf("without a driver: %s", d)
			}
			for _, i := range c.interfaces {
				if usbDriver(k, i) != "" {
					expect(t, k, drivers+c.driver+"/unbind", i, nil)
				}
			}
			if c.follower != "" {
				expect(t, k, drivers+c.driver+"/bind", c.follower, syscall.ENODEV)
			}
			expect(t, k, drivers+c.driver+"/bind", c.interfaces[0]+"\n", nil)
			if d := cmp.Diff(before, state(t, k)); d != "" {
				t.Errorf("not as before:\n%s", d)
			}
		})
	}
}

func TestUSBErrors(t *testing.T) {
	k := gadgets(t)
	const drivers = "sys/bus/usb/drivers/"
	expect(t, k, drivers+"usb-storage/bind", "1-1:1.0", syscall.ENODEV)
	expect(t, k, drivers+"usbfs/bind", "1-1:1.0", syscall.ENODEV)
	expect(t, k, drivers+"usbhid/unbind", "1-9:1.0", syscall.ENODEV)
	expect(t, k, drivers+"usbhid/unbind", "../1-1:1.0", syscall.ENODEV)
	expect(t, k, drivers+"usbhid/unbind", "1-1", syscall.ENODEV)
	expect(t, k, drivers+"nobody/unbind", "1-1:1.0", syscall.ENOENT)
	expect(t, k, "sys/bus/usb/drivers_probe", "1-9:1.0", syscall.ENODEV)
	expect(t, k, "sys/bus/usb/devices/1-1/bConfigurationValue", "7", syscall.EINVAL)
	expect(t, k, "sys/bus/usb/devices/1-1/bConfigurationValue", "x", syscall.EINVAL)
}

// Another configuration takes the interfaces away; the one there was brings them back
// with their drivers.
func TestUSBConfiguration(t *testing.T) {
	k := gadgets(t)
	before := state(t, k)
	const value = "sys/bus/usb/devices/5-1/bConfigurationValue"
	expect(t, k, "sys/bus/usb/drivers/cdc_acm/unbind", "5-1:1.0", nil)
	expect(t, k, value, "0", nil)
	if there(k, "sys/bus/usb/devices/5-1:1.0") {
		t.Error("interfaces without a configuration")
	}
	expect(t, k, value, "1\n", nil)
	if d := cmp.Diff(before, state(t, k)); d != "" {
		t.Errorf("not as before:\n%s", d)
	}
}

// What is plugged in again has another number, and its drivers, whatever was unbound.
func TestUSBReplug(t *testing.T) {
	k := gadgets(t)
	number := strings.TrimSpace(string(must(k.ReadFile("sys/bus/usb/devices/5-1/devnum"))))
	expect(t, k, "sys/bus/usb/drivers/cdc_acm/unbind", "5-1:1.1", nil)
	if err := k.UnplugUSB("5-1"); err != nil {
		t.Fatal(err)
	}
	if there(k, "sys/bus/usb/devices/5-1") || there(k, "sys/bus/usb/devices/5-1:1.0") {
		t.Error("still there")
	}
	expect(t, k, "sys/bus/usb/drivers/cdc_acm/bind", "5-1:1.0", syscall.ENODEV)
	if err := k.PlugUSB("5-1"); err != nil {
		t.Fatal(err)
	}
	if n := strings.TrimSpace(string(must(k.ReadFile("sys/bus/usb/devices/5-1/devnum")))); n == number {
		t.Errorf("it still is number %s", n)
	}
	for _, i := range []string{"5-1:1.0", "5-1:1.1"} {
		if d := usbDriver(k, i); d != "cdc_acm" {
			t.Errorf("%s has %q", i, d)
		}
	}
	if k.UnplugUSB("5-9") == nil || k.PlugUSB("5-1") == nil {
		t.Error("what is not there was unplugged, or what was not unplugged plugged in")
	}
}

func TestVirtualFunctions(t *testing.T) {
	k := labLaptop(t, sim.Options{VFIO: true})
	before := state(t, k)
	const pf, vf = "sys/bus/pci/devices/0000:05:00.0", "sys/bus/pci/devices/0000:05:10.0"
	expect(t, k, pf+"/sriov_drivers_autoprobe", "x", syscall.EINVAL)
	expect(t, k, pf+"/sriov_drivers_autoprobe", "0", nil)
	expect(t, k, pf+"/sriov_numvfs", "2", nil)
	const mac = "rtnetlink/0000:05:00.0/vf/0/mac"
	expect(t, k, mac, "01:00:00:00:00:01", syscall.EINVAL)
	expect(t, k, mac, "02:00:00:00:00:01", nil)
	expect(t, k, "rtnetlink/0000:05:00.0/vf/0/vlan", "4096", syscall.EINVAL)
	expect(t, k, "rtnetlink/0000:05:00.0/vf/0/vlan", "100", nil)
	expect(t, k, "rtnetlink/0000:05:00.0/vf/0/spoofchk", "maybe", syscall.EINVAL)
	expect(t, k, "rtnetlink/0000:05:00.0/vf/2/mac", "02:00:00:00:00:01", syscall.ENOENT)
	if got := string(must(k.ReadFile(mac))); got != "02:00:00:00:00:01\n" {
		t.Errorf("the address is %q", got)
	}
	// Without an override no driver takes it, even if one knows its ids.
	expect(t, k, "sys/bus/pci/drivers/vfio-pci/new_id", "8086 10ca", nil)
	wantDriver(t, k, "0000:05:10.0", "")
	expect(t, k, "sys/bus/pci/drivers/vfio-pci/bind", "0000:05:10.0", syscall.ENODEV)
	expect(t, k, "sys/bus/pci/drivers/vfio-pci/remove_id", "8086 10ca", nil)
	expect(t, k, vf+"/driver_override", "vfio-pci", nil)
	expect(t, k, "sys/bus/pci/drivers_probe", "0000:05:10.0", nil)
	wantDriver(t, k, "0000:05:10.0", "vfio-pci")
	expect(t, k, pf+"/sriov_numvfs", "0", nil)
	expect(t, k, pf+"/sriov_drivers_autoprobe", "1", nil)
	if d := cmp.Diff(before, state(t, k)); d != "" {
		t.Errorf("not as before:\n%s", d)
	}
}

// Behind a root port without ACS virtual functions come into the group of the physical.
func TestVirtualFunctionsShareGroup(t *testing.T) {
	k := kernel(t, filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-nested.txtar"), sim.Options{})
	expect(t, k, "sys/bus/pci/devices/0000:11:00.0/sriov_numvfs", "1", nil)
	var groups []string
	for _, a := range []string{"0000:11:00.0", "0000:11:10.0"} {
		g, err := hostfs.ReadLinkBase(k, "sys/bus/pci/devices/"+a+"/iommu_group")
		if err != nil {
			t.Fatal(err)
		}
		groups = append(groups, g)
	}
	if groups[0] != groups[1] {
		t.Errorf("groups %q", groups)
	}
}

func TestMediated(t *testing.T) {
	m := labLaptop(t, sim.Options{}).Tree()
	const parent = "sys/devices/pci0000:00/0000:00:10.0"
	const kind = parent + "/mdev_supported_types/i915-GVTg_V5_4"
	for name, text := range map[string]string{"available_instances": "1\n", "device_api": "vfio-pci\n", "name": "GVTg_V5_4\n"} {
		if err := m.Put(kind+"/"+name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Symlink("../../devices/pci0000:00/0000:00:10.0", "sys/class/mdev_bus/0000:00:10.0"); err != nil {
		t.Fatal(err)
	}
	k, err := sim.New(m, sim.Options{})
	if err != nil {
		t.Fatal(err)
	}
	before := state(t, k)
	const uuid, other = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "83b8f4f2-509f-382f-3c1e-e6bfe0fa1002"
	create := "sys/class/mdev_bus/0000:00:10.0/mdev_supported_types/i915-GVTg_V5_4/create"
	expect(t, k, create, uuid[:35], syscall.EINVAL)
	expect(t, k, create, uuid[:35]+"x", syscall.EINVAL)
	expect(t, k, create, uuid+"\n", nil)
	expect(t, k, create, uuid, syscall.EEXIST)
	expect(t, k, create, other, syscall.EUSERS)
	device := "sys/bus/mdev/devices/" + uuid
	if d, err := hostfs.ReadLinkBase(k, device+"/driver"); err != nil || d != "vfio_mdev" {
		t.Errorf("driver %q, %v", d, err)
	}
	group, err := hostfs.ReadLinkBase(k, device+"/iommu_group")
	if err != nil || !there(k, "dev/vfio/"+group) {
		t.Errorf("group %q, %v", group, err)
	}
	expect(t, k, device+"/remove", "x", syscall.EINVAL)
	expect(t, k, device+"/remove", "0", nil)
	expect(t, k, device+"/remove", "1", nil)
	expect(t, k, device+"/remove", "1", syscall.ENOENT)
	if d := cmp.Diff(before, state(t, k)); d != "" {
		t.Errorf("not as before:\n%s", d)
	}
	expect(t, k, create, uuid, nil)
	expect(t, k, "sys/bus/pci/drivers/virtio-pci/unbind", "0000:00:10.0", nil)
	if there(k, device) {
		t.Error("it outlives its parent's driver")
	}
}
