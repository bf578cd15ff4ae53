package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/store"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
)

// TestKnownAgain: of three network cards, none of which the guest's words tell apart, it gets
// the one that it had, when that was kept at a start; a word that says otherwise goes before.
func TestKnownAgain(t *testing.T) {
	saved := filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-intel.txtar")
	fsys, err := hostfs.Open(saved)
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	env := &Env{GuestDir: filepath.Join(t.TempDir(), "guests"), Names: os.DirFS(t.TempDir()), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }}
	s := store.Store{Dir: env.GuestDir, Admin: true}
	definition := func(more string) []byte {
		return []byte("name: work\nmemory: 1GiB\ndevices: [{want: ethernet, how: assign" + more + "}]\n")
	}
	e, err := s.Create(t.Context(), definition(", ids: 8086:10d3"))
	if err != nil {
		t.Fatal(err)
	}
	m := readMachine(env, fsys)
	first, _ := m.resolveNeeds(e.Definition, knownDevices{})
	if first[0].State != laptop.NeedMatched {
		t.Fatalf("%+v", first)
	}
	// The words become fewer, and what is kept is of other words then: it decides nothing.
	r := guestRun{}
	told := slog.New(slog.DiscardHandler)
	_, _, known, err := r.resolve(m, e, told)
	if err != nil || known == nil {
		t.Fatalf("%+v, %v", known, err)
	}
	keepKnown(s, "work", *known, told)
	if _, _, again, err := r.resolve(m, e, told); again != nil || err != nil {
		t.Errorf("kept twice: %+v, %v", again, err)
	}
	show := func() string {
		t.Helper()
		out.Reset()
		if code := Main([]string{"guest", "show", "work", "--from", saved, "--json"}, env); code != 0 {
			t.Fatalf("exit %d: %s", code, &errs)
		}
		return out.String()
	}
	if got := show(); !strings.Contains(got, "known from before") || !strings.Contains(got, first[0].Devices[0]) {
		t.Errorf("%s", got)
	}
	if e, err = s.Replace(t.Context(), e, definition("")); err != nil {
		t.Fatal(err)
	}
	if got := show(); !strings.Contains(got, `"ambiguous"`) {
		t.Errorf("by other words: %s", got)
	}
	known.Needs[0].Need = keys(e.Devices)[0] // as after a start when it was the only one
	keepKnown(s, "work", *known, told)
	if got := show(); !strings.Contains(got, `"matched"`) || !strings.Contains(got, "known from before") || !strings.Contains(got, first[0].Devices[0]) {
		t.Errorf("%s", got)
	}
	// What is damaged is told, and keeps it from starting.
	if err := os.WriteFile(e.KnownFile(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := r.resolve(m, e, told); err == nil || !strings.Contains(err.Error(), "devices.json") {
		t.Errorf("%v", err)
	}
}

func TestKnownWith(t *testing.T) {
	gpu := guest.Need{Want: "gpu", How: guest.Assign}
	webcam := guest.Need{Want: "webcam", How: guest.Assign}
	id := func(name, serial string) laptop.Identity {
		return laptop.Identity{ID: name, Role: "webcam", Evidence: []laptop.Evidence{{Kind: laptop.BySerial, Value: serial}, {Kind: laptop.ByDriver, Value: name}}}
	}
	at := laptop.Places{Devices: []laptop.Place{{Identity: id("usb:1-1", "A")}, {Identity: id("usb:1-2", "B")}}}
	needs := laptop.Resolution{
		{Need: webcam, State: laptop.NeedMatched, Devices: []string{"usb:1-2"}}, {Need: gpu, State: laptop.NeedMissing},
		{Need: webcam, State: laptop.NeedSubstituted, Devices: []string{"usb:1-1"}},
	}
	before := knownDevices{Needs: []knownNeed{
		{"webcam assign", []laptop.Identity{id("usb:3-1", "B"), id("usb:1-9", "C"), id("usb:1-9", "D"), id("usb:1-9", "E")}},
		{"gpu assign", []laptop.Identity{id("pci:0000:01:00.0", "F")}},
		{"modem assign", []laptop.Identity{id("usb:1-3", "G")}},
	}}
	got, another := before.with(needs, at)
	want := knownDevices{Needs: []knownNeed{
		{"webcam assign", []laptop.Identity{id("usb:1-2", "B"), id("usb:1-9", "C"), id("usb:1-9", "D"), id("usb:1-9", "E")}},
		{"gpu assign", []laptop.Identity{id("pci:0000:01:00.0", "F")}},
		{"webcam assign 2", []laptop.Identity{id("usb:1-1", "A")}},
	}}
	if diff := cmp.Diff(want, got); diff != "" || !another {
		t.Errorf("%t %s", another, diff)
	}
	if _, another := got.with(needs, at); another {
		t.Error("the same again is another")
	}
	needs[0].Devices[0] = "usb:1-1"
	if got, _ := got.with(needs, at); len(got.Needs[0].Devices) != maxKnownDevices || got.Needs[0].Devices[0].ID != "usb:1-1" {
		t.Errorf("%+v", got.Needs[0])
	}
}

func FuzzKnown(f *testing.F) {
	f.Add([]byte(`{"needs":[{"need":"webcam assign","devices":[{"id":"usb:1-1","role":"webcam","part_of":"","evidence":[{"kind":"serial","value":"A","source":"x"}]}]}]}`))
	f.Add([]byte(`{"needs":[{"need":"a","devices":[{},{},{},{},{}]}]}`))
	f.Add([]byte(`{}{}`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, text []byte) {
		k, err := parseKnown(text)
		if err != nil {
			return
		}
		again, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := parseKnown(again); err != nil || len(back.Needs) != len(k.Needs) {
			t.Errorf("%v: %s", err, again)
		}
		for _, n := range k.Needs {
			if len(k.of(n.Need)) > maxKnownDevices {
				t.Errorf("%+v", n)
			}
		}
	})
}

func TestKnownBounds(t *testing.T) {
	many := knownDevices{Needs: []knownNeed{{"a", make([]laptop.Identity, maxKnownDevices+1)}}}
	long := knownDevices{Needs: []knownNeed{{"a", []laptop.Identity{{Evidence: []laptop.Evidence{{Value: strings.Repeat("x", maxKnownValue+1)}}}}}}}
	for _, k := range []knownDevices{many, long} {
		text, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseKnown(text); err == nil {
			t.Errorf("%.100s", text)
		}
	}
	for _, text := range []string{"{}{}", `{"other":1}`, "null 1"} {
		if _, err := parseKnown([]byte(text)); err == nil || err == io.EOF {
			t.Errorf("%s: %v", text, err)
		}
	}
}
