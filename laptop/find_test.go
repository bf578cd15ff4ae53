package laptop_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/laptop"
)

func lists(t testing.TB) *hostfs.Tree {
	tr := new(hostfs.Tree)
	must(t, tr.Put("usr/share/misc/pci.ids", []byte(`# a list
8086  Intel Corporation
	1234  Cannon Lake PCH Shared SRAM
	9a13  Tiger Lake-LP Thunderbolt 4 Controller
`)))
	must(t, tr.Put("usr/share/misc/usb.ids", []byte("046d  Logitech, Inc.\n\tc52b  Unifying Receiver\n")))
	return tr
}

func TestFind(t *testing.T) {
	h := laptopHost(t)
	h.usb(xhci, "1-3", "3/1/1 usbhid")
	h.usb(xhci, "1-4", "14/1/0 uvcvideo", "1/1/0 snd-usb-audio")
	h.usb(xhci, "1-5", "14/1/0 uvcvideo")
	h.function("pci10000:e0/10000:e0:06.0", "028000", "", -1)
	l := h.read()
	for _, tt := range []struct{ word, want string }{
		{"0000:04:00.0", "pci:0000:04:00.0"},
		{"04:00.0", "pci:0000:04:00.0"},
		{"pci:0000:04:00.0", "pci:0000:04:00.0"},
		{"pci:04:00.0", "pci:0000:04:00.0"},
		{"10000:e0:06.0", "pci:10000:e0:06.0"},
		{"1-4", "usb:1-4"},
		{"usb:1-3", "usb:1-3"},
		{"storage", "pci:0000:04:00.0"},
		{"Storage", "pci:0000:04:00.0"},
		{"input", "usb:1-3"},
		{"audio", "usb:1-4"}, // nothing has it as its first role
		{"webcam", "1-4 1-5"},
		{"cannon lake", "0000:00:14.0 0000:00:1d.0 0000:04:00.0 10000:e0:06.0"},
		{"UNIFYING", "1-3 1-4 1-5"},
		{"wlan", "pci:10000:e0:06.0"},
		{"05:00.0", ""}, {"1-9", ""}, {"usb:04:00.0", ""}, {"pci:1-4", ""}, {"modem", ""}, {"", ""}, {"no such thing", ""}, {"pci:", ""},
	} {
		d, err := l.Find(tt.word, laptop.NewNames(lists(t)))
		if err == nil {
			if d.ID() != tt.want {
				t.Errorf("%q: %s, want %s", tt.word, d.ID(), tt.want)
			}
			continue
		}
		var find *laptop.FindError
		if !errors.As(err, &find) || find.Word != tt.word {
			t.Fatalf("%q: %v", tt.word, err)
		}
		var got []string
		for _, c := range find.Candidates {
			got = append(got, c.Where())
			if !strings.Contains(err.Error(), c.Where()) {
				t.Errorf("%q: %s is not in %q", tt.word, c.Where(), err)
			}
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%q: %s, want %s", tt.word, s, tt.want)
		}
		if len(got) == 0 && !strings.Contains(err.Error(), "indy devices") {
			t.Errorf("%q: no remedy in %q", tt.word, err)
		}
	}
	if _, err := l.Find("unifying", nil); err == nil {
		t.Error("found by a name without names")
	}
}

func TestNames(t *testing.T) {
	h := laptopHost(t)
	h.usb(xhci, "1-3", "3/1/1 usbhid")
	h.put("sys/devices/"+xhci+"/uevent", "PCI_CLASS=C0330\nPCI_ID=8086:FFFF\n")
	h.put("sys/devices/"+nvme+"/uevent", "PCI_CLASS=10802\nPCI_ID=144D:A808\n")
	l := h.read()
	for _, tt := range []struct {
		where, want, bare string
	}{
		{"0000:00:1d.0", "Intel Cannon Lake PCH Shared SRAM", "8086:1234"},
		{"0000:00:14.0", "Intel 8086:ffff", "8086:ffff"},
		{"0000:04:00.0", "144d:a808", "144d:a808"},
		{"1-3", "Logitech Unifying Receiver", "046d:c52b"},
	} {
		d := find(t, l, tt.where)
		if got := laptop.NewNames(lists(t)).Name(d); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.where, got, tt.want)
		}
		none := laptop.NewNames(new(hostfs.Tree))
		if v, n := none.VendorDevice(d); v != "" || n != "" || none.Name(d) != tt.bare {
			t.Errorf("%s without lists: %q, %q, %q", tt.where, v, n, none.Name(d))
		}
	}
	if v, d := laptop.NewNames(lists(t)).VendorDevice(find(t, l, "0000:00:1d.0")); v != "Intel Corporation" || d == "" {
		t.Errorf("%q, %q", v, d)
	}
}
