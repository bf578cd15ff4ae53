package laptop_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
)

// ids sets vendor and device of a function, and leaves the rest.
func (h *host) ids(path, class, vendor string) {
	h.t.Helper()
	h.function(path, class, "", 40)
	h.put("sys/devices/"+path+"/uevent", "PCI_CLASS="+strings.TrimLeft(class, "0")+"\nPCI_ID="+vendor+":1234\n")
}

// usbIDs adds a USB device of a vendor.
func (h *host) usbIDs(port, vendor string, interfaces ...string) {
	h.t.Helper()
	h.usb(xhci, port, interfaces...)
	h.put("sys/devices/"+xhci+"/usb1/"+port+"/uevent", "DRIVER=usb\nPRODUCT="+vendor+"/1/0\nTYPE=0/0/0\nBUSNUM=001\nDEVNUM=0"+port[2:]+"\n")
}

// parts are those of all devices: "0000:01:00.0 has pci:0000:01:00.1 audio".
func parts(l *laptop.Laptop) string {
	var b strings.Builder
	for i := range l.Devices {
		for _, p := range l.Devices[i].Parts {
			what := p.ID
			if what == "" {
				what = fmt.Sprint(p.Interfaces)
			}
			fmt.Fprintf(&b, "%s has %s %s\n", l.Devices[i].Where(), what, p.Role)
		}
	}
	return b.String()
}

