package lab

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/cavaliergopher/cpio"
	"github.com/google/renameio/v2"
	"github.com/klauspost/compress/zstd"
)

// initScript is /init inside: the first process.
//
//go:embed init.sh
var initScript []byte

// archive writes an initial file system in the form the kernel reads.
type archive struct {
	w    *cpio.Writer
	dirs map[string]bool
}

func newArchive(w io.Writer) *archive {
	return &archive{w: cpio.NewWriter(w), dirs: map[string]bool{".": true}}
}

// add writes one entry, after the directories above it.
func (a *archive) add(name string, mode cpio.FileMode, data []byte) error {
	if err := a.dir(path.Dir(name)); err != nil {
		return err
	}
	if err := a.w.WriteHeader(&cpio.Header{Name: name, Mode: mode, Links: 1, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := a.w.Write(data)
	return err
}

func (a *archive) dir(name string) error {
	if a.dirs[name] {
		return nil
	}
	a.dirs[name] = true
	return a.add(name, cpio.TypeDir|0o755, nil)
}

func (a *archive) file(name string, perm cpio.FileMode, data []byte) error {
	return a.add(name, cpio.TypeReg|perm, data)
}

func (a *archive) link(name, target string) error {
	return a.add(name, cpio.TypeSymlink|0o777, []byte(target))
}

// writeInitramfs writes the initial file system: busybox, the modules, and the
// script that is its /init.
func writeInitramfs(w io.Writer, busybox []byte, version string, names []string, set *moduleSet) error {
	a := newArchive(w)
	errs := []error{
		a.file("init", 0o755, initScript),
		a.file("bin/busybox", 0o755, busybox),
		a.link("sbin", "bin"), // the kernel itself calls /sbin/modprobe
		a.file("etc/modules", 0o644, []byte(strings.Join(names, "\n")+"\n")),
	}
	for _, d := range []string{"dev", "proc", "sys", "host", "scratch", "new"} {
		errs = append(errs, a.dir(d))
	}
	for _, applet := range strings.Fields(applets) {
		errs = append(errs, a.link("bin/"+applet, "busybox"))
	}
	base := path.Join("lib/modules", version)
	for _, m := range set.files {
		errs = append(errs, a.file(path.Join(base, m.name), 0o644, m.data))
	}
	errs = append(errs,
		a.file(path.Join(base, "modules.dep"), 0o644, set.dep),
		a.file(path.Join(base, "modules.alias"), 0o644, set.alias),
		a.file(path.Join(base, "modules.builtin"), 0o644, set.builtin),
		a.file(path.Join(base, "modules.order"), 0o644, set.order),
		a.w.Close())
	return errors.Join(errs...)
}

// applets are the programs of busybox that exist inside before the machine's own
// root is mounted.
const applets = `sh [ cat chroot cp devmem dmesg echo env grep head hostname ifconfig insmod ip ln ls lsmod mkdir
 mknod modprobe mount mv poweroff printf readlink rm sed setsid sleep stty sync tail test true umount uname`

// initramfs returns the compressed initial file system. It is kept in the lab's
// directory under a name made from all that goes into it; when that directory
// cannot be written it is built anew each time.
func (l *Lab) initramfs() ([]byte, error) {
	busybox, err := os.ReadFile(l.busybox)
	if err != nil {
		return nil, err
	}
	dep, err := os.ReadFile(filepath.Join(l.modules, "modules.dep"))
	if err != nil {
		return nil, err
	}
	names := moduleNames()
	h := sha256.New()
	for _, part := range [][]byte{
		initScript, busybox, dep, []byte(l.version), []byte(applets), []byte(strings.Join(names, " ")), []byte(strings.Join(packedNames(), " ")),
	} {
		fmt.Fprintf(h, "%d\n", len(part))
		h.Write(part)
	}
	kept := filepath.Join(l.dir, "initramfs-"+hex.EncodeToString(h.Sum(nil)[:8])+".zst")
	data, err := os.ReadFile(kept)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}

	set, err := readModules(l.modules, append(packedNames(), names...))
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	z, err := zstd.NewWriter(&packed, zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err != nil {
		return nil, err
	}
	err = writeInitramfs(z, busybox, l.version, names, set)
	if err = errors.Join(err, z.Close()); err != nil {
		return nil, fmt.Errorf("building the initial file system: %w", err)
	}
	l.keep(kept, packed.Bytes())
	return packed.Bytes(), nil
}

// keep stores the initial file system for the next time, whole or not at all, and
// removes older ones. It may fail: then the next time builds it again.
func (l *Lab) keep(name string, data []byte) {
	if err := renameio.WriteFile(name, data, 0o644); err != nil {
		return
	}
	old, err := filepath.Glob(filepath.Join(l.dir, "initramfs-*.zst"))
	if err != nil {
		return
	}
	for _, o := range old {
		if o != name {
			_ = os.Remove(o) // a machine that uses it has read it already
		}
	}
}
