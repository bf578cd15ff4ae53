package pci_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

func TestReadBusReset(t *testing.T) {
	const root, port, card, bridge = "pci0000:00/", "pci0000:00/0000:00:01.0/", "pci0000:00/0000:00:1c.0/", "pci0000:00/0000:00:1d.0/"
	const vmd = "pci0000:00/0000:00:0e.0/pci10000:e0/"
	m := plug(t, root+"0000:00:01.0", root+"0000:00:1c.0", root+"0000:00:1d.0", root+"0000:00:1f.3", root+"0000:00:0e.0",
		port+"0000:01:00.0", port+"0000:01:00.1", // a graphics card
		card+"0000:02:00.0", card+"0000:02:10.0", card+"0000:03:10.1", // with virtual functions, one on a bus made up for it
		bridge+"0000:04:00.0", bridge+"0000:04:00.1", bridge+"0000:04:00.0/0000:05:01.0", bridge+"0000:04:00.0/0000:05:02.0/0000:06:00.0",
		bridge+"0000:04:00.0/0000:05:02.0",
		vmd+"10000:e0:06.0", vmd+"10000:e0:06.0/10000:e1:00.0",
	)
	for dir, text := range map[string]string{
		root + "0000:00:01.0": "PCI_CLASS=60400\n", root + "0000:00:1c.0": "PCI_CLASS=60400\n", root + "0000:00:1d.0": "PCI_CLASS=60400\n",
		bridge + "0000:04:00.0": "PCI_CLASS=60400\n", bridge + "0000:04:00.0/0000:05:02.0": "PCI_CLASS=60400\n",
		bridge + "0000:04:00.0/0000:05:01.0": "PCI_CLASS=28000\nPCI_ID=168C:0030\n",
		vmd + "10000:e0:06.0":                "PCI_CLASS=60400\n",
	} {
		if err := m.Put("sys/devices/"+dir+"/uevent", []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for _, vf := range []string{"0000:02:10.0", "0000:03:10.1"} {
		if err := m.Symlink("../0000:02:00.0", "sys/devices/"+card+vf+"/physfn"); err != nil {
			t.Fatal(err)
		}
	}
	functions, _ := pci.Functions(m)
	for of, want := range map[string]string{
		"0000:00:1f.3":  "root bus",
		"0000:01:00.0":  "0000:00:01.0 [0000:01:00.0 0000:01:00.1] possible: true",
		"0000:02:00.0":  "0000:00:1c.0 [0000:02:00.0 0000:02:10.0] possible: true",
		"0000:02:10.0":  "0000:00:1c.0 [0000:02:00.0 0000:02:10.0] possible: true",
		"0000:03:10.1":  "root bus",
		"0000:04:00.1":  "0000:00:1d.0 [0000:04:00.0 0000:04:00.1 0000:05:01.0 0000:05:02.0 0000:06:00.0] possible: false",
		"0000:05:01.0":  "0000:04:00.0 [0000:05:01.0 0000:05:02.0 0000:06:00.0] possible: false",
		"0000:06:00.0":  "0000:05:02.0 [0000:06:00.0] possible: true",
		"10000:e0:06.0": "root bus",
		"10000:e1:00.0": "10000:e0:06.0 [10000:e1:00.0] possible: true",
	} {
		r, err := pci.ReadBusReset(m, address(t, of), functions)
		got := "root bus"
		if r.Bridge.IsValid() {
			got = fmt.Sprintf("%v %v possible: %v", r.Bridge, r.Functions, r.Possible())
		}
		if err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", of, got, err, want)
		}
	}
	r, _ := pci.ReadBusReset(m, address(t, "0000:04:00.1"), functions)
	if r.Unfit != address(t, "0000:05:01.0") {
		t.Errorf("unfit: %v", r.Unfit)
	}
	if got := r.Outside([]pci.Address{address(t, "0000:04:00.1"), address(t, "0000:05:01.0")}); len(got) != 3 {
		t.Errorf("outside: %v", got)
	}
	if _, err := pci.ReadBusReset(m, address(t, "0000:09:00.0"), functions); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of none: %v", err)
	}
	broken := hosttest.Failing{Tree: m, Fail: func(name string) error {
		if name == "sys/bus/pci/devices/0000:06:00.0" {
			return syscall.EIO
		}
		return nil
	}}
	var op *pci.OpError
	if _, err := pci.ReadBusReset(broken, address(t, "0000:04:00.1"), functions); !errors.Is(err, syscall.EIO) || !errors.As(err, &op) {
		t.Errorf("below: %v", err)
	}
}

