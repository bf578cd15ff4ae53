package laptop_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/usb"
)

// outcomeOf returns what became of the device with that ID before, else after.
func outcomeOf(t testing.TB, rows []laptop.Matched, id string) laptop.Matched {
	t.Helper()
	i := slices.IndexFunc(rows, func(r laptop.Matched) bool { return r.Before == id })
	if i < 0 {
		i = slices.IndexFunc(rows, func(r laptop.Matched) bool { return r.After == id })
	}
	if i < 0 {
		t.Fatalf("nothing became of %s: %v", id, became(rows))
	}
	return rows[i]
}

// What is on neither bus is the same after a restart, and another one when it was
// changed for another.
func TestMatchOthers(t *testing.T) {
	const (
		battery  = "sys/devices/LNXSYSTM:00/LNXSYBUS:00/PNP0A08:00/PNP0C0A:00/power_supply/BAT0/"
		touchpad = "pci0000:00/0000:00:15.0/i2c_designware.0/i2c-0/i2c-ELAN0001:00/0018:04F3:3140.0002/input/input8"
		other    = "pci0000:00/0000:00:15.0/i2c_designware.0/i2c-0/i2c-ELAN0001:00/0018:06CB:CE67.0009/input/input30"
		card     = "sys/devices/platform/80860F14:00/mmc_host/mmc0/mmc0:0001/block/mmcblk0/device/"
		mouse    = "virtual/misc/uhid/0005:046D:B023.0007/input/input27"
	)
	for _, tt := range []struct {
		name   string
		change func(h *numbered)
		id     string
		want   laptop.Outcome
	}{
		{"another battery", func(h *numbered) { h.put(battery+"serial_number", "2014\n") }, "acpi:PNP0C0A:00", laptop.Replaced},
		{"another model with the same serial number", func(h *numbered) { h.put(battery+"model_name", "L16M3P73\n") }, "acpi:PNP0C0A:00", laptop.Replaced},
		{"another battery, both without serial numbers", func(h *numbered) {
			h.put(battery+"model_name", "L16M3P73\n")
			h.put(battery+"serial_number", " \n")
		}, "acpi:PNP0C0A:00", laptop.Replaced},
		{"the battery is out", func(h *numbered) { must(h.t, h.Remove("sys/class/power_supply/BAT0")) }, "acpi:PNP0C0A:00", laptop.Gone},
		{"the battery does not say", func(h *numbered) {
			must(h.t, h.Remove(battery+"serial_number"))
			must(h.t, h.Remove(battery+"model_name"))
			must(h.t, h.Remove(battery+"manufacturer"))
		}, "acpi:PNP0C0A:00", laptop.Same},
		{"another driver makes a platform device of it", func(h *numbered) {
			must(h.t, h.Remove("sys/class/power_supply/BAT0"))
			h.class("power_supply", "platform/PNP0C0A:00/power_supply/BAT0", "manufacturer=SMP", "model_name=5B10W51876", "serial_number=2013")
			h.put("sys/devices/platform/PNP0C0A:00/firmware_node/path", `\_SB_.PC00.LPCB.EC0_.BAT0`+"\n")
		}, "acpi:PNP0C0A:00", laptop.Same},
		{"another touchpad", func(h *numbered) {
			must(h.t, h.Remove("sys/class/input/input8"))
			h.class("input", other, "name=Touchpad")
		}, "i2c:i2c-ELAN0001:00", laptop.Replaced},
		{"the touchpad by its fallback driver", func(h *numbered) {
			must(h.t, h.Remove("sys/class/input/input8"))
			h.class("input", strings.Replace(touchpad, "input8", "input31", 1), "name=ELAN0001:00 Mouse")
		}, "i2c:i2c-ELAN0001:00", laptop.Same},
		{"another soldered disk", func(h *numbered) { h.put(card+"cid", "900100424a4e4234520779c24b0b6100\n") }, "mmc:mmc0:0001", laptop.Replaced},
		{"a mouse that came again", func(h *numbered) {
			must(h.t, h.Remove("sys/class/input/input27"))
			h.class("input", mouse, "name=MX Master 3", "uniq=d0:11:22:33:44:55")
		}, "hid:0005:046D:B023.0006", laptop.Same},
		{"another mouse of its make", func(h *numbered) {
			must(h.t, h.Remove("sys/class/input/input27"))
			h.class("input", mouse, "name=MX Master 3", "uniq=d0:11:22:33:44:66")
		}, "hid:0005:046D:B023.0006", laptop.Replaced},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := workstation(t, firstStart).identify()
			h := workstation(t, firstStart)
			tt.change(h)
			after := h.identify()
			rows := laptop.Match(before, after)
			checkMatch(t, before, after, rows)
			symmetric(t, before, after)
			if got := outcomeOf(t, rows, tt.id); got.Outcome != tt.want || got.Suspicious {
				t.Errorf("%+v", got)
			}
			for _, r := range rows {
				if r.Outcome != laptop.Same && r.Before != tt.id && r.After != tt.id {
					t.Errorf("%s: %s %s", r.Outcome, r.Before, r.After)
				}
			}
		})
	}
}

