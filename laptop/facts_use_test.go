package laptop_test

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
)

// shared returns a file of the collection.
func shared(t testing.TB, elem ...string) string {
	t.Helper()
	data, err := os.ReadFile(hosttest.Shared(t, append([]string{"hwdata"}, elem...)...))
	must(t, err)
	return string(data)
}

// descriptors are those of a device with one configuration, whose length is put right.
func descriptors(t testing.TB, configuration string) string {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields("12010002ef020140 6d04e508 0200 010203 01"+configuration), ""))
	must(t, err)
	b[18+2], b[18+3] = byte(len(b)-18), byte((len(b)-18)>>8)
	return string(b)
}

// webcam is a camera with a microphone, as in many lids.
const webcam = `09 02 00 00 04 01 00 80 fa
08 0b 00 02 0e 03 00 05
09 04 00 00 01 0e 01 00 05
0d 24 01 00 01 4d 00 80 c3 c9 01 01 01
12 24 02 01 01 02 00 00 00 00 00 00 00 00 03 0e 00 00
09 24 03 05 01 01 00 01 00
07 05 83 03 10 00 06
09 04 01 00 00 0e 02 00 00
0e 24 01 01 5b 00 81 00 05 00 00 00 01 00
0b 24 06 01 01 01 01 00 00 00 00
1e 24 07 01 00 80 02 e0 01 00 00 77 01 00 00 ca 08 00 60 09 00 15 16 05 00 01 15 16 05 00
1b 24 04 02 01 59 55 59 32 00 00 10 00 80 00 00 aa 00 38 9b 71 10 01 00 00 00 00
26 24 05 01 00 40 01 f0 00 00 00 77 01 00 00 ca 08 00 60 09 00 15 16 05 00 00 15 16 05 00 80 84 1e 00 01 00 00 00
09 04 01 01 01 0e 02 00 00
07 05 81 05 00 14 01
08 0b 02 02 01 02 00 06
09 04 02 00 00 01 01 00 06
09 24 01 00 01 1e 00 01 03
0c 24 02 01 01 02 00 01 00 00 00 09
09 24 03 03 01 01 01 01 00
09 04 03 00 00 01 02 00 00
09 04 03 01 01 01 02 00 00
07 24 01 03 01 01 00
0e 24 02 01 01 02 10 02 80 3e 00 80 bb 00
09 05 84 0d 44 00 04 00 00
07 25 01 01 00 00 00
`