// Linux says bus of a function that it found before the others on its bus.
func TestFunctionResets(t *testing.T) {
	bus := func(n int) pci.BusReset {
		r := pci.BusReset{Bridge: pci.NewAddress(0, 0, 1, 0)}
		for i := range n {
			r.Functions = append(r.Functions, pci.NewAddress(0, 1, 0, uint8(i)))
		}
		return r
	}
	for _, tt := range []struct {
		bus           pci.BusReset
		methods, want string
	}{
		{bus(1), "flr bus", "flr bus"},
		{bus(1), "bus", "bus"},
		{bus(2), "flr pm bus", "flr pm"},
		{bus(2), "bus cxl_bus", ""},
		{pci.BusReset{}, "device_specific", "device_specific"},
	} {
		if got := strings.Join(tt.bus.FunctionResets(strings.Fields(tt.methods)), " "); got != tt.want {
			t.Errorf("%q of %d: %q, want %q", tt.methods, len(tt.bus.Functions), got, tt.want)
		}
	}
}

// TestResetQuirks holds the table against one that was taken from the kernel's source.
func TestResetQuirks(t *testing.T) {
	kinds := map[string]pci.ResetQuirk{
		"no_bus_reset": pci.NoBusReset, "no_flr": pci.NoFLR, "no_pm_reset": pci.NoPMReset, "dev_specific_reset": pci.DeviceReset,
	}
	text, err := os.ReadFile(hosttest.Shared(t, "hwdata", "quirks", "pci_quirks_6.18.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	checked := 0
	for line := range strings.Lines(string(text)) {
		f := strings.Split(line, "\t")
		quirk, ok := kinds[f[0]]
		if !ok {
			continue
		}
		for _, device := range devicesOf(t, f[2], f[3]) {
			vendor, err := pci.ParseID(f[1])
			if err != nil {
				t.Fatal(err)
			}
			function := pci.Function{Vendor: vendor, Device: device, Class: pci.NewClass(0x030000)}
			got := pci.ResetQuirks(function, false)
			if !slices.Contains(got, quirk) {
				t.Errorf("%v:%v: %v, and not %v", vendor, device, got, quirk)
			}
			if onRoot := pci.ResetQuirks(function, true); slices.Contains(onRoot, pci.NoPMReset) {
				t.Errorf("%v:%v on a root bus: %v", vendor, device, onRoot)
			}
			known[fmt.Sprint(vendor, device, quirk)] = true
			checked++
		}
	}
	if checked < 60 {
		t.Errorf("only %d functions were checked", checked)
	}
	// And nothing else is said of any function of these vendors.
	for _, vendor := range []uint16{0x1002, 0x1022, 0x1425, 0x144d, 0x14c3, 0x15b3, 0x168c, 0x177d, 0x104c, 0x10de, 0x19e5, 0x025e, 0x8086, 0xd063} {
		for device := range 0x10000 {
			f := pci.Function{Vendor: pci.NewID(vendor), Device: pci.NewID(uint16(device)), Class: pci.NewClass(0x020000)}
			for _, q := range pci.ResetQuirks(f, false) {
				if !known[fmt.Sprint(f.Vendor, f.Device, q)] {
					t.Errorf("%v:%v has %v", f.Vendor, f.Device, q)
				}
			}
		}
	}
	if got := pci.ResetQuirks(pci.Function{}, false); got != nil {
		t.Errorf("of an unknown function: %v", got)
	}
}

// devicesOf lists the device ids that a line of the table means.
func devicesOf(t *testing.T, device, condition string) []pci.ID {
	t.Helper()
	first, last := device, device
	switch {
	case strings.Contains(device, "-"):
		first, last, _ = strings.Cut(device, "-")
	case device == "*" && strings.Contains(condition, "(device & 0xf000) == 0x4000"):
		first, last = "4000", "4fff"
	case device == "*":
		first, last = "0000", "000f" // all there are
	}
	from, err1 := strconv.ParseUint(first, 16, 16)
	to, err2 := strconv.ParseUint(last, 16, 16)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	var ids []pci.ID
	for n := from; n <= to; n++ {
		ids = append(ids, pci.NewID(uint16(n)))
	}
	return ids
}

func TestResetQuirkNames(t *testing.T) {
	var got []string
	for q := range pci.DeviceReset + 2 {
		got = append(got, q.String())
	}
	if diff := cmp.Diff([]string{"unknown", "no-bus-reset", "no-flr", "no-pm-reset", "device-reset", "unknown"}, got); diff != "" {
		t.Error(diff)
	}
}
