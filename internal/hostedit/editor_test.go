package hostedit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/internal/hosttest"
)

// scratch makes a root with the given files.
func scratch(t testing.TB, files map[string]string) *Editor {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		at := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	return &Editor{Root: root}
}

// state is all that is below the root but for the directory of records: names, modes,
// owners and contents.
func state(t testing.TB, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, at)
		if name == "var" {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil || d.IsDir() {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		what := fmt.Sprintf("%v %d:%d ", info.Mode(), st.Uid, st.Gid)
		if info.Mode()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(at)
			all[name] = what + target
			return err
		}
		if !info.Mode().IsRegular() {
			all[name] = what
			return nil
		}
		data, err := os.ReadFile(at)
		all[name] = what + string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func records(t testing.TB, e *Editor) int {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(e.Root, Records, "*"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, name := range found {
		if filepath.Base(name) != "lock" {
			n++
		}
	}
	return n
}

func apply(t testing.TB, e *Editor, edits ...Edit) *Change {
	t.Helper()
	c, err := e.Prepare(edits...)
	if err == nil {
		err = e.Apply(c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func undoAll(t testing.TB, e *Editor) *Change {
	t.Helper()
	c, err := e.PrepareUndo(nil)
	if err == nil {
		err = e.Undo(c)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// everything is one edit of each kind, and the files that they are for.
func everything() (map[string]string, []Edit) {
	p := []string{"intel_iommu=on"}
	modules := []string{"vfio_pci", "vfio_iommu_type1"}
	return map[string]string{
			"etc/default/grub": debianGrub, "etc/kernel/cmdline": "root=UUID=1 quiet", "boot/loader/entries/a.conf": "linux /a\noptions quiet\n",
			"boot/loader/entries/w.conf": "efi /w\n", "boot/extlinux/extlinux.conf": extlinuxConf, "etc/kernelstub/configuration": kernelstubJSON,
			"etc/initramfs-tools/modules": "# modules\n", "etc/mkinitcpio.conf": "MODULES=()\nHOOKS=(base)\n",
			"etc/modules-load.d/x.conf": "loop\n", "etc/dracut.conf.d/x.conf": "hostonly=yes\n",
		}, []Edit{
			grubEdit(p...), {File: "etc/kernel/cmdline", Kind: WordLine, Words: p}, {File: "boot/loader/entries/a.conf", Kind: LoaderEntry, Words: p},
			{File: "boot/loader/entries/w.conf", Kind: LoaderEntry, Words: p}, {File: "boot/extlinux/extlinux.conf", Kind: Extlinux, Words: p},
			{File: "etc/kernelstub/configuration", Kind: JSONStrings, Keys: []string{"user.kernel_options"}, Words: p},
			{File: "etc/initramfs-tools/modules", Kind: WordLines, Words: modules},
			{File: "etc/mkinitcpio.conf", Kind: ShellArray, Keys: []string{"MODULES"}, Words: modules},
			{File: "etc/modules-load.d/indy.conf", Kind: WordLines, Words: []string{"vfio-pci"}, Create: true, Heading: "# by indy\n"},
			{File: "etc/dracut.conf.d/indy.conf", Kind: ShellAppend, Keys: []string{"add_drivers"}, Words: modules, Create: true, Heading: "# by indy\n"},
			{File: "etc/dracut.conf.d/lines", Kind: Lines, Words: []string{"# a remark", `install vfio-pci [ -e "$x" ] && y; z`}, Create: true, Heading: "# by indy\n"},
		}
}

// All files are changed, and come back as they were, byte by byte, with their modes.
func TestApplyUndo(t *testing.T) {
	files, edits := everything()
	e := scratch(t, files)
	before := state(t, e.Root)
	c := apply(t, e, edits...)
	if len(c.Files) != len(edits)-1 { // w.conf starts no Linux
		t.Errorf("%d files changed", len(c.Files))
	}
	made := state(t, e.Root)
	for _, edit := range edits {
		if edit.File == "boot/loader/entries/w.conf" {
			continue
		}
		for _, w := range edit.Words {
			if !strings.Contains(made[edit.File], w) {
				t.Errorf("%s does not hold %s:\n%s", edit.File, w, made[edit.File])
			}
		}
	}
	if n := records(t, e); n != len(c.Files) {
		t.Errorf("%d records", n)
	}
	if c, err := e.Prepare(edits...); err != nil || len(c.Files) != 0 {
		t.Errorf("once more: %v, %v", c, err)
	}
	u := undoAll(t, e)
	for _, f := range u.Files {
		if f.Outcome != Restored {
			t.Errorf("%s: %s", f.File, f.Outcome)
		}
	}
	if d := cmp.Diff(before, state(t, e.Root)); d != "" {
		t.Errorf("after the undo:\n%s", d)
	}
	if n := records(t, e); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

// Other edits since are kept, in every kind of file.
func TestUndoAfterOthers(t *testing.T) {
	files, edits := everything()
	e := scratch(t, files)
	apply(t, e, edits...)
	want := map[string]string{}
	for name := range state(t, e.Root) {
		at := filepath.Join(e.Root, name)
		data, err := os.ReadFile(at)
		if err != nil {
			t.Fatal(err)
		}
		before, existed := files[name]
		others := func(s string) string {
			switch {
			case strings.HasSuffix(name, "cmdline"):
				return "nosmt " + s
			case strings.HasSuffix(name, "configuration"):
				return strings.Replace(s, `"config_rev": 3`, `"config_rev": 4`, 1)
			}
			return "# of others\n" + s
		}
		if err := os.WriteFile(at, []byte(others(string(data))), 0o600); err != nil {
			t.Fatal(err)
		}
		if !existed {
			before = "# by indy\n"
		}
		want[name] = others(before)
	}
	u := undoAll(t, e)
	for _, f := range u.Files {
		if f.Outcome != TakenOut {
			t.Errorf("%s: %s", f.File, f.Outcome)
		}
	}
	for name, text := range want {
		got, err := os.ReadFile(filepath.Join(e.Root, name))
		if d := cmp.Diff(text, string(got)); d != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, d)
		}
	}
	if n := records(t, e); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

// What others took out already is said to be gone, and its record is dropped.
func TestUndoGone(t *testing.T) {
	e := scratch(t, map[string]string{"etc/default/grub": debianGrub, "etc/modules-load.d/x": ""})
	apply(t, e, grubEdit("p"), Edit{File: "etc/modules-load.d/indy.conf", Kind: WordLines, Words: []string{"vfio-pci"}, Create: true})
	for _, err := range []error{
		os.WriteFile(filepath.Join(e.Root, "etc/default/grub"), []byte("A=1\n"), 0o644), os.RemoveAll(filepath.Join(e.Root, "etc/modules-load.d")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	u := undoAll(t, e)
	if len(u.Files) != 2 || u.Files[0].Outcome != Gone || u.Files[1].Outcome != Gone || records(t, e) != 0 {
		t.Errorf("%+v, %d records", u.Files, records(t, e))
	}
}

// What cannot be decided is left, said, and its record kept; the rest is taken back.
func TestUndoLeft(t *testing.T) {
	e := scratch(t, map[string]string{"etc/default/grub": debianGrub, "etc/mods": "loop\n"})
	apply(t, e, grubEdit("p"), Edit{File: "etc/mods", Kind: WordLines, Words: []string{"vfio-pci"}})
	const changed = "GRUB_CMDLINE_LINUX_DEFAULT=\"p q p\"\n"
	if err := os.WriteFile(filepath.Join(e.Root, "etc/default/grub"), []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := e.PrepareUndo(nil)
	var left *LeftError
	if !errors.As(err, &left) || left.File != "/etc/default/grub" || len(c.Files) != 1 {
		t.Fatalf("%v, %+v", err, c.Files)
	}
	if err := e.Undo(c); err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(filepath.Join(e.Root, "etc/default/grub"))
	mods, _ := os.ReadFile(filepath.Join(e.Root, "etc/mods"))
	if string(got) != changed || string(mods) != "loop\n" || records(t, e) != 1 {
		t.Errorf("%q, %q, %d records", got, mods, records(t, e))
	}
}

// Two changes of one file are taken back one after the other.
func TestUndoTwo(t *testing.T) {
	for _, others := range []string{"", "# of others\n"} {
		e := scratch(t, map[string]string{"etc/default/grub": debianGrub})
		apply(t, e, grubEdit("p"))
		apply(t, e, grubEdit("q"))
		name := filepath.Join(e.Root, "etc/default/grub")
		text, _ := os.ReadFile(name)
		if err := os.WriteFile(name, append([]byte(others), text...), 0o640); err != nil {
			t.Fatal(err)
		}
		if u := undoAll(t, e); len(u.Files) != 2 {
			t.Errorf("%+v", u.Files)
		}
		got, _ := os.ReadFile(name)
		if d := cmp.Diff(others+debianGrub, string(got)); d != "" || records(t, e) != 0 {
			t.Errorf("%d records\n%s", records(t, e), d)
		}
	}
}

// A process that dies at any step leaves nothing that the next undo does not take back,
// and nothing that keeps the next edit from being made.
func TestCrash(t *testing.T) {
	if os.Getenv("HOSTEDIT_ROOT") != "" {
		crash(t)
		return
	}
	files := map[string]string{"etc/default/grub": debianGrub, "etc/modules-load.d/x.conf": "loop\n"}
	for _, what := range []string{"apply", "undo"} {
		died := 0
		for n := 1; ; n++ {
			e := scratch(t, files)
			before := state(t, e.Root)
			if what == "undo" {
				apply(t, e, crashEdits()...)
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestCrash$")
			cmd.Env = append(os.Environ(), "HOSTEDIT_ROOT="+e.Root, "HOSTEDIT_WHAT="+what, fmt.Sprint("HOSTEDIT_STEP=", n))
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if err == nil {
				break // it had no more steps
			}
			if !errors.As(err, &exit) || exit.ExitCode() != 77 {
				t.Fatalf("%s, step %d: %v\n%s", what, n, err, out)
			}
			died++
			step := strings.TrimSpace(string(out))
			if n%2 == 0 { // an edit comes first, and then the undo
				apply(t, e, crashEdits()...)
				if c, err := e.Prepare(crashEdits()...); err != nil || len(c.Files) != 0 {
					t.Errorf("%s died at %s (%d): the edit was not finished: %v, %v", what, step, n, c, err)
				}
			}
			undoAll(t, e)
			if d := cmp.Diff(before, state(t, e.Root)); d != "" {
				t.Errorf("%s died at %s (%d):\n%s", what, step, n, d)
			}
			if n := records(t, e); n != 0 {
				t.Errorf("%s died at %s (%d): %d records are left", what, step, n, n)
			}
		}
		if died < 8 {
			t.Errorf("%s has only %d steps", what, died)
		}
	}
}

func crashEdits() []Edit {
	return []Edit{
		grubEdit("intel_iommu=on"),
		{File: "etc/modules-load.d/indy.conf", Kind: WordLines, Words: []string{"vfio-pci"}, Create: true, Heading: "# by indy\n"},
	}
}

// crash is the process that dies.
func crash(t *testing.T) {
	var n, steps int
	if _, err := fmt.Sscan(os.Getenv("HOSTEDIT_STEP"), &n); err != nil {
		t.Fatal(err)
	}
	e := &Editor{Root: os.Getenv("HOSTEDIT_ROOT"), reached: func(step string) {
		if steps++; steps == n {
			fmt.Println(step)
			os.Exit(77)
		}
	}}
	if os.Getenv("HOSTEDIT_WHAT") == "undo" {
		undoAll(t, e)
	} else {
		apply(t, e, crashEdits()...)
	}
}

// What a process that died left half written is removed, and nothing else.
func TestSweep(t *testing.T) {
	for _, undo := range []bool{false, true} {
		e := scratch(t, map[string]string{
			"etc/default/grub": debianGrub, "etc/default/.grub1234567890123456789": "half", "etc/default/.grub12": "mine", "etc/default/.grub.swp": "mine",
		})
		apply(t, e, grubEdit("p"))
		half := filepath.Join(e.Root, Records, ".000002.json1234567890123456789")
		if err := os.WriteFile(half, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if undo {
			undoAll(t, e)
		} else {
			apply(t, e, grubEdit("q"))
		}
		if _, err := os.Stat(half); err == nil {
			t.Errorf("undo %v: half a record is left", undo)
		}
		var left []string
		for name := range state(t, e.Root) {
			left = append(left, filepath.Base(name))
		}
		slices.Sort(left)
		if d := cmp.Diff([]string{".grub.swp", ".grub12", "grub"}, left); d != "" {
			t.Errorf("undo %v:\n%s", undo, d)
		}
	}
}

// When the second of two files cannot be written, the first is as before.
func TestApplyFails(t *testing.T) {
	e := scratch(t, map[string]string{"etc/default/grub": debianGrub, "etc/mods": "loop\n"})
	before := state(t, e.Root)
	c, err := e.Prepare(grubEdit("p"), Edit{File: "etc/mods", Kind: WordLines, Words: []string{"vfio-pci"}})
	if err != nil {
		t.Fatal(err)
	}
	ready := 0
	e.reached = func(step string) {
		if step == "ready" {
			if ready++; ready == 2 { // the second file cannot be renamed over a directory
				_ = os.Rename(filepath.Join(e.Root, "etc/mods"), filepath.Join(e.Root, "etc/mods.away"))
				_ = os.Mkdir(filepath.Join(e.Root, "etc/mods"), 0o755)
			}
		}
	}
	err = e.Apply(c)
	if err == nil {
		t.Fatal("no error")
	}
	if err := os.Remove(filepath.Join(e.Root, "etc/mods")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(e.Root, "etc/mods.away"), filepath.Join(e.Root, "etc/mods")); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, state(t, e.Root)); d != "" {
		t.Errorf("after %v:\n%s", err, d)
	}
	e.reached = nil
	undoAll(t, e)
	if n := records(t, e); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

// A file that was changed since it was shown is not touched.
func TestChanged(t *testing.T) {
	e := scratch(t, map[string]string{"etc/default/grub": debianGrub})
	name := filepath.Join(e.Root, "etc/default/grub")
	c, err := e.Prepare(grubEdit("p"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("A=1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := e.Apply(c); !errors.Is(err, ErrChanged) {
		t.Error(err)
	}
	apply(t, e, grubEdit("p"))
	u, err := e.PrepareUndo(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte("A=2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := e.Undo(u); !errors.Is(err, ErrChanged) {
		t.Error(err)
	}
	if got, _ := os.ReadFile(name); string(got) != "A=2\n" {
		t.Errorf("%q", got)
	}
}

// Of many that make the same edit at once, one does.
func TestTogether(t *testing.T) {
	e := scratch(t, map[string]string{"etc/default/grub": debianGrub})
	before := state(t, e.Root)
	var wg sync.WaitGroup
	made := make([]error, 8)
	for i := range made {
		mine := &Editor{Root: e.Root}
		c, err := mine.Prepare(grubEdit("p"))
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { made[i] = mine.Apply(c) })
	}
	wg.Wait()
	done := 0
	for _, err := range made {
		if err == nil {
			done++
		} else if !errors.Is(err, ErrChanged) {
			t.Error(err)
		}
	}
	text, _ := os.ReadFile(filepath.Join(e.Root, "etc/default/grub"))
	if done != 1 || strings.Count(string(text), "splash p\"") != 1 || records(t, e) != 1 {
		t.Errorf("%d made it, %d records:\n%s", done, records(t, e), text)
	}
	undoAll(t, e)
	if d := cmp.Diff(before, state(t, e.Root)); d != "" {
		t.Error(d)
	}
}

// A link stays a link, also one to / of the root, and what it leads to keeps its mode,
// its owner and its attributes.
func TestLinks(t *testing.T) {
	e := scratch(t, map[string]string{"usr/share/grub/grub": debianGrub, "etc/default/x": ""})
	at := filepath.Join(e.Root, "usr/share/grub/grub")
	for _, err := range []error{
		os.Symlink("/usr/share/link", filepath.Join(e.Root, "etc/default/grub")), os.Symlink("../../../../../usr/share/grub", filepath.Join(e.Root, "usr/share/link.d")),
		os.Symlink("link.d/grub", filepath.Join(e.Root, "usr/share/link")), os.Chmod(at, 0o604),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	owned := os.Chown(at, 12, 34) == nil
	labelled := unix.Setxattr(at, "user.indy", []byte("kept"), 0) == nil
	before := state(t, e.Root)
	c := apply(t, e, grubEdit("p"))
	if c.Files[0].Path != at {
		t.Error(c.Files[0].Path)
	}
	info, err := os.Stat(at)
	if err != nil || info.Mode() != 0o604 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if st := info.Sys().(*syscall.Stat_t); owned && (st.Uid != 12 || st.Gid != 34) {
		t.Errorf("owner %d:%d", st.Uid, st.Gid)
	}
	value := make([]byte, 16)
	if n, err := unix.Getxattr(at, "user.indy", value); labelled && (err != nil || string(value[:n]) != "kept") {
		t.Errorf("%q, %v", value[:max(n, 0)], err)
	}
	if target, err := os.Readlink(filepath.Join(e.Root, "etc/default/grub")); err != nil || target != "/usr/share/link" {
		t.Error(target, err)
	}
	undoAll(t, e)
	if d := cmp.Diff(before, state(t, e.Root)); d != "" {
		t.Error(d)
	}
	if err := os.Symlink("loop", filepath.Join(e.Root, "loop")); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Prepare(Edit{File: "loop", Kind: WordLines, Words: []string{"a"}}); !errors.Is(err, syscall.ELOOP) {
		t.Error(err)
	}
}

// Files that are not to be changed are left alone, and what is missing is said.
func TestLeftAlone(t *testing.T) {
	e := scratch(t, map[string]string{"etc/default/grub": debianGrub, "etc/twice": "a\n", "etc/dir/x": ""})
	for _, err := range []error{
		os.Chmod(filepath.Join(e.Root, "etc/default/grub"), 0o444), os.Link(filepath.Join(e.Root, "etc/twice"), filepath.Join(e.Root, "etc/again")),
		syscall.Mkfifo(filepath.Join(e.Root, "etc/pipe"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	before := state(t, e.Root)
	lines := func(name string) Edit { return Edit{File: name, Kind: WordLines, Words: []string{"b"}} }
	create := lines("etc/nowhere/indy.conf")
	create.Create = true
	for want, edit := range map[string]Edit{
		"is read-only (mode 0444)": grubEdit("p"), "has another name": lines("etc/twice"), "missing: file does not exist": lines("etc/missing"),
		"etc/nowhere: no such file": create, "is no file": lines("etc/dir"), "pipe is no file": lines("etc/pipe"),
	} {
		if _, err := e.Prepare(edit); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", edit.File, err, want)
		}
	}
	if d := cmp.Diff(before, state(t, e.Root)); d != "" {
		t.Error(d)
	}
}

// Who may not write changes nothing, and is told so.
func TestPermission(t *testing.T) {
	if root := os.Getenv("HOSTEDIT_NOBODY"); root != "" {
		e := &Editor{Root: root}
		c, err := e.Prepare(grubEdit("p"))
		if err == nil {
			err = e.Apply(c)
		}
		if !errors.Is(err, fs.ErrPermission) {
			t.Error(err)
		}
		return
	}
	if os.Getuid() != 0 {
		hosttest.Missing(t, "only root can become somebody who may not write")
	}
	e := scratch(t, map[string]string{"etc/default/grub": debianGrub})
	binary, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	// Below the temporary directory of all, which anybody may enter.
	dir, err := os.MkdirTemp("/tmp", "hostedit-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	root := filepath.Join(dir, "root")
	for _, err := range []error{
		os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "test"), binary, 0o755), os.Rename(e.Root, root), os.Chmod(root, 0o755),
		os.Chmod(filepath.Join(root, "etc/default/grub"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	before := state(t, root)
	cmd := exec.Command(filepath.Join(dir, "test"), "-test.run=^TestPermission$")
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "HOSTEDIT_NOBODY="+root)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if d := cmp.Diff(before, state(t, root)); d != "" {
		t.Error(d)
	}
}

// A damaged record is said and kept; the others are taken back.
func TestDamagedRecord(t *testing.T) {
	e := scratch(t, map[string]string{"etc/default/grub": debianGrub, "etc/mods": "loop\n"})
	apply(t, e, grubEdit("p"), Edit{File: "etc/mods", Kind: WordLines, Words: []string{"vfio-pci"}})
	name := filepath.Join(e.Root, Records, "000001.json")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(strings.Replace(string(data), `"p"`, `"q"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := e.PrepareUndo(nil)
	if err == nil || !strings.Contains(err.Error(), "checksum") || len(c.Files) != 1 {
		t.Fatalf("%v, %+v", err, c.Files)
	}
	if err := e.Undo(c); err != nil {
		t.Fatal(err)
	}
	if mods, _ := os.ReadFile(filepath.Join(e.Root, "etc/mods")); string(mods) != "loop\n" || records(t, e) != 1 {
		t.Errorf("%q, %d records", mods, records(t, e))
	}
	info, err := os.Stat(filepath.Join(e.Root, Records))
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v: records hold what only root may read", info.Mode(), err)
	}
}

// The diff is what patch(1) takes, both ways, also of files that are made or removed.
func TestDiff(t *testing.T) {
	patch, err := exec.LookPath("patch")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		hosttest.Missing(t, "the program patch is not installed")
	}
	files, edits := everything()
	for _, order := range []int{0, 1} {
		e, other := scratch(t, files), scratch(t, files)
		var c *Change
		if order == 0 {
			if c, err = e.Prepare(edits...); err != nil {
				t.Fatal(err)
			}
			apply(t, e, edits...)
		} else {
			apply(t, e, edits...)
			apply(t, other, edits...)
			if c, err = e.PrepareUndo(nil); err != nil {
				t.Fatal(err)
			}
			undoAll(t, e)
		}
		cmd := exec.Command(patch, "-p1", "-s", "-f", "-E")
		cmd.Dir = other.Root
		cmd.Stdin = strings.NewReader(c.Diff())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s\n%s", err, out, c.Diff())
		}
		for name := range state(t, e.Root) {
			want, _ := os.ReadFile(filepath.Join(e.Root, name))
			got, err := os.ReadFile(filepath.Join(other.Root, name))
			if d := cmp.Diff(string(want), string(got)); d != "" || err != nil {
				t.Errorf("%s: %v\n%s", name, err, d)
			}
		}
	}
}

func TestUnified(t *testing.T) {
	lines := func(from, to int) string {
		var b strings.Builder
		for i := from; i <= to; i++ {
			fmt.Fprintln(&b, i)
		}
		return b.String()
	}
	before := lines(1, 30)
	after := strings.NewReplacer("5\n6\n", "5\nfive and a half\n6\n", "25\n", "").Replace(lines(1, 9)) + lines(10, 24) + lines(26, 30) + "end"
	want := "--- a\n+++ b\n@@ -3,6 +3,7 @@\n 3\n 4\n 5\n+five and a half\n 6\n 7\n 8\n@@ -22,9 +23,9 @@\n 22\n 23\n 24\n-25\n 26\n 27\n 28\n 29\n 30\n+end\n\\ No newline at end of file\n"
	if d := cmp.Diff(want, unified("a", "b", before, after)); d != "" {
		t.Error(d)
	}
	if got := unified("a", "a", before, before); got != "" {
		t.Error(got)
	}
}
