package assign

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

var (
	nic    = pci.NewAddress(0, 5, 0, 0)
	igb    = Fingerprint{Vendor: pci.NewID(0x8086), Device: pci.NewID(0x10c9), Serial: "00-00-00-00-00-00-00-01"}
	second = Fingerprint{Vendor: pci.NewID(0x8086), Device: pci.NewID(0x10c9), Serial: "00-00-00-00-00-00-00-02"}
)

var worked = Reset{Tried: []Try{{Method: "flr"}}, Method: "flr", Verified: true}

// outcomes are what can come of a reset after a guest.
var outcomes = map[string]Reset{
	"ok":    worked,
	"fails": {Tried: []Try{{"flr", "input/output error (errno 5)"}}},
	"none":  {},
	"weak":  {Tried: []Try{{Method: "pm"}}, Method: "pm", Verified: true},
	"dead":  {Tried: []Try{{"flr", "configuration space reads as all ones"}}},
}

// Every order of guests, two free and two locked, with every end of every reset, whether
// or not the owner overrides what can be overridden: no locked guest ever gets what holds
// anything of another guest, and no free one what holds anything of a locked one.
func TestResidueEveryOrder(t *testing.T) {
	guests := []Request{{Guest: "a"}, {Guest: "b"}, {Guest: "c", Locked: true}, {Guest: "d", Locked: true}}
	names := []string{"ok", "fails", "none", "dead", "weak"}
	const depth = 4
	paths, given, refused := 0, 0, 0
	// dirt is whose data may be there still; of a guest that is marked weak it went through
	// D3hot since, which is to do between free guests and nowhere else.
	type left struct {
		Request
		weak bool
	}
	var walk func(r Residue, dirt []left, path []string)
	walk = func(r Residue, dirt []left, path []string) {
		if len(path) == depth {
			paths++
			return
		}
		for _, g := range guests {
			for _, allow := range []bool{false, true} {
				f, bad := r.finding(g)
				step := g.Guest + map[bool]string{true: " with --allow"}[allow]
				if bad && !(allow && f.Code.Overridable()) {
					refused++
					walk(r, dirt, append(slices.Clone(path), step+": refused"))
					continue
				}
				given++
				for _, d := range dirt {
					if d.Guest == g.Guest {
						continue
					}
					switch {
					case g.Locked, d.Locked:
						t.Fatalf("after %v %q (locked: %v) gets what %q (locked: %v) left: %+v", path, g.Guest, g.Locked, d.Guest, d.Locked, r)
					case !allow && !d.weak:
						t.Fatalf("after %v %q gets what %q left without being told: %+v", path, g.Guest, d.Guest, r)
					}
				}
				if r.State == Tainted && (g.Locked || !allow) {
					t.Fatalf("after %v %q gets it tainted: %+v", path, g.Guest, r)
				}
				used := r.use(User{Guest: g.Guest, Locked: g.Locked, Lease: fmt.Sprint(len(path))}, "boot")
				for _, name := range names {
					still := []left{}
					if name != "ok" {
						still = append(slices.Clone(dirt), left{Request: g})
					}
					for i := range still {
						still[i].weak = still[i].weak || name == "weak"
					}
					walk(used.after(outcomes[name], igb, "boot", time.Time{}), still, append(slices.Clone(path), step+": reset "+name))
				}
			}
		}
	}
	walk(Residue{Device: nic.String(), Fingerprint: igb, State: Clean}, nil, nil)
	if paths < 50_000 || given == 0 || refused == 0 {
		t.Errorf("%d paths, given %d times, refused %d times: too few", paths, given, refused)
	}
	t.Logf("paths: %d, given %d times, refused %d times", paths, given, refused)
}

