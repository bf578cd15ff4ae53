package laptop_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
)

// describe is a device in short: roles, classes and nodes.
func describe(d *laptop.Device) string {
	var b strings.Builder
	for i, r := range d.Roles {
		fmt.Fprint(&b, strings.Repeat(",", min(i, 1)), r)
	}
	for _, c := range d.Classes {
		fmt.Fprintf(&b, " %s/%s", c.Class, c.Name)
	}
	for _, n := range d.Nodes {
		if !strings.HasPrefix(n, "dev/bus/usb/") {
			fmt.Fprint(&b, " /", n)
		}
	}
	return b.String()
}

// TestClasses has each kind of device of a notebook with what the kernel makes of it.
func TestClasses(t *testing.T) {
	const fn = "pci0000:00/0000:00:1c.0/0000:05:00.0"
	const port = xhci + "/usb1/1-7"
	for _, tt := range []struct {
		name    string
		class   string   // of a function at 05:00.0
		driver  string   // of it
		usb     []string // interfaces of a device at 1-7
		classes []string // CLASS PATH
		where   string
		want    string
	}{
		{name: "WLAN that says it is Ethernet", class: "020000", driver: "ath5k",
			classes: []string{"net " + fn + "/net/wlan0", "ieee80211 " + fn + "/ieee80211/phy0", "rfkill " + fn + "/ieee80211/phy0/rfkill0"},
			where:   "05:00.0", want: "wlan net/wlan0 ieee80211/phy0 rfkill/rfkill0"},
		{name: "WLAN of a vendor's own class", class: "ff0000", driver: "new", classes: []string{"ieee80211 " + fn + "/ieee80211/phy0"}, where: "05:00.0", want: "wlan ieee80211/phy0"},
		{name: "WLAN and Bluetooth in one", class: "028000", driver: "new",
			classes: []string{"ieee80211 " + fn + "/ieee80211/phy0", "bluetooth " + fn + "/bluetooth/hci0"}, where: "05:00.0", want: "wlan,bluetooth ieee80211/phy0 bluetooth/hci0"},
		{name: "WLAN on USB", usb: []string{"255/255/255 newdriver"}, classes: []string{"ieee80211 " + port + "/1-7:1.0/ieee80211/phy1", "net " + port + "/1-7:1.0/net/wlan1"},
			where: "1-7", want: "wlan net/wlan1 ieee80211/phy1"},
		{name: "Bluetooth on PCI", class: "0d1100", driver: "btintel_pcie", classes: []string{"bluetooth " + fn + "/bluetooth/hci0"}, where: "05:00.0", want: "bluetooth bluetooth/hci0"},
		{name: "Bluetooth of a vendor's own class", usb: []string{"255/1/1 btnew"}, classes: []string{"bluetooth " + port + "/1-7:1.0/bluetooth/hci0"}, where: "1-7", want: "bluetooth bluetooth/hci0"},
		{name: "WWAN on PCI", class: "0d4000", driver: "mtk_t7xx",
			classes: []string{"wwan " + fn + "/wwan/wwan0", "wwan " + fn + "/wwan/wwan0/wwan0at0", "net " + fn + "/net/wwan0"},
			where:   "05:00.0", want: "wwan net/wwan0 wwan/wwan0 wwan/wwan0at0 /dev/wwan0at0"},
		{name: "WWAN of a vendor's own class", class: "ff0000", driver: "mhi-pci-generic", where: "05:00.0", want: "wwan"},
		{name: "WWAN that a driver nobody knows has", class: "ff0000", driver: "new", classes: []string{"wwan " + fn + "/wwan/wwan0"}, where: "05:00.0", want: "wwan wwan/wwan0"},
		{name: "WWAN on USB", usb: []string{"255/255/255 qmi_wwan", "255/0/0 option"},
			classes: []string{"usbmisc " + port + "/1-7:1.0/usbmisc/cdc-wdm0", "net " + port + "/1-7:1.0/net/wwan0", "tty " + port + "/1-7:1.1/ttyUSB0/tty/ttyUSB0"},
			where:   "1-7", want: "wwan net/wwan0 usbmisc/cdc-wdm0 tty/ttyUSB0 /dev/cdc-wdm0 /dev/ttyUSB0"},
		{name: "MBIM", usb: []string{"2/14/0 cdc_mbim", "10/0/2 cdc_mbim"}, classes: []string{"usbmisc " + port + "/1-7:1.0/usbmisc/cdc-wdm0"}, where: "1-7", want: "wwan usbmisc/cdc-wdm0 /dev/cdc-wdm0"},
		{name: "modem on USB", usb: []string{"2/2/1 cdc_acm", "10/0/0 cdc_acm"}, classes: []string{"tty " + port + "/1-7:1.0/tty/ttyACM0"}, where: "1-7", want: "modem tty/ttyACM0 /dev/ttyACM0"},
		{name: "modem on PCI", class: "070302", where: "05:00.0", want: "modem"},
		{name: "keyboard with a serial line", usb: []string{"2/2/0 cdc_acm", "10/0/0 cdc_acm", "3/1/1 usbhid"}, where: "1-7", want: "input"},
		{name: "webcam with a button", usb: []string{"14/1/0 uvcvideo", "14/2/0 uvcvideo"},
			classes: []string{"video4linux " + port + "/1-7:1.0/video4linux/video0", "media " + port + "/1-7:1.0/media0", "input " + port + "/1-7:1.0/input/input9", "input " + port + "/1-7:1.0/input/input9/event7"},
			where:   "1-7", want: "webcam video4linux/video0 media/media0 input/event7 input/input9 /dev/video0 /dev/media0 /dev/input/event7"},
		{name: "old webcam", usb: []string{"255/255/255 gspca_zc3xx"}, where: "1-7", want: "webcam"},
		{name: "camera of the board", class: "048000", driver: "intel-ipu6", classes: []string{"video4linux " + fn + "/intel-ipu6-isys0/video4linux/video0"}, where: "05:00.0", want: "webcam video4linux/video0 /dev/video0"},
		{name: "camera of the board without a driver", class: "048000", where: "05:00.0", want: "webcam"},
		{name: "camera in a GPU", class: "030000", driver: "amdgpu", classes: []string{"video4linux " + fn + "/amd_isp_capture.1.auto/video4linux/video0"}, where: "05:00.0", want: "gpu,webcam video4linux/video0 /dev/video0"},
		{name: "TV card", class: "040000", driver: "bttv", classes: []string{"video4linux " + fn + "/video4linux/video0"}, where: "05:00.0", want: "system video4linux/video0 /dev/video0"},
		{name: "card reader on PCI", class: "ff0000", driver: "rtsx_pci", classes: []string{"mmc_host " + fn + "/rtsx_pci_sdmmc.0/mmc_host/mmc0"}, where: "05:00.0", want: "storage mmc_host/mmc0"},
		{name: "card reader on USB", usb: []string{"255/6/80 rtsx_usb"}, classes: []string{"mmc_host " + port + "/1-7:1.0/rtsx_usb_sdmmc.2.auto/mmc_host/mmc0"}, where: "1-7", want: "storage mmc_host/mmc0"},
		{name: "printer", usb: []string{"255/0/0 usblp"}, classes: []string{"usbmisc " + port + "/1-7:1.0/usbmisc/lp0"}, where: "1-7", want: "printer usbmisc/lp0 /dev/usb/lp0"},
		{name: "game controller", usb: []string{"255/93/1 new"}, classes: []string{"input " + port + "/1-7:1.0/input/input9", "input " + port + "/1-7:1.0/input/input9/js0"},
			where: "1-7", want: "input input/input9 input/js0 /dev/input/js0"},
		{name: "FireWire", class: "0c0010", driver: "firewire_ohci", classes: []string{"firewire " + fn + "/fw0"}, where: "05:00.0", want: "firewire firewire/fw0 /dev/fw0"},
		{name: "Thunderbolt", class: "0c0340", driver: "thunderbolt", classes: []string{"thunderbolt " + fn + "/domain0", "thunderbolt " + fn + "/domain0/0-0", "net " + fn + "/domain0/0-0/0-1/0-1.0/net/thunderbolt0"},
			where: "05:00.0", want: "thunderbolt net/thunderbolt0 thunderbolt/0-0 thunderbolt/domain0"},
		{name: "NVMe", class: "010802", driver: "nvme", classes: []string{"nvme " + fn + "/nvme/nvme5"}, where: "05:00.0", want: "storage nvme/nvme5 /dev/nvme5"},
		{name: "management engine", class: "078000", driver: "mei_me", classes: []string{"mei " + fn + "/mei/mei0"}, where: "05:00.0", want: "system mei/mei0 /dev/mei0"},
		{name: "sockets of a sound card", class: "040300", driver: "snd_hda_intel", classes: []string{"input " + fn + "/sound/card3/input9"}, where: "05:00.0", want: "audio input/input9"},
		{name: "panel", class: "030000", driver: "i915", classes: []string{"backlight " + fn + "/drm/card0/card0-eDP-1/intel_backlight"}, where: "05:00.0", want: "gpu backlight/intel_backlight"},
		{name: "touch host controller", class: "0c8000", driver: "intel_quicki2c", where: "05:00.0", want: "input"},
		{name: "sensor hub", class: "070000", driver: "intel_ish_ipc", classes: []string{"iio " + fn + "/{33AECD58}/001F:8087:0AC2.0001/HID-SENSOR-200041.1.auto/iio:device0"}, where: "05:00.0", want: "system iio/iio:device0"},
		// On neither bus.
		{name: "TPM", classes: []string{"tpm platform/MSFT0101:00/tpm/tpm0", "tpmrm platform/MSFT0101:00/tpmrm/tpmrm0"}, where: "platform:MSFT0101:00", want: "tpm tpm/tpm0 tpmrm/tpmrm0 /dev/tpm0 /dev/tpmrm0"},
		{name: "keyboard", classes: []string{"input platform/i8042/serio0/input/input3", "input platform/i8042/serio0/input/input3/event3"}, where: "serio0", want: "input input/event3 input/input3 /dev/input/event3"},
		{name: "I2C touchpad", classes: []string{"input " + fn + "/i2c_designware.0/i2c-1/i2c-ELAN0001:00/0018:04F3:3140.0001/input/input5"}, where: "i2c-ELAN0001:00", want: "input input/input5"},
		{name: "SPI fingerprint reader", classes: []string{"spidev " + fn + "/pxa2xx-spi.3/spi_master/spi0/spi-ELAN7001:00/spidev/spidev0.0"}, where: "spi-ELAN7001:00", want: "fingerprint spidev/spidev0.0 /dev/spidev0.0"},
		{name: "Bluetooth on a UART", classes: []string{"bluetooth " + fn + "/dw-apb-uart.2/serial0/serial0-0/bluetooth/hci0"}, where: "serial:serial0-0", want: "bluetooth bluetooth/hci0"},
		{name: "WLAN on SDIO", classes: []string{"net platform/INT33BB:00/mmc_host/mmc1/mmc1:fffd/mmc1:fffd:1/net/wlan0", "ieee80211 platform/INT33BB:00/mmc_host/mmc1/mmc1:fffd/mmc1:fffd:1/ieee80211/phy0", "mmc_host platform/INT33BB:00/mmc_host/mmc1"},
			where: "sdio:mmc1:fffd:1", want: "wlan net/wlan0 ieee80211/phy0"},
		{name: "card reader of the board", classes: []string{"mmc_host platform/80860F16:00/mmc_host/mmc2"}, where: "80860F16:00", want: "storage mmc_host/mmc2"},
		{name: "lid", classes: []string{"input LNXSYSTM:00/LNXSYBUS:00/PNP0C0D:00/input/input0"}, where: "acpi:PNP0C0D:00", want: "input input/input0"},
		{name: "battery", classes: []string{"power_supply LNXSYSTM:00/LNXSYBUS:00/PNP0C0A:00/power_supply/BAT0"}, where: "PNP0C0A:00", want: "system power_supply/BAT0"},
		{name: "ambient light", classes: []string{"iio platform/ACPI0008:00/iio:device0"}, where: "ACPI0008:00", want: "system iio/iio:device0"},
		{name: "radio made by software", classes: []string{"ieee80211 virtual/mac80211_hwsim/hwsim0/ieee80211/phy0", "net virtual/mac80211_hwsim/hwsim0/net/wlan0"}, where: "virtual:hwsim0", want: "wlan net/wlan0 ieee80211/phy0"},
		{name: "Bluetooth made by software", classes: []string{"bluetooth virtual/bluetooth/hci1"}, where: "virtual:hci1", want: "bluetooth bluetooth/hci1"},
		{name: "webcam made by software", classes: []string{"video4linux platform/vivid.0/video4linux/video0"}, where: "platform:vivid.0", want: "webcam video4linux/video0 /dev/video0"},
		{name: "Bluetooth mouse", classes: []string{"input virtual/misc/uhid/0005:046D:B023.0006/input/input27", "power_supply virtual/misc/uhid/0005:046D:B023.0006/power_supply/hidpp_battery_0"},
			where: "0005:046D:B023.0006", want: "input input/input27 power_supply/hidpp_battery_0"},
		{name: "serial port", classes: []string{"tty pnp0/00:05/00:05:0/00:05:0.0/tty/ttyS0"}, where: "pnp:00:05", want: "system tty/ttyS0 /dev/ttyS0"},
		// What no one would miss.
		{name: "loopback, radio switch, beeper, video keys, empty ports, charger",
			classes: []string{"net virtual/net/lo", "rfkill platform/thinkpad_acpi/rfkill/rfkill0", "input platform/pcspkr/input/input6", "tty platform/serial8250/tty/ttyS3",
				"input LNXSYSTM:00/LNXSYBUS:00/PNP0A08:00/LNXVIDEO:00/input/input7", "power_supply platform/USBC000:00/power_supply/ucsi-source-psy-USBC000:001", "tty virtual/tty/rfcomm0", "typec platform/USBC000:00/typec/port0"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := laptopHost(t)
			h.function("pci0000:00/0000:00:1c.0", "060400", "pcieport", 20)
			if tt.class == "" {
				tt.class = "0c8000"
			}
			h.function(fn, tt.class, tt.driver, 21)
			if tt.usb != nil {
				h.usb(xhci, "1-7", tt.usb...)
			}
			for _, c := range tt.classes {
				class, path, _ := strings.Cut(c, " ")
				h.class(class, path)
			}
			l := h.read()
			if tt.where == "" {
				for i := range l.Devices {
					if d := &l.Devices[i]; d.Other != nil {
						t.Errorf("%s is listed", d.ID())
					}
				}
				return
			}
			d := find(t, l, tt.where)
			if got := describe(d); got != tt.want {
				t.Errorf("%s: %s, want %s", tt.where, got, tt.want)
			}
			if d.Other == nil {
				return
			}
			if codes(d) != "share-only host-only" || d.Group().IsValid() || d.Display != nil || d.Findings[0].Evidence != "/sys/devices/"+d.Other.Path {
				t.Errorf("%s: %s %+v", d.ID(), codes(d), d.Findings)
			}
			if under := strings.HasPrefix(d.Other.Path, fn); under != (d.Controller() == address(t, "0000:05:00.0")) {
				t.Errorf("%s: controller %v", d.ID(), d.Controller())
			} else if under {
				expect(t, l, "05:00.0", "assignable carries")
			}
		})
	}
}

