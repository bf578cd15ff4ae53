package laptop_test

import (
	"bytes"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/laptop"
)

// want reads a need as "webcam built-in assign optional port=left ids=8086:* class=0e".
func want(t testing.TB, s string) guest.Need {
	t.Helper()
	words := strings.Fields(s)
	n := guest.Need{Want: guest.Want(words[0])}
	for _, w := range words[1:] {
		key, value, _ := strings.Cut(w, "=")
		switch {
		case slices.Contains(guest.Whiches(), guest.Which(w)):
			n.Which = guest.Which(w)
		case w == "assign" || w == "share":
			n.How = guest.How(w)
		case w == "optional":
			n.Optional = true
		case key == "port":
			n.Port = guest.Port(value)
		case key == "class":
			n.Class = guest.Class(value)
		case key == "ids":
			ids, err := guest.ParseIDs(value)
			must(t, err)
			n.IDs = ids
		default:
			t.Fatalf("%q in %q", w, s)
		}
	}
	must(t, n.Validate())
	return n
}

func wants(t testing.TB, needs ...string) []laptop.Wanted {
	t.Helper()
	var all []laptop.Wanted
	for _, s := range needs {
		all = append(all, laptop.Wanted{Need: want(t, s)})
	}
	return all
}

// resolve resolves needs on a machine, one line each: "matched usb:1-2: reason".
func resolve(t testing.TB, fsys fs.FS, needs ...laptop.Wanted) []string {
	t.Helper()
	l, err := laptop.Read(fsys)
	must(t, err)
	at, err := laptop.ReadPlaces(fsys, l)
	must(t, err)
	var lines []string
	for i, n := range laptop.Resolve(l, at, needs) {
		if n.Need != needs[i].Need {
			t.Errorf("need %d: %v became %v", i, needs[i].Need, n.Need)
		}
		line := strings.Join(append([]string{string(n.State)}, n.Devices...), " ")
		if n.Reason != "" {
			line += ": " + n.Reason
		}
		lines = append(lines, line)
	}
	return lines
}

// removable says of a USB device whether it is: removable or fixed.
func (h *host) removable(controller, port, is string) {
	h.t.Helper()
	bus, _, _ := strings.Cut(port, "-")
	h.put("sys/devices/"+controller+"/usb"+bus+"/"+port+"/removable", is+"\n")
}

// at says where on the housing a port of a root hub is.
func (h *host) at(controller, bus, port, panel, vertical, horizontal string) {
	h.t.Helper()
	h.socket(controller, bus, port, "hotplug")
	dir := "sys/devices/" + controller + "/usb" + bus + "/" + bus + "-0:1.0/usb" + bus + "-port" + port + "/physical_location/"
	for name, value := range map[string]string{"panel": panel, "vertical_position": vertical, "horizontal_position": horizontal, "dock": "no", "lid": "no"} {
		h.put(dir+name, value+"\n")
	}
}

// newIDs gives a function or a USB device below sys/devices other ids than all have.
func (h *host) newIDs(path, key, to string) {
	h.t.Helper()
	old, err := h.ReadFile("sys/devices/" + path + "/uevent")
	must(h.t, err)
	lines := strings.Split(string(old), "\n")
	for i := range lines {
		if strings.HasPrefix(lines[i], key+"=") {
			lines[i] = key + "=" + to
		}
	}
	h.put("sys/devices/"+path+"/uevent", strings.Join(lines, "\n"))
}

// notebook has two webcams, a stick, a graphics card beside the processor's graphics,
// sound, WLAN and Bluetooth.
func notebook(t testing.TB) *host {
	const igpu, card, hda = "pci0000:00/0000:00:02.0", "pci0000:00/0000:00:01.0/0000:01:00.0", "pci0000:00/0000:00:1f.3"
	h := laptopHost(t)
	h.function(igpu, "030000", "i915", 4)
	h.put("sys/devices/"+igpu+"/boot_vga", "1\n")
	h.function("pci0000:00/0000:00:01.0", "060400", "pcieport", 5)
	h.function(card, "030200", "nouveau", 6)
	h.newIDs(card, "PCI_ID", "10DE:25A0")
	h.put("sys/devices/"+card+"/consumer:pci:0000:01:00.1", "")
	h.function("pci0000:00/0000:00:01.0/0000:01:00.1", "040300", "snd_hda_intel", 6)
	h.newIDs("pci0000:00/0000:00:01.0/0000:01:00.1", "PCI_ID", "10DE:2291")
	h.function(hda, "040300", "snd_hda_intel", 7)
	h.function("pci0000:00/0000:00:14.3", "028000", "iwlwifi", 8)
	h.usb(xhci, "1-1", "8/6/80 usb-storage")
	h.usb(xhci, "1-2", "14/1/0 uvcvideo")
	h.usb(xhci, "1-3", "14/1/0 uvcvideo", "1/1/0 snd-usb-audio")
	h.usb(xhci, "1-4", "224/1/1 btusb")
	for port, is := range map[string]string{"1-1": "removable", "1-2": "fixed", "1-3": "removable", "1-4": "fixed"} {
		h.removable(xhci, port, is)
	}
	h.at(xhci, "1", "1", "left", "center", "left")
	h.at(xhci, "1", "3", "right", "upper", "left")
	h.at(xhci, "1", "5", "right", "lower", "left")
	h.newUSBIDs("1-1", "781/5581/100")
	h.newUSBIDs("1-2", "4f2/b604/1")
	return h
}