func TestResidueFinding(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	work, play := User{Guest: "work", Locked: true, Since: at}, User{Guest: "play", Since: at}
	for _, c := range []struct {
		name  string
		left  Residue
		guest Request
		code  laptop.Code
		says  string
	}{
		{"never used", Residue{Device: nic.String()}, Request{Guest: "play"}, "", ""},
		{"clean", Residue{Device: nic.String(), State: Clean}, Request{Guest: "work", Locked: true}, "", ""},
		{"the same guest", Residue{Device: nic.String(), State: Used, Users: []User{play}}, Request{Guest: "play"}, "", ""},
		{"the same locked guest", Residue{Device: nic.String(), State: Used, Users: []User{work}}, Request{Guest: "work", Locked: true}, "", ""},
		{"another", Residue{Device: nic.String(), State: Used, Users: []User{play}}, Request{Guest: "other"}, laptop.UsedBy, `guest "play" since 2026-01-02T03:04:05Z`},
		{"one of the name that is not locked", Residue{Device: nic.String(), State: Used, Users: []User{work}}, Request{Guest: "work"}, laptop.LockedResidue, "what a locked guest used"},
		{"a locked one after a free one", Residue{Device: nic.String(), State: Used, Users: []User{play}}, Request{Guest: "work", Locked: true}, laptop.LockedResidue, "only what was reset"},
		{"two of which one is the same", Residue{Device: nic.String(), State: Used, Users: []User{play, {Guest: "other", Since: at}}}, Request{Guest: "play"}, laptop.UsedBy, `"other"`},
		{"tainted by itself", Residue{Device: nic.String(), State: Tainted, Users: []User{play}, Detail: "why"}, Request{Guest: "play"}, laptop.Tainted, "why"},
		{"tainted by a locked one itself", Residue{Device: nic.String(), State: Tainted, Users: []User{work}}, Request{Guest: "work", Locked: true}, laptop.LockedResidue, ""},
		{"not known", Residue{Device: nic.String(), State: Unknown, Detail: "the file is damaged"}, Request{Guest: "play"}, laptop.LockedResidue, "the file is damaged"},
	} {
		f, ok := c.left.finding(c.guest)
		if ok != (c.code != "") || f.Code != c.code || !strings.Contains(f.Detail, c.says) || ok && (f.Severity != laptop.Block || f.Remedy == "") {
			t.Errorf("%s: %+v, %v", c.name, f, ok)
		}
	}
	for code, want := range map[laptop.Code]bool{laptop.UsedBy: true, laptop.Tainted: true, laptop.LockedResidue: false} {
		if code.Overridable() != want {
			t.Errorf("%s: overridable %v", code, !want)
		}
	}
}

// What is noted of a USB device follows its serial number through all ports.
func TestResidueOfUSB(t *testing.T) {
	stick := Fingerprint{Vendor: pci.NewID(0x0781), Device: pci.NewID(0x5567), Serial: "4C53"}
	mouse := Fingerprint{Vendor: pci.NewID(0x046d), Device: pci.NewID(0xc077)}
	used := func(f Fingerprint, boot string, gone bool) *Residues {
		return &Residues{boot: "now", all: []Residue{{Device: "usb:1-4", Fingerprint: f, State: Used, Users: []User{{Guest: "play"}}, BootID: boot, Gone: gone}}}
	}
	for _, c := range []struct {
		name  string
		noted *Residues
		at    string
		now   Fingerprint
		want  Condition
	}{
		{"the same", used(stick, "old", false), "usb:1-4", stick, Used},
		{"in another port", used(stick, "old", false), "usb:2-1.3", stick, Used},
		{"in another port, while this kernel runs", used(stick, "now", false), "usb:2-1.3", stick, Used},
		{"without a serial number in another port", used(mouse, "now", false), "usb:1-5", mouse, Clean},
		{"another in its port", used(stick, "now", false), "usb:1-4", mouse, Tainted},
		{"another in its port after a restart", used(stick, "old", false), "usb:1-4", mouse, Clean},
		{"another, says the owner", used(stick, "now", true), "usb:1-4", mouse, Clean},
		{"the first again", used(stick, "now", true), "usb:1-4", stick, Used},
		{"the first again elsewhere", used(stick, "now", true), "usb:1-5", stick, Used},
		{"a function is no USB device", used(stick, "now", false), "0000:05:00.0", stick, Clean},
	} {
		if got := c.noted.Of(c.at, c.now); got.State != c.want || got.Device != c.at || got.Gone {
			t.Errorf("%s: %+v, want %s", c.name, got, c.want)
		}
	}
}

