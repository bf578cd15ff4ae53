package laptop_test

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
)

// errnos are what a read from sysfs or procfs fails with: the device went to sleep and
// does not wake, broke, is not for this user, or has vanished.
var errnos = []syscall.Errno{syscall.ENODEV, syscall.EIO, syscall.EACCES, syscall.ENOENT}

// opened returns the names that reading a machine asks for and finds there.
func opened(t testing.TB, tr *hostfs.Tree) []string {
	t.Helper()
	names := map[string]bool{}
	_, err := laptop.Read(hosttest.Failing{Tree: tr, Fail: func(name string) error {
		if _, err := tr.Lstat(name); err == nil {
			names[name] = true
		}
		return nil
	}})
	must(t, err)
	return slices.Sorted(maps.Keys(names))
}

// losing reads a machine on which one name cannot be read.
func losing(tr *hostfs.Tree, name string, errno syscall.Errno) (*laptop.Laptop, error) {
	return laptop.Read(hosttest.Failing{Tree: tr, Fail: func(asked string) error {
		if asked == name {
			return errno
		}
		return nil
	}})
}

// listings are the directories that list devices, and which of them: without one there
// is nobody else to ask.
func listings(name string, d *laptop.Device) bool {
	switch name {
	case "sys/bus/pci/devices":
		return d.PCI != nil || d.Other != nil // what hangs on a function goes with it
	case "sys/bus/usb/devices":
		return d.USB != nil
	case "sys/class", "sys/bus":
		return d.Other != nil
	}
	return false
}

// about reports whether a name is of a device, or of one of its class devices.
func about(name string, d *laptop.Device) bool {
	if strings.Contains(name, d.Where()) || d.Other != nil && strings.Contains(name, d.Other.Path) {
		return true
	}
	return slices.ContainsFunc(d.Classes, func(c laptop.ClassDevice) bool {
		return strings.HasPrefix(name+"/", c.Source("")+"/") || name+"/"+c.Name == c.Source("")
	})
}

// lenient are the verdicts from which on a device may be handed over.
func lenient(v laptop.Verdict) bool { return v == laptop.Assignable || v == laptop.WithCompanions }

