package hostfs_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
)

const small = `A machine.

-- sys/bus/pci/devices/0000:00:02.0 -> ../../../devices/pci0000:00/0000:00:02.0 --
-- sys/class/power_supply/ --
-- sys/devices/pci0000:00/0000:00:02.0/config (hex) --
8680 5a 9a
07
-- sys/devices/pci0000:00/0000:00:02.0/vendor --
0x8086
`

func TestParseTxtar(t *testing.T) {
	m, comment, err := hostfs.ParseTxtar([]byte(small))
	if err != nil {
		t.Fatal(err)
	}
	if comment != "A machine.\n\n" {
		t.Errorf("comment: %q", comment)
	}
	if s, err := hostfs.ReadString(m, "sys/bus/pci/devices/0000:00:02.0/vendor"); err != nil || s != "0x8086" {
		t.Errorf("vendor through the link: %q, %v", s, err)
	}
	if b, err := m.ReadFile("sys/devices/pci0000:00/0000:00:02.0/config"); err != nil || string(b) != "\x86\x80\x5a\x9a\x07" {
		t.Errorf("config: %x, %v", b, err)
	}
	if e, err := m.ReadDir("sys/class/power_supply"); err != nil || len(e) != 0 {
		t.Errorf("empty directory: %v, %v", e, err)
	}
	if err := fstest.TestFS(m, "sys/class/power_supply"); err != nil {
		t.Error(err)
	}
	if _, comment, err := hostfs.ParseTxtar(nil); err != nil || comment != "" {
		t.Errorf("nothing: %q, %v", comment, err)
	}
}

func TestBadTxtar(t *testing.T) {
	long := strings.Repeat("n", 256)
	for _, tt := range []struct{ name, text, want string }{
		{"empty name", "c\n--  --\n", `line 2: an entry has no name; give the path below /, as in sys/class/dmi/id/product_name`},
		{"absolute", "-- /etc/passwd --\n", `line 1: name "/etc/passwd" is absolute; leave out the leading /`},
		{"root directory", "-- / --\n", `line 1: an entry has no name; give the path below /, as in sys/class/dmi/id/product_name`},
		{"up", "-- ../x --\n", `line 1: name "../x" has the element ..; write the path from the root of the machine`},
		{"up inside", "-- sys/../../x --\n", `line 1: name "sys/../../x" has the element ..; write the path from the root of the machine`},
		{"dot", "-- ./x --\n", `line 1: name "./x" has the element .; write the path from the root of the machine`},
		{"only dot", "-- . --\n", `line 1: name "." has the element .; write the path from the root of the machine`},
		{"double slash", "-- sys//x --\n", `line 1: name "sys//x" has an empty element; write one / between elements`},
		{"two slashes at the end", "-- sys// --\n", `line 1: name "sys/" has an empty element; write one / between elements`},
		{"NUL", "-- sys/a\x00b --\n", `line 1: name "sys/a\x00b" holds a control character`},
		{"tab", "-- sys/a\tb --\n", `line 1: name "sys/a\tb" holds a control character`},
		{"not UTF-8", "-- sys/\xff --\n", `line 1: name "sys/\xff" is not UTF-8`},
		{"long element", "-- " + long + " --\n", fmt.Sprintf("line 1: name %q... has an element of 256 bytes; at most 255 are allowed", long[:80])},
		{"long name", "-- " + strings.Repeat("a/", 2048) + "b --\n", fmt.Sprintf("line 1: name %q... has 4097 bytes; at most 4096 are allowed", strings.Repeat("a/", 40))},
		{"twice", "-- a --\n1\n-- b --\n-- a --\n", `line 4: "a" occurs twice; remove one of the entries`},
		{"link twice", "-- a -> b --\n-- a -> b --\n", `line 2: "a" occurs twice; remove one of the entries`},
		{"file and link", "-- a --\n-- a -> b --\n", `line 2: "a" occurs twice; remove one of the entries`},
		{"file then directory", "-- a --\n-- a/ --\n", `line 2: "a" occurs twice; remove one of the entries`},
		{"file is a directory", "-- a/b --\n-- a --\n", `line 2: "a" is a directory already; one of the two entries is wrong`},
		{"link is a directory", "-- a/b --\n-- a -> c --\n", `line 2: "a" is a directory already; one of the two entries is wrong`},
		{"below a file", "-- a --\n-- a/b --\n", `line 2: "a/b" is below the file "a"; one of the two names is wrong`},
		{"below a link", "-- a -> c --\n-- a/b --\n", `line 2: "a/b" is below the link "a"; write the path the link points to`},
		{"text after a link", "-- a -> b --\n\ntext\n", `line 1: text follows the link "a"; a link has none`},
		{"text after a directory", "-- a/ --\ntext\n", `line 1: text follows the directory "a/"; without the / at its end it would be a file`},
		{"no target", "-- a ->  --\n", `line 1: the link "a" has no target`},
		{"link without a name", "--  -> b --\n", `line 1: an entry has no name; give the path below /, as in sys/class/dmi/id/product_name`},
		{"target with NUL", "-- a -> b\x00 --\n", `line 1: the link "a" has a target with a control character or not in UTF-8: "b\x00"`},
		{"long target", "-- a -> " + strings.Repeat("x", 4097) + " --\n", `line 1: the link "a" has a target of 4097 bytes; at most 4096 are allowed`},
		{"absolute link name", "-- /a -> b --\n", `line 1: name "/a" is absolute; leave out the leading /`},
		{"not hex", "-- a (hex) --\nxy\n", `line 1: the bytes of "a" are not hexadecimal: encoding/hex: invalid byte: U+0078 'x'; write two digits a byte`},
		{"half a byte", "-- a (hex) --\n123\n", `line 1: the bytes of "a" are not hexadecimal: encoding/hex: odd length hex string; write two digits a byte`},
		{"CR LF", "-- a --\r\nx\r\n", `line 1: the line ends in CR LF; save the file with LF line ends`},
		{"large file", "-- a --\n" + strings.Repeat("x", hostfs.MaxFile+1), fmt.Sprintf(`line 1: file "a" has %d bytes, at most %d are allowed: larger than allowed`, hostfs.MaxFile+1, hostfs.MaxFile)},
	} {
		m, _, err := hostfs.ParseTxtar([]byte(tt.text))
		if m != nil || err == nil || err.Error() != tt.want {
			t.Errorf("%s:\n got %v\nwant %s", tt.name, err, tt.want)
		}
	}
}

