package laptop_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/project-independence/indy/laptop"
)

// Bits of input devices as their uevents have them: of a keyboard, a mouse, a touchpad,
// the power button, and the hotkeys of a notebook.
const (
	keyboardBits = "EV=120013\nKEY=402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe\nMSC=10\nLED=7"
	mouseBits    = "EV=17\nKEY=ffff0000 0 0 0 0\nREL=1943\nMSC=10"
	touchpadBits = "PROP=5\nEV=b\nKEY=e520 10000 0 0 0 0\nABS=2e0800000000003"
	buttonBits   = "EV=3\nKEY=10000000000000 0"
	hotkeyBits   = "EV=13\nKEY=1000000000 0 0 0 1500b00000c00 4000000020300000 e000000000000 0"
)

// input adds an input device at a path below sys/devices.
func (h *host) input(path, name, bits string) {
	h.t.Helper()
	h.class("input", path)
	h.put("sys/devices/"+path+"/uevent", "PRODUCT=3/46d/c52b/111\nNAME=\""+name+"\"\n"+bits+"\n")
}

// keyboardOn plugs a USB keyboard into a controller.
func (h *host) keyboardOn(controller, port, input string) {
	h.t.Helper()
	bus, _, _ := strings.Cut(port, "-")
	h.usb(controller, port, "3/1/1 usbhid")
	h.input(controller+"/usb"+bus+"/"+port+"/"+port+":1.0/0003:046D:C52B.0001/input/"+input, "Keys", keyboardBits)
}

const (
	i8042 = "platform/i8042/serio0"
	uhid  = "virtual/misc/uhid/0005:046D:B342.0004"
)

// ps2 adds the keyboard that most notebooks have.
func (h *host) ps2() {
	h.t.Helper()
	h.put("sys/devices/"+i8042+"/uevent", "DRIVER=atkbd\n")
	h.input(i8042+"/input/input3", "AT Translated Set 2 keyboard", keyboardBits)
}

