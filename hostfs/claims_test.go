package hostfs_test

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
)

// cost is what a call allocates, in all and not at once, and how long it takes.
func cost(f func()) (allocated uint64, took time.Duration) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	f()
	took = time.Since(start)
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, took
}

// TestTenGigabytes opens files of some hundred bytes that claim to hold 10 GB: no
// memory is taken for what is only claimed.
func TestTenGigabytes(t *testing.T) {
	const claim = 10 << 30
	special := func(flag byte) []byte { // of which the name of the next entry is read
		b := header(t, "././@LongLink", claim)
		b[156] = flag
		sum := int64(8 * ' ')
		for i, c := range b {
			if i < 148 || i >= 156 {
				sum += int64(c)
			}
		}
		copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
		return append(b, make([]byte, 4096)...)
	}
	pax := func(records map[string]string) []byte {
		var b bytes.Buffer
		for key, value := range records {
			record := " " + key + "=" + value + "\n"
			n := len(record) + 2
			fmt.Fprintf(&b, "%d%s", n, record)
		}
		h := pack(t, entry{tar.Header{Name: "pax", Typeflag: tar.TypeReg, Size: int64(b.Len())}, b.String()})
		h[156] = tar.TypeXHeader
		sum := int64(8 * ' ')
		for i, c := range h[:512] {
			if i < 148 || i >= 156 {
				sum += int64(c)
			}
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		return append(h[:1024:1024], pack(t, file("sys/a", "x"))...)
	}
	frame := func(descriptor byte, rest ...byte) []byte { // the head of a zstd frame
		b := append([]byte("\x28\xb5\x2f\xfd"), descriptor)
		return append(append(b, rest...), 0x02, 0x00, 0x08, 0x00) // and a block of 64 KiB of one byte
	}
	size := binary.LittleEndian.AppendUint64(nil, claim)
	for name, data := range map[string][]byte{
		"tar":                    header(t, "sys/a", claim),
		"tar, twice":             append(pack(t, file("sys/a", "x"))[:1024:1024], header(t, "sys/b", claim)...),
		"tar, long name":         special(tar.TypeGNULongName),
		"tar, long link":         special(tar.TypeGNULongLink),
		"tar, extended header":   special(tar.TypeXHeader),
		"tar, global header":     special(tar.TypeXGlobalHeader),
		"tar, size of PAX":       pax(map[string]string{"size": fmt.Sprint(claim)}),
		"tar, sparse":            sparse(claim),
		"tar, negative size":     pax(map[string]string{"size": "-10737418240"}),
		"gzip":                   compress(t, "gzip", bytes.NewReader(header(t, "sys/a", claim))),
		"zstd":                   compress(t, "zstd", bytes.NewReader(header(t, "sys/a", claim))),
		"gzip in gzip":           compress(t, "gzip", bytes.NewReader(compress(t, "gzip", bytes.NewReader(header(t, "sys/a", claim))))),
		"zstd, content":          frame(0xe0, size...),
		"zstd, window of 3 TiB":  frame(0x00, 0xf8),
		"zstd, window of 15 GiB": frame(0x00, 0xb7),
		"zstd, both":             frame(0xc0, append([]byte{0xb7}, size...)...),
	} {
		path := filepath.Join(t.TempDir(), "claim")
		write(t, path, string(data))
		var err error
		allocated, took := cost(func() { _, err = hostfs.Open(path) })
		if err == nil || !strings.HasPrefix(err.Error(), path+": ") {
			t.Errorf("%s: %v", name, err)
		}
		t.Logf("%s: %d bytes, %d allocated: %.150v", name, len(data), allocated, err)
		if len(data) > 8192 || allocated > 16<<20 || took > 5*time.Second {
			t.Errorf("%s: %d bytes cost %d bytes and %v", name, len(data), allocated, took)
		}
	}
}

// TestSparseDirectory reads a saved directory in which files take no room on the disk
// and claim 10 GB, and links lead in circles.
func TestSparseDirectory(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"sys/bus/pci/devices/0000:00:02.0/config", "proc/self/mountinfo", "etc/hosts"} {
		write(t, filepath.Join(dir, name), "")
		if err := os.Truncate(filepath.Join(dir, name), 10<<30); err != nil {
			hosttest.Missing(t, "no room to claim: %v", err)
		}
	}
	for name, target := range map[string]string{"a": "b", "b": "a", "c": "c/c", "d": "/d", "e": "../../../../../../etc"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := hostfs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, want := range map[string]error{
		"sys/bus/pci/devices/0000:00:02.0/config": hostfs.ErrTooLarge, "proc/self/mountinfo": hostfs.ErrTooLarge, "etc/hosts": hostfs.ErrTooLarge,
		"e/hosts": hostfs.ErrTooLarge, // the machine's own, not this host's
		"a":       nil, "b/x": nil, "c": nil, "d": nil, "e/../../etc/passwd": fs.ErrInvalid,
	} {
		var err error
		allocated, took := cost(func() { _, err = s.ReadFile(name) })
		if err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
		if allocated > 128<<20 || took > 5*time.Second {
			t.Errorf("%s: %d bytes, %v", name, allocated, took)
		}
	}
	// The same of links in an archive.
	m, err := hostfs.ReadTar(bytes.NewReader(pack(t, link("a", "b"), link("b", "a"), link("c", "c/c"), link("d", "/d"), link("e", "../../../etc"), file("etc/x", "own\n"))))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b/x", "c", "d"} {
		if _, err := m.ReadFile(name); err == nil {
			t.Errorf("%s was read", name)
		}
	}
	if own, err := hostfs.ReadString(m, "e/x"); own != "own" || err != nil {
		t.Errorf("a link up from the root: %q, %v", own, err)
	}
}
