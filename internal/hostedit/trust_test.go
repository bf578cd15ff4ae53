package hostedit

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Where others may write, they could put a link to any file of the host meanwhile.
func TestOthersDirectory(t *testing.T) {
	e := scratch(t, map[string]string{"etc/default/grub": debianGrub, "var/lib/x": ""})
	dir, records := filepath.Join(e.Root, "etc/default"), filepath.Join(e.Root, "var/lib")
	shown, err := e.Prepare(grubEdit("p"))
	if err != nil {
		t.Fatal(err)
	}
	before := state(t, e.Root)
	refused := func(what, want string) {
		t.Helper()
		_, prepared := e.Prepare(grubEdit("p"))
		if what == records {
			prepared = e.Apply(shown) // only who writes looks there
		}
		if !errors.As(prepared, new(*NotUnderstoodError)) || !strings.Contains(prepared.Error(), "is in "+what+", which "+want) {
			t.Errorf("%v, want %q", prepared, want)
		}
		if err := e.Apply(shown); err == nil {
			t.Error("what was shown before was done")
		}
	}
	for _, at := range []string{dir, records} {
		if err := os.Chmod(at, 0o1777); err != nil {
			t.Fatal(err)
		}
		refused(at, "may be written to by everybody")
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
		if os.Getuid() != 0 {
			continue
		}
		if err := os.Chown(at, 12, 0); err != nil {
			t.Fatal(err)
		}
		refused(at, "belongs to user 12")
		if err := errors.Join(os.Chown(at, 0, 34), os.Chmod(at, 0o775)); err != nil {
			t.Fatal(err)
		}
		refused(at, "may be written to by group 34")
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(before, state(t, e.Root)); d != "" {
		t.Error(d)
	}
	apply(t, e, grubEdit("p"))
}

// Records stay below the root, wherever a link in it says they are.
func TestRecordsBelowRoot(t *testing.T) {
	e := scratch(t, map[string]string{"etc/default/grub": debianGrub, "srv/x": "", "var/x": ""})
	if err := os.Symlink("/srv", filepath.Join(e.Root, "var/lib")); err != nil {
		t.Fatal(err)
	}
	apply(t, e, grubEdit("p"))
	if _, err := os.Stat(filepath.Join(e.Root, "srv/indy/edits/000001.json")); err != nil {
		t.Error(err)
	}
	undoAll(t, e)
}

// A file that an editor saves in the last moment is not overwritten.
func TestSavedMeanwhile(t *testing.T) {
	for _, at := range []string{"etc/default/grub", "etc/modules-load.d/indy.conf"} {
		e := scratch(t, map[string]string{"etc/default/grub": debianGrub, "etc/modules-load.d/x.conf": "loop\n"})
		c, err := e.Prepare(crashEdits()...)
		if err != nil {
			t.Fatal(err)
		}
		before := state(t, e.Root)
		const saved = "SAVED=1\n"
		last := ""
		e.reached = func(step string) {
			name := filepath.Join(e.Root, at)
			if _, err := os.Stat(name); step == "written" && last == "recorded" && (err == nil) == (at == "etc/default/grub") {
				if err := os.WriteFile(name, []byte(saved), 0o640); err != nil {
					t.Error(err)
				}
			}
			last = step
		}
		if err := e.Apply(c); !errors.Is(err, ErrChanged) {
			t.Errorf("%s: %v", at, err)
		}
		if got, err := os.ReadFile(filepath.Join(e.Root, at)); err != nil || string(got) != saved {
			t.Errorf("%s: %q, %v", at, got, err)
		}
		if n := records(t, e); n != 0 {
			t.Errorf("%s: %d records are left", at, n)
		}
		after := state(t, e.Root)
		delete(before, at)
		delete(after, at)
		if d := cmp.Diff(before, after); d != "" {
			t.Error(d)
		}
	}
}

// When one of several files cannot be taken back, the others are, and it is said.
func TestUndoInPart(t *testing.T) {
	e := scratch(t, map[string]string{"etc/default/grub": debianGrub, "etc/modules-load.d/x.conf": "loop\n"})
	before := state(t, e.Root)
	apply(t, e, crashEdits()...)
	u, err := e.PrepareUndo(nil)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(e.Root, "etc/default/grub")
	made, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, append(made, '#', '\n'), 0o640); err != nil {
		t.Fatal(err)
	}
	err = e.Undo(u)
	if !errors.As(err, new(*PartialError)) || !errors.Is(err, ErrChanged) || records(t, e) != 1 {
		t.Errorf("%v; %d records", err, records(t, e))
	}
	if err := os.WriteFile(name, made, 0o640); err != nil {
		t.Fatal(err)
	}
	undoAll(t, e)
	if d := cmp.Diff(before, state(t, e.Root)); d != "" {
		t.Error(d)
	}
}
