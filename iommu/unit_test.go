package iommu_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// intelUnit is a tree with one unit whose registers are as given; "" is not there.
func intelUnit(t testing.TB, cap, ecap string) *hostfs.Tree {
	t.Helper()
	tr := new(hostfs.Tree)
	const dir = "sys/devices/virtual/iommu/dmar0"
	must(t, tr.Symlink("../../devices/virtual/iommu/dmar0", "sys/class/iommu/dmar0"))
	must(t, tr.Mkdir(dir+"/devices"))
	for name, text := range map[string]string{"cap": cap, "ecap": ecap} {
		if text != "" {
			put(t, tr, dir+"/intel-iommu/"+name, text+"\n")
		}
	}
	return tr
}

func amdUnit(t testing.TB, cap, features, release string) *hostfs.Tree {
	t.Helper()
	tr := new(hostfs.Tree)
	const dir = "sys/devices/pci0000:00/0000:00:00.2/iommu/ivhd0"
	must(t, tr.Symlink("../../devices/pci0000:00/0000:00:00.2/iommu/ivhd0", "sys/class/iommu/ivhd0"))
	for name, text := range map[string]string{dir + "/amd-iommu/cap": cap, dir + "/amd-iommu/features": features, "proc/sys/kernel/osrelease": release} {
		if text != "" {
			put(t, tr, name, text+"\n")
		}
	}
	return tr
}

func oneUnit(t testing.TB, tr *hostfs.Tree) iommu.Unit {
	t.Helper()
	units, err := iommu.ReadUnits(tr)
	must(t, err)
	if len(units) != 1 {
		t.Fatal(units)
	}
	return units[0]
}

// Registers as kernels of laptops print them ("reg_base_addr fed90000 ver 1:0 cap ...
// ecap ..."), and what follows from them.
func TestIntelUnits(t *testing.T) {
	for _, tt := range []struct {
		name, cap, ecap string
		bits            int
		largest         uint64 // page
		want            string
	}{
		{
			"graphics of Skylake: 39 bits with tables of 48, no snooping", "1c0000c40660462", "19e2ff0505e", 39, 1 << 30,
			"dmar0: intel, 39-bit addresses, pages up to 1 GiB, interrupt remapping, x2APIC, no snoop control, ATS, 0 functions",
		},
		{
			"all else of it", "d2008c40660462", "f050da", 39, 1 << 30,
			"dmar0: intel, 39-bit addresses, pages up to 1 GiB, interrupt remapping, x2APIC, 0 functions",
		},
		{
			"Sandy Bridge: tables of 39 bits, small pages, no snooping", "c0000020e60262", "f0101a", 39, 4 << 10,
			"dmar0: intel, 39-bit addresses, pages up to 4 KiB, interrupt remapping, x2APIC, no snoop control, 0 functions",
		},
		{
			"a server: 48 bits", "d2078c106f0466", "f020df", 48, 1 << 30,
			"dmar0: intel, 48-bit addresses, pages up to 1 GiB, interrupt remapping, x2APIC, ATS, 0 functions",
		},
		{
			"QEMU's, which is emulated", "d2008c222f0686", "f00f4a", 48, 1 << 30,
			"dmar0: intel, 48-bit addresses, pages up to 1 GiB, interrupt remapping, no snoop control, emulated, 0 functions",
		},
		{
			"scalable mode, with PASID", "19ed008c40780c66", "3ef9a6ee60f0da", 57, 1 << 30,
			"dmar0: intel, 57-bit addresses, pages up to 1 GiB, interrupt remapping, x2APIC, scalable mode, PASID, 0 functions",
		},
		{"nothing is stated", "", "", 0, 0, "dmar0: intel, 0 functions"},
		{"only the second register", "", "f050da", 0, 0, "dmar0: intel, interrupt remapping, x2APIC, 0 functions"},
		{"no interrupt remapping", "d2008c40660462", "f05052", 39, 1 << 30, "dmar0: intel, 39-bit addresses, pages up to 1 GiB, no interrupt remapping, x2APIC, no snoop control, 0 functions"},
		{"no tables that are known", "d2008c40660062", "f050da", 0, 1 << 30, "dmar0: intel, pages up to 1 GiB, interrupt remapping, x2APIC, 0 functions"},
	} {
		u := oneUnit(t, intelUnit(t, tt.cap, tt.ecap))
		if s := u.String(); s != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, s, tt.want)
		}
		largest := uint64(0)
		if sizes := u.PageSizes(); len(sizes) > 0 {
			largest = sizes[len(sizes)-1]
		}
		if u.AddressBits() != tt.bits || largest != tt.largest {
			t.Errorf("%s: %d bits, pages of %d", tt.name, u.AddressBits(), largest)
		}
	}
}

