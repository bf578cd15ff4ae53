package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"github.com/project-independence/indy/guest"
)

func text(name string, more ...string) []byte {
	return []byte("# mine\nname: " + name + "\nmemory: 1GiB\n" + strings.Join(more, "\n") + "\n")
}

func TestStore(t *testing.T) {
	ctx := t.Context()
	s := Store{Dir: filepath.Join(t.TempDir(), "a", "guests")}
	if all, err := s.List(); len(all) > 0 || err != nil {
		t.Errorf("List() = %v, %v before anything is made", all, err)
	}
	if _, err := s.Read("work"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read() = %v before anything is made", err)
	}
	if _, err := s.Create(ctx, text("work")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(ctx, text("work", "tpm: true")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create() = %v of one that is there", err)
	}
	e, err := s.Read("work")
	if err != nil || string(e.Text) != string(text("work")) || e.Memory != 1<<30 || e.Dir != filepath.Join(s.Dir, "work") {
		t.Errorf("Read() = %+v, %v", e, err)
	}
	after, err := s.Replace(ctx, e, text("work", "tpm: true"))
	if err != nil || !after.TPM {
		t.Errorf("Replace() = %+v, %v", after, err)
	}
	for want, err := range map[string]error{
		"replace": func() error { _, err := s.Replace(ctx, e, text("work")); return err }(),
		"delete":  func() error { _, err := s.Delete(ctx, e, false); return err }(),
	} {
		if !errors.Is(err, ErrChanged) {
			t.Errorf("%s of what has changed: %v", want, err)
		}
	}
	if _, err := s.Replace(ctx, after, text("other")); err == nil || !strings.Contains(err.Error(), "work would become other") {
		t.Errorf("another name: %v", err)
	}
	if _, err := s.Replace(ctx, after, []byte("name: work")); err == nil {
		t.Error("what is no definition is kept")
	}
	if got, err := s.Read("work"); err != nil || !got.TPM {
		t.Errorf("%+v, %v after replacements that failed", got, err)
	}
	info, err := os.Stat(filepath.Join(after.Dir, file))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	left, _ := os.ReadDir(after.Dir)
	if len(left) != 1 {
		t.Errorf("%v in the folder", left)
	}
}

func TestDelete(t *testing.T) {
	for _, disks := range []bool{false, true} {
		t.Run(fmt.Sprint(disks), func(t *testing.T) {
			s := Store{Dir: t.TempDir()}
			outside := filepath.Join(t.TempDir(), "other.raw")
			e, err := s.Create(t.Context(), text("work", "disks: [{file: system.qcow2, key: credential:work.cred}, {file: "+outside+"}, {file: ../beside.raw}, {file: guest.yaml, format: raw, read_only: true}]"))
			if err != nil {
				t.Fatal(err)
			}
			system, beside := filepath.Join(e.Dir, "system.qcow2"), filepath.Join(s.Dir, "beside.raw")
			tpm, credential := filepath.Join(e.Dir, "tpm"), filepath.Join(e.Dir, "work.cred")
			if err := os.Mkdir(tpm, 0o700); err != nil {
				t.Fatal(err)
			}
			for _, f := range []string{system, credential, outside, beside, filepath.Join(e.Dir, "uefi-variables"), filepath.Join(tpm, "tpm2-00.permall")} {
				if err := os.WriteFile(f, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			deleted, err := s.Delete(t.Context(), e, disks)
			if err != nil || len(deleted) == 2 != disks || disks && deleted[0] != system {
				t.Errorf("%v, %v", deleted, err)
			}
			for f, want := range map[string]bool{system: !disks, credential: !disks, tpm: !disks, e.Dir: !disks, outside: true, beside: true, filepath.Join(e.Dir, "uefi-variables"): false} {
				if _, err := os.Stat(f); (err == nil) != want {
					t.Errorf("%s: %v", f, err)
				}
			}
			if all, err := s.List(); len(all) > 0 || err != nil {
				t.Errorf("List() = %v, %v", all, err)
			}
			if _, err := s.Create(t.Context(), text("work")); err != nil {
				t.Errorf("the name is not free: %v", err)
			}
		})
	}
}

func TestLockedGuests(t *testing.T) {
	dir := t.TempDir()
	user, admin := Store{Dir: dir}, Store{Dir: dir, Admin: true}
	if _, err := user.Create(t.Context(), text("work", "locked: true")); !errors.Is(err, ErrLocked) {
		t.Errorf("a user makes a locked guest: %v", err)
	}
	e, err := admin.Create(t.Context(), text("work", "locked: true"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := user.Replace(t.Context(), e, text("work")); !errors.Is(err, ErrLocked) {
		t.Errorf("a user unlocks a guest: %v", err)
	}
	if _, err := user.Delete(t.Context(), e, true); !errors.Is(err, ErrLocked) {
		t.Errorf("a user deletes a locked guest: %v", err)
	}
	if _, err := admin.Replace(t.Context(), e, text("work")); err != nil {
		t.Error(err)
	}
	e, _ = user.Read("work")
	if _, err := user.Replace(t.Context(), e, text("work", "locked: true")); !errors.Is(err, ErrLocked) {
		t.Errorf("a user locks a guest: %v", err)
	}
}

// TestLeftOfLocked: the disks that a locked guest, or one of which nobody knows, left in its
// folder are for administrators, until one makes a guest of them.
func TestLeftOfLocked(t *testing.T) {
	for _, test := range []struct {
		name, text  string
		disk, disks bool // there is one, and it is deleted
		want        error
	}{
		{"locked", "locked: true", true, false, ErrLocked},
		{"damaged", "locked: [", true, false, ErrLocked},
		{"with its disks", "locked: true", true, true, nil},
		{"without disks", "locked: true", false, false, nil},
		{"free", "tpm: true", true, false, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			user := Store{Dir: t.TempDir()}
			admin := Store{Dir: user.Dir, Admin: true}
			disks := "disks: [{file: system.qcow2}]"
			if _, err := admin.Create(t.Context(), text("work", disks)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(user.Folder("work"), file), text("work", disks, test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if test.disk {
				if err := os.WriteFile(filepath.Join(user.Folder("work"), "system.qcow2"), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			e, _ := admin.Read("work") // which may be damaged
			if _, err := admin.Delete(t.Context(), e, test.disks); err != nil {
				t.Fatal(err)
			}
			_, err := os.Stat(user.Folder("work"))
			if left := test.disk && !test.disks; (err == nil) != left {
				t.Errorf("the folder is there: %v", err)
			}
			if _, err := user.Create(t.Context(), text("work", disks)); !errors.Is(err, test.want) {
				t.Errorf("a user makes a guest of it: %v", err)
			}
			if test.want == nil {
				return
			}
			if _, err := admin.Create(t.Context(), text("work", disks)); err != nil {
				t.Fatal(err)
			}
			e, err = user.Read("work")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := user.Delete(t.Context(), e, false); err != nil {
				t.Error(err)
			}
			if _, err := user.Create(t.Context(), text("work", disks)); err != nil {
				t.Errorf("an administrator has made it free: %v", err)
			}
		})
	}
}

// TestOneDamaged shows that a definition that cannot be read hides no other.
func TestOneDamaged(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	for _, name := range []string{"a", "broken", "fifo", "large", "link", "other-name", "z"} {
		if _, err := s.Create(t.Context(), text(name)); err != nil {
			t.Fatal(err)
		}
	}
	replace := func(name string, with func(string) error) {
		t.Helper()
		path := filepath.Join(s.Dir, name, file)
		if err := errors.Join(os.Remove(path), with(path)); err != nil {
			t.Fatal(err)
		}
	}
	holding := func(b []byte) func(string) error {
		return func(path string) error { return os.WriteFile(path, b, 0o600) }
	}
	replace("broken", holding([]byte("name: broken\nmemory: 1GB\n")))
	replace("fifo", func(path string) error { return syscall.Mkfifo(path, 0o600) })
	replace("large", holding(make([]byte, guest.MaxDefinition+1)))
	replace("link", func(path string) error { return os.Symlink(filepath.Join(s.Dir, "a", file), path) })
	replace("other-name", holding(text("another")))
	if err := errors.Join(os.Mkdir(filepath.Join(s.Dir, "Not-A-Name"), 0o700), os.Mkdir(filepath.Join(s.Dir, "empty"), 0o700), os.WriteFile(filepath.Join(s.Dir, "notes"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	all, err := s.List()
	if len(all) != 2 || all[0].Name != "a" || all[1].Name != "z" {
		t.Errorf("%+v", all)
	}
	for _, want := range []string{
		"broken/guest.yaml:2:9: memory: size \"1GB\"", "fifo/guest.yaml is no file", "bytes are more than the 65536", "link/guest.yaml: too many levels of symbolic links",
		"other-name/guest.yaml: the name is another, and that of the folder other-name",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", "../a", "A"} {
		if _, err := s.Read(name); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Read(%q): %v", name, err)
		}
	}
}

// TestMended shows that a damaged definition is replaced by an administrator alone: whether
// it was locked nobody knows.
func TestMended(t *testing.T) {
	user := Store{Dir: t.TempDir()}
	admin := Store{Dir: user.Dir, Admin: true}
	if _, err := user.Create(t.Context(), text("work")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(user.Folder("work"), file)
	if err := os.WriteFile(path, text("work", "tmp: true"), 0o600); err != nil {
		t.Fatal(err)
	}
	e, err := user.Read("work")
	if err == nil || e.Name != "work" || string(e.Text) != string(text("work", "tmp: true")) || e.Dir != user.Folder("work") {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := user.Replace(t.Context(), e, text("work")); err == nil || !strings.Contains(err.Error(), "only an administrator") {
		t.Errorf("%v", err)
	}
	if _, err := admin.Replace(t.Context(), e, text("work", "tpm: true")); err != nil {
		t.Error(err)
	}
	if e, err := user.Read("work"); err != nil || !e.TPM {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestOneOfMany shows that of many who create the same guest one does.
func TestOneOfMany(t *testing.T) {
	s := Store{Dir: filepath.Join(t.TempDir(), "guests")}
	var won, exist sync.Map
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			_, err := s.Create(t.Context(), text("work", "# "+fmt.Sprint(i)))
			switch {
			case err == nil:
				won.Store(i, true)
			case errors.Is(err, fs.ErrExist):
				exist.Store(i, true)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	count := func(m *sync.Map) (n int) { m.Range(func(any, any) bool { n++; return true }); return n }
	if count(&won) != 1 || count(&exist) != 7 {
		t.Errorf("%d made it, %d found it", count(&won), count(&exist))
	}
}

func TestLockIsWaitedFor(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	l := flock.New(filepath.Join(s.Dir, "lock"))
	if err := l.Lock(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Create(ctx, text("work")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), text("work")); err != nil {
		t.Error(err)
	}
}

func ExampleStore() {
	dir, err := os.MkdirTemp("", "guests")
	if err != nil {
		return
	}
	defer os.RemoveAll(dir)
	s := Store{Dir: dir}
	if _, err := s.Create(context.Background(), []byte("name: work # at the office\nmemory: 8GiB\n")); err != nil {
		fmt.Println(err)
	}
	all, err := s.List()
	for _, e := range all {
		fmt.Println(e.Name, guest.FormatSize(e.Memory), err)
	}
	// Output: work 8GiB <nil>
}

// TestKnown keeps beside a definition what its devices are known by, and forgets it with that.
func TestKnown(t *testing.T) {
	s := Store{Dir: filepath.Join(t.TempDir(), "guests")}
	if err := s.KeepKnown(t.Context(), "work", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of no guest: %v", err)
	}
	admin := Store{Dir: s.Dir, Admin: true}
	e, err := admin.Create(t.Context(), []byte("name: work\nmemory: 1GiB\nlocked: true\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := e.Known(); got != nil || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if err := s.KeepKnown(t.Context(), "work", []byte("what it has")); err != nil { // a user may start it
		t.Error(err)
	}
	if got, err := e.Known(); string(got) != "what it has" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if info, err := os.Stat(e.KnownFile()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := s.KeepKnown(t.Context(), "work", make([]byte, maxKnown+1)); err == nil {
		t.Error("too long")
	}
	if err := os.WriteFile(e.KnownFile(), make([]byte, maxKnown+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Known(); err == nil {
		t.Error("too long to be read")
	}
	if _, err := admin.Delete(t.Context(), e, false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(e.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
	if got, err := (Entry{}).Known(); got != nil || err != nil {
		t.Errorf("of a file: %q, %v", got, err)
	}
}
