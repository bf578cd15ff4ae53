package laptop_test

import (
	"strings"
	"testing"

	"github.com/project-independence/indy/laptop"
)

// FuzzFacts: whatever a device says of itself, its facts are bounded lines of printable
// text, and nothing that it says is an error of this machine.
func FuzzFacts(f *testing.F) {
	f.Add("\x86\x80\x34\x12\x06\x00\x10\x00", "\x12\x01", "\x00\xff\xff\xff\xff\xff\xff\x00")
	f.Add(dumpedConfig(f, "cap-ide", "e1:00.0"), descriptors(f, webcam), shared(f, "edid", "linuxhw", "Digital__AU_Optronics__AUO632D__7F2EC2D7A0AD.edid.bin"))
	f.Add(dumpedConfig(f, "cap-dpc", "05:01.0"), shared(f, "usb", "raw", "1050_0120_0.descriptors.bin"), "")
	f.Fuzz(func(t *testing.T, config, descriptors, edid string) {
		h := laptopHost(t)
		h.function(card05, "030000", "vendor", 6)
		dir := "sys/devices/" + card05
		h.put(dir+"/config", config)
		h.put(dir+"/vpd", config)
		h.put(dir+"/rom", edid)
		h.link("../../devices/"+card05+"/drm/card0", "sys/class/drm/card0")
		h.link("../../devices/"+card05+"/drm/card0/card0-eDP-1", "sys/class/drm/card0-eDP-1")
		h.put(dir+"/drm/card0/card0-eDP-1/status", "connected\n")
		h.put(dir+"/drm/card0/card0-eDP-1/edid", edid)
		h.usb(xhci, "1-3", "14/1/0 uvcvideo")
		h.put("sys/devices/"+xhci+"/usb1/1-3/descriptors", descriptors)
		h.put("sys/devices/"+xhci+"/usb1/1-3/bos_descriptors", descriptors)
		l := h.read()
		for i := range l.Devices {
			for _, wake := range []bool{false, true} {
				facts, err := laptop.Facts(h, l, &l.Devices[i], laptop.FactOptions{Wake: wake})
				checkFacts(t, facts)
				if len(facts) > 300 {
					t.Errorf("%d facts", len(facts))
				}
				// What is wrong with a screen or a ROM as a whole is told by those packages.
				if err != nil && !strings.Contains(err.Error(), "edid") && !strings.Contains(err.Error(), "EDID") && len(config) <= 4096 {
					t.Errorf("%s: %v", l.Devices[i].ID(), err)
				}
			}
		}
	})
}
