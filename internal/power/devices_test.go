package power

import (
	"strings"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
)

// function makes a function with the power management capability, bound to a driver.
func function(t *testing.T, vendor uint16, noSoftReset bool, more ...string) *hostfs.Tree {
	t.Helper()
	const dir = "sys/bus/pci/devices/0000:01:00.0"
	m := tree(append([]string{dir + "/driver->../../../../bus/pci/drivers/vfio-pci"}, more...)...)
	c := make([]byte, 256)
	c[0], c[1], c[2], c[3] = byte(vendor), byte(vendor>>8), 0x34, 0x12
	c[6], c[0x34], c[0x40] = 0x10, 0x40, 1 // a list of capabilities, of which this is the first
	if noSoftReset {
		c[0x44] = 1 << 3
	}
	if err := m.Put(dir+"/config", c); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestLost(t *testing.T) {
	a := pci.NewAddress(0, 1, 0, 0)
	fsys := function(t, 0x8086, true)
	devices, err := Devices(fsys, []pci.Address{a})
	if err != nil || len(devices) != 1 || devices[0].Driver != "vfio-pci" {
		t.Fatalf("%v, %v", devices, err)
	}
	if err := Lost(fsys, devices); err != nil {
		t.Error(err)
	}
	const dir = "sys/bus/pci/devices/0000:01:00.0"
	for want, change := range map[string]func(*hostfs.Tree) error{
		"pci:0000:01:00.0 is bound to igb, and no more to vfio-pci": func(m *hostfs.Tree) error {
			return joinErr(m.Remove(dir+"/driver"), m.Symlink("../../../../bus/pci/drivers/igb", dir+"/driver"))
		},
		"pci:0000:01:00.0 is not bound to vfio-pci any more": func(m *hostfs.Tree) error { return m.Remove(dir + "/driver") },
		"pci:0000:01:00.0 does not answer": func(m *hostfs.Tree) error {
			return m.Put(dir+"/config", []byte(strings.Repeat("\xff", 64)))
		},
		"pci:0000:01:00.0 is not there any more": func(m *hostfs.Tree) error {
			return joinErr(m.Remove(dir+"/driver"), m.Remove(dir+"/config"), m.Remove(dir))
		},
	} {
		m := fsys.Clone()
		if err := change(m); err != nil {
			t.Fatal(err)
		}
		if err := Lost(m, devices); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

func joinErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestForgets(t *testing.T) {
	a := pci.NewAddress(0, 1, 0, 0)
	const idle, allowed = "sys/power/mem_sleep=[s2idle] deep", "sys/bus/pci/devices/0000:01:00.0/d3cold_allowed="
	for _, tt := range []struct {
		keeps bool
		more  []string
		want  string
	}{
		{true, []string{idle, allowed + "0"}, ""},
		{true, []string{idle, allowed + "1"}, "may lose its power: D3cold is allowed for it"},
		{true, []string{idle}, "may lose its power: D3cold is allowed for it"},
		{false, []string{idle, allowed + "0"}, "is reset on its way from D3hot"},
		{true, []string{"sys/power/mem_sleep=s2idle [deep]", allowed + "0"}, "loses its power: the host sleeps by deep"},
		{true, []string{"sys/power/mem_sleep=s2idle deep", allowed + "0"}, "may lose its power: how the host sleeps is not known"},
		{true, nil, "may lose its power: how the host sleeps is not known"},
	} {
		if got := Forgets(function(t, 0x8086, tt.keeps, tt.more...), a); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.more, got, tt.want)
		}
	}
	if got := Forgets(tree(idle), a); got != "may be reset: it cannot be read" {
		t.Errorf("%q", got)
	}
}