// A soldered disk is on neither bus, and the host's use of it refuses nothing else.
func TestSolderedDisk(t *testing.T) {
	h := laptopHost(t)
	const dir = "platform/80860F14:01/mmc_host/mmc0"
	h.class("mmc_host", dir)
	h.block(dir+"/mmc0:0001/block", "mmcblk0", "179:0")
	h.block(dir+"/mmc0:0001/block/mmcblk0", "mmcblk0p1", "179:1")
	h.mount("179:1", "/", "ext4", "/dev/mmcblk0p1")
	h.put("sys/devices/"+dir+"/mmc0:0001/name", "DF4064\n")
	l := h.read()
	if got := describe(find(t, l, "mmc:mmc0:0001")); got != "storage block/mmcblk0 block/mmcblk0p1 /dev/mmcblk0 /dev/mmcblk0p1" {
		t.Error(got)
	}
	if d := l.Device("platform:80860F14:01"); d != nil {
		t.Errorf("%s is listed beside its card", d.ID())
	}
	expect(t, l, "0000:04:00.0", "assignable")
}

// Handing over a USB controller takes along what it carries, by what that is for.
// Hubs are no devices.
func TestCarries(t *testing.T) {
	h := laptopHost(t)
	h.usb(xhci, "1-1", "9/0/0 hub")
	h.usb(xhci, "1-1.2", "3/1/1 usbhid")
	h.usb(xhci, "1-4", "14/1/0 uvcvideo")
	h.usb(xhci, "1-5", "224/1/1 btusb")
	h.usb(xhci, "1-6", "255/0/0")
	h.put("sys/devices/"+xhci+"/usb1/1-6/uevent", "PRODUCT=6cb/bd/0\nTYPE=0/0/0\nBUSNUM=001\nDEVNUM=009\n")
	h.class("input", xhci+"/i2c-4/4-0015/input/input9")
	l := h.read()
	d := find(t, l, "0000:00:14.0")
	want := "0000:00:14.0 carries 1-1.2 (input), 1-4 (webcam), 1-5 (bluetooth), 1-6 (fingerprint), 4-0015 (input), which the host loses with it"
	if codes(d) != "unknown only-keyboard carries" || d.Findings[1].Detail != want || d.Findings[1].Severity != laptop.Warning {
		t.Errorf("%s %+v", codes(d), d.Findings)
	}
	var ids []string
	for _, c := range l.Carried(d.PCI.Address) {
		ids = append(ids, c.ID())
	}
	if diff := cmp.Diff([]string{"usb:1-1.2", "usb:1-4", "usb:1-5", "usb:1-6", "i2c:4-0015"}, ids); diff != "" {
		t.Error(diff)
	}
	if len(l.Carried(address(t, "0000:04:00.0"))) > 0 || l.Carried(find(t, l, "4-0015").Other.Controller) == nil || l.Device("usb:1-1") != nil {
		t.Error("found what is not there, or lost what is")
	}
}

