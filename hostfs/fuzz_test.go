package hostfs_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/project-independence/indy/hostfs"
)

// checkTree fails if a name in m leads out of it, or m holds more than it may.
func checkTree(t *testing.T, m *hostfs.Tree) {
	entries, size := 0, int64(0)
	err := fs.WalkDir(m, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || !fs.ValidPath(name) || strings.ContainsRune(name, 0) {
			t.Errorf("%q: %v", name, err)
		}
		entries++
		if st, err := e.Info(); err != nil {
			t.Errorf("%q: %v", name, err)
		} else if size += st.Size(); st.Size() > hostfs.MaxFile {
			t.Errorf("%q has %d bytes", name, st.Size())
		}
		_, _ = m.Stat(name) // also where links lead nowhere or in a circle
		return nil
	})
	if err != nil || entries > hostfs.MaxEntries+1 || size > hostfs.MaxSaved {
		t.Errorf("%d entries, %d bytes, %v", entries, size, err)
	}
}

func FuzzParseTxtar(f *testing.F) {
	for _, seed := range []string{
		small, "", "-- a --", "-- a/b --\nx\n-- a/c -> ../a/b --\n", "-- a (hex) --\n00 ff\n", "-- a -> a --\n", "-- ../a --\n",
		"-- /a --\n", "-- a\x00 --\n", "-- a --\n-- a --\n", "--  --\n", "-- a/ --\n", "-- a -> /b -> c --\n", "c\n-- --\n-- x --\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, comment, err := hostfs.ParseTxtar(data)
		if err != nil {
			return
		}
		checkTree(t, m)
		text, err := hostfs.FormatTxtar(m, comment)
		if err != nil {
			return // names that only the parser's tolerance let in
		}
		again, comment2, err := hostfs.ParseTxtar(text)
		if err != nil || comment != "" && comment2 != strings.TrimSuffix(comment, "\n")+"\n" {
			t.Fatalf("%v, comment %q became %q", err, comment, comment2)
		}
		if !bytes.Equal(tarOf(t, m), tarOf(t, again)) {
			t.Errorf("not the same again:\n%s", text)
		}
	})
}

func FuzzReadTar(f *testing.F) {
	f.Add(pack(f, dir("./sys"), file("sys/a", "1\n"), link("sys/l", "a"), hard("sys/h", "sys/a")))
	f.Add(pack(f, file("../x", "")))
	f.Add(pack(f, link("a", "/"), file("a/b", "")))
	f.Add(sparse(1 << 40))
	f.Add(sparse(1 << 20))
	f.Add(header(f, "a", 1<<40))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := hostfs.ReadTar(bytes.NewReader(data))
		if err != nil {
			return
		}
		checkTree(t, m)
		again, err := hostfs.ReadTar(bytes.NewReader(tarOf(t, m)))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(tarOf(t, m), tarOf(t, again)) {
			t.Error("not the same again")
		}
	})
}

// FuzzOpen is any file a user may be sent.
func FuzzOpen(f *testing.F) {
	archive := pack(f, file("sys/a", "1\n"))
	f.Add([]byte(small))
	f.Add(archive)
	f.Add(compress(f, "gzip", bytes.NewReader(archive)))
	f.Add(compress(f, "zstd", bytes.NewReader(archive)))
	f.Add([]byte("BZh91AY&SY"))
	path := filepath.Join(f.TempDir(), "machine")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if s, err := hostfs.Open(path); err == nil {
			checkTree(t, s.(*hostfs.Tree))
		} else if !strings.HasPrefix(err.Error(), path+": ") {
			t.Errorf("error without the file's name: %v", err)
		}
	})
}

// FuzzCapture captures any machine: nothing panics, and what comes is one.
func FuzzCapture(f *testing.F) {
	f.Add([]byte(personal), "s")
	f.Add([]byte("-- sys/class/net/a -> . --\n-- sys/class/drm/a/edid (hex) --\n00ff\n"), "")
	f.Add([]byte("-- sys/bus/pci/devices/a -> ../../../../.. --\n-- proc --\n-- sys/class/net/b -> /sys/class/net/b --\n"), "x")
	f.Fuzz(func(t *testing.T, data []byte, salt string) {
		m, _, err := hostfs.ParseTxtar(data)
		if err != nil {
			return
		}
		if c, _ := hostfs.Capture(m, hostfs.CaptureOptions{Salt: []byte(salt), Config: true}); c != nil {
			checkTree(t, c)
		}
	})
}

// TestRoundTrip writes and reads random machines in every form.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := new(hostfs.Tree)
		elem := rapid.SampledFrom([]string{"a", "b", "0000:00:02.0", "x y", "(hex)", "-- z --", "é", "c"})
		name := rapid.Custom(func(t *rapid.T) string {
			return strings.Join(rapid.SliceOfN(elem, 1, 4).Draw(t, "elems"), "/")
		})
		data := rapid.OneOf(
			rapid.SliceOf(rapid.Byte()),
			rapid.Map(rapid.SampledFrom([]string{"", "\n", "x", "x\n", "-- a --\n", "-- a -> b --\n", "-- --\n", "é\t\n", "a\r\n", "\x00\n", "x\n-- y --\r\n", "\u2028\n", "a\x1b[0m\n"}), func(s string) []byte { return []byte(s) }),
		)
		for range rapid.IntRange(0, 12).Draw(t, "entries") {
			at := name.Draw(t, "name")
			// What cannot be placed, because something is in the way, is left out. Tree
			// makes a link's missing target where the link leads, hence no odd targets.
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				_ = m.Mkdir(at)
			case 1:
				if _, err := m.Lstat(at); err != nil {
					_ = m.Symlink(rapid.SampledFrom([]string{"/nowhere", "../a", "a/", "./b"}).Draw(t, "target"), at)
				}
			default:
				if _, err := m.Lstat(at); err != nil {
					_ = m.Put(at, data.Draw(t, "data"))
				}
			}
		}
		comment := rapid.SampledFrom([]string{"", "A machine.\n", "Two\nlines"}).Draw(t, "comment")
		text, err := hostfs.FormatTxtar(m, comment)
		if err != nil {
			t.Fatal(err)
		}
		again, got, err := hostfs.ParseTxtar(text)
		if err != nil || strings.TrimSuffix(got, "\n") != strings.TrimSuffix(comment, "\n") {
			t.Fatalf("comment %q became %q, %v\n%s", comment, got, err, text)
		}
		var want, have bytes.Buffer
		if err := hostfs.WriteTar(&want, m); err != nil {
			t.Fatal(err)
		}
		if err := hostfs.WriteTar(&have, again); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want.Bytes(), have.Bytes()) {
			t.Fatalf("txtar:\n%s", text)
		}
		again, err = hostfs.ReadTar(bytes.NewReader(want.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := hostfs.FormatTxtar(again, comment); err != nil || !bytes.Equal(b, text) {
			t.Fatalf("tar: %v\n%s\n%s", err, text, b)
		}
	})
}
