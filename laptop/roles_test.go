package laptop

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// TestPCIRoles has each class a notebook may have, and each driver that says more.
func TestPCIRoles(t *testing.T) {
	for _, tt := range []struct {
		class, driver string
		want          Role
	}{
		{"010000", "", Storage}, {"010185", "", Storage}, {"010400", "vmd", Storage}, {"010601", "ahci", Storage},
		{"010700", "", Storage}, {"010802", "nvme", Storage}, {"010900", "ufshcd", Storage}, {"018000", "", Storage},
		{"020000", "e1000e", Ethernet}, {"028000", "iwlwifi", WLAN}, {"0d2000", "", WLAN}, {"0d2100", "", WLAN},
		{"030000", "i915", GPU}, {"030100", "", GPU}, {"030200", "nvidia", GPU}, {"038000", "amdgpu", GPU},
		{"040100", "", Audio}, {"040300", "snd_hda_intel", Audio}, {"040380", "sof-audio-pci-intel-tgl", Audio},
		{"040000", "bttv", System}, {"048000", "snd_rn_pci_acp3x", Audio}, {"048000", "intel-ipu6", Webcam},
		{"048000", "ipu3-cio2", Webcam}, {"048000", "intel_ipu7", Webcam}, {"048000", "", System},
		{"050000", "", System}, {"058000", "intel_pmc", System},
		{"060000", "", System}, {"060000", "igen6_edac", System}, {"060100", "", System}, {"060400", "pcieport", BridgeRole},
		{"060401", "", BridgeRole}, {"060700", "yenta_cardbus", BridgeRole}, {"060940", "", BridgeRole}, {"068000", "", System},
		{"070002", "serial", System}, {"070300", "", Modem}, {"070302", "", Modem}, {"078000", "mei_me", System},
		{"080501", "sdhci-pci", Storage}, {"088000", "thunderbolt", Thunderbolt}, {"088000", "", System}, {"080600", "", System},
		{"090000", "", Input}, {"098000", "", Input}, {"0b4000", "", System},
		{"0c0010", "firewire_ohci", FireWire}, {"0c0000", "", FireWire},
		{"0c0300", "uhci_hcd", USBController}, {"0c0310", "", USBController}, {"0c0320", "", USBController}, {"0c0330", "xhci_hcd", USBController},
		{"0c0340", "thunderbolt", Thunderbolt}, {"0c03fe", "", System}, {"0c0500", "i801_smbus", System}, {"0c8000", "intel-spi", System},
		{"0d1100", "", Bluetooth}, {"0d4000", "iosm", WWAN}, {"0d4100", "", WWAN}, {"0d0000", "", System},
		{"108000", "ccp", System}, {"118000", "proc_thermal_pci", System}, {"130000", "", System}, {"120000", "", System},
		{"ff0000", "rtsx_pci", Storage}, {"ff0000", "alcor_pci", Storage}, {"ff0000", "mhi-pci-generic", WWAN}, {"ff0000", "mhi_pci_generic", WWAN}, {"ff0000", "mtk-t7xx", WWAN}, {"0c8000", "intel_quickspi", Input}, {"048000", "snd-pci-acp6x", Audio}, {"ff0000", "mtk_t7xx", WWAN},
		{"ff0000", "", System}, {"000000", "", System}, {"", "", System}, {"", "snd_hda_intel", Audio},
	} {
		f := pci.Function{Driver: tt.driver}
		if tt.class != "" {
			var err error
			if f.Class, err = pci.ParseClass(tt.class); err != nil {
				t.Fatal(err)
			}
		}
		if got := pciRoles(f, nil); !slices.Equal(got, []Role{tt.want}) {
			t.Errorf("class %q, driver %q: %v, want %s", tt.class, tt.driver, got, tt.want)
		}
	}
}

