package laptop_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
)

// TestResolveHosts resolves one definition on real machines. What each has was read in
// its report by hand: indy devices --from.
func TestResolveHosts(t *testing.T) {
	definition := wants(t, "gpu discrete assign optional", "webcam built-in assign", "audio built-in class=0403 assign", "wlan share",
		"bluetooth assign", "fingerprint assign optional", "ethernet external assign optional", "storage share")
	// State and devices of each need, in that order.
	for host, want := range map[string][]string{
		// A webcam, a sound function that has companions, and a stick that is no network.
		"framework13-intel13-A4-ignavia-old": {"missing", "matched usb:1-7", "matched pci:0000:00:1f.3 pci:0000:00:1f.4 pci:0000:00:1f.5",
			"matched pci:0000:aa:00.0", "matched usb:1-10", "matched usb:1-9", "missing", "matched pci:0000:01:00.0"},
		// The same with a dock: a second webcam behind its hub, three sound devices and a network on USB.
		"framework13-intel13-A6-turingmachine": {"missing", "matched usb:3-7", "matched pci:0000:00:1f.3 pci:0000:00:1f.4 pci:0000:00:1f.5",
			"matched pci:0000:aa:00.0", "matched usb:3-10", "matched usb:3-9", "matched usb:2-4.4.3", "matched pci:0000:01:00.0"},
		// Sound in a group with the graphics, on whose controllers webcam and Bluetooth
		// hang; two networks, both on the board, in one group with what manages it.
		"thinkpad-t14sg1-amd-coaxmetal": {"missing", "matched usb:2-2",
			"matched pci:0000:07:00.6 pci:0000:07:00.0 pci:0000:07:00.1 pci:0000:07:00.2 pci:0000:07:00.3 pci:0000:07:00.4 pci:0000:07:00.5",
			"matched pci:0000:03:00.0", "matched usb:6-4", "matched usb:6-3",
			"substituted pci:0000:02:00.0 pci:0000:02:00.1 pci:0000:02:00.2 pci:0000:02:00.3 pci:0000:02:00.4", "matched pci:0000:01:00.0"},
		// A webcam behind the hub that is on the board, and a reader that says nothing of itself.
		"gpd-winmax2-g1619-04-aergia": {"missing", "matched usb:5-1.1", "matched pci:0000:73:00.6", "matched pci:0000:01:00.0", "matched usb:3-3",
			"missing", "missing", "matched pci:0000:02:00.0"},
		// No webcam was there when it was read.
		"framework13-amd-7040": {"missing", "missing", "matched pci:0000:c1:00.6", "matched pci:0000:01:00.0", "matched usb:1-5", "matched usb:1-4",
			"missing", "matched pci:0000:02:00.0"},
		// A desktop with a graphics card, a webcam on a hub, no radio. Its network takes
		// two of three disk controllers along, so that one is left to share.
		"desktop-gigabyte-b550": {"matched pci:0000:0b:00.0", "matched usb:1-9.2", "matched pci:0000:0d:00.4", "missing", "missing", "missing",
			"substituted pci:0000:08:00.0 pci:0000:05:00.0 pci:0000:05:00.1 pci:0000:07:00.0",
			"matched pci:0000:01:00.0"},
		// The IOMMU is off: what is on USB can go all the same, and sharing takes none.
		"thinkpad-t490-fichte-noiommu": {"missing", "matched usb:1-8", "missing", "matched pci:0000:00:14.3", "matched usb:1-10", "missing",
			"missing", "matched pci:0000:3d:00.0"},
		// Neither webcam, Bluetooth nor fingerprint reader.
		"thinkpad-x230-daedalus-noiommu": {"missing", "missing", "missing", "matched pci:0000:03:00.0", "missing", "missing", "missing", "matched pci:0000:00:1f.2"},
	} {
		t.Run(host, func(t *testing.T) {
			got := resolve(t, open(t, hosttest.Shared(t, "hosts", host+".txtar")), definition...)
			for i := range definition {
				if line, _, _ := strings.Cut(got[i], ": "); line != want[i] {
					t.Errorf("%v: %s, want %s", definition[i].Need, got[i], want[i])
				}
			}
		})
	}
}