// A device of each kind says in words what it is, where it is and what it can do.
func TestFactsOfUSB(t *testing.T) {
	h := factsHost(t)
	h.usb(xhci, "1-7", "14/1/0 uvcvideo", "14/2/0 uvcvideo", "1/1/0 snd-usb-audio", "1/2/0 snd-usb-audio")
	dir := "sys/devices/" + xhci + "/usb1/1-7"
	h.put(dir+"/descriptors", descriptors(t, webcam))
	h.attributes(dir, "bConfigurationValue=1", "bMaxPower=500mA", "bmAttributes=80", "speed=480", "version= 2.00", "serial=SN \x1b1", "rx_lanes=1", "tx_lanes=1", "power/runtime_status=suspended")
	h.put(dir+"/bos_descriptors", "\x05\x0f\x1c\x00\x02\x07\x10\x02\x02\x00\x00\x00\x10\x10\x03\x00"+"0123456789abcdef"[:12])
	// The port: in the lid, built in, with no other half.
	h.link("../../../devices/"+xhci+"/usb1", "sys/bus/usb/devices/usb1")
	h.put("sys/devices/"+xhci+"/usb1/uevent", "DRIVER=usb\nPRODUCT=1d6b/2/606\nTYPE=9/0/1\nBUSNUM=001\nDEVNUM=001\n")
	h.attributes("sys/devices/"+xhci+"/usb1", "maxchild=8", "speed=480")
	h.link("../../../devices/"+xhci+"/usb1/1-0:1.0", "sys/bus/usb/devices/1-0:1.0")
	h.put("sys/devices/"+xhci+"/usb1/1-0:1.0/uevent", "INTERFACE=9/0/0\n")
	port := "sys/devices/" + xhci + "/usb1/1-0:1.0/usb1-port7"
	h.attributes(port, "connect_type=hardwired", "over_current_count=2", "physical_location/panel=left", "physical_location/vertical_position=upper",
		"physical_location/horizontal_position=center", "physical_location/dock=no", "physical_location/lid=yes")
	h.link("../../1-7", port+"/device")
	h.link("../1-0:1.0/usb1-port7", dir+"/port")

	for _, c := range map[string]struct{ port, interfaces, configuration string }{
		"modem": {"1-9", "2/14/0 cdc_mbim", `0902 0000 02 01 00 a0 fa  080b 0002 020e 0000
			0904 0000 01 020e 0000  0524 00 1001  0524 06 00 01  0c24 1b 0001 0002 10 20 8005 20  0824 1c 0001 08 dc05
			0705 81 03 4000 05  0904 0100 00 0a00 0200  0904 0101 02 0a00 0200  0705 82 02 0002 00  0705 01 02 0002 00`},
		"key": {"1-10", "3/0/0 usbhid", `0902 0000 01 01 00 80 0f  0904 0000 01 0300 0000  0921 1001 21 01 22 d400  0705 81 03 4000 0a`},
		"reader": {"1-11", "11/0/0", `0902 0000 01 01 00 80 32  0904 0000 03 0b00 0000
			3621 1001 00 07 03000000 c05d0000 c05d0000 00 80250000 80250000 00 fe000000 00000000 00000000 30000000 0f010000 00 00 0000 01 01
			0705 81 03 0800 10  0705 01 02 4000 00  0705 82 02 4000 00`},
		"firmware": {"1-12", "254/1/1", `0902 0000 01 01 00 80 32  0904 0000 00 fe01 0100  0921 0b ff00 4000 1001`},
		"nothing":  {"1-13", "255/0/0", ""},
	} {
		h.usb(xhci, c.port, strings.Fields(c.interfaces)[0])
		if c.configuration != "" {
			h.put("sys/devices/"+xhci+"/usb1/"+c.port+"/descriptors", descriptors(t, c.configuration))
		}
	}
	h.usb(xhci, "1-9.2.1", "8/6/80 usb-storage")
	h.put("sys/devices/"+xhci+"/usb1/1-9.2.1/descriptors", shared(t, "usb", "raw", "1050_0120_0.descriptors.bin"))

	l := h.read()
	for where, want := range map[string]string{
		"1-7": `
			release = 12.11
			serial number = SN 1 (tells this device
			descriptors' hash =
			controller = 0000:00:14.0
			physical port = 0000:00:14.0/7
			socket = no, the device is built in
			on the housing = left side, upper, centre, in the lid
			switched off for too much current = 2 times
			speed = 480 Mbit/s
			current = 500 mA at most
			runtime power = suspended
			USB version = 2.00
			interfaces 0, 1 = 0e0300 camera, uvcvideo, 2 endpoints; UVC 1.00 camera; MJPEG up to 640x480 at 30/s, YUY2 up to 320x240 at 30/s
			interfaces 2, 3 = 010200 audio streaming, snd-usb-audio, 1 endpoint; microphone; 1 channel of 16 bits at 16000, 48000 Hz`,
		"1-10": "interface 0 = 030000 human interface, no driver, 1 endpoint; report descriptor of 212 bytes",
		"1-11": "interface 0 = 0b0000 smart card reader, no driver, 3 endpoints; 1 slot, PIN pad",
		"1-12": "interface 0 = fe0101 firmware update (DFU), no driver, 0 endpoints; takes a new firmware, gives its firmware",
		"1-13": "interface 0 = ff0000 of its vendor's own kind, no driver\nspeed =\nphysical port =\ndescriptors' hash =",
		"1-9":  "interfaces 0, 1 = 020e00 mobile broadband (MBIM), no driver, 3 endpoints; MBIM 1.00, packets of 1500 bytes, data on interface 1",
		"1-9.2.1": `
			behind hubs = 1-9, 1-9.2
			interface 0 = 030000 human interface`,
	} {
		facts, err := laptop.Facts(h, l, find(t, l, where), laptop.FactOptions{})
		must(t, err)
		want = strings.Replace(want, "descriptors' hash =\n\t\t\tcontroller", "controller", 1)
		expectFacts(t, where, facts, want)
	}
}