// entry is a tar header with its content.
type entry struct {
	tar.Header
	data string
}

func file(name, data string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(data))}, data}
}

func link(name, target string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}, ""}
}

func hard(name, target string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target}, ""}
}

func dir(name string) entry { return entry{tar.Header{Name: name, Typeflag: tar.TypeDir}, ""} }

func pack(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReadTar(t *testing.T) {
	m, err := hostfs.ReadTar(bytes.NewReader(pack(t,
		dir("./"), dir("./sys/"), file("./sys/a", "1\n"), file("sys/b/c", "2\n"), dir("sys/b"), link("sys/l", "../sys/b"),
		hard("./sys/h", "./sys/a"), entry{tar.Header{Name: "dev/x", Typeflag: tar.TypeChar}, ""},
		entry{tar.Header{Name: "dev/y", Typeflag: tar.TypeBlock}, ""}, entry{tar.Header{Name: "dev/z", Typeflag: tar.TypeFifo}, ""},
	)))
	if err != nil {
		t.Fatal(err)
	}
	want := "-- sys/a --\n1\n-- sys/b/c --\n2\n-- sys/h --\n1\n-- sys/l -> ../sys/b --\n"
	if got, err := hostfs.FormatTxtar(m, ""); err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestBadTar(t *testing.T) {
	many := make([]entry, 17)
	for i := range many {
		many[i] = entry{Header: tar.Header{Name: fmt.Sprint(i), Typeflag: tar.TypeReg, Size: hostfs.MaxFile}}
	}
	deep := strings.Repeat("a/", 3000)
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"absolute", pack(t, file("/etc/x", "")), `entry 1: name "/etc/x" is absolute; leave out the leading /`},
		{"absolute directory", pack(t, dir("/")), `entry 1: an entry has no name; give the path below /, as in sys/class/dmi/id/product_name`},
		{"absolute after ./", pack(t, file(".//etc/x", "")), ""},
		{"up", pack(t, file("../x", "")), `entry 1: name "../x" has the element ..; write the path from the root of the machine`},
		{"up after ./", pack(t, file("./../x", "")), `entry 1: name "../x" has the element ..; write the path from the root of the machine`},
		{"up at the end", pack(t, dir("a/..")), `entry 1: name "a/.." has the element ..; write the path from the root of the machine`},
		{"link up", pack(t, link("../x", "y")), `entry 1: name "../x" has the element ..; write the path from the root of the machine`},
		{"twice", pack(t, file("a", ""), file("a", "")), `entry 2: "a" occurs twice; remove one of the entries`},
		{"twice by ./", pack(t, file("a", ""), file("./a", "")), `entry 2: "a" occurs twice; remove one of the entries`},
		{"below a link", pack(t, link("a", "/etc"), file("a/passwd", "")), `entry 2: "a/passwd" is below the link "a"; write the path the link points to`},
		{"below a file", pack(t, file("a", ""), file("a/b", "")), `entry 2: "a/b" is below the file "a"; one of the two names is wrong`},
		{"hard link out", pack(t, hard("a", "/etc/passwd")), `entry 1: hard link "a": name "/etc/passwd" is absolute; leave out the leading /`},
		{"hard link up", pack(t, hard("a", "../b")), `entry 1: hard link "a": name "../b" has the element ..; write the path from the root of the machine`},
		{"hard link to later", pack(t, hard("a", "b"), file("b", "")), `entry 1: hard link "a" to "b", which is no file before it in the archive`},
		{"hard link to a directory", pack(t, dir("d"), hard("a", "d")), `entry 2: hard link "a" to "d", which is no file before it in the archive`},
		{"hard link to a link", pack(t, link("l", "x"), hard("a", "l")), `entry 2: hard link "a" to "l", which is no file before it in the archive`},
		{"hard link through a link", pack(t, link("l", "/"), hard("a", "l/b")), `entry 2: hard link "a" to "l/b", which is no file before it in the archive`},
		{"control character", pack(t, file("a\nb", "")), `entry 1: name "a\nb" holds a control character`},
		{"target with control character", pack(t, link("a", "b\nc")), `entry 1: the link "a" has a target with a control character or not in UTF-8: "b\nc"`},
		{"deep", pack(t, file(deep+"x", "")), fmt.Sprintf("entry 1: name %q... has 6001 bytes; at most 4096 are allowed", deep[:80])},
		{"cut short", pack(t, file("a", strings.Repeat("x", 1000)))[:800], `entry 1: file "a": unexpected EOF; the archive is damaged or cut short, make it again`},
		{"cut in a header", pack(t, file("a", "x"), file("b", "y"))[:1200], `entry 2: unexpected EOF; the archive is damaged or cut short, make it again`},
		{"cut after an entry", pack(t, file("a", "x"), file("b", "y"))[:1024], `the archive is cut off after 1 entries; make it again`},
		{"cut after a file of zeros", pack(t, file("a", strings.Repeat("\x00", 1024)))[:1536], `the archive is cut off after 1 entries; make it again`},
		{"cut to nothing", nil, `the archive is cut off after 0 entries; make it again`},
		{"half an end mark", pack(t, file("a", "x"))[:1536], ""},
		{"more after the end", append(pack(t, file("a", "x")), make([]byte, 8192)...), ""},
		{"damaged", damaged(pack(t, file("a", "x"), file("b", "y"))), `entry 2: archive/tar: invalid tar header; the archive is damaged or cut short, make it again`},
		{"large file", header(t, "a", hostfs.MaxFile+1), fmt.Sprintf(`entry 1: file "a" has %d bytes, at most %d are allowed: larger than allowed`, hostfs.MaxFile+1, hostfs.MaxFile)},
		{"huge file", header(t, "a", 1<<40), fmt.Sprintf(`entry 1: file "a" has %d bytes, at most %d are allowed: larger than allowed`, 1<<40, hostfs.MaxFile)},
		{"sparse", sparse(1 << 40), fmt.Sprintf(`entry 1: file "bomb" has %d bytes, at most %d are allowed: larger than allowed`, 1<<40, hostfs.MaxFile)},
	} {
		m, err := hostfs.ReadTar(bytes.NewReader(tt.data))
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		if m != nil || err == nil || err.Error() != tt.want {
			t.Errorf("%s:\n got %v\nwant %s", tt.name, err, tt.want)
		}
	}
	sum := io.MultiReader() // 17 files of 16 MiB, without holding them
	for _, e := range many {
		sum = io.MultiReader(sum, bytes.NewReader(header(t, e.Name, e.Size)), io.LimitReader(zeros{}, e.Size))
	}
	if _, err := hostfs.ReadTar(sum); !errors.Is(err, hostfs.ErrTooLarge) {
		t.Errorf("many large files: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// header is the header of a file of size bytes, without the file.
func header(t testing.TB, name string, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: size, Format: tar.FormatGNU}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func damaged(b []byte) []byte {
	b = bytes.Clone(b)
	b[1024+3]++ // the name of the second entry
	return b
}

// sparse is an old GNU sparse file of size bytes that holds none.
func sparse(size int64) []byte {
	b := make([]byte, 512)
	copy(b, "bomb")
	copy(b[100:], "0000644\x000000000\x000000000\x0000000000000\x0000000000000\x00")
	b[156] = 'S'
	copy(b[257:], "ustar  \x00")
	octal := func(at int, v int64) { copy(b[at:], fmt.Sprintf("%011o\x00", v)) }
	if size >= 1<<33 {
		b[483] = 0x80 // the size in binary
		for i := range 8 {
			b[483+11-i] = byte(size >> (8 * i))
		}
		b[386] = 0x80
		for i := range 8 {
			b[386+11-i] = byte(size >> (8 * i))
		}
	} else {
		octal(483, size)
		octal(386, size)
	}
	octal(398, 0)
	sum := int64(8 * ' ')
	for i, c := range b {
		if i < 148 || i >= 156 {
			sum += int64(c)
		}
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return append(b, make([]byte, 1024)...)
}

func compress(t testing.TB, form string, r io.Reader) []byte {
	t.Helper()
	var b bytes.Buffer
	w := io.WriteCloser(gzip.NewWriter(&b))
	if form == "zstd" {
		var err error
		if w, err = zstd.NewWriter(&b); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := io.Copy(w, r); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestBombs packs what unpacks to more than the bounds.
func TestBombs(t *testing.T) {
	if testing.Short() {
		t.Skip("unpacks half a gigabyte")
	}
	// A header of a hard link costs nothing and stands for a large file.
	first := pack(t, file("a", strings.Repeat("x", 1<<20)))
	first = first[:len(first)-1024]
	links := bytes.NewBuffer(first)
	for i := range 300 {
		h := pack(t, hard(fmt.Sprint("h", i), "a"))
		links.Write(h[:512])
	}
	// Names of thousands of directories each.
	deep := new(bytes.Buffer)
	for i := range 700 {
		b := pack(t, file(fmt.Sprint(i)+strings.Repeat("/a", 2000), ""))
		deep.Write(b[:len(b)-1024])
	}
	refused := func(name string, data []byte) {
		path := filepath.Join(t.TempDir(), "bomb")
		write(t, path, string(data))
		start := time.Now()
		_, err := hostfs.Open(path)
		t.Logf("%s: refused after %v", name, time.Since(start).Round(time.Millisecond))
		if !errors.Is(err, hostfs.ErrTooLarge) || !strings.HasPrefix(err.Error(), path+": ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, form := range []string{"gzip", "zstd"} {
		refused(form+" of hard links", compress(t, form, bytes.NewReader(links.Bytes())))
		refused(form+" of directories", compress(t, form, bytes.NewReader(deep.Bytes())))
	}
	// Half a gigabyte of entries that are no files: packed once, repeated.
	none := pack(t, entry{tar.Header{Name: "dev/x", Typeflag: tar.TypeFifo}, ""})[:512]
	block := compress(t, "gzip", bytes.NewReader(bytes.Repeat(none, 10_000)))
	refused("gzip of headers", bytes.Repeat(block, 101))
}

func TestOpen(t *testing.T) {
	tmp := t.TempDir()
	m, _, err := hostfs.ParseTxtar([]byte(small))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, end := range []string{"txtar", "tar", "tar.gz", "tgz", "tar.zst"} {
		name := filepath.Join(tmp, "machine."+end)
		if err := hostfs.Save(name, m, "A machine."); err != nil {
			t.Fatal(err)
		}
		// The content counts, not the name.
		if err := os.Rename(name, name+".bin"); err != nil {
			t.Fatal(err)
		}
		names = append(names, name+".bin")
	}
	write(t, filepath.Join(tmp, "dir/sys/devices/pci0000:00/0000:00:02.0/vendor"), "0x8086\n")
	write(t, filepath.Join(tmp, "dir/sys/bus/pci/devices/x"), "")
	if err := os.Symlink("../../../devices/pci0000:00/0000:00:02.0", filepath.Join(tmp, "dir/sys/bus/pci/devices/0000:00:02.0")); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names, filepath.Join(tmp, "dir")) {
		s, err := hostfs.Open(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if v, err := hostfs.ReadString(s, "sys/bus/pci/devices/0000:00:02.0/vendor"); err != nil || v != "0x8086" {
			t.Errorf("%s: %q, %v", name, v, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	tmp := t.TempDir()
	const wanted = "expected a directory, a txtar, or a tar archive, plain or packed with gzip, zstd or bzip2"
	packed := compress(t, "gzip", bytes.NewReader(pack(t, file("a", strings.Repeat("x", 5000)))))
	broken := bytes.Clone(packed)
	broken[len(broken)-8]++ // the checksum
	for name, tt := range map[string]struct{ data, want string }{
		"empty":      {"", "the file is empty; " + wanted},
		"text":       {"just text\n", `is text without a line like "-- sys/class/dmi/id/product_name --"; ` + wanted},
		"binary":     {"\x01\x00\x02", "is neither text nor a tar archive; " + wanted},
		"zip":        {"PK\x03\x04", "is a zip archive; " + wanted},
		"xz":         {"\xfd7zXZ\x00", "packed with xz; unpack it, or pack it with zstd or gzip"},
		"program":    {"\x7fELF\x02", "is a program; " + wanted},
		"bad gzip":   {"\x1f\x8bnonsense, more of it", "gzip: gzip: invalid header; the archive is damaged, make it again"},
		"gzip text":  {string(compress(t, "gzip", strings.NewReader("text\n"))), "packed with gzip, but not a tar archive inside; " + wanted},
		"zstd text":  {string(compress(t, "zstd", strings.NewReader("text\n"))), "packed with zstd, but not a tar archive inside; " + wanted},
		"cut gzip":   {string(packed[:len(packed)-20]), `gzip: entry 1: file "a": unexpected EOF; the archive is damaged or cut short, make it again`},
		"bad zstd":   {"\x28\xb5\x2f\xfdxxxxxxxxx", "zstd: "},
		"bad bzip2":  {"BZh9nonsense", "bzip2: bzip2 data invalid: bad magic value found; the archive is damaged, make it again"},
		"bad txtar":  {"A machine.\n\n-- ../x --\n", `line 3: name "../x" has the element ..; write the path from the root of the machine`},
		"bad tar":    {string(pack(t, file("../x", ""))), `entry 1: name "../x" has the element ..; write the path from the root of the machine`},
		"bad tar.gz": {string(compress(t, "gzip", bytes.NewReader(pack(t, file("/x", ""))))), `gzip: entry 1: name "/x" is absolute; leave out the leading /`},
	} {
		path := filepath.Join(tmp, name)
		write(t, path, tt.data)
		if s, err := hostfs.Open(path); s != nil || err == nil || !strings.HasPrefix(err.Error(), path+": "+tt.want) {
			t.Errorf("%s:\n got %v\nwant %s", name, err, tt.want)
		}
	}
	if _, err := hostfs.Open(filepath.Join(tmp, "nothing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := hostfs.Open("/dev/null"); err == nil || !strings.HasPrefix(err.Error(), "/dev/null: is a device node; ") {
		t.Errorf("a device node: %v", err)
	}
}

// TestOpenDamagedEnd damages what comes after the last entry.
func TestOpenDamagedEnd(t *testing.T) {
	archive := pack(t, file("a", strings.Repeat("x", 5000)))
	for _, form := range []string{"gzip", "zstd"} {
		whole := compress(t, form, bytes.NewReader(archive))
		sum := bytes.Clone(whole)
		at := len(sum) - 5 // in gzip's checksum
		if form == "zstd" {
			at = len(sum) - 1
		}
		sum[at] ^= 1
		for what, data := range map[string][]byte{
			"its sum is wrong": sum, "its sum is cut off": whole[:len(whole)-2],
			"the archive in it is cut off": compress(t, form, bytes.NewReader(archive[:512+5120])),
		} {
			path := filepath.Join(t.TempDir(), "machine")
			write(t, path, string(data))
			if _, err := hostfs.Open(path); err == nil {
				t.Errorf("%s was opened although %s", form, what)
			} else if !strings.Contains(err.Error(), "make it again") && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s, %s: %v", form, what, err)
			}
		}
	}
}

func TestSaveIsPrivate(t *testing.T) {
	for _, name := range []string{"m.txtar", "m.tar", "m.tgz", "m.tar.zst"} {
		path := filepath.Join(t.TempDir(), name)
		if err := hostfs.Save(path, new(hostfs.Tree), ""); err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
}

func TestSaveErrors(t *testing.T) {
	tmp := t.TempDir()
	m := new(hostfs.Tree)
	err := hostfs.Save(filepath.Join(tmp, "machine.zip"), m, "")
	if want := tmp + "/machine.zip: the name says no known form; end it in .txtar, .tar, .tar.gz or .tar.zst"; err == nil || err.Error() != want {
		t.Errorf("unknown form: %v", err)
	}
	if err := m.Put("odd (hex)", nil); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(tmp, "machine.txtar")
	write(t, path, "before\n")
	err = hostfs.Save(path, m, "")
	if want := path + `: txtar cannot hold the name "odd (hex)"; save as .tar`; err == nil || err.Error() != want {
		t.Errorf("odd name: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "before\n" {
		t.Errorf("a failed save changed the file: %q", b)
	}
	if err := hostfs.Save(filepath.Join(tmp, "machine.tar"), m, ""); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(tmp, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if _, err := hostfs.FormatTxtar(new(hostfs.Tree), "-- x --\n"); err == nil {
		t.Error("a comment that holds a marker was written")
	}
}

// TestSharedMachines opens every machine of the collection, lists its functions,
// and writes it in each form without loss.
func TestSharedMachines(t *testing.T) {
	var files []string
	for _, pattern := range []string{"hosts/*.txtar", "hwdata/sysfs/ghw/*.tar.gz", "hwdata/sysfs/hwloc/*.tar.bz2", "hwdata/sysfs/qubes-core-admin/*.tar.gz"} {
		found, err := filepath.Glob(filepath.Join(hosttest.Shared(t), pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v, %v", pattern, found, err)
		}
		files = append(files, found...)
	}
	files = append(files, filepath.Join(hosttest.Root(t), "testdata/hosts/lab-intel.txtar"))
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			s, err := hostfs.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			err = fs.WalkDir(s, ".", func(name string, e fs.DirEntry, err error) error {
				n++
				return err
			})
			if err != nil || n < 20 {
				t.Errorf("%d entries, %v", n, err)
			}
			m := s.(*hostfs.Tree)
			text, err := hostfs.FormatTxtar(m, "c")
			if err != nil {
				t.Fatal(err)
			}
			again, comment, err := hostfs.ParseTxtar(text)
			if err != nil || comment != "c\n" {
				t.Fatal(comment, err)
			}
			if !bytes.Equal(tarOf(t, m), tarOf(t, again)) {
				t.Error("txtar lost something")
			}
		})
	}
}

func tarOf(t testing.TB, m *hostfs.Tree) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := hostfs.WriteTar(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
