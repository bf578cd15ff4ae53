package assign

import (
	"encoding/json"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/journal"
	"github.com/project-independence/indy/internal/sim"
	"github.com/project-independence/indy/pci"
)

// A fullDisk gives no more space once it is full.
type fullDisk struct {
	journal.Disk
	full *bool
}

type fullHandle struct {
	journal.Handle
	full *bool
	size *int64
}

func (d fullDisk) Create(name string, data []byte, size int64) (journal.Handle, error) {
	if *d.full {
		return nil, syscall.ENOSPC
	}
	h, err := d.Disk.Create(name, data, size)
	return fullHandle{h, d.full, &size}, err
}

func (d fullDisk) Open(name string) (journal.Handle, error) {
	h, err := d.Disk.Open(name)
	if err != nil {
		return nil, err
	}
	data, err := h.ReadAll(journal.MaxSize)
	size := int64(len(data))
	return fullHandle{h, d.full, &size}, err
}

func (h fullHandle) Allocate(size int64) error {
	if *h.full && size > *h.size {
		return syscall.ENOSPC
	}
	*h.size = max(size, *h.size)
	return h.Handle.Allocate(size)
}

func (h fullHandle) WriteAt(b []byte, off int64) error {
	if *h.full && off+int64(len(b)) > *h.size {
		return syscall.ENOSPC
	}
	return h.Handle.WriteAt(b, off)
}