// Two of one make tell each other apart by what is on them, whichever slot they are in.
func TestTwoBatteries(t *testing.T) {
	with := func(serials ...string) []laptop.Identity {
		h := newHost(t)
		for i, s := range serials {
			h.class("power_supply", "LNXSYSTM:00/LNXSYBUS:00/PNP0C0A:0"+string(rune('0'+i))+"/power_supply/BAT"+string(rune('0'+i)),
				"manufacturer=SANYO", "model_name=45N1127", "serial_number="+s)
		}
		return identify(t, h.Tree)
	}
	for pair, want := range map[string]string{
		"1093,2250 1093,2250": "same same", "1093,2250 2250,1093": "moved moved", "1093,2250 1093,7718": "same replaced",
		"1093,2250 1093": "same gone", "1093,1093 1093,1093": "same same",
	} {
		a, b, _ := strings.Cut(pair, " ")
		before, after := with(strings.Split(a, ",")...), with(strings.Split(b, ",")...)
		rows := laptop.Match(before, after)
		checkMatch(t, before, after, rows)
		var got []string
		for _, r := range rows {
			got = append(got, string(r.Outcome))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %s", pair, became(rows), want)
		}
	}
}

// A GPU that sleeps is not asked for its screens, and nothing is asked for its config
// space.
func TestIdentifyAsleep(t *testing.T) {
	h := workstation(t, firstStart)
	for state, asked := range map[string]bool{"D0": true, "unknown": true, "D3cold": false, "D3hot": false} {
		h.put("sys/bus/pci/devices/0000:00:02.0/power_state", state+"\n")
		read := map[string]bool{}
		l := h.read()
		if _, err := laptop.Identify(counting(h.Tree, func(name string) { read[name] = true }), l); err != nil {
			t.Error(err)
		}
		if read["sys/class/drm/card0-eDP-1/edid"] != asked {
			t.Errorf("%s: asked for the screen: %v", state, !asked)
		}
		for name := range read {
			for _, wakes := range []string{"/config", "/rom", "/vpd", "/disable", "/status"} {
				if strings.HasSuffix(name, wakes) {
					t.Errorf("%s: %s is read", state, name)
				}
			}
		}
	}
}