// The trap of 39 bits: MGAW is bits 21 to 16, and one; a guest with more memory, or a
// BAR above, is not translated.
func TestAddressBits(t *testing.T) {
	for _, tt := range []struct {
		cap          string
		mgaw, usable int
		tables       []int
	}{
		{"1c0000c40660462", 39, 39, []int{48}},
		{"d2008c222f0686", 48, 48, []int{39, 48}},
		{"d2008c22380206", 57, 39, []int{39}}, // wide, but the tables are not
		{"c9008020630272", 36, 36, []int{39}}, // Core 2: less than the tables
		{"1", 1, 0, nil},
	} {
		u := oneUnit(t, intelUnit(t, tt.cap, ""))
		c := u.Intel.Capability
		if c.GuestAddressBits() != tt.mgaw || u.AddressBits() != tt.usable || cmp.Diff(tt.tables, c.TableBits()) != "" {
			t.Errorf("%s: %d, %d, %v", tt.cap, c.GuestAddressBits(), u.AddressBits(), c.TableBits())
		}
	}
	u := oneUnit(t, intelUnit(t, "1c0000c40660462", ""))
	for address, want := range map[uint64]iommu.Answer{0: iommu.Yes, 1<<39 - 1: iommu.Yes, 1 << 39: iommu.No, 1 << 63: iommu.No} {
		if got := u.Translates(address); got != want {
			t.Errorf("%#x: %v", address, got)
		}
	}
	if a := (iommu.Unit{Kind: "intel"}).Translates(0); a != iommu.Unknown {
		t.Error(a)
	}
	all := oneUnit(t, amdUnit(t, "", "800", "")) // six levels
	if all.Translates(1<<63) != iommu.Yes {
		t.Error(all)
	}
}