func TestParts(t *testing.T) {
	const slot = "pci0000:00/0000:00:01.0/0000:01:00."
	const wlan = "pci0000:00/0000:00:14.3"
	for _, tt := range []struct {
		name  string
		build func(*host)
		want  string
	}{
		{"graphics card with three links", func(h *host) {
			for i, class := range []string{"030000", "040300", "0c0330", "0c8000"} {
				h.ids(slot+fmt.Sprint(i), class, "10DE")
				if i > 0 {
					h.put("sys/devices/"+slot+fmt.Sprintf("0/consumer:pci:0000:01:00.%d", i), "")
				}
			}
		}, "0000:01:00.0 has pci:0000:01:00.1 audio\n0000:01:00.0 has pci:0000:01:00.2 usb-controller\n0000:01:00.0 has pci:0000:01:00.3 system\n"},
		{"graphics card without links", func(h *host) {
			h.ids(slot+"0", "030200", "1002")
			h.ids(slot+"1", "040300", "1002")
			h.ids(slot+"2", "0c0330", "1002")
		}, "0000:01:00.0 has pci:0000:01:00.1 audio\n0000:01:00.0 has pci:0000:01:00.2 usb-controller\n"},
		{"its sound is hidden", func(h *host) { h.ids(slot+"0", "030000", "10DE") }, ""},
		{"processor of AMD with a GPU", func(h *host) {
			h.ids(slot+"0", "038000", "1002")
			h.ids(slot+"1", "040300", "1002")
			h.ids(slot+"2", "108000", "1022")
			h.ids(slot+"3", "0c0330", "1022")
			h.ids(slot+"6", "040300", "1022")
		}, "0000:01:00.0 has pci:0000:01:00.1 audio\n"},
		{"two displays in a slot and no link", func(h *host) {
			h.ids(slot+"0", "030000", "10DE")
			h.ids(slot+"1", "030000", "10DE")
			h.ids(slot+"2", "040300", "10DE")
		}, ""},
		{"two displays in a slot and a link", func(h *host) {
			h.ids(slot+"0", "030000", "10DE")
			h.ids(slot+"1", "030000", "10DE")
			h.ids(slot+"2", "040300", "10DE")
			h.put("sys/devices/"+slot+"1/supplier:pci:0000:01:00.2", "")
		}, "0000:01:00.1 has pci:0000:01:00.2 audio\n"},
		{"link to something else, and odd names", func(h *host) {
			h.ids(slot+"0", "030000", "10DE")
			h.ids(slot+"1", "010802", "10DE")
			h.put("sys/devices/"+slot+"0/consumer:pci:0000:01:00.1", "")
			h.put("sys/devices/"+slot+"0/consumer:pci:x", "")
			h.put("sys/devices/"+slot+"0/consumer:usb:1-1", "")
		}, ""},
		{"companion controllers", func(h *host) {
			for i, class := range []string{"0c0300", "0c0310", "0c0320"} {
				h.ids("pci0000:00/0000:00:1a."+fmt.Sprint(i), class, "8086")
			}
		}, "0000:00:1a.2 has pci:0000:00:1a.0 usb-controller\n0000:00:1a.2 has pci:0000:00:1a.1 usb-controller\n"},
		{"one chip with two roles", func(h *host) {
			h.ids(slot+"0", "ff0000", "10EC")
			h.put("sys/devices/"+slot+"0/uevent", "DRIVER=rtsx_pci\nPCI_CLASS=FF0000\nPCI_ID=10EC:5287\n")
			h.ids(slot+"1", "020000", "10EC")
		}, "0000:01:00.0 has pci:0000:01:00.1 ethernet\n"},
		{"two ports of one adapter, a processor of AMD, the chipset", func(h *host) {
			h.ids(slot+"0", "020000", "8086")
			h.ids(slot+"1", "020000", "8086")
			h.ids("pci0000:00/0000:00:08.0/0000:03:00.0", "0c0330", "1022")
			h.ids("pci0000:00/0000:00:08.0/0000:03:00.1", "040300", "1022")
			h.ids("pci0000:00/0000:00:1f.2", "010601", "8086")
			h.ids("pci0000:00/0000:00:1f.3", "040300", "8086")
		}, ""},
		{"webcam with a microphone, headset with keys", func(h *host) {
			h.usb(xhci, "1-4", "14/1/0 uvcvideo", "14/2/0 uvcvideo", "1/1/0 snd-usb-audio", "1/2/0 snd-usb-audio")
			h.usb(xhci, "1-5", "1/1/0", "1/2/0", "1/2/0", "3/0/0 usbhid", "254/1/1")
			h.usb(xhci, "1-6", "3/1/1 usbhid", "3/1/2 usbhid")
			h.usb(xhci, "1-7", "2/14/0 cdc_mbim", "10/0/2 cdc_mbim", "2/2/1 cdc_acm", "10/0/0 cdc_acm")
		}, "1-4 has [0 1] webcam\n1-4 has [2 3] audio\n1-5 has [0 1 2] audio\n1-5 has [3] input\n1-7 has [0 1] wwan\n1-7 has [2 3] modem\n"},
		{"radio card of Intel", func(h *host) {
			h.ids(wlan, "028000", "8086")
			h.usbIDs("1-7", "8087", "224/1/1 btusb")
		}, "0000:00:14.3 has usb:1-7 bluetooth\n"},
		{"radio card of MediaTek with another's Bluetooth", func(h *host) {
			h.ids(wlan, "028000", "14C3")
			h.usbIDs("1-7", "489", "224/1/1 btusb")
			h.put("sys/devices/"+xhci+"/usb1/1-7/removable", "fixed\n")
		}, "0000:00:14.3 has usb:1-7 bluetooth\n"},
		{"radio card with both on PCI", func(h *host) {
			h.ids(wlan, "028000", "8086")
			h.ids("pci0000:00/0000:00:14.7", "0d1100", "8086")
		}, "0000:00:14.3 has pci:0000:00:14.7 bluetooth\n"},
		{"Bluetooth that can be unplugged", func(h *host) {
			h.ids(wlan, "028000", "10EC")
			h.usbIDs("1-7", "bda", "224/1/1 btusb")
			h.put("sys/devices/"+xhci+"/usb1/1-7/removable", "removable\n")
		}, ""},
		{"Bluetooth that can be unplugged beside one that cannot", func(h *host) {
			h.ids(wlan, "028000", "10EC")
			h.usbIDs("1-7", "bda", "224/1/1 btusb")
			h.put("sys/devices/"+xhci+"/usb1/1-7/removable", "removable\n")
			h.usbIDs("1-8", "4ca", "224/1/1 btusb")
		}, "0000:00:14.3 has usb:1-8 bluetooth\n"},
		{"two Bluetooth", func(h *host) {
			h.ids(wlan, "028000", "8086")
			h.usbIDs("1-7", "8087", "224/1/1 btusb")
			h.usbIDs("1-8", "8087", "224/1/1 btusb")
		}, ""},
		{"two WLAN", func(h *host) {
			h.ids(wlan, "028000", "8086")
			h.ids(slot+"0", "028000", "14C3")
			h.usbIDs("1-7", "8087", "224/1/1 btusb")
		}, ""},
		{"of two makers", func(h *host) {
			h.ids(wlan, "028000", "8086")
			h.usbIDs("1-7", "a5c", "224/1/1 btusb")
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := laptopHost(t)
			tt.build(h)
			if diff := cmp.Diff(tt.want, parts(h.read())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A card whose links cannot be listed keeps what is known without them.
func TestPartsFail(t *testing.T) {
	h := laptopHost(t)
	const slot = "pci0000:00/0000:00:01.0/0000:01:00."
	h.ids(slot+"0", "030000", "10DE")
	h.ids(slot+"1", "040300", "10DE")
	for cause, silent := range map[error]bool{syscall.EIO: false, syscall.ENOENT: true} {
		l, err := laptop.Read(hosttest.Failing{Tree: h.Tree, Fail: func(name string) error {
			if name == "sys/bus/pci/devices/0000:01:00.0" {
				return cause
			}
			return nil
		}})
		check(t, l)
		if (err == nil) != silent || parts(l) != "0000:01:00.0 has pci:0000:01:00.1 audio\n" {
			t.Errorf("%v: %v\n%s", cause, err, parts(l))
		}
	}
}

func TestDeviceByID(t *testing.T) {
	l := factsHost(t).read()
	for id, found := range map[string]bool{
		"pci:0000:00:14.3": true, "usb:1-3": true, "serio:serio0": true, "": false, "pci:": false, "pci:0000:09:00.0": false, "usb:1-9": false, "serio0": false,
	} {
		if d := l.Device(id); (d != nil) != found || found && d.ID() != id {
			t.Errorf("%q: %v", id, d)
		}
	}
}