// TestKeyboard has which device leaves the host without a keyboard: the USB controller
// 14.0, another in a group with the NVMe, 15.0, or neither.
func TestKeyboard(t *testing.T) {
	const other = "pci0000:00/0000:00:15.0"
	const free, only, unknown = "assignable", "refused only-keyboard", "unknown only-keyboard"
	const carries = " carries"
	for _, tt := range []struct {
		name         string
		build        func(*host)
		xhci, second string
	}{
		{"none stated", func(h *host) {}, free, free},
		{"the only one", func(h *host) { h.keyboardOn(xhci, "1-3", "input7") }, only + carries, free},
		{"behind a hub", func(h *host) {
			h.usb(xhci, "1-3", "9/0/0 hub")
			h.keyboardOn(xhci, "1-3.2", "input7")
		}, only + carries, free},
		{"another on PS/2", func(h *host) {
			h.ps2()
			h.keyboardOn(xhci, "1-3", "input7")
		}, free + carries, free},
		{"another on PS/2, by its bits alone", func(h *host) {
			h.input(i8042+"/input/input3", "AT keyboard", keyboardBits)
			h.keyboardOn(xhci, "1-3", "input7")
		}, free + carries, free},
		{"a PS/2 device that says nothing", func(h *host) {
			h.class("input", i8042+"/input/input3")
			h.keyboardOn(xhci, "1-3", "input7")
		}, unknown + carries, free},
		{"another of a program's", func(h *host) {
			h.input("virtual/misc/uhid/0003:046D:C52B.0009/input/input9", "Keys", keyboardBits)
			h.input("virtual/input/input10", "Keys", keyboardBits)
			h.keyboardOn(xhci, "1-3", "input7")
		}, only + carries, free},
		{"another of another computer", func(h *host) {
			h.keyboardOn("platform/vhci_hcd.0", "9-1", "input9")
			h.keyboardOn(xhci, "1-3", "input7")
		}, only + carries, free},
		{"two on one controller", func(h *host) {
			h.keyboardOn(xhci, "1-3", "input7")
			h.keyboardOn(xhci, "1-4", "input8")
		}, only + carries, free},
		{"one on each controller", func(h *host) {
			h.keyboardOn(xhci, "1-3", "input7")
			h.keyboardOn(other, "3-1", "input8")
		}, free + carries, free + carries},
		{"one on each controller of one group", func(h *host) {
			h.keyboardOn(xhci, "1-3", "input7")
			h.keyboardOn(other, "3-1", "input8")
			must(h.t, h.Remove("sys/devices/"+other+"/iommu_group"))
			must(h.t, h.Remove("sys/kernel/iommu_groups/8/devices/0000:00:15.0"))
			h.link("../../../kernel/iommu_groups/3", "sys/devices/"+other+"/iommu_group")
			h.link("../../../../devices/"+other, "sys/kernel/iommu_groups/3/devices/0000:00:15.0")
		}, only + carries + " only-keyboard carries companions", only + carries + " only-keyboard carries companions"},
		{"a mouse", func(h *host) {
			h.usb(xhci, "1-3", "3/1/2 usbhid")
			h.input(xhci+"/usb1/1-3/1-3:1.0/input/input7", "Mouse", mouseBits)
		}, free + carries, free},
		{"a mouse, and no more is stated", func(h *host) {
			h.usb(xhci, "1-3", "3/1/2 usbhid")
			h.class("input", xhci+"/usb1/1-3/1-3:1.0/input/input7")
		}, free + carries, free},
		{"a keyboard, and no more is stated", func(h *host) { h.usb(xhci, "1-3", "3/1/1 usbhid") }, unknown + carries, free},
		{"beside what programs and buttons press", func(h *host) {
			h.keyboardOn(xhci, "1-3", "input7")
			h.input("virtual/input/input20", "ydotoold", keyboardBits)
			h.input("LNXSYSTM:00/LNXPWRBN:00/input/input0", "Power Button", buttonBits)
			h.input("platform/thinkpad_acpi/input/input5", "ThinkPad Extra Buttons", hotkeyBits)
		}, only + carries, free},
		{"beside a token that types", func(h *host) {
			h.keyboardOn(xhci, "1-3", "input7")
			h.keyboardOn(other, "3-1", "input8")
			h.put("sys/devices/"+other+"/usb3/3-1/uevent", "DRIVER=usb\nPRODUCT=1050/407/543\nTYPE=0/0/0\nBUSNUM=003\nDEVNUM=002\n")
		}, only + carries, free + carries},
		{"over Bluetooth", func(h *host) {
			h.usb(xhci, "1-5", "224/1/1 btusb")
			h.input(uhid+"/input/input9", "MX Keys", keyboardBits)
		}, unknown + carries, free},
		{"over Bluetooth beside one that goes", func(h *host) {
			h.keyboardOn(xhci, "1-3", "input7")
			h.usb(other, "3-5", "224/1/1 btusb")
			h.input(uhid+"/input/input9", "MX Keys", keyboardBits)
		}, free + carries, free + carries},
		{"on I2C", func(h *host) {
			h.input(xhci+"/i2c_designware.0/i2c-1/i2c-KBD0001:00/0018:0001:0002.0003/input/input9", "Folio", keyboardBits)
		}, only + carries, free},
		{"attributes in place of the uevent", func(h *host) {
			h.usb(xhci, "1-3", "3/0/0 usbhid")
			const dir = xhci + "/usb1/1-3/1-3:1.0/0003:046D:C52B.0001/input/input7"
			h.class("input", dir, "capabilities/ev=120013", "capabilities/key=fffffffffffffffe")
		}, only + carries, free},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := laptopHost(t)
			h.function(other, "0c0330", "xhci_hcd", 8)
			tt.build(h)
			l := h.read()
			expect(t, l, "0000:00:14.0", tt.xhci)
			expect(t, l, "0000:00:15.0", tt.second)
			expect(t, l, "0000:04:00.0", free)
		})
	}
}

// The finding names the keyboard and where it is.
func TestKeyboardFinding(t *testing.T) {
	h := laptopHost(t)
	h.keyboardOn(xhci, "1-3", "input7")
	l := h.read()
	f := find(t, l, "0000:00:14.0").Findings[0]
	if f.Detail != "0000:00:14.0 takes the host's only keyboard along: Keys (usb:1-3)" || f.Severity != laptop.Block || !f.Code.Overridable() ||
		f.Evidence != "/sys/class/input/input7/capabilities/key" {
		t.Errorf("%+v", f)
	}
	expect(t, l, "1-3", "refused only-keyboard usb-alone")
}

// A notebook whose keyboard is on PS/2 is listed without a look at any input device.
func TestKeyboardIsNotRead(t *testing.T) {
	h := laptopHost(t)
	h.ps2()
	h.keyboardOn(xhci, "1-3", "input7")
	for _, name := range opened(t, h.Tree) {
		if strings.Contains(name, "input") && !strings.HasPrefix(name, "sys/class/input") || strings.Contains(name, "input7/") {
			t.Errorf("%s is read", name)
		}
	}
}

// What cannot be read is not known.
func TestKeyboardUnread(t *testing.T) {
	h := laptopHost(t)
	h.usb(xhci, "1-3", "3/0/0 usbhid")
	h.input(xhci+"/usb1/1-3/1-3:1.0/input/input7", "Keys", keyboardBits)
	expect(t, h.read(), "0000:00:14.0", "refused only-keyboard carries")
	for _, errno := range errnos[:3] {
		l, err := losing(h.Tree, "sys/class/input/input7/uevent", errno)
		if !errors.Is(err, errno) {
			t.Error(err)
		}
		expect(t, l, "0000:00:14.0", "unknown only-keyboard carries")
	}
}