// A part that is gone while what it is a part of stays, as the sound of a graphics card
// that the firmware hides (trap 24), is no reason to worry.
func TestMatchParts(t *testing.T) {
	card := func(sound bool, gpu string) []laptop.Identity {
		h := newHost(t)
		h.ids("pci0000:00/0000:00:01.0/0000:01:00.0", "030000", gpu)
		if sound {
			h.ids("pci0000:00/0000:00:01.0/0000:01:00.1", "040300", "10DE")
		}
		return identify(t, h.Tree)
	}
	for _, tt := range []struct {
		before, after []laptop.Identity
		outcome       laptop.Outcome
		note          string
	}{
		{card(true, "10DE"), card(false, "10DE"), laptop.Gone, "part of pci:0000:01:00.0, which is still there"},
		{card(false, "10DE"), card(true, "10DE"), laptop.Arrived, "part of pci:0000:01:00.0, which was there before"},
		{card(true, "10DE"), card(false, "1002"), laptop.Gone, ""},
		{card(true, "10DE"), nil, laptop.Gone, ""},
	} {
		rows := laptop.Match(tt.before, tt.after)
		checkMatch(t, tt.before, tt.after, rows)
		symmetric(t, tt.before, tt.after)
		if r := outcomeOf(t, rows, "pci:0000:01:00.1"); r.Outcome != tt.outcome || r.Note != tt.note || r.Suspicious {
			t.Errorf("%+v, want %s, %q", r, tt.outcome, tt.note)
		}
	}
}

// counting is the tree, and tells of each file, directory and link that is opened.
func counting(tr *hostfs.Tree, opened func(name string)) hosttest.Failing {
	return hosttest.Failing{Tree: tr, Fail: func(name string) error {
		opened(name)
		return nil
	}}
}

// TestIdentifyCost holds the bounds that the comment of Identify names.
func TestIdentifyCost(t *testing.T) {
	h := workstation(t, firstStart)
	l := h.read()
	total := 0
	_, err := laptop.Identify(counting(h.Tree, func(string) { total++ }), l)
	must(t, err)
	ports := 0
	sockets, err := usb.Ports(counting(h.Tree, func(string) { ports++ }))
	must(t, err)
	hubs := 0
	_, err = usb.Hubs(counting(h.Tree, func(string) { hubs++ }))
	must(t, err)
	bound := 2*hubs + 11*len(sockets)
	for i := range l.Devices {
		d := &l.Devices[i]
		bound += 4 * len(d.Classes)
		switch {
		case d.PCI != nil:
			bound += 5
		case d.USB != nil:
			bound += 5
		default:
			bound += 2
		}
		if d.Display != nil {
			bound += len(d.Display.Connectors)
		}
	}
	if total > bound || total < bound/4 {
		t.Errorf("%d opened, the bound is %d", total, bound)
	}
	t.Logf("%d devices, %d ports: %d opened, %d of them for ports; the bound is %d", len(l.Devices), len(sockets), total, ports+hubs, bound)
}

// Each more thing of a kind costs no more than the comment of Identify says.
func TestIdentifyCostOfOne(t *testing.T) {
	const function = "pci0000:00/0000:00:1e.0"
	cost := func(add func(h *numbered)) int {
		h := workstation(t, firstStart)
		if add != nil {
			add(h)
		}
		l := h.read()
		n := 0
		_, err := laptop.Identify(counting(h.Tree, func(string) { n++ }), l)
		must(t, err)
		return n
	}
	without := cost(nil)
	for name, tt := range map[string]struct {
		add  func(h *numbered)
		most int
	}{
		"function":      {func(h *numbered) { h.function(function, "040300", "snd_hda_intel", 99) }, 5},
		"USB":           {func(h *numbered) { h.stick(xhci, "1-6", "781/5567/100", "A1B2", "8/6/80 usb-storage") }, 5 + 3*2 + 2}, // and what Hubs and Ports take
		"other":         {func(h *numbered) { h.class("tty", "pnp0/00:05/tty/ttyS0") }, 2},
		"interface":     {func(h *numbered) { h.net("pci0000:00/0000:00:1c.0/0000:02:00.0", "wlan7") }, 2},
		"soldered disk": {func(h *numbered) { h.block("platform/80860F14:01/mmc_host/mmc5/mmc5:0001/block", "mmcblk5", "179:8") }, 2 + 4},
		"battery":       {func(h *numbered) { h.class("power_supply", "platform/PNP0C0A:07/power_supply/BAT7") }, 2 + 3},
	} {
		if n := cost(tt.add) - without; n > tt.most || n <= 0 {
			t.Errorf("one more %s: %d opened", name, n)
		}
	}
}
