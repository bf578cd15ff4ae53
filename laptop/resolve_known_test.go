package laptop_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
)

// twins has two sticks of one make, with serial numbers.
func twins(t testing.TB, first, second string) *host {
	h := laptopHost(t)
	for port, serial := range map[string]string{"1-1": first, "1-2": second} {
		h.usb(xhci, port, "8/6/80 usb-storage")
		h.put("sys/devices/"+xhci+"/usb1/"+port+"/serial", serial+"\n")
		h.removable(xhci, port, "removable")
	}
	return h
}

func (h *host) identityOf(id string) laptop.Identity {
	h.t.Helper()
	ids, err := laptop.Identify(h, h.read())
	must(h.t, err)
	for _, i := range ids {
		if i.ID == id {
			return i
		}
	}
	h.t.Fatalf("no %s", id)
	return laptop.Identity{}
}

func TestResolveKnown(t *testing.T) {
	before := twins(t, "4C53A", "4C53B")
	need := want(t, "storage external assign")
	stick := laptop.Wanted{Need: need, Known: []laptop.Identity{before.identityOf("usb:1-2")}}
	keyboard := twins(t, "4C53A", "4C53B")
	keyboard.usb(xhci, "1-2", "8/6/80 usb-storage", "3/1/1 usbhid")
	keyboard.put("sys/devices/"+xhci+"/usb1/1-2/serial", "4C53B\n")
	for name, test := range map[string]struct {
		on   *host
		need laptop.Wanted
		want string
	}{
		"nothing is known":        {before, laptop.Wanted{Need: need}, "ambiguous usb:1-1 usb:1-2: any of usb:1-1, usb:1-2 would do: say which, port, ids or class"},
		"where it was":            {before, stick, "matched usb:1-2: known from before"},
		"in the other socket":     {twins(t, "4C53B", "4C53A"), stick, "matched usb:1-1: known from before"},
		"two others":              {twins(t, "4C53C", "4C53D"), stick, "ambiguous usb:1-1 usb:1-2: any of usb:1-1, usb:1-2 would do: say which, port, ids or class"},
		"another need, by port":   {before, laptop.Wanted{Need: want(t, "storage port=1-1 assign"), Known: stick.Known}, "matched usb:1-1: another than before"},
		"now it is a keyboard":    {keyboard, laptop.Wanted{Need: want(t, "storage port=1-2 assign"), Known: stick.Known}, "missing: usb:1-2 offers other interfaces than before (030101): it may not be what it says"},
		"and the other one stays": {keyboard, stick, "matched usb:1-1: usb:1-2 offers other interfaces than before (030101): it may not be what it says"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := resolve(t, test.on, test.need); got[0] != test.want {
				t.Errorf("%s, want %s", got[0], test.want)
			}
		})
	}
}

// TestReadPlacesFaults fails each file that reading the places opens, one at a time: that is
// an error unless it only says that there is nothing, and no device is taken for built
// in or external because of it.
func TestReadPlacesFaults(t *testing.T) {
	h := notebook(t)
	l := h.read()
	whole, err := laptop.ReadPlaces(h, l)
	must(t, err)
	names := map[string]bool{}
	_, err = laptop.ReadPlaces(hosttest.Failing{Tree: h.Tree, Fail: func(name string) error {
		if _, err := h.Lstat(name); err == nil {
			names[name] = true
		}
		return nil
	}}, l)
	must(t, err)
	if len(names) < 50 {
		t.Fatalf("only %d files", len(names))
	}
	for name := range names {
		for _, errno := range []syscall.Errno{syscall.EIO, syscall.EACCES, syscall.ENOENT} {
			at, err := laptop.ReadPlaces(hosttest.Failing{Tree: h.Tree, Fail: func(asked string) error {
				if asked == name {
					return errno
				}
				return nil
			}}, l)
			if errno == syscall.EIO && (err == nil || !strings.Contains(err.Error(), name)) && !strings.Contains(name, "/drm") {
				t.Errorf("%s fails and nobody says so: %v", name, err)
			}
			for i := range whole.Devices {
				was, is := whole.Devices[i].BuiltIn, at.Devices[i].BuiltIn
				// What removable says is backed by what the port says, and may differ from it.
				if is != was && is.String() != "unknown" && !strings.HasSuffix(name, "/removable") {
					t.Errorf("without %s %s is built in: %v, was %v", name, l.Devices[i].ID(), is, was)
				}
			}
			checkResolution(t, l, laptop.Resolve(l, at, wants(t, "webcam built-in assign", "webcam external assign", "gpu discrete assign", "storage external assign")))
		}
	}
}

// What is not said of places is not guessed: needs that ask for none are resolved all
// the same.
func TestResolveNowhere(t *testing.T) {
	l := notebook(t).read()
	all := laptop.Resolve(l, laptop.Places{}, wants(t, "bluetooth assign", "gpu discrete assign", "webcam port=left assign optional"))
	checkResolution(t, l, all)
	if all[0].State != laptop.NeedMatched || all[1].State != laptop.NeedMissing || all[2].State != laptop.NeedAmbiguous {
		t.Errorf("%+v", all)
	}
}

func TestPlacesHostile(t *testing.T) {
	h := &host{Tree: new(hostfs.Tree), t: t}
	for _, at := range []laptop.Resolution{nil, {}} {
		must(t, at.Startable())
	}
	got := resolve(t, h, wants(t, "gpu assign optional", "usb-device port=1-1 assign")...)
	if got[0] != "missing: this machine has no gpu" || got[1] != "missing: this machine has no usb-device" {
		t.Errorf("%q", got)
	}
}

// TestResolveMutations resolves on machines of which one file or link is nonsense.
func TestResolveMutations(t *testing.T) {
	tr := everything(t)
	needs := wants(t, "gpu discrete assign optional", "webcam assign", "audio built-in assign", "wlan share", "bluetooth built-in assign", "usb-controller assign",
		"storage external assign", "ethernet share", "usb-device port=left assign", "input built-in share", "tpm share", "storage port=1-2 assign")
	for i, name := range entries(t, tr) {
		for k := range 3 {
			data := nonsense[(3*i+k)%len(nonsense)]
			undo := mutate(t, tr, name, data)
			l, _ := laptop.Read(tr)
			at, _ := laptop.ReadPlaces(tr, l)
			checkResolution(t, l, laptop.Resolve(l, at, needs))
			undo()
			if t.Failed() {
				t.Fatalf("%.20q in %s", data, name)
			}
		}
	}
}

// BenchmarkResolve gives as many needs as a definition may have, all alike, devices of a
// machine that has thousands of them.
func BenchmarkResolve(b *testing.B) {
	h := laptopHost(b)
	for i := range 3000 {
		h.function(fmt.Sprintf("pci0000:00/0000:%02x:%02x.%d", 16+i/256, i/8%32, i%8), "020000", "e1000e", 20+i)
	}
	l, err := laptop.Read(h)
	must(b, err)
	at, err := laptop.ReadPlaces(h, l)
	must(b, err)
	var needs []laptop.Wanted
	for i := range 48 {
		needs = append(needs, wants(b, []string{"ethernet assign", "ethernet built-in share", "ethernet class=0200 assign optional"}[i%3])...)
	}
	for b.Loop() {
		checkResolution(b, l, laptop.Resolve(l, at, needs))
	}
}
