package journal_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/journal"
)

type entry struct {
	N    int    `json:"n"`
	Text string `json:"text"`
}

// made returns a directory with a journal of n records, and the file's path.
func made(t testing.TB, n int) (journal.Dir, string) {
	t.Helper()
	d := journal.Dir{Disk: journal.OS(), Path: filepath.Join(t.TempDir(), "a", "b")}
	unlock, err := d.Lock(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	f, err := d.Create("x", 4096, entry{0, "first"})
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < n; i++ {
		if err := f.Append(entry{i, strings.Repeat("é", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return d, filepath.Join(d.Path, "x")
}

func numbers(t testing.TB, records []json.RawMessage) []int {
	t.Helper()
	var all []int
	for _, r := range records {
		var e entry
		if err := json.Unmarshal(r, &e); err != nil {
			t.Fatal(err)
		}
		all = append(all, e.N)
	}
	return all
}

func TestJournal(t *testing.T) {
	d, name := made(t, 3)
	if st, err := os.Stat(name); err != nil || st.Size() != 4096 {
		t.Errorf("%v, %v: want the reserve", st, err)
	}
	f, records, err := d.Open("x")
	if err != nil || fmt.Sprint(numbers(t, records)) != "[0 1 2]" || f.Torn() {
		t.Fatalf("%s, %v", records, err)
	}
	if err := f.Append(entry{N: 3}); err != nil {
		t.Fatal(err)
	}
	again, torn, err := d.Read("x")
	if err != nil || torn || fmt.Sprint(numbers(t, again)) != "[0 1 2 3]" {
		t.Errorf("%s, %v", again, err)
	}
	if names, err := d.Names(); fmt.Sprint(names) != "[x]" || err != nil {
		t.Errorf("%v, %v", names, err)
	}
	if err := errors.Join(f.Close(), d.Remove("x")); err != nil {
		t.Error(err)
	}
	if names, err := d.Names(); len(names) != 0 || err != nil {
		t.Errorf("%v, %v", names, err)
	}
	if _, _, err := d.Open("x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed: %v", err)
	}
	if names, err := (journal.Dir{Disk: journal.OS(), Path: filepath.Join(d.Path, "none")}).Names(); names != nil || err != nil {
		t.Errorf("no directory: %v, %v", names, err)
	}
}

// The records go beyond the reserve when they must, and the file says when they cannot.
func TestReserve(t *testing.T) {
	d, name := made(t, 1)
	f, _, err := d.Open("x")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Append(entry{1, strings.Repeat("x", 10000)}); err != nil {
		t.Fatal(err)
	}
	if err := f.Reserve(100000); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(name); err != nil || st.Size() < 110000 {
		t.Errorf("%v, %v", st, err)
	}
	if err := f.Append(entry{2, strings.Repeat("x", journal.MaxSize)}); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("without bound: %v", err)
	}
	if err := f.Append(entry{N: 2}); err != nil {
		t.Fatal(err)
	}
	if records, _, err := d.Read("x"); err != nil || len(records) != 3 {
		t.Errorf("%d records, %v", len(records), err)
	}
}

// Cut anywhere, a journal is a beginning of what it was: never damaged once its first
// record is there, never something else.
func TestEveryTruncation(t *testing.T) {
	d, name := made(t, 6)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	end := len(bytes.TrimRight(whole, "\x00"))
	first := bytes.IndexByte(whole, '\n') + 1
	for cut := range end + 1 {
		for _, zeros := range []int{0, 100} {
			data := append(bytes.Clone(whole[:cut]), make([]byte, zeros)...)
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
			records, torn, err := d.Read("x")
			whole := bytes.Count(data, []byte{'\n'})
			switch {
			case cut < first:
				var damage *journal.DamageError
				if !errors.As(err, &damage) || damage.Name != name {
					t.Errorf("cut at %d: %v", cut, err)
				}
			case err != nil || len(records) != whole || torn != (data[cut-1] != '\n'):
				t.Errorf("cut at %d: %d records of %d, torn %v, %v", cut, len(records), whole, torn, err)
			}
			if cut < first {
				continue
			}
			// What is appended then is read back, whatever the cut has left.
			f, _, err := d.Open("x")
			if err == nil {
				err = errors.Join(f.Append(entry{N: 99}), f.Close())
			}
			if err != nil {
				t.Fatal(err)
			}
			records, torn, err = d.Read("x")
			if err != nil || torn || len(records) != whole+1 || numbers(t, records)[whole] != 99 {
				t.Errorf("cut at %d: after an append %s, %v", cut, records, err)
			}
		}
	}
}

// Any byte changed is found out, or was in a record that is left out as if it had not been
// written whole, which can only be the last.
func TestEveryByteFlipped(t *testing.T) {
	d, name := made(t, 6)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	end := len(bytes.TrimRight(whole, "\x00"))
	last := bytes.LastIndexByte(whole[:end-1], '\n') + 1
	for i := range end {
		for _, flip := range []byte{0x01, 0x20, 0x80, 0xff, whole[i]} {
			data := bytes.Clone(whole)
			data[i] ^= flip
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
			records, torn, err := d.Read("x")
			var damage *journal.DamageError
			if errors.As(err, &damage) {
				continue
			}
			if err != nil || i < last || len(records) != 5 || !torn {
				t.Errorf("byte %d ^ %#x: %d records, torn %v, %v", i, flip, len(records), torn, err)
			}
		}
	}
}

// A damaged journal is not appended to, and can be put aside.
func TestDamaged(t *testing.T) {
	d, name := made(t, 3)
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[bytes.IndexByte(data, '\n')+5] ^= 1
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	f, records, err := d.Open("x")
	var damage *journal.DamageError
	if !errors.As(err, &damage) || len(records) != 1 || f == nil {
		t.Fatalf("%s, %v", records, err)
	}
	if err := f.Append(entry{}); !errors.As(err, &damage) {
		t.Errorf("appended: %v", err)
	}
	to, err := d.PutAside("x")
	if err != nil || errors.Join(f.Close()) != nil {
		t.Fatal(err)
	}
	if after, err := os.ReadFile(to); err != nil || !bytes.Equal(after, data) {
		t.Errorf("%s: %v", to, err)
	}
	if names, err := d.Names(); len(names) != 0 || err != nil {
		t.Errorf("%v, %v", names, err)
	}
}

// A lateDisk has something happen to a file between opening and locking it.
type lateDisk struct {
	journal.Disk
	then func() error
}

func (d lateDisk) Open(name string) (journal.Handle, error) {
	h, err := d.Disk.Open(name)
	return h, errors.Join(err, d.then())
}

// The lock of a file is had by one; a file that was removed meanwhile is nobody's.
func TestLocks(t *testing.T) {
	d, _ := made(t, 1)
	a, _, ok, err := d.OpenLocked("x")
	if !ok || err != nil {
		t.Fatalf("%v, %v", ok, err)
	}
	if _, _, ok, err := d.OpenLocked("x"); ok || err != nil {
		t.Errorf("locked twice: %v, %v", ok, err)
	}
	name, err := d.Inode("x")
	if locks, lerr := os.ReadFile("/proc/locks"); err != nil || lerr != nil || !strings.Contains(string(locks), fmt.Sprintf(" %d %s ", os.Getpid(), name)) {
		t.Errorf("the kernel does not say that %q is locked by this process, %v, %v:\n%s", name, err, lerr, locks)
	}
	// Another process may have the descriptor, and keep it.
	fd, ok := a.Descriptor()
	other, err := syscall.Dup(fd)
	if !ok || err != nil {
		t.Fatalf("%t, %v", ok, err)
	}
	defer syscall.Close(other)
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if _, err := d.Inode("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of no file: %v", err)
	}
	if again, _, ok, err := d.OpenLocked("x"); !ok || err != nil {
		t.Errorf("not unlocked by who has closed it: %v", err)
	} else if err := again.Close(); err != nil {
		t.Error(err)
	}
	hidden := journal.Dir{Disk: lateDisk{d.Disk, nil}, Path: d.Path}
	if name, err := hidden.Inode("x"); name != "" || err != nil {
		t.Errorf("of a disk that does not say: %q, %v", name, err)
	}
	for name, lose := range map[string]func(string) error{
		"removed": d.Remove,
		"aside":   func(name string) error { _, err := d.PutAside(name); return err },
	} {
		f, err := d.Create(name, 0, "y")
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		late := journal.Dir{Disk: lateDisk{d.Disk, func() error { return lose(name) }}, Path: d.Path}
		if _, _, ok, err := late.OpenLocked(name); ok || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s when it is locked: %v, %v", name, ok, err)
		}
	}

	unlock, err := d.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.Create("y", 1, entry{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, ok, err := d.OpenLocked("y"); ok || err != nil {
		t.Errorf("made, and not locked: %v, %v", ok, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := d.Lock(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), d.Path) {
		t.Errorf("had by another: %v", err)
	}
	unlock()
	var wg sync.WaitGroup
	var inside, had atomic.Int32
	for range 8 {
		wg.Go(func() {
			unlock, err := d.Lock(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			if inside.Add(1) != 1 {
				t.Error("two have the lock")
			}
			time.Sleep(time.Millisecond)
			inside.Add(-1)
			had.Add(1)
			unlock()
		})
	}
	wg.Wait()
	if had.Load() != 8 {
		t.Errorf("%d had it", had.Load())
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// What a crash leaves of a file that was being made is none, and is swept.
func TestSweep(t *testing.T) {
	d, _ := made(t, 1)
	left := filepath.Join(d.Path, ".0000:02:00.0@1.lease3124412423")
	for _, name := range []string{left, filepath.Join(d.Path, ".keep")} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := d.Names(); fmt.Sprint(names) != "[x]" || err != nil {
		t.Errorf("%v, %v", names, err)
	}
	if err := d.Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left: %v", err)
	}
	if _, err := os.Stat(filepath.Join(d.Path, ".keep")); err != nil {
		t.Error(err)
	}
}

// A link, a pipe and a directory are no journals, and nobody waits for them.
func TestOddFiles(t *testing.T) {
	d, name := made(t, 1)
	if err := errors.Join(os.Symlink(name, filepath.Join(d.Path, "link")), os.Mkdir(filepath.Join(d.Path, "dir"), 0o700),
		syscall.Mkfifo(filepath.Join(d.Path, "pipe"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", "dir", "pipe"} {
		if records, _, err := d.Read(name); err == nil || len(records) > 0 {
			t.Errorf("%s: %s", name, records)
		}
		if _, _, err := d.Open(name); err == nil {
			t.Errorf("%s was opened", name)
		}
	}
}

// A release succeeds on a full disk: what was reserved can be written.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		hosttest.Missing(t, "mount a small tmpfs: %v", err)
	}
	defer func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) }()
	d := journal.Dir{Disk: journal.OS(), Path: dir}
	f, err := d.Create("x", 16<<10, entry{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_ = os.WriteFile(filepath.Join(dir, "fill"), make([]byte, 1<<20), 0o600)
	if _, err := d.Create("y", 16<<10, entry{}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	if names, err := d.Names(); fmt.Sprint(names) != "[fill x]" || err != nil {
		t.Errorf("what failed is there: %v, %v", names, err)
	}
	for i := range 100 {
		if err := f.Append(entry{i, "while the disk is full"}); err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
	}
	if err := f.Reserve(1 << 20); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("reserved what is not there: %v", err)
	}
	if err := f.Append(entry{N: 100}); err != nil {
		t.Error(err)
	}
	if err := d.Remove("x"); err != nil {
		t.Error(err)
	}
}

func FuzzRead(f *testing.F) {
	_, name := made(f, 4)
	whole, err := os.ReadFile(name)
	if err != nil {
		f.Fatal(err)
	}
	whole = bytes.TrimRight(whole, "\x00")
	f.Add(whole)
	f.Add(whole[:len(whole)-7])
	f.Add(append(bytes.Clone(whole), "0123456789abcdef {}\n"...))
	f.Add([]byte("e3b0c44298fc1c14 \n"))
	f.Add([]byte("\n\n\x00"))
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := journal.Dir{Disk: journal.OS(), Path: t.TempDir()}
		if err := os.WriteFile(filepath.Join(d.Path, "x"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		records, torn, err := d.Read("x")
		if err == nil && len(records) == 0 {
			t.Fatal("nothing, and no error")
		}
		for _, r := range records {
			sum := sha256.Sum256(r)
			if !bytes.Contains(data, fmt.Appendf(nil, "%x %s\n", sum[:8], r)) {
				t.Fatalf("%q was not written", r)
			}
		}
		if err != nil {
			return
		}
		// It takes one more record, and is then what it was and that.
		file, _, err := d.Open("x")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(file.Append(entry{N: 7}), file.Close()); err != nil {
			t.Fatal(err)
		}
		after, tornAfter, err := d.Read("x")
		if err != nil || tornAfter || len(after) != len(records)+1 {
			t.Fatalf("%d records and one (torn %v) became %d, torn %v, %v", len(records), torn, len(after), tornAfter, err)
		}
	})
}