// On a disk that is full by then a release notes all the same what came of its reset, every
// time; and what cannot be noted ahead is not begun.
func TestResidueOnFullDisk(t *testing.T) {
	saved, err := hostfs.Open(filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-intel.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := sim.New(saved.(*hostfs.Tree), sim.Options{VFIO: true})
	if err != nil {
		t.Fatal(err)
	}
	full := false
	dir := t.TempDir()
	s := &Store{Dir: filepath.Join(dir, "leases"), StateDir: filepath.Join(dir, "state"), disk: fullDisk{journal.OS(), &full}}
	l := &Lease{ID: "x", Guest: "play", State: Assigned, Devices: []pci.Address{nic}, Plan: &Plan{}}
	failing := Reset{Tried: []Try{{"flr", "input/output error (errno 5)"}}}
	state := func(want Condition) {
		t.Helper()
		r, err := s.Residues(k)
		if err != nil {
			t.Fatal(err)
		}
		now, err := ReadFingerprint(k, nic)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Of(nic.String(), now); got.State != want {
			t.Fatalf("%+v, want %s", got, want)
		}
	}
	for range 40 { // through more than one file
		full = false
		if err := s.noteUse(k, l); err != nil {
			t.Fatal(err)
		}
		full = true
		if _, err := s.noteReset(k, nil, map[string]Reset{nic.String(): failing}, nil, false); err != nil {
			t.Fatal(err)
		}
		state(Tainted)
		if _, err := s.noteReset(k, nil, map[string]Reset{nic.String(): worked}, nil, false); err != nil {
			t.Fatal(err)
		}
		state(Clean)
	}
	other := &Lease{ID: "y", Guest: "play", Devices: []pci.Address{pci.NewAddress(0, 2, 0, 0)}, Plan: &Plan{}}
	if err := s.noteUse(k, other); err == nil {
		t.Error("a use was noted on a full disk")
	}
}

// TestResidueFunctionsOfOneUnit: both ports of a network card have its serial number. What
// is noted of one takes nothing from what is noted of the other; of a card that was moved
// nothing is left behind.
func TestResidueFunctionsOfOneUnit(t *testing.T) {
	s := &Store{Dir: t.TempDir(), StateDir: t.TempDir()}
	address := func(text string) pci.Address {
		t.Helper()
		a, err := pci.ParseAddress(text)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	unit := Fingerprint{Header: "8086:10c9", Serial: "00-1b-21-ff-ff-12-34-56"}
	keep := func(a pci.Address, state Condition) {
		t.Helper()
		d := s.residueDir()
		unlock, err := d.Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
		files, err := s.residueFiles(func(string) bool { return true })
		if err == nil {
			err = s.keepOne(&hostfs.Tree{}, d, files, Residue{Device: a.String(), Fingerprint: unit, State: state, BootID: "one"}, residueRoom)
		}
		if err != nil {
			t.Fatalf("%s %s: %v", a, state, err)
		}
	}
	want := func(want map[string]Condition) {
		t.Helper()
		files, err := s.residueFiles(func(string) bool { return true })
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]Condition{}
		for _, f := range files {
			got[f.name] = f.State
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("noted (-want +got):\n%s", diff)
		}
	}
	first, second := address("0000:05:00.0"), address("0000:05:00.1")
	for range 3 {
		keep(first, Used)
		keep(second, Used)
		keep(first, Tainted)
		keep(second, Clean)
		want(map[string]Condition{"0000:05:00.0-1": Tainted, "0000:05:00.1-1": Clean})
	}
	keep(address("0000:07:00.0"), Tainted) // it was moved there
	want(map[string]Condition{"0000:07:00.0-1": Tainted, "0000:05:00.1-1": Clean})
}

// TestResidueSameSerialNumber: sticks of one make may state one serial number. While both
// are there, what becomes of one says nothing of the other.
func TestResidueSameSerialNumber(t *testing.T) {
	machine := func(ports ...string) *hostfs.Tree {
		m := &hostfs.Tree{}
		for _, p := range ports {
			for name, value := range map[string]string{"idVendor": "0781", "idProduct": "5567", "bcdDevice": "0100", "serial": "0000"} {
				if err := m.Put("sys/bus/usb/devices/"+p+"/"+name, []byte(value+"\n")); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := m.Put("proc/sys/kernel/random/boot_id", []byte("00000000-0000-4000-8000-000000000001\n")); err != nil {
			t.Fatal(err)
		}
		return m
	}
	both, second := machine("1-4", "1-5"), machine("1-5")
	s := &Store{Dir: t.TempDir(), StateDir: t.TempDir()}
	use := func(m *hostfs.Tree, guest, name string) {
		t.Helper()
		if err := s.noteUseOf(m, &Lease{ID: guest, Guest: guest}, []string{name}); err != nil {
			t.Fatal(err)
		}
	}
	reset := func(m *hostfs.Tree, name string) {
		t.Helper()
		if _, err := s.noteReset(m, nil, map[string]Reset{name: worked}, nil, false); err != nil {
			t.Fatal(err)
		}
	}
	want := func(m *hostfs.Tree, name string, want Condition) {
		t.Helper()
		all, err := s.Residues(m)
		if err != nil {
			t.Fatal(err)
		}
		now, err := fingerprintOf(m, name, always)
		if err != nil {
			t.Fatal(err)
		}
		if got := all.Of(name, now); got.State != want {
			t.Errorf("%s: %+v, want %s", name, got, want)
		}
	}
	use(both, "play", "usb:1-4")
	use(both, "other", "usb:1-5")
	reset(both, "usb:1-5")
	want(both, "usb:1-4", Used)
	reset(both, "usb:1-4")
	want(both, "usb:1-4", Clean)
	want(both, "usb:1-5", Clean)
	use(both, "play", "usb:1-4")
	reset(second, "usb:1-5") // the one of 1-4, as far as anybody can tell
	want(second, "usb:1-5", Clean)
	want(both, "usb:1-4", Clean)
}

// What is no JSON is never taken for clean, whatever its checksum.
func TestResidueNoJSON(t *testing.T) {
	for _, text := range []string{"", "{", `{"device":"0000:02:00.0","state":"clean"`} {
		r := lastResidue("0000:02:00.0", []json.RawMessage{json.RawMessage(`{"device":"0000:02:00.0","state":"clean"}`), json.RawMessage(text)}, nil)
		if r.State != Unknown || r.Detail == "" {
			t.Errorf("%q: %+v", text, r)
		}
	}
}