// What is noted follows the piece of hardware, and not the address.
func TestResidueOf(t *testing.T) {
	free := Residue{Device: nic.String(), Fingerprint: igb, State: Used, Users: []User{{Guest: "play"}}, BootID: "old"}
	now := free
	now.BootID = "now"
	other := pci.NewAddress(0, 9, 0, 0)
	e1000 := Fingerprint{Vendor: pci.NewID(0x8086), Device: pci.NewID(0x10d3)}
	plain := Fingerprint{Vendor: igb.Vendor, Device: igb.Device} // its serial number could not be read
	damaged := Residue{Device: nic.String(), State: Unknown, Detail: "damaged"}
	for _, c := range []struct {
		name  string
		noted []Residue
		at    pci.Address
		now   Fingerprint
		want  Condition
	}{
		{"nothing noted", nil, nic, igb, Clean},
		{"the same", []Residue{free}, nic, igb, Used},
		{"the same, as far as can be read", []Residue{free}, nic, plain, Used},
		{"another of its make after a restart", []Residue{free}, nic, second, Clean},
		{"another of its make while this kernel runs", []Residue{now}, nic, second, Tainted},
		{"another kind while this kernel runs", []Residue{now}, nic, e1000, Tainted},
		{"another kind after a restart", []Residue{free}, nic, e1000, Clean},
		{"the same in another slot", []Residue{free}, other, igb, Used},
		{"one of its make in another slot", []Residue{free}, other, second, Clean},
		{"one in another slot that says nothing", []Residue{free}, other, plain, Clean},
		{"both", []Residue{{Device: nic.String(), Fingerprint: second, State: Clean, BootID: "old"}, free}, nic, igb, Used},
		{"damaged", []Residue{damaged}, nic, igb, Unknown},
		{"damaged, and one that is not", []Residue{damaged, {Device: nic.String(), Fingerprint: igb, State: Clean}}, nic, igb, Unknown},
		{"damaged, of another", []Residue{damaged}, other, igb, Clean},
	} {
		got := (&Residues{boot: "now", all: c.noted}).Of(c.at.String(), c.now)
		if got.State != c.want || got.Device != c.at.String() {
			t.Errorf("%s: %+v, want %s", c.name, got, c.want)
		}
	}
}

// A weak reset leaves a device clean with its users, also in another slot.
func TestResidueOfMovedWeak(t *testing.T) {
	weak := Residue{Device: nic.String(), Fingerprint: igb, State: Clean, Users: []User{{Guest: "bank", Locked: true, Weak: true, Lease: "1"}}, BootID: "old"}
	at := pci.NewAddress(0, 9, 0, 0)
	moved := (&Residues{boot: "now", all: []Residue{weak}}).Of(at.String(), igb)
	if _, refused := moved.finding(Request{Guest: "play"}); !refused || moved.Device != at.String() {
		t.Errorf("%+v goes to a free guest", moved)
	}
	if _, refused := (&Residues{boot: "now", all: []Residue{weak}}).Of(at.String(), second).finding(Request{Guest: "play"}); refused {
		t.Error("another one of its make does not")
	}
}

// A guest that rewrites what a device says of itself leaves something that no reset takes
// away.
func TestResidueChanged(t *testing.T) {
	r := Residue{Device: nic.String(), Fingerprint: igb, State: Clean}.use(User{Guest: "play"}, "now")
	got := r.after(worked, second, "now", time.Time{})
	if got.State != Tainted || !strings.Contains(got.Detail, igb.Serial) || !strings.Contains(got.Detail, second.Serial) {
		t.Errorf("%+v", got)
	}
	if got := r.after(worked, igb, "now", time.Time{}); got.State != Clean || len(got.Users) > 0 {
		t.Errorf("unchanged: %+v", got)
	}
}

