package journaltest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/project-independence/indy/internal/journal"
	"github.com/project-independence/indy/internal/journal/journaltest"
)

var _ journal.Disk = journaltest.New()

// A known file is what a test of the model knows of one: the content that was synced, and
// what was written since.
type known struct {
	h       journal.Handle
	synced  []byte
	now     []byte
	touched map[int][]byte // values written since at an offset
}

// Whatever is done, in every state that a crash may leave a name is one that was given, a
// name that was synced is there unless it was taken away since, and each byte is the synced
// one or one written since.
func TestCrashModel(t *testing.T) {
	states := 0
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 7))
		d := journaltest.New()
		must(t, d.MkdirAll("/a/b"))
		files := map[string]*known{} // names as given
		synced := map[string]*known{}
		check := func(op journaltest.Op) {
			for _, c := range d.Crashes(op) {
				states++
				got := c.Disk.Files()
				for name, k := range synced {
					if files[name] == k && got[name] == nil {
						t.Fatalf("seed %d, %s before %v: %s was synced and is gone", seed, c.Kind, op, name)
					}
				}
				for name, data := range got {
					if err := allowed(data, files[name], synced[name]); err != nil && path.Base(name)[0] != '.' {
						t.Fatalf("seed %d, %s before %v: %s: %v", seed, c.Kind, op, name, err)
					}
				}
			}
		}
		for range 40 {
			name := "/a/b/" + string(rune('a'+random.IntN(3)))
			k := files[name]
			switch n := random.IntN(12); {
			case k == nil && n < 6:
				data := []byte(fmt.Sprintf("%d", random.Uint64()))
				h, err := d.Create(name, data, 40)
				must(t, err)
				data = append(data, make([]byte, 40-len(data))...)
				files[name] = &known{h: h, synced: data, now: data, touched: map[int][]byte{}}
			case k == nil:
			case n < 6:
				data := []byte(fmt.Sprintf("%d", random.Uint64()))
				off := random.IntN(30)
				for i, c := range data {
					for len(k.now) <= off+i {
						k.now = append(k.now, 0)
					}
					k.touched[off+i] = append(k.touched[off+i], c)
				}
				k.now = slices.Clone(k.now)
				copy(k.now[off:], data)
				d.Before = func(op journaltest.Op) error { check(op); return nil }
				must(t, k.h.WriteAt(data, int64(off)))
				d.Before = nil
			case n < 8:
				must(t, k.h.Sync())
				k.synced, k.touched = k.now, map[int][]byte{}
			case n < 9:
				must(t, d.Remove(name))
				delete(files, name)
			case n < 10:
				to := "/a/b/" + string(rune('a'+random.IntN(3)))
				if to != name {
					must(t, d.Rename(name, to))
					files[to] = k
					delete(files, name)
				}
			default:
				must(t, d.SyncDir("/a/b"))
				synced = map[string]*known{}
				for name, k := range files {
					synced[name] = k
				}
			}
			check(journaltest.Op{})
		}
	}
	t.Logf("%d states", states)
	if states < 5000 {
		t.Errorf("only %d states", states)
	}
}

func allowed(data []byte, files ...*known) error {
	err := errors.New("nobody gave that name")
	for _, k := range files {
		if k == nil {
			continue
		}
		err = nil
		for i, c := range data {
			var was byte
			if i < len(k.synced) {
				was = k.synced[i]
			}
			if c != was && !slices.Contains(k.touched[i], c) {
				err = fmt.Errorf("byte %d is %q, which nobody wrote", i, c)
			}
		}
		if len(data) < len(k.synced) {
			err = errors.New("it is shorter than what was synced")
		}
		if len(k.touched) == 0 && !bytes.Equal(data, k.synced) {
			err = errors.New("it is not as synced")
		}
		if err == nil {
			return nil
		}
	}
	return err
}

