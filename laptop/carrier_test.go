package laptop

import (
	"slices"
	"strings"
	"testing"
)

// TestCarrierOf has real paths of the kernel's.
func TestCarrierOf(t *testing.T) {
	for _, tt := range []struct{ path, want string }{
		{"pci0000:00/0000:00:14.3/net/wlan0", "0000:00:14.3"},
		{"pci0000:00/0000:00:1d.0/0000:01:00.0/ieee80211/phy0/rfkill0", "0000:01:00.0"},
		{"pci0000:00/0000:00:03.0/virtio2/net/eth0", "0000:00:03.0"},
		{"pci0000:00/0000:00:0d.2/domain0/0-0/0-1", "0000:00:0d.2"},
		{"pci0000:00/0000:00:1c.0/0000:05:00.0/0000:06:00.0/fw0", "0000:06:00.0"},
		{"pci0000:00/0000:00:02.0/drm/card0/card0-eDP-1/intel_backlight", "0000:00:02.0"},
		{"pci0000:00/0000:00:1f.3/sof_sdw/sound/card0/input10/event9", "0000:00:1f.3"},
		{"pci0000:00/0000:00:1c.0/0000:03:00.0/rtsx_pci_sdmmc.0/mmc_host/mmc0", "0000:03:00.0"},
		{"pci0000:00/0000:00:1c.0/0000:03:00.0/rtsx_pci_sdmmc.0/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0", "0000:03:00.0"},
		{"pci0000:00/0000:00:1d.0/0000:04:00.0/nvme/nvme0/nvme0n1", "0000:04:00.0"},
		{"pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0/video4linux/video0", "1-4"},
		{"pci0000:00/0000:00:14.0/usb3/3-5/3-5.4/3-5.4:1.0/0003:046D:C52B.0001/0003:046D:4051.0002/power_supply/hidpp_battery_0", "3-5.4"},
		{"pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0/0003:10C4:EA90.0003/i2c-9/9-0050/iio:device0", "1-2"},
		{"platform/dummy_hcd.0/usb3/3-1/3-1:1.0/bluetooth/hci0/rfkill1", "3-1"},
		// Buses inside a PCI function.
		{"pci0000:00/0000:00:15.1/i2c_designware.1/i2c-1/i2c-ELAN0001:00/0018:04F3:3140.0001/input/input5/event4", "i2c i2c-ELAN0001:00 0000:00:15.1"},
		{"pci0000:00/0000:00:1f.4/i2c-9/9-002c/rmi4-00/input/input20", "i2c 9-002c 0000:00:1f.4"},
		{"pci0000:00/0000:00:1f.4/i2c-9/9-002c/rmi4-00/rmi4-00.fn03/serio2/input/input21", "serio serio2 0000:00:1f.4"},
		{"pci0000:00/0000:00:1e.3/pxa2xx-spi.6/spi_master/spi1/spi-ELAN7001:00/spidev/spidev1.0", "spi spi-ELAN7001:00 0000:00:1e.3"},
		{"pci0000:00/0000:00:1e.0/dw-apb-uart.2/dw-apb-uart.2:0/dw-apb-uart.2:0.0/serial0/serial0-0/bluetooth/hci0", "serial serial0-0 0000:00:1e.0"},
		{"pci0000:00/0000:00:1a.0/mmc_host/mmc1/mmc1:0001/mmc1:0001:1/ieee80211/phy0", "sdio mmc1:0001:1 0000:00:1a.0"},
		{"pci0000:00/0000:00:1f.0/PNP0C09:00/PNP0C0A:00/power_supply/BAT0", "platform PNP0C0A:00 0000:00:1f.0"},
		{"pci0000:00/0000:00:02.0/LNXVIDEO:00/input/input7", "0000:00:02.0"},
		// On no bus that can be handed over.
		{"LNXSYSTM:00/LNXSYBUS:00/PNP0A08:00/device:08/PNP0C09:00/PNP0C0A:00/power_supply/BAT0", "acpi PNP0C0A:00"},
		{"LNXSYSTM:00/LNXPWRBN:00/input/input2", "acpi LNXPWRBN:00"},
		{"LNXSYSTM:00/LNXSYBUS:00/MSFT0101:00/tpm/tpm0", "acpi MSFT0101:00"},
		{"platform/MSFT0101:00/tpmrm/tpmrm0", "platform MSFT0101:00"},
		{"platform/i8042/serio0/input/input3/event3", "serio serio0"},
		{"platform/i8042/serio1/serio2/input/input8", "serio serio2"},
		{"platform/AMDI0010:03/i2c-1/i2c-PIXA3854:00/0018:093A:0274.0001/hidraw/hidraw0", "i2c i2c-PIXA3854:00"},
		{"platform/80860F14:01/mmc_host/mmc0", "platform 80860F14:01"},
		{"platform/80860F14:01/mmc_host/mmc0/mmc0:0001/block/mmcblk0/mmcblk0p1", "mmc mmc0:0001"},
		{"platform/INT33BB:00/mmc_host/mmc1/mmc1:fffd/mmc1:fffd:1/net/wlan0", "sdio mmc1:fffd:1"},
		{"platform/thinkpad_acpi/rfkill/rfkill0", "platform thinkpad_acpi"},
		{"platform/snd_aloop.0/sound/card1", "platform snd_aloop.0"},
		{"platform/sound/sound/card0", "platform sound"},
		{"platform/vivid.0/video4linux/video0", "platform vivid.0"},
		{"faux/vkms/drm/card1", "faux vkms"},
		{"platform/omap-abe-twl6040/sound/card0/input0/event0", "platform omap-abe-twl6040"},
		{"platform/AMDI0081:00/HID-SENSOR-200041.1.auto/iio:device0", "platform AMDI0081:00"},
		{"platform/soc/3f204000.spi/spi_master/spi0/spi0.1/spidev/spidev0.1", "spi spi0.1"},
		{"platform/soc/fe300000.mmcnr/input/input1", "? fe300000.mmcnr"},
		{"pnp0/00:05/tpm/tpm0", "pnp 00:05"},
		{"pnp0/00:05/00:05:0/00:05:0.0/tty/ttyS0", "pnp 00:05"},
		{"pci0000:00/80860F14:00/mmc_host/mmc0", "? 80860F14:00"},
		{"virtual/mac80211_hwsim/hwsim0/ieee80211/phy1", "virtual hwsim0"},
		{"virtual/bluetooth/hci1/rfkill4", "virtual hci1"},
		{"virtual/input/input9/event8", "virtual input9"},
		{"virtual/net/lo", "virtual lo"},
		{"virtual/misc/uhid/0005:046D:B023.0006/input/input27", "hid 0005:046D:B023.0006"},
		// What a name of a class device cannot pretend.
		{"pci0000:00/0000:00:14.3/net/serio0", "0000:00:14.3"},
		{"pci0000:00/0000:00:14.3/net/i2c-1/x", "0000:00:14.3"},
		{"platform/a/net/serial0-0", "platform a"},
		{"", ""}, {"x", ""}, {"net/wlan0", ""}, {"virtual/x", ""}, {"virtual", ""}, {"platform/x", ""},
	} {
		c := carrierOf(tt.path)
		var got string
		switch {
		case c.port.IsValid():
			got = c.port.String()
		case c.path != "":
			name := c.path[strings.LastIndexByte(c.path, '/')+1:]
			bus := c.bus
			if bus == "" {
				bus = "?"
			}
			got = bus + " " + name
			if c.function.IsValid() {
				got += " " + c.function.String()
			}
			if !strings.HasPrefix(tt.path+"/", c.path+"/") {
				t.Errorf("%s: %s is not above it", tt.path, c.path)
			}
		case c.function.IsValid():
			got = c.function.String()
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.path, got, tt.want)
		}
	}
}