// Features as kernels print them in words: "Extended features (0x841f77e022094ace): PPR
// X2APIC NX IA GA PC".
func TestAMDUnits(t *testing.T) {
	for _, tt := range []struct {
		name, features, release string
		want                    iommu.AMDFeatures
		second                  uint64
		known                   bool
		words                   string
		bits, pasid             int
	}{
		{"one register, before 6.0", "841f77e022094ace", "5.15.0", 0x841f77e022094ace, 0, true, "PPRSup XTSup NXSup IASup GASup PCSup SNPSup", 64, 0},
		{"two, first first", "58f77ef22294ade:10", "6.12.95+deb12-amd64", 0x58f77ef22294ade, 0x10, true, "PPRSup XTSup NXSup GTSup IASup GASup PCSup GAMSup", 64, 16},
		{"two, first first, of 6.7", "58f77ef22294ade:10", "6.7-rc1", 0x58f77ef22294ade, 0x10, true, "PPRSup XTSup NXSup GTSup IASup GASup PCSup GAMSup", 64, 16},
		{"two, second first, until 6.6", "10:58f77ef22294ade", "6.6.30-1-lts", 0x58f77ef22294ade, 0x10, true, "PPRSup XTSup NXSup GTSup IASup GASup PCSup GAMSup", 64, 16},
		{"two, by an older one", "10:58f77ef22294ade", "5.19.0-50-generic", 0x58f77ef22294ade, 0x10, true, "PPRSup XTSup NXSup GTSup IASup GASup PCSup GAMSup", 64, 16},
		{"two, and the version is not known", "58f77ef22294ade:10", "", 0, 0, false, "", 0, 0},
		{"two, and the version is none", "58f77ef22294ade:10", "next", 0, 0, false, "", 0, 0},
		{"two, and the version is strange", "58f77ef22294ade:10", "6.x", 0, 0, false, "", 0, 0},
		{"two, of which one is empty, in either order", "29d7:0", "", 0x29d7, 0, true, "PreFSup PPRSup XTSup GTSup IASup GASup HESup", 64, 1},
		{"the same", "0:29d7", "", 0x29d7, 0, true, "PreFSup PPRSup XTSup GTSup IASup GASup HESup", 64, 1},
		{"none", "0:0", "", 0, 0, true, "", 48, 0},
		{"five levels", "400", "", 0x400, 0, true, "", 57, 0},
		{"no tables", "c00", "", 0xc00, 0, true, "", 0, 0},
		{"not stated", "", "6.12", 0, 0, false, "", 0, 0},
	} {
		u := oneUnit(t, amdUnit(t, "190b640f", tt.features, tt.release))
		want := iommu.AMDUnit{Capability: 0x190b640f, Features: tt.want, Features2: tt.second, FeaturesKnown: tt.known}
		if diff := cmp.Diff(want, u.AMD); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
		if u.AMD.Features.String() != tt.words || u.AddressBits() != tt.bits || u.AMD.Features.PASIDBits() != tt.pasid {
			t.Errorf("%s: %s, %d bits, %d of PASID", tt.name, u.AMD.Features, u.AddressBits(), u.AMD.Features.PASIDBits())
		}
		if answers := []iommu.Answer{u.X2APIC(), u.PASID(), u.PageRequests()}; !tt.known && cmp.Diff(make([]iommu.Answer, 3), answers) != "" {
			t.Errorf("%s: %v", tt.name, answers)
		}
		if u.DeviceTLB() != iommu.Yes || u.Emulated() != iommu.No || u.InterruptRemapping() != iommu.Unknown || u.SnoopControl() != iommu.Unknown || u.ScalableMode() != iommu.Unknown {
			t.Errorf("%s: %v", tt.name, u)
		}
		if u.Function != addr(t, "0000:00:00.2") || u.Known {
			t.Errorf("%s: %v", tt.name, u.Function)
		}
	}
	u := oneUnit(t, amdUnit(t, "", "841f77e022094ace", ""))
	if u.DeviceTLB() != iommu.Unknown || u.Emulated() != iommu.Unknown || u.X2APIC() != iommu.Yes || u.PASID() != iommu.No || u.PageSizes() != nil {
		t.Error(u)
	}
}

func TestUnitBits(t *testing.T) {
	u := oneUnit(t, intelUnit(t, "1c0000c40660462", "19e2ff0505e"))
	c, e := u.Intel.Capability, u.Intel.Extended
	if c.Domains() != 256 || e.PASIDBits() != 20 || c.String() != "PLMR PHMR ZLR" || e.String() != "QI DT IR EIM PT NEST PRS PASID" {
		t.Error(c.Domains(), e.PASIDBits(), c, e)
	}
	if u.PASID() != iommu.No || u.PageRequests() != iommu.Yes || u.ScalableMode() != iommu.No || u.DeviceTLB() != iommu.Yes || u.Emulated() != iommu.No {
		t.Error("PASID without scalable mode is of no use", u)
	}
	if c := iommu.IntelCapability(7); c.Domains() != 0 || c.String() != "" {
		t.Error("a number of domains that is reserved")
	}
	var none iommu.Unit
	if c := none.Intel.Capability; c.GuestAddressBits() != 0 || c.Domains() != 0 || c.String() != "unknown" || none.Intel.Extended.String() != "unknown" || none.Intel.Extended.PASIDBits() != 0 {
		t.Error(c)
	}
	for _, a := range []iommu.Answer{none.InterruptRemapping(), none.X2APIC(), none.SnoopControl(), none.PASID(), none.DeviceTLB(), none.Emulated(), none.PageRequests()} {
		if a != iommu.Unknown {
			t.Error(a)
		}
	}
}