// screens adds a GPU with a panel and an empty socket, and a discrete one without.
func screens(t testing.TB, h *host) {
	const gpu, discrete = "pci0000:00/0000:00:02.0", "pci0000:00/0000:00:01.0/0000:01:00.0"
	h.function(gpu, "030000", "i915", 0)
	h.function("pci0000:00/0000:00:01.0", "060400", "pcieport", 20)
	h.function(discrete, "030200", "nouveau", 21)
	h.attributes("sys/devices/"+gpu, "boot_vga=1", "power_state=D0", "power/runtime_status=active")
	h.attributes("sys/devices/"+discrete, "power_state=D3cold", "power/runtime_status=suspended")
	for card, path := range map[string]string{"card0": discrete, "card1": gpu} {
		h.link("../../devices/"+path+"/drm/"+card, "sys/class/drm/"+card)
		h.put("sys/devices/"+path+"/drm/"+card+"/uevent", "DEVNAME=dri/"+card+"\n")
	}
	h.link("../../devices/"+gpu+"/drm/renderD128", "sys/class/drm/renderD128")
	h.put("sys/devices/"+gpu+"/drm/renderD128/uevent", "DEVNAME=dri/renderD128\n")
	for name, path := range map[string]string{"card1-eDP-1": gpu, "card1-HDMI-A-1": gpu, "card0-DP-1": discrete} {
		card, _, _ := strings.Cut(name, "-")
		h.link("../../devices/"+path+"/drm/"+card+"/"+name, "sys/class/drm/"+name)
		h.attributes("sys/devices/"+path+"/drm/"+card+"/"+name, "status=disconnected", "enabled=disabled", "dpms=Off", "modes=")
	}
	h.attributes("sys/devices/"+gpu+"/drm/card1/card1-eDP-1", "status=connected", "enabled=enabled", "dpms=On", "modes=1920x1080\n1600x900\n1280x720")
	h.put("sys/devices/"+gpu+"/drm/card1/card1-eDP-1/edid", shared(t, "edid", "linuxhw", "Digital__AU_Optronics__AUO632D__7F2EC2D7A0AD.edid.bin"))
	h.attributes("sys/devices/"+discrete+"/drm/card0/card0-DP-1", "status=connected")
	h.put("sys/devices/"+discrete+"/drm/card0/card0-DP-1/edid", "")
	h.attributes("sys/devices/"+gpu+"/mdev_supported_types/i915-GVTg_V5_4", "available_instances=1", "device_api=vfio-pci", "name=GVTg")
	h.put("sys/devices/"+gpu+"/rom", "\x55\xaa\x01"+strings.Repeat("\x00", 21)+"\x1c\x00\x00\x00PCIR\x86\x80\x34\x12\x00\x00\x18\x00\x00\x00\x00\x03\x01\x00\x00\x00\x03\x80\x00\x00"+strings.Repeat("\x00", 460))
	h.put("proc/iomem", "c0000000-cfffffff : 0000:00:02.0\n  c0000000-c07fffff : BOOTFB\n")
}

