package lab

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A Lab is what emulated laptops are made of: a kernel with its modules, busybox
// and QEMU. It holds no open files, and any number of machines may run from it at
// once.
type Lab struct {
	dir     string // absolute; initial file systems are kept here
	kernel  string // the kernel's image
	modules string // its modules, lib/modules/VERSION
	version string // what uname -r says inside
	busybox string // statically linked
	qemu    string
}

// Open returns the lab whose kernel is unpacked below dir: kernel/boot/vmlinuz-V
// and kernel/lib/modules/V with its modules.dep. QEMU and a statically linked
// busybox are looked for in PATH.
//
// When something is missing, the error names all of it and what to do, and answers
// errors.Is(err, [errors.ErrUnsupported]).
func Open(dir string) (*Lab, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	l := &Lab{dir: realPath(dir)}
	err = errors.Join(l.findKernel(), l.findBusybox(), l.findQEMU())
	if err != nil {
		return nil, fmt.Errorf("the emulated laptop in %s is not complete:\n%w", dir, err)
	}
	return l, nil
}

// realPath returns dir without links, if it exists: inside, the root is another one,
// and an absolute link leads nowhere.
func realPath(dir string) string {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return real
	}
	return dir
}

// KernelVersion returns the version of the kernel that runs inside, as uname -r
// gives it there.
func (l *Lab) KernelVersion() string { return l.version }

// missing says what the lab lacks and how to get it.
type missing struct{ what, remedy string }

func (m missing) Error() string        { return m.what + "; " + m.remedy }
func (m missing) Is(target error) bool { return target == errors.ErrUnsupported }

// findKernel takes the kernel that has modules. With several of them the last one
// in the order of their names is as good as any other.
func (l *Lab) findKernel() error {
	images, err := filepath.Glob(filepath.Join(l.dir, "kernel/boot/vmlinuz-*"))
	if err != nil {
		return err
	}
	for _, image := range images {
		v := strings.TrimPrefix(filepath.Base(image), "vmlinuz-")
		modules := filepath.Join(l.dir, "kernel/lib/modules", v)
		if _, err := os.Stat(filepath.Join(modules, "modules.dep")); err == nil {
			l.kernel, l.modules, l.version = image, modules, v
		}
	}
	switch {
	case l.kernel != "":
		return nil
	case len(images) > 0:
		return missing{
			"no modules.dep for the kernel in " + filepath.Join(l.dir, "kernel/lib/modules"),
			`run "make lab"`,
		}
	}
	return missing{"no kernel in " + filepath.Join(l.dir, "kernel/boot"), `run "make lab"`}
}

func (l *Lab) findBusybox() error {
	remedy := `run "make lab" or install Debian's package busybox-static`
	path, err := exec.LookPath("busybox")
	if err != nil {
		return missing{"no busybox in PATH", remedy}
	}
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("busybox: %w", err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return missing{path + " is not statically linked", remedy}
		}
	}
	l.busybox, err = filepath.Abs(path)
	return err
}

func (l *Lab) findQEMU() error {
	path, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		return missing{
			"no qemu-system-x86_64 in PATH",
			`run "make lab" or install Debian's package qemu-system-x86 of bookworm-backports or newer`,
		}
	}
	l.qemu, err = filepath.Abs(path)
	return err
}
