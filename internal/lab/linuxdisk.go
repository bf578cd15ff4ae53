package lab

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// A LinuxDisk is what is on a disk from which a guest starts Linux, with this lab's kernel.
type LinuxDisk struct {
	// Init is the first process: the file of a static program on this machine.
	Init string
	// Modules are those that Init may load. In the guest, modules/NAME.load has the names of
	// the files that it takes, a line each, in the order in which they are to be loaded.
	Modules []string
	// Busybox puts it there as bin/busybox.
	Busybox bool
	// Kernel are the arguments for the kernel, separated by spaces.
	Kernel string
}

// WriteLinuxDisk creates the file name, or replaces what it holds, with a raw disk from
// which a machine with a BIOS starts Linux. It needs 160 MiB of memory.
//
// The kernel is on it as it is in memory, and enters where Xen would have it (PVH): what
// is in its image unpacks itself, which takes an emulator in an emulator minutes.
func (l *Lab) WriteLinuxDisk(name string, d LinuxDisk) error {
	image, err := os.ReadFile(l.kernel)
	if err != nil {
		return err
	}
	entry, parts, err := unpackKernel(image)
	if err != nil {
		return fmt.Errorf("%s: %w", l.kernel, err)
	}
	initrd, err := l.guestInitramfs(d)
	if err != nil {
		return err
	}
	if len(d.Kernel) > 2047 {
		return fmt.Errorf("%d bytes are too much for the kernel's command line", len(d.Kernel))
	}
	var end uint32
	for _, p := range parts {
		end = max(end, p.to+p.size)
	}
	at := (end + 1<<21 - 1) &^ (1<<21 - 1)
	parts = append(parts, part{to: commandAt, data: []byte(d.Kernel + "\x00")}, part{to: at, data: initrd})
	disk, err := linuxImage(entry, at, len(initrd), parts)
	if err != nil {
		return err
	}
	return os.WriteFile(name, disk, 0o644)
}

// unpackKernel returns where the kernel in a bzImage is entered, and what of it is where in
// memory. See Documentation/arch/x86/boot.rst on payload_offset.
func unpackKernel(image []byte) (entry uint32, parts []part, err error) {
	if len(image) < 0x250 || string(image[0x202:0x206]) != "HdrS" {
		return 0, nil, errors.New("not a kernel's image")
	}
	le := binary.LittleEndian
	from := (uint64(image[0x1f1])+1)*sectorSize + uint64(le.Uint32(image[0x248:]))
	size := uint64(le.Uint32(image[0x24c:]))
	if size < 4 || from+size > uint64(len(image)) {
		return 0, nil, errors.New("the kernel is not in its image")
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(1<<30))
	if err != nil {
		return 0, nil, err
	}
	defer z.Close()
	// Behind it is its size when unpacked.
	packed := image[from : from+size-4]
	if !bytes.HasPrefix(packed, []byte("\x28\xb5\x2f\xfd")) {
		return 0, nil, fmt.Errorf("%w: the kernel is not packed by zstd", errors.ErrUnsupported)
	}
	vmlinux, err := z.DecodeAll(packed, nil)
	if err != nil {
		return 0, nil, err
	}
	f, err := elf.NewFile(bytes.NewReader(vmlinux))
	if err != nil {
		return 0, nil, err
	}
	for _, p := range f.Progs {
		data := make([]byte, p.Filesz)
		if p.Type != elf.PT_LOAD && p.Type != elf.PT_NOTE {
			continue
		}
		if _, err := io.ReadFull(p.Open(), data); err != nil {
			return 0, nil, err
		}
		if p.Type == elf.PT_NOTE {
			entry = pvhEntry(data)
			continue
		}
		if p.Paddr+p.Memsz > 1<<31 {
			return 0, nil, fmt.Errorf("a part of the kernel is at %#x", p.Paddr)
		}
		// The memory of a machine that has just been switched on is zero.
		parts = append(parts, part{uint32(p.Paddr), uint32(p.Memsz), bytes.TrimRight(data, "\x00")})
	}
	if entry == 0 {
		return 0, nil, fmt.Errorf("%w: the kernel has no PVH entry", errors.ErrUnsupported)
	}
	return entry, parts, nil
}

// pvhEntry returns what the note XEN_ELFNOTE_PHYS32_ENTRY says, or 0.
func pvhEntry(notes []byte) uint32 {
	le := binary.LittleEndian
	pad := func(n uint32) uint64 { return (uint64(n) + 3) &^ 3 }
	for len(notes) >= 12 {
		name, desc, kind := le.Uint32(notes), le.Uint32(notes[4:]), le.Uint32(notes[8:])
		size := 12 + pad(name) + pad(desc)
		if size > uint64(len(notes)) {
			break
		}
		if kind == 18 && desc >= 4 && bytes.HasPrefix(notes[12:], []byte("Xen\x00")) {
			return le.Uint32(notes[12+pad(name):])
		}
		notes = notes[size:]
	}
	return 0
}

// guestInitramfs returns the initial file system of d.
func (l *Lab) guestInitramfs(d LinuxDisk) ([]byte, error) {
	set, err := readModules(l.modules, d.Modules)
	if err != nil {
		return nil, err
	}
	dep, err := readModuleDep(filepath.Join(l.modules, "modules.dep"))
	if err != nil {
		return nil, err
	}
	program, err := os.ReadFile(d.Init)
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	a := newArchive(&packed)
	errs := []error{a.file("init", 0o755, program)}
	for _, dir := range []string{"dev", "proc", "sys", "tmp"} {
		errs = append(errs, a.dir(dir))
	}
	if d.Busybox {
		busybox, err := os.ReadFile(l.busybox)
		errs = append(errs, err, a.file("bin/busybox", 0o755, busybox))
	}
	for _, m := range set.files {
		errs = append(errs, a.file("modules/"+path.Base(m.name), 0o644, m.data))
	}
	for _, name := range d.Modules {
		errs = append(errs, a.file("modules/"+name+".load", 0o644, []byte(loadOrder(dep, name))))
	}
	if err := errors.Join(append(errs, a.w.Close())...); err != nil {
		return nil, fmt.Errorf("building a guest's initial file system: %w", err)
	}
	return packed.Bytes(), nil
}

// loadOrder returns the files that the module takes, those that others need before those:
// in modules.dep what is needed most is last. It is empty for one that is built in.
func loadOrder(dep map[string][]string, name string) string {
	for file, needs := range dep {
		if moduleName(file) != name {
			continue
		}
		var b strings.Builder
		for _, n := range slices.Backward(append([]string{file}, needs...)) {
			b.WriteString(strings.TrimSuffix(path.Base(n), ".xz") + "\n")
		}
		return b.String()
	}
	return ""
}
