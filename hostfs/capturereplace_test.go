package hostfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/hostfs"
)

// TestSaveReplaces: an older saved machine in any form and an empty file make way, all
// else stays as it is.
func TestSaveReplaces(t *testing.T) {
	m := machine(t, small)
	for _, end := range []string{".txtar", ".tar", ".tar.gz", ".tgz", ".tar.zst"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "m"+end)
		for _, before := range []string{"none", "empty", "saved", "nothing saved", "saved in another form"} {
			var err error
			switch before {
			case "empty":
				err = os.WriteFile(path, nil, 0o644)
			case "nothing saved":
				if end == ".txtar" {
					continue // has no mark of being one
				}
				if err = os.Remove(path); err == nil {
					err = hostfs.Save(path, new(hostfs.Tree), "")
				}
			case "saved in another form":
				other := filepath.Join(dir, "other.tar.gz")
				if err = hostfs.Save(other, m, "A comment."); err == nil {
					err = os.Rename(other, path)
				}
			}
			if err != nil {
				t.Fatal(before, err)
			}
			if err := hostfs.Save(path, m, strings.Repeat("A comment.\n", 100)); err != nil {
				t.Errorf("%s, %s: %v", end, before, err)
			}
			if s, err := hostfs.Open(path); err != nil {
				t.Error(err)
			} else if b, err := hostfs.ReadString(s, "sys/devices/pci0000:00/0000:00:02.0/vendor"); err != nil || b != "0x8086" {
				t.Error(b, err)
			}
		}
		for what, data := range map[string]string{
			"text": "notes\n", "another txtar": "-- main.go --\npackage main\n", "binary": "\x00\x01\x02\x03\x04", "short": "x",
			"a backup": string(pack(t, file("home/anna/diary", "x"))), "a broken archive": "\x1f\x8bxxxx", "zstd": "\x28\xb5\x2f\xfdxx",
			"a packed text": string(compress(t, "gzip", strings.NewReader(strings.Repeat("text\n", 1000)))),
		} {
			write(t, path, data)
			err := hostfs.Save(path, m, "")
			if !errors.Is(err, fs.ErrExist) || !strings.HasPrefix(err.Error(), path+": is no saved machine; ") {
				t.Errorf("%s over %s: %v", end, what, err)
			}
			if now, _ := os.ReadFile(path); string(now) != data {
				t.Errorf("%s was changed", what)
			}
		}
		if left, _ := os.ReadDir(dir); len(left) != 1 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestSaveKeepsToItsFile(t *testing.T) {
	m := machine(t, small)
	dir := t.TempDir()
	path := filepath.Join(dir, "m.txtar")
	target := filepath.Join(dir, "elsewhere.txtar")
	write(t, target, "-- sys/a --\n")
	refused := func(what, want string) {
		t.Helper()
		if err := hostfs.Save(path, m, ""); !errors.Is(err, fs.ErrExist) || !strings.HasPrefix(err.Error(), path+": "+want) {
			t.Errorf("%s: %v", what, err)
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	for what, to := range map[string]string{"a link": target, "a link to nothing": filepath.Join(dir, "nothing")} {
		if err := os.Symlink(to, path); err != nil {
			t.Fatal(err)
		}
		refused(what, "is a link; name the file itself")
	}
	if b, _ := os.ReadFile(target); string(b) != "-- sys/a --\n" {
		t.Errorf("written through a link: %q", b)
	}
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	refused("a pipe", "is a pipe; name a file")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	refused("a directory", "is a directory; name a file")
}

// TestSaveKilled: who is killed while saving leaves no half machine. The test starts
// itself as the process that saves over and over.
func TestSaveKilled(t *testing.T) {
	const variable = "INDY_TEST_SAVE"
	if path := os.Getenv(variable); path != "" {
		m := machine(t, personal)
		for range 1000 {
			if err := m.Put(fmt.Sprint("sys/", rand.Uint64()), make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
		}
		for {
			if err := hostfs.Save(path, m, "x"); err != nil {
				t.Fatal(err)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "m.txtar")
	saved := 0
	for range 8 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSaveKilled$")
		cmd.Env = append(os.Environ(), variable+"="+path)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for range 200 { // until it has begun
			if _, err := os.Stat(path); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(rand.N(20 * time.Millisecond))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		s, err := hostfs.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if entries, err := s.ReadDir("sys"); err != nil || len(entries) < 1000 {
			t.Fatalf("%d entries, %v", len(entries), err)
		}
		saved++
	}
	if saved != 8 {
		t.Errorf("%d of 8 were looked at", saved)
	}
}