func TestResidueUnused(t *testing.T) {
	first := User{Guest: "play", Lease: "1"}
	r := Residue{Device: nic.String(), State: Clean}.use(first, "now")
	r = r.use(User{Guest: "other", Lease: "2"}, "now").unuse("2")
	if d := cmp.Diff([]User{first}, r.Users); d != "" || r.State != Used {
		t.Errorf("%+v", r)
	}
	if r = r.unuse("1"); r.State != Clean || len(r.Users) > 0 {
		t.Errorf("%+v", r)
	}
	weak := Residue{Device: nic.String(), Fingerprint: igb, State: Clean}.use(first, "now").after(outcomes["weak"], igb, "now", time.Time{})
	if r := weak.use(User{Guest: "other", Lease: "2"}, "now").unuse("2"); r.State != Clean || len(r.Users) != 1 {
		t.Errorf("%+v", r)
	}
	if r = (Residue{Device: nic.String(), State: Tainted}).use(first, "now").unuse("1"); r.State != Tainted {
		t.Errorf("%+v", r)
	}
	for name, guest := range map[string]func(i int) User{
		"one":    func(int) User { return User{Guest: "play"} },
		"many":   func(i int) User { return User{Guest: "play-" + strconv.Itoa(i)} },
		"locked": func(i int) User { return User{Guest: "play-" + strconv.Itoa(i), Locked: true} },
	} {
		r := Residue{Device: nic.String(), State: Clean}.use(User{Guest: "work", Lease: "first", Locked: true}, "now")
		for i := range 10 * maxUsers {
			u := guest(i)
			u.Lease = strconv.Itoa(i)
			if r = r.use(u, "now"); len(r.Users) > maxUsers || !r.usedIn(u.Lease) {
				t.Fatalf("%s: of use %d: %+v", name, i, r.Users)
			}
			undone := r.unuse(u.Lease)
			for _, q := range []Request{{Guest: u.Guest, Locked: u.Locked}, {Guest: "work", Locked: true}, {Guest: "next"}} {
				if _, refused := undone.finding(q); !refused && (i > 0 || q.Guest != "work") {
					t.Fatalf("%s: after use %d was undone %s gets it", name, i, q.Guest)
				}
			}
		}
		if i := slices.IndexFunc(r.Users, func(u User) bool { return u.Guest == "work" }); name != "locked" && i != 0 {
			t.Errorf("%s: the locked one is forgotten: %+v", name, r.Users)
		}
	}
}

// Whatever a file says, a function is clean only if the last record says so, in whole.
func FuzzLastResidue(f *testing.F) {
	for _, s := range []string{
		`{"device":"0000:05:00.0","state":"clean"}`, `{"device":"0000:05:00.0","state":"used-by","users":[{"guest":"a","locked":true}]}`,
		`{"device":"0000:06:00.0","state":"clean"}`, `{"device":"0000:05:00.0"}`, `{}`, `null`, `[]`, `{"device":"0000:05:00.0","state":"clean","users":7}`,
	} {
		f.Add(s, "0000:05:00.0-1", false)
	}
	f.Add("", "0000:05:00.0-01", true)
	f.Add("", "usb:1-4.2-1", true)
	f.Fuzz(func(t *testing.T, text, name string, damaged bool) {
		var damage error
		if damaged {
			damage = errors.New("damaged")
		}
		r := lastResidue(nic.String(), []json.RawMessage{json.RawMessage(text)}, damage)
		var said struct{ State Condition }
		if r.Device != nic.String() || r.State == "" || r.State == Clean && (damaged || json.Unmarshal([]byte(text), &said) != nil || said.State != Clean) {
			t.Errorf("%q: %+v", text, r)
		}
		_, _ = r.finding(Request{Guest: "a"})
		if a, n, ok := residueName(name); ok && residueFileName(a, n) != name {
			t.Errorf("%q is that of %s, %d", name, a, n)
		}
	})
}