// TestResolveEverywhere asks for each role on all saved machines, and holds what must
// be so on any.
func TestResolveEverywhere(t *testing.T) {
	var files []string
	for _, pattern := range []string{hosttest.Shared(t, "hosts") + "/*.txtar", hosttest.Shared(t, "hwdata", "sysfs", "ghw") + "/*.tar.gz", "../testdata/hosts/*.txtar"} {
		found, err := filepath.Glob(pattern)
		must(t, err)
		files = append(files, found...)
	}
	if len(files) < 25 {
		t.Fatalf("only %d machines", len(files))
	}
	states := map[laptop.NeedState]int{}
	for _, file := range files {
		fsys := open(t, file)
		l, _ := laptop.Read(fsys)
		at, err := laptop.ReadPlaces(fsys, l)
		if err != nil {
			t.Errorf("%s: %v", file, err)
		}
		var needs []laptop.Wanted
		for _, w := range guest.Wants() {
			for _, how := range []guest.How{guest.Assign, guest.Share} {
				needs = append(needs, laptop.Wanted{Need: guest.Need{Want: w, How: how}})
				result := laptop.Resolve(l, at, needs[len(needs)-1:])
				checkResolution(t, l, result)
				here := slices.ContainsFunc(l.Devices, func(d laptop.Device) bool { return slices.Contains(d.Roles, laptop.Role(w)) })
				if absent := strings.HasPrefix(result[0].Reason, "this machine has no "); absent == here {
					t.Errorf("%s: %s: %+v", file, w, result[0])
				}
				states[result[0].State]++
			}
		}
		checkResolution(t, l, laptop.Resolve(l, at, needs))
	}
	t.Logf("%d machines, %v", len(files), states)
	if states[laptop.NeedMatched] < 200 || states[laptop.NeedMissing] < 200 || states[laptop.NeedAmbiguous] < 50 {
		t.Error("too few of a kind to say anything")
	}
}

// checkResolution holds for every resolution of needs on any machine.
func checkResolution(t testing.TB, l *laptop.Laptop, all laptop.Resolution) {
	t.Helper()
	given := map[string]int{}
	stops := false
	for i, n := range all {
		switch {
		case n.Devices == nil, n.Reason == "" && n.State != laptop.NeedMatched,
			n.State == laptop.NeedMissing && len(n.Devices) != 0, n.State == laptop.NeedAmbiguous && len(n.Devices) < 2,
			strings.ContainsAny(n.Reason, "\n\x1b"):
			t.Errorf("%v: %+v", n.Need, n)
		}
		stops = stops || !n.Optional && (n.State == laptop.NeedMissing || n.State == laptop.NeedAmbiguous && n.How == guest.Assign)
		if n.State == laptop.NeedMissing || n.State == laptop.NeedAmbiguous {
			continue
		}
		if len(n.Devices) == 0 {
			t.Errorf("%v is %s by nothing", n.Need, n.State)
			continue
		}
		for k, id := range n.Devices {
			d := l.Device(id)
			if d == nil || d.Verdict == laptop.Refused && n.How == guest.Assign {
				t.Errorf("%v gets %s, %+v", n.Need, id, d)
				continue
			}
			if other, twice := given[id]; twice {
				t.Errorf("%s is given to %v and %v", id, all[other].Need, n.Need)
			}
			given[id] = i
			first := l.Device(n.Devices[0])
			switch any := n.Want == guest.WantUSBDevice && d.USB != nil; {
			case k == 0 && !slices.Contains(d.Roles, laptop.Role(n.Want)) && !any:
				t.Errorf("%v gets %s with the roles %v", n.Need, id, d.Roles)
			case k > 0 && (n.How == guest.Share || d.PCI == nil || !slices.Contains(l.Endpoints(l.Group(first.Group())), d.PCI.Address)):
				t.Errorf("%v gets %s of another group", n.Need, id)
			}
		}
	}
	// A whole group goes: each of its functions is given to some need.
	for _, n := range all {
		if (n.State != laptop.NeedMatched && n.State != laptop.NeedSubstituted) || n.How != guest.Assign {
			continue
		}
		if g := l.Group(l.Device(n.Devices[0]).Group()); g != nil {
			for _, a := range l.Endpoints(g) {
				if _, ok := given["pci:"+a.String()]; !ok && l.Function(a) != nil {
					t.Errorf("%v: %v of its group goes with nothing", n.Need, a)
				}
			}
		}
	}
	if err := all.Startable(); (err != nil) != stops {
		t.Errorf("%v of %+v", err, all)
	}
}