func FuzzCarrierOf(f *testing.F) {
	f.Add("pci0000:00/0000:00:15.1/i2c_designware.1/i2c-1/i2c-ELAN0001:00/0018:04F3:3140.0001/input/input5/event4")
	f.Add("pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0/video4linux/video0")
	f.Add("virtual/bluetooth/hci1/rfkill4")
	f.Add("platform/INT33BB:00/mmc_host/mmc1/mmc1:fffd/mmc1:fffd:1/net/wlan0")
	f.Fuzz(func(t *testing.T, path string) {
		c := carrierOf(path)
		if c.path != "" && !strings.HasPrefix(path, c.path) {
			t.Errorf("%q is not above %q", c.path, path)
		}
		if c.path == "" && c.bus != "" || c.path != "" && c.port.IsValid() {
			t.Errorf("%+v", c)
		}
	})
}

func FuzzInputKind(f *testing.F) {
	f.Add("120013", "402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe", "", "", "", "0")
	f.Add("b", "e520 10000 0 0 0 0", "663800011000003", "", "", "5")
	f.Add("21", "", "", "", "1", "")
	f.Fuzz(func(t *testing.T, ev, key, abs, rel, sw, prop string) {
		for _, s := range []string{ev, key} {
			b := parseBitmap(s)
			if len(b) > maxWords || b.has(1<<20) || b.any(0, maxWords*64) != slices.ContainsFunc(b, func(w uint64) bool { return w != 0 }) {
				t.Errorf("%q: %v", s, b)
			}
		}
		i := inputBits{parseBitmap(ev), parseBitmap(key), parseBitmap(abs), parseBitmap(rel), parseBitmap(sw), parseBitmap(prop)}
		if k := i.kind(); k != line(k) {
			t.Errorf("%q", k)
		}
	})
}

