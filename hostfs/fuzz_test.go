package hostfs_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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

// FuzzCapture captures any machine: nothing panics, and what comes is one. Its seeds
// are small, because a run begins with all that was ever found.
func FuzzCapture(f *testing.F) {
	f.Add([]byte("-- sys/devices/a/uevent --\nHID_UNIQ=XK42-8819-07\n-- sys/bus/usb/devices/1-4 -> ../../../devices/a --\n-- sys/devices/a/serial --\nXK42-8819-07\n"), "s")
	f.Add([]byte("-- proc/asound/card0/codec#0 --\n-- sys/class/sound/card0 -> /sys/devices/a --\n-- sys/devices/a/device -> . --\n-- sys/devices/a/power_state --\nD3cold\n"), "s")
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

// FuzzScrub captures a machine of one file: nothing panics, no EDID gets a wrong
// checksum, and what is captured once is captured again without an error.
func FuzzScrub(f *testing.F) {
	files := []string{edidFile, "sys/bus/usb/devices/1-4/bos_descriptors", "sys/bus/usb/devices/1-4:1.0/ieee1284_id",
		"proc/self/mountinfo", "proc/self/mounts", "proc/cmdline", "proc/net/route", "proc/net/ipv6_route", "proc/swaps",
		"sys/class/input/input5/uevent", "sys/class/block/dm-0/dm/uuid", "sys/bus/pci/devices/0000:01:00.0/config",
		"proc/net/fib_trie", "proc/net/if_inet6", "sys/class/block/zram0/backing_dev"}
	f.Add(uint8(0), section(0x12, 0x00, 0, 12, 'S', 'A', 'M', 1, 2, 1, 2, 3, 4, 1, 20, 0))
	f.Add(uint8(1), []byte("\x05\x0f\x1e\x00\x01\x14\x10\x04\x000123456789abcdef"))
	for i, text := range []string{
		"MFG:HP;MDL:LaserJet;SN:CN12B3C0KP;X;", "28 1 253:0 / / rw - ext4 /dev/mapper/a--b-c rw,size=1", "/dev/sda1 /home/a ext4 rw 0 0",
		`root=UUID=3f1c2d4e-02 hostname="a b" -- x`, "enx0a1b2c3d4e5f 00000000 0102A8C0 0003 0 0 100 00000000",
		"20010db8000100020211223344556677 80 fe800000000000000211 eth0", "/home/a/swap file 1 0 -2", "NAME=\"a\"\nHID_UNIQ=0a:1b:2c:3d:4e:5f\nUNIQ=", "CRYPT-LUKS2-3f1c2d4e111142228333444455556666-a",
	} {
		f.Add(uint8(i+2), []byte(text))
	}
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		name := files[int(kind)%len(files)]
		m := new(hostfs.Tree)
		if err := m.Put(name, data); err != nil {
			t.Fatal(err)
		}
		c, err := hostfs.Capture(m, hostfs.CaptureOptions{Salt: []byte("s"), Config: true})
		if err != nil {
			t.Fatal(err)
		}
		if name == edidFile {
			out, _ := c.ReadFile(name)
			for block := range slices.Chunk(out, 128) {
				sum := byte(0)
				for _, b := range block {
					sum += b
				}
				if sum != 0 || len(block) != 128 {
					t.Errorf("a block of %d bytes with the sum %d: %x", len(block), sum, block)
				}
			}
		}
		if _, err := hostfs.Capture(c, hostfs.CaptureOptions{Config: true}); err != nil {
			t.Error(err)
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
