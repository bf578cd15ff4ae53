package usb_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/project-independence/indy/usb"
)

func TestPower(t *testing.T) {
	tr := desk(t)
	p := path("1-2")
	put := func(attributes ...string) {
		t.Helper()
		for i := 0; i < len(attributes); i += 2 {
			must(t, tr.Put("sys/bus/usb/devices/"+attributes[i], []byte(attributes[i+1]+"\n")))
		}
	}
	put("1-2/bMaxPower", "98mA", "1-2/bmAttributes", "a0", "1-2/version", " 2.01", "1-2/rx_lanes", "2", "1-2/tx_lanes", "1",
		"1-2/bNumConfigurations", "2", "1-2/bConfigurationValue", "2", "1-2/quirks", "0x18", "usb1/authorized_default", "2")
	power, err1 := usb.ReadPower(tr, p)
	version, err2 := usb.Version(tr, p)
	rx, tx, err3 := usb.Lanes(tr, p)
	n, err4 := usb.Configurations(tr, p)
	active, err5 := usb.ActiveConfiguration(tr, p)
	quirks, err6 := usb.Quirks(tr, p)
	authorized, err7 := usb.AuthorizedDefault(tr, 1)
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7); err != nil || power != (usb.Power{MaxPower: 98, RemoteWakeup: true}) ||
		version.String() != "0201" || rx != 2 || tx != 1 || n != 2 || active != 2 || quirks != 0x18 || authorized != "internal" {
		t.Errorf("%+v %v %d %d %d %d %d %q %v", power, version, rx, tx, n, active, quirks, authorized, err)
	}
	put("1-2/quirks", "18", "1-2/bmAttributes", "0xE0") // with 0x before it or not
	if n, err := usb.Quirks(tr, p); n != 0x18 || err != nil {
		t.Errorf("quirks: %#x, %v", n, err)
	}
	if power, err := usb.ReadPower(tr, p); !power.SelfPowered || err != nil {
		t.Errorf("%+v, %v", power, err)
	}
	for word, value := range map[string]string{"none": "0", "all": "1"} {
		put("usb1/authorized_default", value)
		if got, err := usb.AuthorizedDefault(tr, 1); got != word || err != nil {
			t.Errorf("%s: %q, %v", value, got, err)
		}
	}

	put("1-2/bMaxPower", "", "1-2/bmAttributes", "", "1-2/bConfigurationValue", "")
	if got, err := usb.ReadPower(tr, p); !errors.Is(err, fs.ErrNotExist) || got != (usb.Power{}) {
		t.Errorf("without a configuration: %+v, %v", got, err)
	}
	if n, err := usb.ActiveConfiguration(tr, p); n != 0 || err != nil {
		t.Errorf("without a configuration: %d, %v", n, err)
	}
	for _, name := range []string{"bMaxPower", "bmAttributes", "version", "rx_lanes", "bNumConfigurations", "bConfigurationValue", "quirks"} {
		put("1-2/"+name, "1")
	}
	// each of these is of another kind, with a number it does not fit into
	for name, odd := range map[string]string{
		"bMaxPower": "70000mA", "bmAttributes": "0x1ff", "version": "2.1", "rx_lanes": "-1", "tx_lanes": "x",
		"bNumConfigurations": "0x1", "bConfigurationValue": "256", "quirks": "0x100000000",
	} {
		before, _ := fs.ReadFile(tr, "sys/bus/usb/devices/1-2/"+name)
		for _, value := range []string{odd, strings.Repeat("9", 5000), "1 1"} {
			put("1-2/"+name, value)
			_, err := usb.ReadPower(tr, p)
			_, err2 := usb.Version(tr, p)
			_, _, err3 := usb.Lanes(tr, p)
			_, err4 := usb.Configurations(tr, p)
			_, err5 := usb.ActiveConfiguration(tr, p)
			_, err6 := usb.Quirks(tr, p)
			err = errors.Join(err, err2, err3, err4, err5, err6)
			var op *usb.OpError
			if !errors.As(err, &op) || !strings.Contains(err.Error(), "read "+name+" of 1-2: unexpected value") || len(err.Error()) > 1000 {
				t.Errorf("%s %.20q: %v", name, value, err)
			}
		}
		put("1-2/"+name, strings.TrimSpace(string(before)))
	}
	put("usb1/authorized_default", "3")
	for _, bus := range []int{1, 7, -1} {
		var op *usb.OpError
		if got, err := usb.AuthorizedDefault(tr, bus); got != "" || !errors.As(err, &op) || op.Path.IsValid() {
			t.Errorf("bus %d: %q, %v", bus, got, err)
		}
	}
	if _, err := usb.Quirks(tr, path("1-5")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("not stated: %v", err)
	}
}

// Two devices with the same ids and the same serial number are told apart by where
// they are plugged in; so is one that comes back with another id, as for a firmware
// update.
func TestSameIDs(t *testing.T) {
	tr := desk(t)
	for _, name := range []string{"1-10", "1-4.2"} {
		must(t, tr.Put("sys/bus/usb/devices/"+name+"/serial", []byte("4C530001\n")))
		must(t, tr.Put("sys/bus/usb/devices/"+name+"/iSerial", []byte("3\n"))) // no kernel has it
		if s, err := usb.Serial(tr, path(name)); s != "4C530001" || err != nil {
			t.Errorf("%s: %q, %v", name, s, err)
		}
	}
	a, err1 := usb.ReadDevice(tr, path("1-10"))
	b, err2 := usb.ReadDevice(tr, path("1-4.2"))
	if err := errors.Join(err1, err2); err != nil || a.Vendor != b.Vendor || a.Product != b.Product || a.Path == b.Path || a.Controller != b.Controller {
		t.Errorf("%+v, %+v, %v", a, b, err)
	}
	must(t, tr.Put("sys/bus/usb/devices/1-10/uevent", []byte("DRIVER=usb\nPRODUCT=483/df11/2200\nTYPE=0/0/0\nDEVNUM=033\n")))
	must(t, tr.Put("sys/bus/usb/devices/1-10:1.0/uevent", []byte("INTERFACE=254/1/2\n")))
	c, err := usb.ReadDevice(tr, path("1-10"))
	if err != nil || c.Path != a.Path || c.Product == a.Product || c.Number == a.Number || c.InterfaceSet() != "fe0102" {
		t.Errorf("%+v, %v", c, err)
	}
}
