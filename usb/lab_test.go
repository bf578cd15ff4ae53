package usb_test

import (
	"testing"
	"time"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/lab/labtest"
	"github.com/project-independence/indy/usb"
)

func TestLab(t *testing.T) { labtest.RunTest(t, "./usb", "^TestInside", "") }

// TestInside compares what a real kernel says of hubs, ports and devices.
func TestInside(t *testing.T) {
	labtest.Inside(t)
	host := hostfs.Live()
	var list []usb.Device
	for range 600 { // the keyboard and the tablet
		var err error
		if list, err = usb.Devices(host); err == nil && len(list) >= 2 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	hubs, err := usb.Hubs(host)
	if err != nil || len(hubs) < 2 {
		t.Fatalf("%+v, %v", hubs, err)
	}
	ports, err := usb.Ports(host)
	if err != nil {
		t.Error(err)
	}
	total, pairs, super := 0, 0, 0
	for _, h := range hubs {
		total += h.Ports
		if h.SuperSpeed() {
			super++
		}
		if word, err := usb.AuthorizedDefault(host, h.Bus); err != nil || word != "all" {
			t.Errorf("bus %d: %q, %v", h.Bus, word, err)
		}
	}
	at := map[usb.PortPath]usb.Port{}
	for _, p := range ports {
		at[p.Path] = p
	}
	for _, p := range ports {
		if p.Connect == "" || p.State == "" || p.OverCurrents < 0 || p.Controller.IsValid() != p.Physical.IsValid() {
			t.Errorf("%+v", p)
		}
		if p.Peer.IsValid() {
			pairs++
			if other := at[p.Peer]; other.Peer != p.Path || other.Physical != p.Physical {
				t.Errorf("%+v and %+v", p, other)
			}
		}
	}
	t.Logf("%d hubs, %d ports, %d with another half", len(hubs), len(ports), pairs)
	if total != len(ports) || pairs == 0 || super == 0 {
		t.Errorf("%d ports in %+v", total, hubs)
	}
	occupied := 0
	for _, p := range ports {
		if p.Occupied {
			occupied++
		}
	}
	if occupied != len(list) {
		t.Errorf("%d devices in %d ports", len(list), occupied)
	}
	for _, d := range list {
		if !at[d.Path].Occupied || at[d.Path].State != "configured" {
			t.Errorf("%v: %+v", d.Path, at[d.Path])
		}
		descriptors, err := usb.ReadDescriptors(host, d.Path)
		if err != nil || !descriptors.Hash.IsValid() || descriptors.Device.Vendor != d.Vendor {
			t.Errorf("%v: %+v, %v", d.Path, descriptors, err)
		}
		active, err := usb.ActiveConfiguration(host, d.Path)
		if err != nil || descriptors.InterfaceSet(active) != d.InterfaceSet() {
			t.Errorf("%v: %q in configuration %d, %v, but %q", d.Path, descriptors.InterfaceSet(active), active, err, d.InterfaceSet())
		}
		c, _ := descriptors.Configuration(active)
		power, err := usb.ReadPower(host, d.Path)
		if want := (usb.Power{MaxPower: c.MaxPower, SelfPowered: c.SelfPowered, RemoteWakeup: c.RemoteWakeup}); err != nil || power != want {
			t.Errorf("%v: %+v, %v, but %+v", d.Path, power, err, want)
		}
		if rx, tx, err := usb.Lanes(host, d.Path); err != nil || rx != 1 || tx != 1 {
			t.Errorf("%v: %d, %d lanes, %v", d.Path, rx, tx, err)
		}
		if version, err := usb.Version(host, d.Path); err != nil || version != descriptors.Device.USB {
			t.Errorf("%v: version %v, %v", d.Path, version, err)
		}
		if _, err := usb.Quirks(host, d.Path); err != nil {
			t.Error(err)
		}
		for _, in := range c.Interfaces {
			if h, ok := in.Specific.(usb.HID); !ok || h.ReportLength == 0 {
				t.Errorf("%v: %+v", d.Path, in)
			}
		}
	}
}