// Each kind of crash leaves something of its own.
func TestCrashKinds(t *testing.T) {
	d := journaltest.New()
	must(t, d.MkdirAll("/j"))
	h, err := d.Create("/j/x", []byte("head"), 12)
	must(t, err)
	must(t, d.SyncDir("/j"))
	must(t, h.WriteAt([]byte("AAAA"), 4))
	must(t, d.Rename("/j/x", "/j/y"))
	d.Before = func(op journaltest.Op) error {
		got := map[string]string{}
		for _, c := range d.Crashes(op) {
			for name, data := range c.Disk.Files() {
				got[c.Kind] += path.Base(name) + "=" + string(bytes.ReplaceAll(data, []byte{0}, []byte("."))) + " "
			}
		}
		want := map[string]string{
			"killed": "y=headAAAA.... ", "torn 1": "y=headAAAAB... ", "torn 2": "y=headAAAABB.. ", "torn 3": "y=headAAAABBB. ",
			"unsynced lost": "x=head........ ", "names kept": "y=head........ ", "data kept": "x=headAAAA.... ", "later kept": "y=head..AA.... ",
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
		return nil
	}
	must(t, h.WriteAt([]byte("BBBB"), 8))
}

// What no crash may leave more than once is there once.
func TestCrashesDistinct(t *testing.T) {
	d := journaltest.New()
	must(t, d.MkdirAll("/j"))
	if n := len(d.Crashes(journaltest.Op{})); n != 1 {
		t.Errorf("an empty disk crashes in %d ways", n)
	}
	h, err := d.Create("/j/x", []byte("head"), 12)
	must(t, err)
	if n := len(d.Crashes(journaltest.Op{})); n != 2 {
		t.Errorf("a name that is not synced: %d ways", n)
	}
	must(t, d.SyncDir("/j"))
	must(t, h.WriteAt([]byte("AAAA"), 4))
	must(t, h.Sync())
	if n := len(d.Crashes(journaltest.Op{})); n != 1 {
		t.Errorf("a disk on which all is synced crashes in %d ways", n)
	}
}

func TestDisk(t *testing.T) {
	d := journaltest.New()
	_, err := d.Create("/j/x", nil, 1)
	is(t, err, syscall.ENOENT)
	_, err = d.Names("/j")
	is(t, err, fs.ErrNotExist)
	must(t, d.MkdirAll("/j/below"))
	h, err := d.Create("/j/x", []byte("1"), 4)
	must(t, err)
	other, err := d.Open("/j/x")
	must(t, err)
	if ok, err := other.TryLock(); ok || err != nil {
		t.Errorf("the lock of a file that its maker holds: %v, %v", ok, err)
	}
	if ok, err := h.TryLock(); !ok || err != nil {
		t.Errorf("a lock that is held already: %v, %v", ok, err)
	}
	must(t, h.Close())
	is(t, h.WriteAt([]byte("1"), 0), syscall.EBADF)
	is(t, h.Close(), syscall.EBADF)
	if ok, err := other.TryLock(); !ok || err != nil {
		t.Errorf("the lock of a file that was closed: %v, %v", ok, err)
	}
	if ok, err := d.Clone().Open("/j/x"); err != nil {
		t.Error(err)
	} else if ok, err := ok.TryLock(); !ok || err != nil {
		t.Errorf("a lock held at a crash: %v, %v", ok, err)
	}

	d.Fill(true)
	_, err = d.Create("/j/y", nil, 1)
	is(t, err, syscall.ENOSPC)
	is(t, d.MkdirAll("/other"), syscall.ENOSPC)
	is(t, other.Allocate(5), syscall.ENOSPC)
	is(t, other.WriteAt([]byte("12"), 3), syscall.ENOSPC)
	must(t, other.WriteAt([]byte("2"), 3))
	must(t, other.Allocate(4))
	d.Fill(false)

	d.Before = func(op journaltest.Op) error {
		if op.Name == "write" {
			return &journaltest.Short{N: 1, Err: syscall.EIO}
		}
		return nil
	}
	is(t, other.WriteAt([]byte("ab"), 0), syscall.EIO)
	if b, err := d.ReadFile("/j/x", 2); err != nil || string(b) != "a\x00\x00" {
		t.Errorf("after a short write: %q, %v", b, err)
	}
	d.Before = nil

	names, err := d.Names("/j")
	if err != nil || !slices.Equal(names, []string{"x"}) {
		t.Errorf("names: %v, %v", names, err)
	}
	must(t, d.Remove("/j/x"))
	is(t, d.Remove("/j/x"), syscall.ENOENT)
	is(t, d.Rename("/j/x", "/j/y"), syscall.ENOENT)
	is(t, d.Remove("/j/below"), syscall.EISDIR)
	if linked, err := other.Linked(); linked || err != nil {
		t.Errorf("a file without a name: %v, %v", linked, err)
	}

	unlock, err := d.Lock(t.Context(), "/j/lock")
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer cancel()
	_, err = d.Lock(ctx, "/j/lock")
	is(t, err, context.DeadlineExceeded)
	unlock()
	unlock, err = d.Lock(t.Context(), "/j/lock")
	must(t, err)
	unlock()
	_, err = d.Lock(t.Context(), "/nowhere/lock")
	is(t, err, fs.ErrNotExist)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%v, want %v", err, want)
	}
}