func TestFactsOfDisplay(t *testing.T) {
	h := laptopHost(t)
	screens(t, h)
	l := h.read()
	facts, err := laptop.Facts(h, l, find(t, l, "0000:00:02.0"), laptop.FactOptions{})
	must(t, err)
	expectFacts(t, "integrated", facts, `
		integrated = yes: Intel's graphics are device 2 of bus 0
		drives the panel = yes: eDP-1 is connected
		boot display = yes: boot_vga is 1
		wiring of the panel = the panel is on one GPU and cannot go to another (muxless)
		firmware's framebuffer = in use by the host: BOOTFB
		render node = /dev/dri/renderD128
		eDP-1 = connected, the built-in panel, on
		eDP-1 screen = AUO
		eDP-1 modes = 1920x1080, 1600x900, 1280x720
		other connectors = HDMI-A-1 disconnected
		option ROM images = EFI 512 bytes
		mediated devices = i915-GVTg_V5_4 (GVTg), 1 more possible`)
	if screen := fact(facts, "eDP-1 screen"); !strings.Contains(screen, " cm, prefers 1") || !strings.Contains(screen, " Hz") || !strings.Contains(screen, " of 20") {
		t.Error(screen)
	}
	// The other GPU sleeps: its screen is not asked, and its ROM is left alone.
	asked := false
	fsys := hosttest.Failing{Tree: h.Tree, Fail: func(name string) error {
		asked = asked || strings.HasSuffix(name, "/edid") || strings.HasSuffix(name, "/rom")
		return nil
	}}
	for _, wake := range []bool{false, true} {
		facts, err = laptop.Facts(fsys, l, find(t, l, "0000:01:00.0"), laptop.FactOptions{Wake: wake})
		must(t, err)
		screen := ""
		if wake {
			screen = "says nothing of itself"
		}
		expectFacts(t, "discrete", facts, "integrated = no\ndrives the panel = no: eDP-1 of 0000:00:02.0\nboot display = no\nDP-1 = connected, off\nDP-1 screen = "+screen)
		if asked != wake {
			t.Errorf("with leave to wake %v: asked %v", wake, asked)
		}
	}
}

// sound adds a codec of a real notebook, with one stream open, and a screen that plays.
func sound(t testing.TB, h *host) {
	const hda = "pci0000:00/0000:00:1b.0"
	h.function(hda, "040300", "snd_hda_intel", 22)
	h.attributes("sys/devices/"+hda, "power_state=D0", "power/runtime_status=active")
	h.class("sound", hda+"/sound/card0", "id=PCH")
	h.link("../../../"+hda[strings.LastIndexByte(hda, '/')+1:], "sys/devices/"+hda+"/sound/card0/device")
	h.link("../../../bus/pci/drivers/snd_hda_intel", "sys/devices/"+hda+"/driver")
	h.class("sound", hda+"/sound/card0/pcmC0D0p")
	h.class("sound", hda+"/sound/card0/hwC0D0", "vendor_name=Conexant", "chip_name=CX20585", "vendor_id=0x14f15069", "subsystem_id=0x17aa21a4",
		"revision_id=0x100302", "afg=0x1", "mfg=0x2", "init_pin_configs=0x19 0x042110f0\n0x1a 0x61a190f0\n0x1b 0x04a110f0\n0x1f 0x901701f0\n0x23 0x90a601f0\n0x24 0x90a601f0")
	h.put("proc/asound/cards", " 0 [PCH            ]: HDA-Intel - HDA Intel PCH\n                      HDA Intel PCH at 0xf2520000 irq 47\n")
	dump := shared(t, "hda", "hda-emu", "cx20585-lenovo-thinkpad-t410s")
	_, dump, _ = strings.Cut(dump, "\nCodec: ")
	dump, _, _ = strings.Cut(dump, "\nCodec: ")
	dump, _, _ = strings.Cut(dump, "\n--endcollapse--")
	h.put("proc/asound/card0/codec#0", "Codec: "+dump)
	h.put("proc/asound/card0/pcm0p/info", "card: 0\ndevice: 0\nid: CX20585 Analog\n")
	h.put("proc/asound/card0/pcm0p/sub0/status", "state: RUNNING\nowner_pid   : 1234\ntrigger_time: 1.5\n")
	h.put("proc/asound/card0/pcm0p/sub0/hw_params", "access: MMAP_INTERLEAVED\nformat: S16_LE\nsubformat: STD\nchannels: 2\nrate: 48000 (48000/1)\nperiod_size: 1024\nbuffer_size: 4096\n")
	h.put("proc/1234/comm", "pipewire\n")
	h.put("proc/asound/card0/pcm0c/info", "card: 0\ndevice: 0\nid: CX20585 Analog\n")
	h.put("proc/asound/card0/pcm0c/sub0/status", "closed\n")
	h.put("proc/asound/card0/eld#3.0", "monitor_present\t\t1\neld_valid\t\t1\nmonitor_name\t\tDELL U2412M\nconnection_type\t\tDisplayPort\nmanufacture_id\t\t0xac10\n")
	h.put("proc/asound/card0/eld#3.1", "monitor_present\t\t0\neld_valid\t\t0\n")
}