func (h *host) newUSBIDs(port, to string) {
	h.t.Helper()
	bus, _, _ := strings.Cut(port, "-")
	h.newIDs(xhci+"/usb"+bus+"/"+port, "PRODUCT", to)
}

func TestResolve(t *testing.T) {
	const goes = "missing: usb:1-2, usb:1-3 is there, and goes to another need of this guest"
	for name, test := range map[string]struct {
		needs, want []string
	}{
		"built in":                    {[]string{"webcam built-in assign"}, []string{"matched usb:1-2"}},
		"external":                    {[]string{"webcam external assign"}, []string{"matched usb:1-3"}},
		"shared":                      {[]string{"webcam external share"}, []string{"matched usb:1-3"}},
		"nothing says which":          {[]string{"webcam assign"}, []string{"ambiguous usb:1-2 usb:1-3: any of usb:1-2, usb:1-3 would do: say which, port, ids or class"}},
		"what the other leaves":       {[]string{"webcam assign", "webcam built-in assign"}, []string{"matched usb:1-3", "matched usb:1-2"}},
		"as many as there are":        {[]string{"webcam assign", "webcam assign"}, []string{"matched usb:1-2", "matched usb:1-3"}},
		"more than there are":         {[]string{"webcam assign", "webcam assign", "webcam assign"}, []string{"matched usb:1-2", "matched usb:1-3", goes}},
		"required before said better": {[]string{"webcam built-in assign optional", "webcam assign", "webcam assign"}, []string{"missing: usb:1-2 is there, and goes to another need of this guest", "matched usb:1-2", "matched usb:1-3"}},
		"the other stands in": {[]string{"webcam built-in assign optional", "webcam built-in assign"}, []string{
			"substituted usb:1-3: usb:1-2 goes to another need of this guest; usb:1-3 stands in", "matched usb:1-2"}},
		"assigned before shared": {[]string{"bluetooth assign", "wlan share", "wlan assign"}, []string{
			"matched usb:1-4", "missing: pci:0000:00:14.3 is there, and goes to another need of this guest", "matched pci:0000:00:14.3"}},

		"ids":              {[]string{"webcam ids=04f2:b604 assign"}, []string{"matched usb:1-2"}},
		"ids of the maker": {[]string{"webcam ids=046d:* assign"}, []string{"matched usb:1-3"}},
		"ids of none":      {[]string{"bluetooth ids=8087:0032 assign"}, []string{"substituted usb:1-4: no bluetooth here has the ids 8087:0032; usb:1-4 stands in"}},
		"ids of no disk":   {[]string{"storage ids=0781:5583 assign"}, []string{"missing: no storage here has the ids 0781:5583; there is usb:1-1, pci:0000:04:00.0"}},
		"class":            {[]string{"webcam class=0e assign", "usb-device class=0806 assign"}, []string{"ambiguous usb:1-2 usb:1-3", "matched usb:1-1"}},
		"class of none":    {[]string{"audio class=0401 assign"}, []string{"missing: no audio here has the class 0401; there is pci:0000:01:00.1, usb:1-3, pci:0000:00:1f.3"}},

		"port path":          {[]string{"usb-device port=1-3 assign"}, []string{"matched usb:1-3"}},
		"place":              {[]string{"usb-device port=left-rear assign", "webcam port=right-rear assign"}, []string{"matched usb:1-1", "ambiguous usb:1-2 usb:1-3: the firmware says of no socket that it is at right-rear"}},
		"place of a webcam":  {[]string{"webcam port=right assign"}, []string{"matched usb:1-3"}},
		"upper of two":       {[]string{"webcam port=right-upper assign", "usb-device port=right-lower assign"}, []string{"matched usb:1-3", "missing: no usb-device is plugged in at right-lower (1-5)"}},
		"front of the right": {[]string{"usb-device port=right-front assign", "usb-device port=right-rear assign"}, []string{"matched usb:1-3", "missing: the firmware says of no socket that it is at right-rear"}},
		"another socket":     {[]string{"webcam port=left assign"}, []string{"ambiguous usb:1-2 usb:1-3: no webcam is plugged in at left (1-1); any of usb:1-2, usb:1-3 would do"}},
		"another stick":      {[]string{"storage port=right assign"}, []string{"missing: no storage is plugged in at right (1-3, 1-5); there is usb:1-1, pci:0000:04:00.0"}},
		"of a controller":    {[]string{"usb-controller port=left-rear assign"}, []string{"matched pci:0000:00:14.0"}},

		"discrete":                    {[]string{"gpu discrete assign"}, []string{"matched pci:0000:01:00.0 pci:0000:01:00.1: group 6 changes hands as one, with pci:0000:01:00.1"}},
		"integrated":                  {[]string{"gpu integrated share"}, []string{"matched pci:0000:00:02.0"}},
		"boot display":                {[]string{"gpu integrated assign"}, []string{"missing: pci:0000:00:02.0 is there, and cannot be assigned: the firmware started on this display, and the host's screen would go dark (remedy: "}},
		"not the boot display":        {[]string{"gpu assign"}, []string{"matched pci:0000:01:00.0 pci:0000:01:00.1"}},
		"sound, not that of the card": {[]string{"audio built-in assign", "gpu discrete assign"}, []string{"matched pci:0000:00:1f.3", "matched pci:0000:01:00.0 pci:0000:01:00.1"}},
		"sound of the card by itself": {[]string{"gpu discrete assign", "audio ids=10de:2291 assign"}, []string{"matched pci:0000:01:00.0", "matched pci:0000:01:00.1"}},

		"hangs on what goes": {[]string{"usb-controller assign", "webcam built-in assign", "webcam external share"}, []string{
			"matched pci:0000:00:14.0", "matched usb:1-2: it comes along with pci:0000:00:14.0, which this guest gets, too",
			"missing: usb:1-3 leaves the host with pci:0000:00:14.0, which this guest gets as its usb-controller: it cannot be shared then"}},
		"optional, and would take what is needed": {[]string{"usb-controller assign optional", "webcam external share"}, []string{
			"missing: pci:0000:00:14.0 would take from the host what this guest needs to share as its external webcam", "matched usb:1-3"}},
		"optional, and would have what has to stand in": {[]string{"webcam external assign optional", "webcam external assign", "webcam ids=0000:0001 external assign"}, []string{
			"missing: usb:1-3 is there, and goes to another need of this guest", "matched usb:1-3", "substituted usb:1-2"}},
		"required, and may stand in": {[]string{"webcam external assign optional", "bluetooth assign", "webcam port=left built-in assign", "webcam built-in assign"}, []string{
			"missing: usb:1-3 is there", "matched usb:1-4", "substituted usb:1-3: no webcam is plugged in at left (1-1); usb:1-3 stands in", "matched usb:1-2"}},
		"no such thing":       {[]string{"firewire assign", "tpm share"}, []string{"missing: this machine has no firewire", "missing: this machine has no tpm"}},
		"nothing to share":    {[]string{"bluetooth share"}, []string{"missing: of a bluetooth the host has nothing to share but the device: assign it"}},
		"no needs whatsoever": {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := resolve(t, notebook(t), wants(t, test.needs...)...)
			if len(got) != len(test.want) {
				t.Fatalf("%q", got)
			}
			for i := range got {
				if want := test.want[i]; got[i] != want && !strings.HasPrefix(got[i], want+": ") && !(strings.Contains(want, ": ") && strings.HasPrefix(got[i], want)) {
					t.Errorf("%s: %s, want %s", test.needs[i], got[i], test.want[i])
				}
			}
		})
	}
}

