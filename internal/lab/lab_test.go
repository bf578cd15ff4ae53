package lab

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cavaliergopher/cpio"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// fakeLab has a kernel of a few modules, and a busybox that is none.
func fakeLab(t *testing.T) *Lab {
	t.Helper()
	dir := t.TempDir()
	modules := filepath.Join(dir, "kernel/lib/modules/6.0-fake")
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var dep, builtin strings.Builder
	for i, name := range append(packedNames(), moduleNames()...) {
		if name == "virtio_pci" {
			builtin.WriteString("kernel/drivers/virtio_pci.ko\n")
			continue
		}
		file := "kernel/drivers/" + strings.ReplaceAll(name, "_", "-") + ".ko"
		if i%2 == 0 { // packed and not packed modules may be mixed
			file += ".xz"
		}
		needs := ""
		if name == "nvme" {
			needs = " kernel/drivers/nvme-core.ko.xz"
		}
		dep.WriteString(file + ":" + needs + "\n")
		write(filepath.Join(modules, file), maybePack(t, file, "module "+name))
	}
	dep.WriteString("kernel/drivers/nvme-core.ko.xz:\nkernel/drivers/unwanted.ko.xz:\n")
	write(filepath.Join(modules, "kernel/drivers/nvme-core.ko.xz"), maybePack(t, ".xz", "module nvme_core"))
	write(filepath.Join(modules, "modules.dep"), []byte(dep.String()))
	write(filepath.Join(modules, "modules.builtin"), []byte(builtin.String()))
	write(filepath.Join(modules, "modules.order"), nil)
	write(filepath.Join(modules, "modules.alias"),
		[]byte("# Aliases\nalias pci:v*bc01sc08i02* nvme\nalias pci:v*bc02* unwanted\n"))
	write(filepath.Join(dir, "kernel/boot/vmlinuz-6.0-fake"), []byte("kernel"))
	write(filepath.Join(dir, "busybox"), []byte("busybox"))
	l := &Lab{dir: dir, busybox: filepath.Join(dir, "busybox")}
	if err := l.findKernel(); err != nil {
		t.Fatal(err)
	}
	return l
}

func maybePack(t *testing.T, name, text string) []byte {
	t.Helper()
	if !strings.HasSuffix(name, ".xz") {
		return []byte(text)
	}
	var b bytes.Buffer
	w, err := xz.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// entries reads an archive: names and contents, links as "-> target".
func entries(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for archive := cpio.NewReader(r); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := all[h.Name]; ok {
			t.Errorf("%s is in the archive twice", h.Name)
		}
		all[h.Name] = string(data)
		if h.Linkname != "" {
			all[h.Name] = "-> " + h.Linkname
		}
		if up := filepath.Dir(h.Name); up != "." {
			if _, ok := all[up]; !ok {
				t.Errorf("%s comes before its directory", h.Name)
			}
		}
	}
}

func TestInitramfs(t *testing.T) {
	l := fakeLab(t)
	data, err := l.initramfs()
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	all := entries(t, z)
	const base = "lib/modules/6.0-fake/"
	for name, want := range map[string]string{
		"init":                               string(initScript),
		"sbin":                               "-> bin",
		"bin/sh":                             "-> busybox",
		"bin/modprobe":                       "-> busybox",
		"bin/busybox":                        "busybox",
		"dev":                                "",
		base + "kernel/drivers/nvme.ko":      "module nvme",
		base + "kernel/drivers/nvme-core.ko": "module nvme_core",
		base + "kernel/drivers/9p.ko":        "module 9p",
		base + "modules.alias":               "alias pci:v*bc01sc08i02* nvme\n",
		base + "modules.builtin":             "kernel/drivers/virtio_pci.ko\n",
		"etc/modules":                        strings.Join(moduleNames(), "\n") + "\n",
	} {
		if got, ok := all[name]; !ok || got != want {
			t.Errorf("%s: %.60q, in the archive: %v; wanted %.60q", name, got, ok, want)
		}
	}
	if dep := all[base+"modules.dep"]; !strings.Contains(dep, "kernel/drivers/nvme.ko: kernel/drivers/nvme-core.ko\n") ||
		strings.Contains(dep, ".xz") {
		t.Errorf("modules.dep is %q", dep)
	}
	for name := range all {
		if strings.Contains(name, "unwanted") {
			t.Errorf("%s is in the archive", name)
		}
	}
}

