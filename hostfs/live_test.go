package hostfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
)

func TestDirStaysInside(t *testing.T) {
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	write(t, secret, "secret\n")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "sys/class/x/name"), "inside\n")
	write(t, filepath.Join(dir, secret), "copy\n") // the same path below dir
	for link, target := range map[string]string{
		"abs": secret, "rel": "../../../../../../../../../../.." + secret, "ok": "sys/class/x", "self": "/proc/self/root" + secret,
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	d, err := hostfs.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for name, want := range map[string]string{"abs": "copy\n", "rel": "copy\n", "ok/name": "inside\n"} {
		if b, err := d.ReadFile(name); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v; want %q", name, b, err, want)
		}
	}
	if b, err := d.ReadFile("self"); err == nil {
		t.Errorf("a link through /proc left the directory: %q", b)
	}
	if _, err := d.ReadFile("../" + filepath.Base(outside) + "/secret"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a name with ..: %v", err)
	}
	if got, err := d.ReadLink("ok"); err != nil || got != "sys/class/x" {
		t.Errorf("ReadLink: %q, %v", got, err)
	}
	if _, err := d.ReadLink("sys"); !errors.Is(err, unix.EINVAL) {
		t.Errorf("ReadLink of a directory: %v, want EINVAL", err)
	}
	if _, err := d.ReadFile("nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestDirIsAFileSystem(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "sys/class/x/name"), "inside\n")
	if err := os.Symlink("x", filepath.Join(dir, "sys/class/y")); err != nil {
		t.Fatal(err)
	}
	d, err := hostfs.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := fstest.TestFS(d, "sys/class/x/name", "sys/class/y"); err != nil {
		t.Error(err)
	}
}

func TestDirBounds(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	write(t, big, "")
	if err := os.Truncate(big, hostfs.MaxFile+1); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "sys/sparse"), "")
	if err := os.Truncate(filepath.Join(dir, "sys/sparse"), 2<<20); err != nil {
		t.Fatal(err)
	}
	pages := bytes.Repeat([]byte("0123456789abcde\n"), 1024) // ends pages with newlines
	write(t, filepath.Join(dir, "sys/pages"), string(pages))
	d, err := hostfs.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.ReadFile("big"); !errors.Is(err, hostfs.ErrTooLarge) {
		t.Errorf("a file over the bound: %v", err)
	}
	if _, err := d.ReadFile("sys/sparse"); !errors.Is(err, hostfs.ErrTooLarge) {
		t.Errorf("an attribute over the bound: %v", err)
	}
	if b, err := d.ReadFile("sys/pages"); err != nil || !bytes.Equal(b, pages) {
		t.Errorf("a file of four pages: %d bytes, %v", len(b), err)
	}
}

// A saved directory that holds a pipe or a device node is not one to wait for, and not
// one to act on this host with.
func TestDirHoldsFilesOnly(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("pipe", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	names := []string{"pipe", "link"}
	if err := unix.Mknod(filepath.Join(dir, "zero"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))); err == nil {
		names = append(names, "zero") // only root can make one
	}
	d, err := hostfs.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if b, err := d.ReadFile(name); err == nil || !strings.Contains(err.Error(), "neither a file nor a directory") {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := d.ReadFile("pipe"); !errors.Is(err, unix.EBADF) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := hostfs.Open(filepath.Join(dir, "pipe")); err == nil || !strings.Contains(err.Error(), "is a pipe") {
		t.Errorf("a pipe for a saved machine: %v", err)
	}
}

// The kernel gives up resolving .. while anything is renamed; that is no error of ours.
func TestDirWhileOthersRename(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	write(t, filepath.Join(dir, "a/b/c"), "here\n")
	if err := os.Symlink("../../a/b/../b/../b/c", filepath.Join(dir, "a/b/link")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(other, "x"), "")
	done := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			default:
				_ = os.Rename(filepath.Join(other, "x"), filepath.Join(other, "y"))
				_ = os.Rename(filepath.Join(other, "y"), filepath.Join(other, "x"))
			}
		}
	}()
	d, err := hostfs.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for range 20_000 {
		if _, err := d.ReadFile("a/b/link"); err != nil {
			t.Error(err)
			break
		}
	}
	close(done)
	<-stopped
}

func TestLive(t *testing.T) {
	live := hostfs.Live()
	if s, err := hostfs.ReadString(live, "proc/sys/kernel/ostype"); err != nil || s != "Linux" {
		t.Errorf("ostype: %q, %v", s, err)
	}
	entries, err := live.ReadDir("proc/sys")
	if err != nil || len(entries) == 0 || !entries[0].IsDir() {
		t.Errorf("ReadDir: %v, %v", entries, err)
	}
	file := filepath.Join(t.TempDir(), "attribute")
	name := file[1:]
	err = live.WriteFile(name, []byte("1"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("writing a file that is not there: %v", err)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Error("WriteFile created a file")
	}
	write(t, file, "12345")
	if err := live.WriteFile(name, []byte("ab")); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(file); string(b) != "ab345" {
		t.Errorf("WriteFile truncated: %q", b)
	}
	// The kernel takes a part: that is an error and not a second write, which would be a
	// second command. A file that may not grow takes whole pages.
	fd, err := unix.MemfdCreate("attribute", unix.MFD_ALLOW_SEALING)
	if err != nil {
		hosttest.Missing(t, "no memfd: %v", err)
	}
	defer unix.Close(fd)
	page := os.Getpagesize()
	if err := errors.Join(unix.Ftruncate(fd, int64(page)), seal(fd)); err != nil {
		t.Fatal(err)
	}
	err = live.WriteFile(fmt.Sprint("proc/self/fd/", fd), bytes.Repeat([]byte("y"), 2*page))
	first := make([]byte, 1)
	if _, err := unix.Pread(fd, first, 0); err != nil {
		t.Fatal(err)
	}
	allOrNothing := first[0] == 0 && errors.Is(err, unix.EPERM) // other kernels may
	if !errors.Is(err, io.ErrShortWrite) && !allOrNothing {
		t.Errorf("a write of which a half was taken: %v", err)
	}
	var pe *fs.PathError
	if err := live.WriteFile("../x", nil); !errors.As(err, &pe) || !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a name with ..: %v", err)
	}
}

func seal(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_GROW)
	return err
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkReadAttribute(b *testing.B) {
	live := hostfs.Live()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := live.ReadFile("sys/kernel/uevent_seqnum"); err != nil {
			b.Fatal(err)
		}
	}
}