// The table of docs/needs.md says of each role what stands in.
func TestSubstitutes(t *testing.T) {
	text, err := os.ReadFile("../docs/needs.md")
	must(t, err)
	_, text, _ = bytes.Cut(text, []byte("| want | not those ids |"))
	word := map[bool]string{true: "another one", false: "missing"}
	said := map[guest.Want]string{}
	for line := range strings.Lines(string(text)) {
		names, rest, ok := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		if line == "\n" {
			break
		}
		if !ok || strings.HasPrefix(line, "|---") {
			continue
		}
		for name := range strings.SplitSeq(names, ", ") {
			said[guest.Want(strings.Trim(name, "`"))] = strings.TrimSuffix(rest, " |\n")
		}
	}
	for _, w := range guest.Wants() {
		ids, port, which := laptop.Substitutes(w)
		want, ok := said[w]
		if !ok {
			want = said["all else"]
		}
		if got := word[ids] + " | " + word[port] + " | " + word[which]; got != want {
			t.Errorf("%s: %s, documented %s", w, got, want)
		}
	}
}

// TestResolvePorts names the place of one stick in many ways, on a port whose location is
// what the firmware says.
func TestResolvePorts(t *testing.T) {
	for _, test := range []struct {
		panel, vertical, horizontal, dock, lid string
		is, isNot                              string
	}{
		{"left", "center", "left", "no", "no", "left left-rear left-left left", "left-front left-upper left-center right rear lid dock"},
		{"left", "lower", "right", "no", "no", "left left-front left-lower", "left-rear left-upper"},
		{"right", "upper", "left", "no", "no", "right right-front right-upper", "right-rear left"},
		{"right", "center", "right", "no", "no", "right right-rear", "right-front"},
		{"right", "center", "center", "no", "no", "right right-center", "right-front right-rear"},
		{"back", "lower", "left", "no", "no", "rear rear-left rear-lower", "rear-right front left rear-rear"},
		{"front", "lower", "right", "no", "no", "front front-right", "front-left rear"},
		{"top", "upper", "right", "no", "no", "top top-rear top-upper top-right", "top-front bottom"},
		{"top", "lower", "right", "no", "no", "top top-front", "top-rear"},
		{"bottom", "upper", "center", "no", "no", "bottom bottom-center", "top bottom-rear"},
		{"left", "center", "left", "yes", "no", "dock", "left left-rear lid"},
		{"top", "center", "left", "no", "yes", "lid top", "dock"},
		{"unknown", "center", "left", "no", "no", "1-1", "left left-rear lid dock 1-2"},
	} {
		h := laptopHost(t)
		h.usb(xhci, "1-1", "8/6/80 usb-storage")
		h.at(xhci, "1", "1", test.panel, test.vertical, test.horizontal)
		dir := "sys/devices/" + xhci + "/usb1/1-0:1.0/usb1-port1/physical_location/"
		h.put(dir+"dock", test.dock+"\n")
		h.put(dir+"lid", test.lid+"\n")
		for state, ports := range map[string]string{"matched usb:1-1": test.is, "missing": test.isNot} {
			for _, port := range strings.Fields(ports) {
				if got := resolve(t, h, wants(t, "storage port="+port+" assign")...); !strings.HasPrefix(got[0], state) {
					t.Errorf("%+v: at %s: %s, want %s", test, port, got[0], state)
				}
			}
		}
	}
}