func TestInitramfsKept(t *testing.T) {
	l := fakeLab(t)
	old := filepath.Join(l.dir, "initramfs-0123456789abcdef.zst")
	if err := os.WriteFile(old, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var all [4][]byte
	var wg sync.WaitGroup
	for i := range all {
		wg.Go(func() {
			var err error
			if all[i], err = l.initramfs(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	kept, err := filepath.Glob(filepath.Join(l.dir, "initramfs-*.zst"))
	if err != nil || len(kept) != 1 || kept[0] == old {
		t.Fatalf("kept: %v, %v", kept, err)
	}
	data, err := os.ReadFile(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if !bytes.Equal(all[i], data) {
			t.Errorf("initial file system %d is not the one that is kept", i)
		}
	}
	if left, err := filepath.Glob(filepath.Join(l.dir, ".*")); err != nil || len(left) != 0 {
		t.Errorf("temporary files are left: %v, %v", left, err)
	}
	// Another busybox is another file.
	if err := os.WriteFile(l.busybox, []byte("newer"), 0o644); err != nil {
		t.Fatal(err)
	}
	if newer, err := l.initramfs(); err != nil || bytes.Equal(newer, data) {
		t.Errorf("the initial file system is the old one, %v", err)
	}
}

func TestClosure(t *testing.T) {
	dep := map[string][]string{
		"a/x-y.ko.xz": {"b/z.ko.xz"}, "b/z.ko.xz": {"c/w.ko.xz"}, "c/w.ko.xz": nil,
		"bad.ko": {"gone.ko"}, "ring1.ko": {"ring2.ko"}, "ring2.ko": {"ring1.ko"},
	}
	for _, test := range []struct {
		names []string
		want  []string
		err   string
	}{
		{[]string{"x_y", "w"}, []string{"a/x-y.ko.xz", "b/z.ko.xz", "c/w.ko.xz"}, ""},
		{[]string{"built_in"}, []string{}, ""},
		{[]string{"ring1"}, []string{"ring1.ko", "ring2.ko"}, ""},
		{[]string{"none"}, nil, "no module none"},
		{[]string{"bad"}, nil, "gone.ko is needed"},
	} {
		got, err := closure(dep, map[string]bool{"built_in": true}, test.names)
		if !slices.Equal(got, test.want) || (err == nil) != (test.err == "") ||
			err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("closure of %v: %v, %v", test.names, got, err)
		}
	}
}

func TestOpenMissing(t *testing.T) {
	t.Setenv("PATH", "")
	_, err := Open(t.TempDir())
	if !errors.Is(err, errors.ErrUnsupported) {
		t.Fatalf("error %v does not say unsupported", err)
	}
	for _, want := range []string{"kernel", "busybox-static", "qemu-system-x86", "make lab"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
}

// A link to the lab leads nowhere inside, so its modules are known by their own name.
func TestOpenLink(t *testing.T) {
	l := fakeLab(t)
	link := filepath.Join(t.TempDir(), "lab")
	if err := os.Symlink(l.dir, link); err != nil {
		t.Fatal(err)
	}
	linked := &Lab{dir: realPath(link)}
	if err := linked.findKernel(); err != nil || linked.modules != l.modules {
		t.Errorf("modules in %s, %v; wanted %s", linked.modules, err, l.modules)
	}
	if got := realPath("/nonexistent/x"); got != "/nonexistent/x" {
		t.Errorf("what does not exist is at %s", got)
	}
}

func TestBootSector(t *testing.T) {
	b, err := BootSector("hello")
	if err != nil {
		t.Fatal(err)
	}
	want := append([]byte{
		0xba, 0xf8, 0x03, 0xbe, 0x12, 0x7c, 0xac, 0x84, 0xc0, 0x74, 0x03, 0xee, 0xeb, 0xf8, 0xf4, 0xeb, 0xfd, 0,
	}, "hello\r\n\x00"...)
	if len(b) != 512 || !bytes.HasPrefix(b, want) || b[510] != 0x55 || b[511] != 0xaa {
		t.Errorf("%d bytes: % x", len(b), b)
	}
	if b, err := BootSector(strings.Repeat("x", 400)); err != nil || b[511] != 0xaa {
		t.Errorf("400 bytes: %v", err)
	}
	for _, text := range []string{strings.Repeat("x", 401), "a\x00b"} {
		if _, err := BootSector(text); err == nil {
			t.Errorf("no error for %.10q", text)
		}
	}
}

func TestNVMeImage(t *testing.T) {
	name := filepath.Join(t.TempDir(), "disk")
	for _, text := range []string{"a longer text", "text"} {
		if err := NVMeImage(name, text); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	sector, err := BootSector("text")
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != 64<<20 || !bytes.HasPrefix(b, sector) || len(bytes.Trim(b[512:], "\x00")) != 0 {
		t.Errorf("%d bytes beginning % x", len(b), b[:64])
	}
}
