package journaltest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/internal/journal"
	"github.com/project-independence/indy/internal/journal/journaltest"
)

// A log says what a journal was told, and so what must be in it.
type log struct {
	acknowledged []string
	begun        string // may be there or not
	removing     bool
	removed      bool
}

// what returns what is wrong with what is on a disk after a crash.
func (l log) wrong(d journal.Dir) error {
	names, err := d.Names()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		if len(l.acknowledged) > 0 && !l.removing {
			return errors.New("the journal is gone")
		}
		return nil
	}
	if l.removed {
		return errors.New("the journal is there again")
	}
	records, _, err := d.Read("x")
	if err != nil {
		return err
	}
	var got []string
	for _, r := range records {
		var s string
		if err := json.Unmarshal(r, &s); err != nil {
			return err
		}
		got = append(got, s)
	}
	if !slices.Equal(got, l.acknowledged) && !slices.Equal(got, append(slices.Clip(l.acknowledged), l.begun)) {
		return fmt.Errorf("holds %q; acknowledged are %q, begun was %q", got, l.acknowledged, l.begun)
	}
	return nil
}

// At every operation of a journal's life, in every state that a crash may leave: what was
// acknowledged is there, what was never begun is not, and nothing is damaged. Then the
// journal is opened again and appended to, with a crash at every operation of that.
func TestJournalCrashes(t *testing.T) {
	states, doubles := 0, 0
	disk := journaltest.New()
	var now log
	crash := func(op journaltest.Op) {
		for _, c := range disk.Crashes(op) {
			states++
			d := journal.Dir{Disk: c.Disk, Path: "/run/j"}
			if err := now.wrong(d); err != nil {
				t.Errorf("%s before %v: %v", c.Kind, op, err)
				continue
			}
			doubles += again(t, c, op)
			if err := d.Sweep(); err != nil {
				t.Errorf("%s before %v: sweep: %v", c.Kind, op, err)
			}
			for name := range c.Disk.Files() {
				if strings.Contains(name, "/.") {
					t.Errorf("%s before %v: %s is left", c.Kind, op, name)
				}
			}
		}
	}
	dir := journal.Dir{Disk: disk, Path: "/run/j"}
	must(t, disk.MkdirAll(dir.Path))
	disk.Before = func(op journaltest.Op) error { crash(op); return nil }
	now.begun = "first"
	f, err := dir.Create("x", 300, "first")
	must(t, err)
	now.acknowledged, now.begun = []string{"first"}, ""
	for i, n := range []int{0, 1, 40, 200, 3, 500, 2, 90, 0, 700, 15, 60, 1000, 5} { // within the reserve and past it
		now.begun = fmt.Sprint(i, strings.Repeat("z", n))
		must(t, f.Append(now.begun))
		now.acknowledged, now.begun = append(now.acknowledged, now.begun), ""
		crash(journaltest.Op{})
	}
	must(t, f.Close())
	now.removing = true
	must(t, dir.Remove("x"))
	now.removed = true
	crash(journaltest.Op{})
	t.Logf("crash points: %d, double: %d", states, doubles)
	if states < 150 || doubles < 1000 {
		t.Errorf("%d states and %d after a second crash show little", states, doubles)
	}
}

// again opens the journal that a crash left, appends to it, and crashes at each operation.
func again(t *testing.T, c journaltest.Crash, first journaltest.Op) (states int) {
	disk := c.Disk.Clone()
	d := journal.Dir{Disk: disk, Path: "/run/j"}
	f, records, err := d.Open("x")
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil {
		t.Errorf("%s before %v: open: %v", c.Kind, first, err)
		return 0
	}
	var now log
	for _, r := range records {
		var s string
		must(t, json.Unmarshal(r, &s))
		now.acknowledged = append(now.acknowledged, s)
	}
	disk.Before = func(op journaltest.Op) error {
		for _, c2 := range disk.Crashes(op) {
			states++
			if err := now.wrong(journal.Dir{Disk: c2.Disk, Path: "/run/j"}); err != nil {
				t.Errorf("%s before %v, then %s before %v: %v", c.Kind, first, c2.Kind, op, err)
			}
		}
		return nil
	}
	for _, text := range []string{"again", "and again"} {
		now.begun = text
		if err := f.Append(text); err != nil {
			t.Errorf("%s before %v: append: %v", c.Kind, first, err)
		}
		now.acknowledged, now.begun = append(now.acknowledged, text), ""
	}
	return states
}