// TestUSBRoles has interfaces as class/subclass/protocol in hexadecimal and driver.
func TestUSBRoles(t *testing.T) {
	for _, tt := range []struct {
		name, vendor, interfaces, want string
	}{
		{"webcam", "04f2", "0e/01/00=uvcvideo 0e/02/00=uvcvideo", "webcam"},
		{"webcam with a microphone", "046d", "0e/01/00 0e/02/00 01/01/00 01/02/00", "webcam audio"},
		{"headset", "0b0e", "01/01/00 01/02/00 03/00/00", "audio input"},
		{"smart card reader", "058f", "0b/00/00", "smartcard"},
		{"bluetooth", "8087", "e0/01/01=btusb e0/01/01=btusb", "bluetooth"},
		{"bluetooth of a vendor's own class", "0a5c", "ff/01/01=btusb fe/01/01", "bluetooth"},
		{"wireless, but not bluetooth", "1234", "e0/02/01", "usb-device"},
		{"phone that tethers", "18d1", "e0/01/03 0a/00/00 ff/42/01", "ethernet"},
		{"phone that tethers otherwise", "18d1", "ef/04/01 0a/00/00", "ethernet"},
		{"RNDIS", "0525", "02/02/ff=rndis_host 0a/00/00", "ethernet"},
		{"MBIM", "2cb7", "02/0e/00=cdc_mbim 0a/00/02", "wwan"},
		{"QMI", "1199", "ff/ff/ff=qmi_wwan ff/00/00=qcserial", "wwan"},
		{"modem", "0572", "02/02/01 0a/00/00", "modem"},
		{"WWAN with a management line", "413c", "02/02/01=cdc_acm 0a/00/00 02/09/01=cdc_wdm 02/0d/00=cdc_ncm", "wwan modem ethernet"},
		{"keyboard with a serial line", "feed", "02/02/00=cdc_acm 0a/00/00 03/00/00", "input"},
		{"serial line alone", "2341", "02/02/00=cdc_acm 0a/00/00", "modem"},
		{"fingerprint reader, Goodix with a serial line", "27c6", "02/02/01 0a/00/00", "fingerprint"},
		{"touchpad of Goodix with a serial line", "27c6", "02/02/01 0a/00/00 03/00/00", "modem input"},
		{"game controller", "045e", "ff/5d/01=xpad", "input"},
		{"WLAN of a family", "0bda", "ff/ff/ff=rtw89_8851bu", "wlan"},
		{"MBIM and modem", "2cb7", "02/02/01 02/0e/00", "wwan modem"},
		{"ECM", "0525", "02/06/00 0a/00/00", "ethernet"},
		{"NCM", "0525", "02/0d/00", "ethernet"},
		{"EEM", "0525", "02/0c/07", "ethernet"},
		{"other control model", "0525", "02/01/00", "usb-device"},
		{"Ethernet of a vendor's own class", "0bda", "ff/ff/00=r8152", "ethernet"},
		{"Ethernet of a phone", "05ac", "06/01/01 ff/fd/01=ipheth", "ethernet"},
		{"WLAN", "0bda", "ff/ff/ff=rtl8xxxu", "wlan"},
		{"keyboard", "046d", "03/01/01 03/01/02", "input"},
		{"printer", "03f0", "07/01/02 07/01/04", "printer"},
		{"all in one", "03f0", "07/01/02 08/06/50", "storage printer"},
		{"stick", "0781", "08/06/50=usb-storage", "storage"},
		{"fingerprint reader", "06cb", "ff/00/00", "fingerprint"},
		{"touchpad of the same maker", "06cb", "03/01/02", "input"},
		{"fingerprint reader, Goodix", "27c6", "ff/00/00 ff/00/00", "fingerprint"},
		{"fingerprint reader, Elan", "04f3", "ff/00/00", "fingerprint"},
		{"maker of readers, other class too", "27c6", "ff/00/00 fe/01/01", "usb-device"},
		{"vendor's own class", "1234", "ff/00/00", "usb-device"},
		{"not authorised", "27c6", "", "usb-device"},
		{"unknown class", "1234", "??", "usb-device"},
	} {
		var d usb.Device
		v, err := pci.ParseID(tt.vendor)
		if err != nil {
			t.Fatal(err)
		}
		d.Vendor = v
		for s := range strings.FieldsSeq(tt.interfaces) {
			class, driver, _ := strings.Cut(s, "=")
			i := usb.Interface{Driver: driver}
			var c, sub, p uint8
			if n, _ := fmt.Sscanf(class, "%x/%x/%x", &c, &sub, &p); n == 3 {
				i.Class = usb.NewClass(c, sub, p)
			}
			d.Interfaces = append(d.Interfaces, i)
		}
		var got []string
		for _, r := range usbRoles(d, nil) {
			got = append(got, string(r))
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, s, tt.want)
		}
	}
}

func TestRoles(t *testing.T) {
	all := Roles()
	for i, r := range all {
		if slices.Index(all, r) != i {
			t.Errorf("%s twice", r)
		}
	}
	if len(all) != 20 {
		t.Errorf("%d roles", len(all))
	}
}

func TestShorten(t *testing.T) {
	for in, want := range map[string]string{
		"Intel Corporation": "Intel", "Samsung Electronics Co Ltd": "Samsung Electronics Co Ltd", "MEDIATEK Corp.": "MEDIATEK",
		"Advanced Micro Devices, Inc. [AMD/ATI]": "AMD/ATI", "Realtek Semiconductor Co., Ltd.": "Realtek",
		"Lite-On Technology Corporation": "Lite-On", "Logitech, Inc.": "Logitech", "Sandisk Corp": "Sandisk Corp", "x []": "x []", "": "", "[": "[",
	} {
		if got := shorten(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func FuzzTables(f *testing.F) {
	f.Add("36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw\n")
	f.Add("eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n")
	f.Add("00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe80 00000400 00000003 00000000 00450003 wlan0\n")
	lab, err := hostfs.Open(filepath.Join(hosttest.Root(f), "testdata", "hosts", "lab-intel.txtar")) // as a kernel wrote them
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{"proc/self/mountinfo", "proc/net/route", "proc/net/ipv6_route", "proc/swaps"} {
		data, err := lab.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		parseRoutes(text)
		parseIPv6Routes(text)
		for _, parse := range []func([]string) (mount, bool){parseMountinfo, parseMount} {
			mounts, ok := parseMounts(text, parse)
			if ok && len(mounts) == 0 {
				t.Error("an empty table is no table")
			}
		}
	})
}
