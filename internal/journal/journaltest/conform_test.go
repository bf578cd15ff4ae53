package journaltest_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/internal/journal"
	"github.com/project-independence/indy/internal/journal/journaltest"
)

// The same is done to a disk in memory and to the host's: both say the same.
func TestDiskAsOS(t *testing.T) {
	want := transcript(t, journal.OS(), t.TempDir())
	got := transcript(t, journaltest.New(), "/somewhere")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-host +memory:\n%s", d)
	}
	if len(want) < 40 {
		t.Errorf("%d operations show little", len(want))
	}
}

func transcript(t *testing.T, d journal.Disk, root string) (said []string) {
	say := func(what string, err error, more ...any) {
		var errno syscall.Errno
		switch {
		case errors.As(err, &errno):
			err = errno
		case err != nil:
			err = errors.New(strings.ReplaceAll(err.Error(), root, ""))
		}
		said = append(said, fmt.Sprint(len(said), " ", what, ": ", err, " ", more))
	}
	at := func(name string) string { return filepath.Join(root, name) }
	names := func(dir string) {
		n, err := d.Names(at(dir))
		say("names "+dir, err, n)
	}
	read := func(name string, limit int64) {
		b, err := d.ReadFile(at(name), limit)
		say("read "+name, err, fmt.Sprintf("%q", b))
	}
	names("a/b")
	_, err := d.Create(at("a/b/x"), []byte("1"), 8)
	say("create without a directory", err)
	_, err = d.Lock(t.Context(), at("a/b/lock"))
	say("lock without a directory", err)
	say("sync without a directory", d.SyncDir(at("a/b")))
	say("sweep without a directory", d.Sweep(at("a/b")))
	say("mkdir", d.MkdirAll(at("a/b")))
	say("mkdir again", d.MkdirAll(at("a/b")))
	names("a/b")
	_, err = d.Open(at("a/b/x"))
	say("open nothing", err)
	say("remove nothing", d.Remove(at("a/b/x")))
	say("rename nothing", d.Rename(at("a/b/x"), at("a/b/y")))

	h, err := d.Create(at("a/b/x"), []byte("1"), 8)
	say("create", err)
	read("a/b/x", 100)
	read("a/b/x", 3)
	say("sync", h.Sync())
	say("sync the names", d.SyncDir(at("a/b")))
	say("write", h.WriteAt([]byte("23"), 1))
	say("write past the end", h.WriteAt([]byte("9"), 9))
	say("allocate less", h.Allocate(2))
	say("allocate more", h.Allocate(12))
	read("a/b/x", 100)
	ok, err := h.TryLock()
	say("lock again", err, ok)
	other, err := d.Open(at("a/b/x"))
	say("open", err)
	ok, err = other.TryLock()
	say("lock what the maker has", err, ok)
	say("close", h.Close())
	say("close again", h.Close())
	_, err = h.ReadAll(3)
	say("read what is closed", err)
	say("write what is closed", h.WriteAt([]byte("1"), 0))
	ok, err = other.TryLock()
	say("lock what nobody has", err, ok)
	ok, err = other.Linked()
	say("linked", err, ok)

	y, err := d.Create(at("a/b/y"), []byte("y"), 1)
	say("another", err)
	names("a/b")
	say("rename over", d.Rename(at("a/b/x"), at("a/b/y")))
	names("a/b")
	read("a/b/y", 100)
	ok, err = y.Linked()
	say("linked after another took its name", err, ok)
	b, err := y.ReadAll(100)
	say("read what has no name", err, fmt.Sprintf("%q", b))
	ok, err = other.Linked()
	say("linked after a rename", err, ok)
	z, err := d.Create(at("a/b/y"), []byte("new"), 3)
	say("create over", err)
	ok, err = other.Linked()
	say("linked after a file took its name", err, ok)
	read("a/b/y", 100)
	_, err = d.ReadFile(at("a/b"), 100)
	say("read a directory", nil, err != nil)
	say("rename elsewhere", d.Rename(at("a/b/y"), at("a/nowhere/y")))
	say("rename up", d.Rename(at("a/b/y"), at("a/y")))
	names("a")
	say("remove", d.Remove(at("a/y")))
	ok, err = z.Linked()
	say("linked after it was removed", err, ok)
	for _, h := range []journal.Handle{other, y, z} {
		say("close", h.Close())
	}

	unlock, err := d.Lock(t.Context(), at("a/b/lock"))
	say("lock", err)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	_, err = d.Lock(ctx, at("a/b/lock"))
	say("lock what is locked", err)
	unlock()
	unlock, err = d.Lock(t.Context(), at("a/b/lock"))
	say("lock what was let go", err)
	unlock()
	say("sweep", d.Sweep(at("a/b")))
	names("a/b")
	return said
}