func TestReadUnits(t *testing.T) {
	if units, err := iommu.ReadUnits(new(hostfs.Tree)); units != nil || err != nil {
		t.Error(units, err)
	}
	tr := new(hostfs.Tree)
	for _, name := range []string{"dmar10", "dmar9", "dmar0", "virtio0"} {
		must(t, tr.Symlink("../../devices/virtual/iommu/"+name, "sys/class/iommu/"+name))
	}
	const dir = "sys/devices/virtual/iommu/"
	for _, d := range []string{"0000:03:00.0", "0000:00:1f.0", "INTC1055:00", "0000:0:1"} {
		must(t, tr.Symlink("../../../../x/"+d, dir+"dmar9/devices/"+d))
	}
	for name, text := range map[string]string{"version": "1:0", "address": "fed91000", "cap": "d2008c40660462", "ecap": "f050da", "domains_supported": "256", "domains_used": "9"} {
		put(t, tr, dir+"dmar9/intel-iommu/"+name, text+"\n")
	}
	put(t, tr, dir+"dmar10/intel-iommu/cap", "0x1\n")
	put(t, tr, dir+"dmar10/intel-iommu/ecap", "f050da\n")
	must(t, tr.Mkdir(dir+"dmar0"))
	must(t, tr.Mkdir(dir+"virtio0"))
	units, err := iommu.ReadUnits(tr)
	var op *iommu.OpError
	if err == nil || !errors.As(err, &op) || op.Op != "read IOMMU unit dmar10" || !strings.Contains(err.Error(), `cap: "0x1" is no number`) {
		t.Error(err)
	}
	want := []iommu.Unit{
		{Name: "dmar0", Kind: "intel"},
		{
			Name: "dmar9", Kind: "intel", Devices: []pci.Address{addr(t, "0000:00:1f.0"), addr(t, "0000:03:00.0")}, Others: []string{"0000:0:1", "INTC1055:00"}, Known: true,
			Intel: iommu.IntelUnit{
				Version: "1:0", Address: iommu.Number{Value: 0xfed91000, Known: true}, Capability: 0xd2008c40660462, Extended: 0xf050da,
				DomainsSupported: iommu.Number{Value: 256, Known: true}, DomainsUsed: iommu.Number{Value: 9, Known: true},
			},
		},
		{Name: "dmar10", Kind: "intel", Intel: iommu.IntelUnit{Extended: 0xf050da}},
		{Name: "virtio0", Kind: "virtio"},
	}
	if diff := cmp.Diff(want, units, cmp.Comparer(func(a, b pci.Address) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if u := units[1]; !u.Has(addr(t, "0000:03:00.0")) || u.Has(addr(t, "0000:03:00.1")) || u.Intel.DomainsUsed.String() != "9" || units[0].Intel.DomainsUsed.String() != "unknown" {
		t.Error(u)
	}
	if s := units[3].String(); s != "virtio0: virtio" {
		t.Error(s)
	}
}

// What cannot be read of one unit costs nothing else.
func TestUnitsUnreadable(t *testing.T) {
	intel, amd := intelUnit(t, "d2008c40660462", "f050da"), amdUnit(t, "190b640f", "29d7:0", "6.12")
	for _, tt := range []struct {
		tree *hostfs.Tree
		name string
		none bool
	}{
		{intel, "sys/class/iommu", true},
		{intel, "sys/class/iommu/dmar0", false},
		{intel, "sys/class/iommu/dmar0/devices", false},
		{intel, "sys/class/iommu/dmar0/intel-iommu/cap", false},
		{intel, "sys/class/iommu/dmar0/intel-iommu/version", false},
		{amd, "sys/class/iommu/ivhd0/amd-iommu/cap", false},
		{amd, "sys/class/iommu/ivhd0/amd-iommu/features", false},
	} {
		units, err := iommu.ReadUnits(hosttest.Failing{Tree: tt.tree, Fail: func(name string) error {
			if name == tt.name {
				return syscall.EIO
			}
			return nil
		}})
		if !errors.Is(err, syscall.EIO) || tt.none != (len(units) == 0) {
			t.Errorf("%s: %v, %v", tt.name, units, err)
		}
	}
	for _, bad := range []string{"x", "1:", ":1", "1:2:3", "-1", "11112222333344445"} {
		units, err := iommu.ReadUnits(amdUnit(t, "190b640f", bad, "6.12"))
		if err == nil || units[0].AMD.FeaturesKnown || units[0].AMD.Capability == 0 {
			t.Errorf("%q: %v, %v", bad, units, err)
		}
	}
}

// The emulated laptop's units as a kernel showed them.
func TestUnitsOfLab(t *testing.T) {
	for host, want := range map[string]string{
		"lab-intel":    "dmar0: intel, 48-bit addresses, pages up to 1 GiB, interrupt remapping, no snoop control, emulated",
		"lab-switched": "dmar0: intel, 48-bit addresses, pages up to 1 GiB, interrupt remapping, no snoop control, emulated",
		"lab-amd":      "ivhd0: amd at 0000:00:06.0, 64-bit addresses, x2APIC, PASID, ATS, emulated",
		"lab-noiommu":  "",
	} {
		h, err := hostfs.Open(filepath.Join(hosttest.Root(t), "testdata", "hosts", host+".txtar"))
		must(t, err)
		units, err := iommu.ReadUnits(h)
		must(t, err)
		functions, err := pci.Functions(h)
		must(t, err)
		grouped := 0
		for _, f := range functions {
			if f.Group.IsValid() {
				grouped++
			}
		}
		var text []string
		for _, u := range units {
			if !u.Known || len(u.Devices) != grouped {
				t.Errorf("%s: %d devices, %d functions are in a group", host, len(u.Devices), grouped)
			}
			text = append(text, strings.TrimSuffix(u.String(), fmt.Sprintf(", %d functions", grouped)))
		}
		if got := strings.Join(text, "\n"); got != want {
			t.Errorf("%s:\n got %s\nwant %s", host, got, want)
		}
	}
}

// With hostfs.Live() in place of the tree this lists the IOMMU units of the running
// machine.
func ExampleReadUnits() {
	host := new(hostfs.Tree)
	const unit = "sys/class/iommu/dmar1/"
	_ = host.Put(unit+"intel-iommu/cap", []byte("d2008c40660462\n"))
	_ = host.Put(unit+"intel-iommu/ecap", []byte("f050da\n"))
	_ = host.Symlink("../../../../pci0000:00/0000:00:14.0", unit+"devices/0000:00:14.0")

	units, err := iommu.ReadUnits(host)
	if err != nil {
		fmt.Println(err) // what could be read is in units all the same
	}
	for _, u := range units {
		fmt.Println(u)
		fmt.Println("memory of a guest up to 256 GiB:", u.Translates(256<<30-1))
		fmt.Println("a BAR at 1 TiB:", u.Translates(1<<40))
	}
	// Output:
	// dmar1: intel, 39-bit addresses, pages up to 1 GiB, interrupt remapping, x2APIC, 1 function
	// memory of a guest up to 256 GiB: yes
	// a BAR at 1 TiB: no
}

// Nothing in a unit's files panics, or is taken for known when it is not.
func FuzzUnits(f *testing.F) {
	f.Add("1c0000c40660462", "19e2ff0505e", "58f77ef22294ade:10", "6.12.95+deb12-amd64")
	f.Add("", "0", "0:0", "6.")
	f.Fuzz(func(t *testing.T, cap, ecap, features, release string) {
		units, _ := iommu.ReadUnits(intelUnit(t, cap, ecap))
		amd, _ := iommu.ReadUnits(amdUnit(t, cap, features, release))
		for _, u := range append(units, amd...) {
			if bits := u.AddressBits(); bits < 0 || bits > 64 || u.String() == "" {
				t.Error(bits, u)
			}
			if c := u.Intel.Capability; c.GuestAddressBits() > 64 || c.Domains() < 0 || len(c.PageSizes()) > 3 {
				t.Error(c)
			}
			if s := strings.TrimSpace(features); u.AMD.FeaturesKnown && strings.Trim(s, "0123456789abcdefABCDEF:") != "" {
				t.Errorf("%q passes for a register", s)
			}
		}
	})
}