func TestFactsOfSound(t *testing.T) {
	h := laptopHost(t)
	sound(t, h)
	l := h.read()
	const both = `
		card0 id = PCH
		card0 name = HDA Intel PCH
		card0 screen 0 = DELL U2412M on DisplayPort
		card0 outputs without a screen = 1
		card0 stream 0 plays = CX20585 Analog: running, S16_LE at 48000 Hz in 2 channels, opened by pipewire (process 1234)
		card0 free streams = 0 records CX20585 Analog`
	woken := false
	fsys := hosttest.Failing{Tree: h.Tree, Fail: func(name string) error {
		woken = woken || strings.Contains(name, "/codec#") || strings.Contains(name, "/widgets")
		return nil
	}}
	facts, err := laptop.Facts(fsys, l, find(t, l, "0000:00:1b.0"), laptop.FactOptions{})
	must(t, err)
	expectFacts(t, "asleep", facts, both+`
		card0 codec 0 = Conexant CX20585 14f1:5069, subsystem 17aa:21a4
		card0 codec 0 pins = Headphone jack, right; Microphone jack, right; Internal Speaker; 2 x Internal Microphone`)
	if woken {
		t.Error("a codec was woken")
	}
	facts, err = laptop.Facts(fsys, l, find(t, l, "0000:00:1b.0"), laptop.FactOptions{Wake: true})
	must(t, err)
	expectFacts(t, "awake", facts, both+`
		card0 codec 0 = Conexant CX20585 14f1:5069, subsystem 17aa:21a4
		card0 codec 0 pins = Headphone jack, right; Microphone jack, right; Internal Speaker; Internal Microphone`)
	if !woken {
		t.Error("no codec was asked")
	}
	// Who may not see the others' streams is told so.
	denied := hosttest.Failing{Tree: h.Tree, Fail: func(name string) error {
		if strings.HasPrefix(filepath.Base(name), "codec#") {
			return syscall.EACCES
		}
		return nil
	}}
	facts, err = laptop.Facts(denied, l, find(t, l, "0000:00:1b.0"), laptop.FactOptions{Wake: true})
	must(t, err)
	expectFacts(t, "not root", facts, "card0 codecs = unknown: it takes root")
}

// USB devices may be cards, too.
func TestFactsOfUSBSound(t *testing.T) {
	h := laptopHost(t)
	h.usb(xhci, "1-2", "1/1/0 snd-usb-audio")
	path := xhci + "/usb1/1-2/1-2:1.0"
	h.class("sound", path+"/sound/card3", "id=Headset")
	h.link("../../../1-2:1.0", "sys/devices/"+path+"/sound/card3/device")
	h.put("proc/asound/cards", " 3 [Headset        ]: USB-Audio - A Headset\n                      Acme A Headset\n")
	h.put("proc/asound/card3/stream0", "Acme A Headset : USB Audio\n\nPlayback:\n  Status: Stop\n  Interface 1\n    Altset 1\n    Format: S16_LE\n    Channels: 2\n    Endpoint: 0x01 (1 OUT) (ADAPTIVE)\n    Rates: 44100, 48000\n")
	l := h.read()
	facts, err := laptop.Facts(h, l, find(t, l, "1-2"), laptop.FactOptions{})
	must(t, err)
	expectFacts(t, "headset", facts, "card3 id = Headset\ncard3 name = A Headset\ncard3 plays = S16_LE, 2 channels at 44100, 48000 Hz\ncard3 records =")
}