// TestFaults takes real machines and fails each file, link and directory that reading
// them opens, one at a time, in each way that the kernel does: that costs the one
// fact. Every other device is there and is what it was, an error names the file, and no
// device becomes one to hand over because something about it could not be read.
func TestFaults(t *testing.T) {
	files := []string{filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-intel.txtar")}
	for _, name := range []string{
		"framework13-amd-ai300-ignavia.txtar", "framework13-intel13-A6-turingmachine.txtar", "thinkpad-t490-fichte-noiommu.txtar",
	} {
		files = append(files, filepath.Join(hosttest.Shared(t, "hosts"), name))
	}
	machines := map[string]*hostfs.Tree{"one of everything": everything(t)}
	for _, file := range files {
		machines[filepath.Base(file)] = open(t, file).(*hostfs.Tree)
	}
	every := 1
	if testing.Short() {
		every = 5
	}
	for file, tr := range machines {
		t.Run(file, func(t *testing.T) {
			before, err := laptop.Read(tr)
			must(t, err)
			names, n := opened(t, tr), 0
			for i, name := range names {
				for j, errno := range errnos {
					if (i+j)%every != 0 {
						continue
					}
					n++
					after, err := losing(tr, name, errno)
					check(t, after)
					if err != nil && !strings.Contains(err.Error(), name) && errno != syscall.ENOENT { // of which what is read instead may say more
						t.Errorf("%s, %v: the error names another: %v", name, errno, err)
					}
					what := fmt.Sprintf("%s, %v", name, errno)
					compare(t, before, after, what, name, errno == syscall.ENOENT)
					if err == nil && errno != syscall.ENOENT && facts(after) != facts(before) {
						t.Errorf("%s: something is not known, and no error says so", what)
					}
				}
				if t.Failed() {
					t.Fatal(name)
				}
			}
			t.Logf("%d names, %d faults, %d devices", len(names), n, len(before.Devices))
			if len(names) < 60 {
				t.Errorf("%d names", len(names))
			}
		})
	}
}

// facts is what is known of the devices, and what the host needs them for.
func facts(l *laptop.Laptop) string {
	var b strings.Builder
	for i := range l.Devices {
		d := &l.Devices[i]
		fmt.Fprintln(&b, d.ID(), d.Roles, d.Classes, d.Nodes, d.Verdict, d.PartOf, d.Parts, codes(d))
		for _, v := range []any{d.PCI, d.USB, d.Other, d.Display} {
			if !reflect.ValueOf(v).IsNil() {
				fmt.Fprintf(&b, "%+v\n", reflect.ValueOf(v).Elem())
			}
		}
	}
	fmt.Fprintf(&b, "%+v %+v %v", l.Groups, l.IOMMU, l.Uses)
	return b.String()
}

// compare fails if a device is lost or changed that the name is not about, or if one
// has become one to hand over. A name that is gone, though, may be a device that was
// pulled out with what the host needed of it.
func compare(t *testing.T, before, after *laptop.Laptop, what, name string, gone bool) {
	t.Helper()
	for i := range before.Devices {
		d := &before.Devices[i]
		a := after.Device(d.ID())
		if a == nil {
			// What is on no bus is there for its class devices, and a link that has
			// vanished is a device unplugged.
			if !listings(name, d) && !about(name, d) || d.PCI != nil && name != "sys/bus/pci/devices" {
				t.Errorf("%s: %s is lost", what, d.ID())
			}
			continue
		}
		if !listings(name, d) && !about(name, d) && !slices.Equal(a.Roles, d.Roles) {
			t.Errorf("%s: %s was %v and is %v", what, d.ID(), d.Roles, a.Roles)
		}
		pulled := gone && (path.Base(name) == "driver" || strings.HasPrefix(name, "sys/bus/usb/devices") || name == "proc/swaps" || name == "sys/power/resume") // or a kernel that cannot swap or hibernate
		if lenient(a.Verdict) && !lenient(d.Verdict) && !pulled {
			t.Errorf("%s: %s was %s (%s) and is %s", what, d.ID(), d.Verdict, codes(d), a.Verdict)
		}
	}
}

// TestUnreadIsUnknown fails what would say that a device must not be handed over: then
// it is not known whether it may.
func TestUnreadIsUnknown(t *testing.T) {
	for _, tt := range []struct {
		name, fail, where string
		build             func(h *host)
		readable, want    string // findings
	}{
		{"second disk of a file system", "sys/fs/btrfs/b4d1/devices", "0000:04:00.0", func(h *host) {
			h.block("pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block", "sda", "8:0")
			h.block(nvmeDisk, "nvme0n1", "259:0")
			h.mount("0:31", "/", "btrfs", "/dev/sda")
			h.put("sys/fs/btrfs/b4d1/devices/sda", "")
			h.put("sys/fs/btrfs/b4d1/devices/nvme0n1", "")
		}, "refused host-disk", "unknown host-disk-unknown"},
		{"whether an IOMMU is behind the group", "sys/kernel/iommu_groups/2/name", "0000:04:00.0", func(h *host) {
			must(h.t, h.Remove("sys/class/iommu"))
			h.put("sys/kernel/iommu_groups/2/name", "vfio-noiommu\n")
		}, "refused no-iommu-mode", "unknown group-unknown"},
		{"which group it is in", "sys/bus/pci/devices/0000:04:00.0/iommu_group", "0000:04:00.0", func(h *host) {}, "assignable", "unknown group-unknown"},
		{"the USB devices of a controller", "sys/bus/usb/devices", "0000:00:14.0", func(h *host) {
			must(h.t, h.Remove("proc/net/route"))
			h.usb(xhci, "1-3", "2/6/0 cdc_ether")
			h.class("net", xhci+"/usb1/1-3/1-3:1.0/net/eth0")
		}, "unknown route-unknown carries", "unknown route-unknown only-keyboard"},
		{"what a USB device is", "sys/bus/usb/devices/1-3:1.0/driver", "0000:00:14.0", func(h *host) {
			must(h.t, h.Remove("proc/net/route"))
			h.usb(xhci, "1-3", "255/255/0 r8152")
			must(h.t, h.Remove("sys/devices/"+xhci+"/usb1/1-3/1-3:1.0/uevent"))
			h.link("../../../../../../../bus/usb/drivers/r8152", "sys/devices/"+xhci+"/usb1/1-3/1-3:1.0/driver")
			for name, value := range map[string]string{"Class": "ff", "SubClass": "ff", "Protocol": "00"} {
				h.put("sys/devices/"+xhci+"/usb1/1-3/1-3:1.0/bInterface"+name, value+"\n")
			}
		}, "unknown route-unknown carries", "unknown route-unknown only-keyboard carries"},
	} {
		h := laptopHost(t)
		tt.build(h)
		l, err := laptop.Read(h.Tree)
		must(t, err)
		if got := codes(find(t, l, tt.where)); got != tt.readable {
			t.Errorf("%s: readable: %s, want %s", tt.name, got, tt.readable)
		}
		for _, errno := range errnos[:3] {
			l, err := losing(h.Tree, tt.fail, errno)
			if !errors.Is(err, errno) {
				t.Errorf("%s: %v", tt.name, err)
			}
			if got := codes(find(t, l, tt.where)); got != tt.want {
				t.Errorf("%s, %v: %s, want %s", tt.name, errno, got, tt.want)
			}
		}
	}
}
