package laptop_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

func open(t testing.TB, path string) hostfs.Saved {
	t.Helper()
	saved, err := hostfs.Open(path)
	must(t, err)
	t.Cleanup(func() { must(t, saved.Close()) })
	return saved
}

// TestHosts reads real machines. Their reports say nothing of mounts and routes, so
// what may carry either is never called assignable.
func TestHosts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no saved machines: %v", err)
	}
	roles, verdicts := map[laptop.Role]int{}, map[laptop.Verdict]int{}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			fsys := open(t, file)
			l, err := laptop.Read(fsys)
			must(t, err)
			check(t, l)
			none := strings.Contains(file, "noiommu")
			if l.IOMMU.Enabled == none || len(l.Groups) == 0 != none {
				t.Errorf("IOMMU %+v, %d groups", l.IOMMU, len(l.Groups))
			}
			for i := range l.Devices {
				d := &l.Devices[i]
				roles[d.Role()]++
				verdicts[d.Verdict]++
				switch {
				case d.PCI == nil || isBridge(d.PCI):
				case none && (d.Verdict != laptop.Refused || d.Findings[0].Code != laptop.NoIOMMU):
					t.Errorf("%s: %s", d.ID(), codes(d))
				case !none && d.Role() != laptop.System && (d.Verdict == laptop.Assignable || d.Verdict == laptop.WithCompanions) &&
					(d.Role() == laptop.Storage || d.Role() == laptop.WLAN || d.Role() == laptop.Ethernet || d.PCI.Class.Sub() == 0x0300 || d.PCI.Class.Sub() == 0x0380):
					t.Errorf("%s, %s: %s", d.ID(), d.Role(), codes(d))
				}
				for _, f := range d.Findings {
					if strings.HasPrefix(f.Device, "pci:") && l.Function(address(t, f.Device[4:])) == nil {
						t.Errorf("%s: finding of an unknown device %s", d.ID(), f.Device)
					}
				}
			}
			for i := range l.Groups {
				if g := &l.Groups[i]; !g.Known || len(g.Devices) == 0 {
					t.Errorf("group %v: %+v", g.ID, g)
				}
			}
			m, err := laptop.ReadMachine(fsys)
			if err != nil || m.Vendor == "" {
				t.Errorf("%+v, %v", m, err)
			}
		})
	}
	t.Logf("roles %v, verdicts %v", roles, verdicts)
	for _, r := range []laptop.Role{laptop.GPU, laptop.Audio, laptop.WLAN, laptop.Webcam, laptop.Bluetooth, laptop.Storage, laptop.USBController, laptop.Thunderbolt, laptop.Fingerprint, laptop.Input} {
		if roles[r] == 0 {
			t.Errorf("no %s on any machine", r)
		}
	}
}

func address(t testing.TB, s string) pci.Address {
	t.Helper()
	a, err := pci.ParseAddress(s)
	must(t, err)
	return a
}

// TestSnapshot reads a notebook from an archive made by another program: 23
// functions without uevent, groups derived from the functions alone.
func TestSnapshot(t *testing.T) {
	files, err := filepath.Glob(hosttest.Shared(t, "hwdata", "sysfs", "ghw") + "/linux-amd64-415*.tar.gz")
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	fsys := open(t, files[0])
	l, err := laptop.Read(fsys)
	if err != nil {
		t.Log(err)
	}
	check(t, l)
	if len(l.Devices) != 23 || len(l.Groups) != 15 || !l.IOMMU.Enabled || l.IOMMU.Kind != "unknown" || l.IOMMU.InterruptRemapping != iommu.Unknown {
		t.Errorf("%d devices, %d groups, %+v", len(l.Devices), len(l.Groups), l.IOMMU)
	}
	for i := range l.Groups {
		if g := &l.Groups[i]; g.ID != pci.NewGroupID(uint32(i)) || g.Known {
			t.Errorf("group %+v", g)
		}
	}
	// Root is on dm-crypt, of which the archive does not say what it is made of; the
	// boot partition is on the NVMe.
	disk, err := l.Find("04:00.0", nil)
	must(t, err)
	if disk.Verdict != laptop.Refused || !strings.Contains(codes(disk), string(laptop.HostDisk)) || !strings.Contains(codes(disk), string(laptop.HostDiskUnknown)) {
		t.Errorf("NVMe: %s", codes(disk))
	}
	edac, err := l.Find("00:00.0", nil)
	must(t, err)
	if edac.Driver() != "igen6_edac" || laptop.StaysWithHost(*edac.PCI) {
		t.Errorf("the host bridge with the driver %q would stay", edac.Driver())
	}

	m, err := laptop.ReadMachine(fsys)
	must(t, err)
	if m.Threads != 16 || m.Memory < 30<<30 || !strings.Contains(m.CPU, "Intel") || m.Vendor != "" || m.String() != "" {
		t.Errorf("%+v", m)
	}
}