// What one class cannot tell costs no device and no other class.
func TestClassesFail(t *testing.T) {
	h := factsHost(t)
	before := h.read()
	for _, file := range []string{
		"sys/class", "sys/bus", "sys/class/net", "sys/class/ieee80211", "sys/class/input", "sys/class/tpm", "sys/bus/thunderbolt/devices",
		"sys/class/bluetooth/hci0", "sys/class/net/wlan0", "sys/class/input/event3", "sys/devices/LNXSYSTM:00/LNXSYBUS:00/MSFT0101:00/uevent",
	} {
		for _, cause := range []error{syscall.ENODEV, syscall.EIO, syscall.EACCES, syscall.ENOENT} {
			l, err := laptop.Read(hosttest.Failing{Tree: h.Tree, Fail: func(name string) error {
				if name == file {
					return cause
				}
				return nil
			}})
			check(t, l)
			if (err == nil) != (cause == syscall.ENOENT) || err != nil && !errors.Is(err, cause) {
				t.Errorf("%s, %v: error %v", file, cause, err)
			}
			for i := range before.Devices {
				d := &before.Devices[i]
				after := l.Device(d.ID())
				switch {
				case d.Other == nil && (after == nil || len(after.Classes) < len(d.Classes)-3):
					t.Errorf("%s, %v: %s lost", file, cause, d.ID())
				case after == nil && file != "sys/class" && file != "sys/bus" && file != "sys/class/input" && file != "sys/class/tpm":
					t.Errorf("%s, %v: %s lost", file, cause, d.ID())
				}
			}
		}
	}
}