func FuzzLine(f *testing.F) {
	f.Add("\x1b]0;owned\x07 a\u202eb\n\n c")
	f.Add(strings.Repeat("x ", 400))
	f.Fuzz(func(t *testing.T, s string) {
		l := line(s)
		if strings.ContainsAny(l, "\x1b\n\x07\u202e") || len([]rune(l)) > maxText || strings.TrimSpace(l) != l || line(l) != l || !printable(l) {
			t.Errorf("%q gives %q", s, l)
		}
	})
}

// TestInputKind has what real devices report: ev, key, abs, rel, sw, properties.
func TestInputKind(t *testing.T) {
	for _, tt := range []struct{ want, ev, key, abs, rel, sw, prop string }{
		{"keyboard", "120013", "402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe", "0", "0", "0", "0"},
		{"touchpad", "b", "e520 10000 0 0 0 0", "663800011000003", "0", "0", "5"},
		{"touchpad", "1b", "e520 30000 0 0 0 0", "2e0800000000003", "0", "0", "1"},
		{"touchscreen", "1b", "400 0 0 0 0 0", "3273800000000003", "0", "0", "2"},
		{"mouse", "17", "ffff0000 0 0 0 0", "0", "1943", "0", "0"},
		{"mouse", "b", "30000 0 0 0 0", "3", "0", "0", "0"}, // QEMU's tablet
		{"pointing stick", "7", "70000 0 0 0 0", "0", "3", "0", "21"},
		{"tablet", "1b", "1c03 0 0 0 0 0", "1000003000007", "0", "0", "0"},
		{"lid switch", "21", "0", "0", "0", "1", "0"},
		{"tablet mode switch", "21", "0", "0", "0", "2", "0"},
		{"socket", "21", "0", "0", "0", "4", "0"},
		{"power button", "3", "10000000000000 0", "0", "0", "0", "0"},
		{"sleep button", "3", "4000 0 0", "0", "0", "0", "0"},
		{"joystick", "20000b", "7fdb000000000000 0 0 0 0", "3003f", "0", "0", "0"},
		{"accelerometer", "9", "0", "7", "0", "0", "40"},
		{"keys", "3", "1500b00000c00 4000000000000000 0", "0", "0", "0", "0"},
		{"", "", "", "", "", "", ""}, {"", "zz", "-1", "0x1", "3 ?", "g", "1 2 3 x"},
		{"", "3", strings.Repeat("ffff ", 65), "", "", "", ""},
	} {
		i := inputBits{
			ev: parseBitmap(tt.ev), key: parseBitmap(tt.key), abs: parseBitmap(tt.abs), rel: parseBitmap(tt.rel), sw: parseBitmap(tt.sw), prop: parseBitmap(tt.prop),
		}
		if got := i.kind(); got != tt.want {
			t.Errorf("%v: %q, want %q", tt, got, tt.want)
		}
	}
}

func TestClassNodes(t *testing.T) {
	want := map[string]string{
		"net wlan0": "", "usbmisc lp0": "dev/usb/lp0", "usbmisc hiddev0": "dev/usb/hiddev0", "usbmisc cdc-wdm0": "dev/cdc-wdm0",
		"wwan wwan0": "", "wwan wwan0at0": "dev/wwan0at0", "input input5": "", "input event5": "dev/input/event5", "input js0": "dev/input/js0",
		"input mouse0": "dev/input/mouse0", "input mice": "-", "tty ttyUSB0": "dev/ttyUSB0", "tty ttyACM1": "dev/ttyACM1", "tty ttyS0": "dev/ttyS0",
		"tty tty1": "-", "tty console": "-", "tty rfcomm0": "dev/rfcomm0", "bluetooth hci0": "", "bluetooth hci0:256": "-", "media media0": "dev/media0",
		"iio iio:device0": "", "iio trigger0": "-", "thunderbolt domain0": "", "thunderbolt 0-1": "", "thunderbolt 0-0:1.1": "-", "thunderbolt 0-1.0": "-",
		"firewire fw0": "dev/fw0", "firewire fw1.0": "-", "nvme nvme0": "dev/nvme0", "nvme nvme-fabrics": "-", "tpm tpm0": "dev/tpm0", "tpmrm tpmrm0": "dev/tpmrm0",
		"mei mei0": "dev/mei0", "typec port0": "", "typec port0-partner": "-", "spidev spidev0.0": "dev/spidev0.0", "video4linux v4l-subdev0": "dev/v4l-subdev0",
	}
	for what, node := range want {
		class, name, _ := strings.Cut(what, " ")
		for _, k := range kernelClasses {
			if k.name != class {
				continue
			}
			got := "-"
			if k.keeps(name) {
				got = k.nodeOf(name)
			}
			if got != node {
				t.Errorf("%s: %q, want %q", what, got, node)
			}
			delete(want, what)
		}
	}
	if len(want) > 0 {
		t.Errorf("no class for %v", want)
	}
}