// A socket is two ports to the kernel, and a hub may be in it.
func TestResolveSocket(t *testing.T) {
	h := laptopHost(t)
	h.at(xhci, "1", "1", "left", "center", "left")
	h.socket(xhci, "2", "1", "hotplug")
	h.put("sys/devices/"+xhci+"/usb2/speed", "5000\n")
	h.link("../../../usb2/2-0:1.0/usb2-port1", "sys/devices/"+xhci+"/usb1/1-0:1.0/usb1-port1/peer")
	h.link("../../../usb1/1-0:1.0/usb1-port1", "sys/devices/"+xhci+"/usb2/2-0:1.0/usb2-port1/peer")
	h.usb(xhci, "2-1", "8/6/80 usb-storage")
	h.usb(xhci, "1-1.4", "14/1/0 uvcvideo")
	h.usb(xhci, "1-2", "14/1/0 uvcvideo")
	needs := wants(t, "storage port=1-1 assign", "usb-controller port=2-1 share optional", "webcam port=left-rear assign", "webcam built-in assign")
	got := resolve(t, h, needs...)
	for i, want := range []string{"matched usb:2-1", "missing: of a usb-controller the host has nothing to share", "matched usb:1-1.4", "matched usb:1-2: whether it is built in is not stated"} {
		if !strings.HasPrefix(got[i], want) {
			t.Errorf("%v: %s, want %s", needs[i].Need, got[i], want)
		}
	}
	if got := resolve(t, h, wants(t, "usb-device port=left-rear assign")...); !strings.HasPrefix(got[0], "ambiguous usb:2-1 usb:1-1.4: ") {
		t.Errorf("two things in one socket: %s", got[0]) // a stick and a webcam
	}
}