// Names come from the lists, else from the device itself, and cost no file otherwise.
func TestOwnNames(t *testing.T) {
	h := factsHost(t)
	h.usb(xhci, "1-8", "255/0/0")
	h.put("sys/devices/"+xhci+"/usb1/1-8/uevent", "PRODUCT=46d/9999/0\nTYPE=0/0/0\nBUSNUM=001\nDEVNUM=019\n")
	h.put("sys/devices/"+xhci+"/usb1/1-8/product", "LOGITECH\tThing\x1b[2J\n")
	h.usb(xhci, "1-9", "255/0/0")
	h.put("sys/devices/"+xhci+"/usb1/1-9/uevent", "PRODUCT=1234/9999/0\nTYPE=0/0/0\nBUSNUM=001\nDEVNUM=020\n")
	h.put("sys/devices/"+xhci+"/usb1/1-9/product", "Sofle\n")
	l := h.read()
	opened := 0
	fsys := hosttest.Failing{Tree: h.Tree, Fail: func(string) error { opened++; return nil }}
	names := laptop.NewNames(lists(t)).Of(fsys)
	for _, tt := range []struct {
		where, want string
		most        int // files that may be opened for it
	}{
		{"0000:00:1d.0", "Intel Cannon Lake PCH Shared SRAM", 0},
		{"1-3", "Logitech Bluetooth [31mradio", 1}, // its own word before that of the list
		{"1-8", "LOGITECH Thing [2J", 1},
		{"1-9", "Sofle", 1},
		{"MSFT0101:00", "TPM 2", 1},
		{"serio0", "AT Translated Set 2 keyboard", 1},
		{"PNP0C0A:00", "LGC 5B10W51876 Battery", 3},
		{"AMDI0081:00", "als", 1},
		{"vivid.0", "vivid-000-vid-cap", 1},
		{"i2c-ELAN0001:00", "i2c-ELAN0001:00", 3},
	} {
		d := find(t, l, tt.where)
		opened = 0
		for range 3 { // and asks once
			if got := names.Name(d); got != tt.want {
				t.Errorf("%s: %q, want %q", tt.where, got, tt.want)
			}
		}
		if opened > tt.most {
			t.Errorf("%s: %d files opened", tt.where, opened)
		}
		if d.Other != nil && laptop.NewNames(lists(t)).Name(d) != d.Where() {
			t.Errorf("%s has a name without its machine", tt.where)
		}
	}
	if v, n := names.VendorDevice(find(t, l, "serio0")); v != "" || n == "" {
		t.Errorf("%q %q", v, n)
	}
}