// An operation fails, or writes a part: what was acknowledged stays, and the next record
// that is appended stands where the failed one would.
func TestJournalFaults(t *testing.T) {
	texts := []string{"one", strings.Repeat("two", 40), "three", strings.Repeat("four", 100)}
	run := func(fault func(n int, op journaltest.Op) error) (ops int) {
		disk := journaltest.New()
		dir := journal.Dir{Disk: disk, Path: "/run/j"}
		must(t, disk.MkdirAll(dir.Path))
		disk.Before = func(op journaltest.Op) error { ops++; return fault(ops, op) }
		f, err := dir.Create("x", 200, "first")
		if err != nil {
			if names := disk.Files(); len(names) > 0 {
				t.Errorf("create failed with %v and left %v", err, names)
			}
			return ops
		}
		want := []string{"first"}
		for _, text := range texts {
			if err := f.Append(text); err != nil {
				var kernel *fs.PathError
				if !errors.As(err, &kernel) {
					t.Errorf("append: %v has no *fs.PathError", err)
				}
				continue
			}
			want = append(want, text)
			if err := (log{acknowledged: want}).wrong(dir); err != nil {
				t.Errorf("fault at operation %d: %v", ops, err)
			}
		}
		must(t, f.Close())
		return ops
	}
	all := run(func(int, journaltest.Op) error { return nil })
	for at := 1; at <= all; at++ {
		for _, fault := range []error{syscall.ENOSPC, syscall.EIO, &journaltest.Short{N: 1, Err: syscall.ENOSPC}, &journaltest.Short{N: 30, Err: syscall.EIO}, &journaltest.Short{N: 1 << 20, Err: syscall.EIO}} {
			run(func(n int, op journaltest.Op) error {
				if n == at {
					return fault
				}
				return nil
			})
		}
	}
}

// Within its reserve a journal is appended to on a full disk.
func TestJournalReserve(t *testing.T) {
	disk := journaltest.New()
	dir := journal.Dir{Disk: disk, Path: "/run/j"}
	must(t, disk.MkdirAll(dir.Path))
	f, err := dir.Create("x", 200, "first")
	must(t, err)
	must(t, f.Reserve(150))
	disk.Fill(true)
	must(t, f.Append(strings.Repeat("z", 100)))
	is(t, f.Append(strings.Repeat("z", 1000)), syscall.ENOSPC)
	must(t, f.Append("last"))
	if err := (log{acknowledged: []string{"first", strings.Repeat("z", 100), "last"}}).wrong(dir); err != nil {
		t.Error(err)
	}
}

// Every byte of a journal is changed, and every length of it is tried: what is read are
// the records before the change, and only what looks as after a crash is no damage.
func TestJournalDamage(t *testing.T) {
	disk := journaltest.New()
	dir := journal.Dir{Disk: disk, Path: "/run/j"}
	must(t, disk.MkdirAll(dir.Path))
	f, err := dir.Create("x", 200, "first")
	must(t, err)
	ends := []int{17 + len(`"first"`) + 1}
	for _, text := range []string{"second", "third"} {
		must(t, f.Append(text))
		ends = append(ends, ends[len(ends)-1]+17+len(text)+3)
	}
	must(t, f.Close())
	whole := disk.Files()["/run/j/x"]
	try := func(what string, data []byte, intact int) {
		disk.Put("/run/j/x", data)
		records, torn, err := dir.Read("x")
		var damage *journal.DamageError
		switch {
		case len(records) != intact:
			t.Errorf("%s: %d records, want the %d before it; %v", what, len(records), intact, err)
		case intact == len(ends) && err == nil:
		case intact < 1 && !errors.As(err, &damage):
			t.Errorf("%s: without its first record it is no damage: %v", what, err)
		case intact < len(ends)-1 && len(data) == len(whole) && !errors.As(err, &damage):
			t.Errorf("%s: a record that is not the last is gone, and it is no damage: %v", what, err)
		case err == nil && !torn && len(data) == len(whole):
			t.Errorf("%s: not noticed", what)
		}
	}
	for i := range whole {
		for _, flip := range []byte{1, 0x10, 0x80, 0xff} {
			data := slices.Clone(whole)
			data[i] ^= flip
			try(fmt.Sprintf("byte %d ^ %#x", i, flip), data, before(ends, i))
		}
		try(fmt.Sprintf("the first %d bytes", i), whole[:i], before(ends, i))
	}
}

// before returns how many records end at or before byte i.
func before(ends []int, i int) (n int) {
	for _, end := range ends {
		if end <= i {
			n++
		}
	}
	return n
}