func TestFindClasses(t *testing.T) {
	h := factsHost(t)
	l := h.read()
	for word, want := range map[string]string{
		"wlan0": "pci:0000:00:14.3", "hci0": "usb:1-3", "/dev/usb/lp0": "usb:1-4", "dev/input/event3": "serio:serio0", "BAT0": "acpi:PNP0C0A:00",
		"serio0": "serio:serio0", "serio:serio0": "serio:serio0", "tpm": "acpi:MSFT0101:00", "tpm0": "acpi:MSFT0101:00", "domain0": "pci:0000:00:0d.2",
		"translated": "serio:serio0", "serio:serio1": "", "SERIO0": "serio:serio0", "wlan9": "",
	} {
		d, err := l.Find(word, laptop.NewNames(new(hostfs.Tree)).Of(h))
		if word == "SERIO0" { // no name of the kernel's; but no name has it in it either
			if err == nil {
				t.Errorf("%q: %s", word, d.ID())
			}
			continue
		}
		if (err == nil) != (want != "") || err == nil && d.ID() != want {
			t.Errorf("%q: %v, want %q (%v)", word, d, want, err)
		}
	}
}

// A listing reads no attribute of a class device, and no directory of a class that is
// not there.
func TestListingIsCheap(t *testing.T) {
	h := factsHost(t)
	var odd []string
	_, err := laptop.Read(hosttest.Failing{Tree: h.Tree, Fail: func(name string) error {
		attribute := strings.HasPrefix(name, "sys/class/") && strings.Count(name, "/") > 3
		missing := false
		if dir := strings.Split(name, "/"); len(dir) == 3 && dir[1] == "class" {
			_, err := fs.Stat(h, name)
			missing = err != nil && dir[2] != "sound" && dir[2] != "drm" && dir[2] != "iommu"
		}
		if attribute || missing || strings.HasSuffix(name, "/removable") && !strings.Contains(name, "1-3") {
			odd = append(odd, name)
		}
		return nil
	}})
	if err != nil || len(odd) > 0 {
		t.Errorf("%v, opened %v", err, odd)
	}
}
