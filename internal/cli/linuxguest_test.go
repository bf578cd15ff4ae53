package cli_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cavaliergopher/cpio"
	"github.com/ulikunitz/xz"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/lab/labtest"
)

// bootLinux starts Linux from a disk: at 7c00h, in 16-bit mode. What is behind the boot
// sector it moves to its place in pieces of 32 KiB, by the table at its end of how many
// pieces go to which multiple of 64 KiB, and jumps to the kernel's own start, as
// Documentation/arch/x86/boot.rst has it.
//
//	      xor ax, ax                 ; all in the first 64 KiB
//	      mov ds, ax
//	      mov es, ax
//	      mov ss, ax
//	      mov sp, 7c00h
//	      cld
//	      mov [drive], dl
//	      mov bx, parts
//	part  mov bp, [bx]               ; pieces
//	      mov word [to], 0           ; bits 0-15 of where to
//	      mov al, [bx+2]
//	      mov [to+2], al             ; bits 16-23
//	      mov al, [bx+3]
//	      mov [to+5], al             ; bits 24-31
//	piece mov ah, 42h                ; read
//	      mov dl, [drive]
//	      mov si, packet
//	      int 13h
//	      jc stop
//	      mov ah, 87h                ; move
//	      mov cx, 4000h
//	      mov si, table
//	      int 15h
//	      jc stop
//	      add word [packet+8], 64
//	      adc word [packet+10], 0
//	      add word [to], 8000h
//	      adc byte [to+2], 0
//	      adc byte [to+5], 0
//	      dec bp
//	      jnz piece
//	      add bx, 4
//	      cmp bx, parts+12
//	      jne part
//	      mov ax, 1000h
//	      mov ds, ax
//	      mov es, ax
//	      mov fs, ax
//	      mov gs, ax
//	      mov ss, ax
//	      mov sp, e000h
//	      jmp 1020h:0
//	stop  hlt
//	      jmp stop
//	drive  db 0
//	packet db 16, 0                  ; 64 sectors from the second one on to 30000h
//	       dw 64, 0, 3000h
//	       dq 1
//	table  dq 0, 0                   ; segments: from 30000h
//	       dw ffffh, 0
//	       db 3, 93h, 0, 0
//	       dw ffffh
//	to     dw 0
//	       db 0, 93h, 0, 0
//	       dq 0, 0
//	parts
const bootLinux = "31c08ed88ec08ed0bc007cfc88167e7cbbbf7c8b2fc706a97c00008a4702a2ab7c8a4703a2ae7cb4428a167e7cbe7f7ccd137247b487" +
	"b90040be8f7ccd15723b8306877c408316897c008106a97c00808016ab7c008016ae7c004d75ca83c30481fbcb7c75adb800108ed88ec08ee08e" +
	"e88ed0bc00e0ea00002010f4ebfd001000400000000030010000000000000000000000000000000000000000000000ffff000003930000ffff00" +
	"000093000000000000000000000000000000000000"

// Where bootLinux puts things.
const (
	piece     = 32 << 10
	setupAt   = 0x10000
	commandAt = 0x20000
	kernelAt  = 0x100000
	initrdAt  = 0x8000000 // behind where the kernel unpacks itself
)

// A linux is what Linux guests are made of: Debian's kernel of the emulated laptop, and an
// initial file system with busybox, the modules of what QEMU shows to guests, and
// testdata/linuxguest.
type linux struct{ kernel, initrd []byte }

// newLinux skips a test where there is no such kernel. What extra says is in the initial
// file system, too: files of this machine by their names there.
func newLinux(t *testing.T, extra map[string]string) *linux {
	t.Helper()
	version := labtest.Open(t).KernelVersion()
	dir := os.Getenv("INDY_LAB")
	if dir == "" {
		dir = filepath.Join(hosttest.Root(t), ".lab")
	}
	read := func(name string) []byte {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	l := &linux{kernel: read(filepath.Join(dir, "kernel/boot/vmlinuz-"+version))}
	program := filepath.Join(t.TempDir(), "init")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./testdata/linuxguest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build, err, out)
	}
	shell, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"init": program, "bin/busybox": shell}
	for name, from := range extra {
		files[name] = from
	}
	var packed bytes.Buffer
	w := cpio.NewWriter(&packed)
	add := func(name string, mode cpio.FileMode, data []byte) {
		err := w.WriteHeader(&cpio.Header{Name: name, Mode: mode, Links: 1, Size: int64(len(data))})
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	dirs := map[string]bool{".": true}
	var below func(dir string)
	below = func(dir string) {
		if !dirs[dir] {
			below(filepath.Dir(dir))
			dirs[dir] = true
			add(dir, cpio.TypeDir|0o755, nil)
		}
	}
	below("modules")
	for i, name := range guestModules(t, filepath.Join(dir, "kernel/lib/modules", version)) {
		data := read(name)
		if strings.HasSuffix(name, ".xz") {
			r, err := xz.NewReader(bytes.NewReader(data))
			if err == nil {
				data, err = io.ReadAll(r)
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		add(fmt.Sprintf("modules/%03d.ko", i), cpio.TypeReg|0o644, data)
	}
	for name, from := range files {
		below(filepath.Dir(name))
		add(name, cpio.TypeReg|0o755, read(from))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l.initrd = packed.Bytes()
	return l
}

// guestModules returns the files of the modules that Linux guests load, in an order in which
// each is there before those that need it.
func guestModules(t *testing.T, dir string) (files []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string][]string{} // the module and what it needs, the last first
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(strings.Replace(line, ":", " ", 1))
		name, _, _ := strings.Cut(filepath.Base(f[0]), ".ko")
		lines[strings.ReplaceAll(name, "_", "-")] = f
	}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, name := range []string{
		"virtio-pci", "virtio-blk", "virtio-net", "virtio-gpu", "virtio-console", "snd-hda-codec-generic", "snd-hda-intel", "snd-mixer-oss", "snd-pcm-oss",
	} {
		f, ok := lines[name]
		if !ok && !bytes.Contains(builtin, []byte("/"+strings.ReplaceAll(name, "-", "_")+".ko")) && !bytes.Contains(builtin, []byte("/"+name+".ko")) {
			t.Fatalf("%s has no module %s", dir, name)
		}
		for i := len(f) - 1; i >= 0; i-- {
			if !seen[f[i]] {
				seen[f[i]] = true
				files = append(files, filepath.Join(dir, f[i]))
			}
		}
	}
	return files
}

// disk makes a raw disk from which Linux starts, with words on its command line.
func (l *linux) disk(t *testing.T, name string, words ...string) string {
	t.Helper()
	sector, err := hex.DecodeString(bootLinux)
	if err != nil {
		t.Fatal(err)
	}
	const command = commandAt - setupAt
	setup := (int(l.kernel[0x1f1]) + 1) * 512
	low := make([]byte, command+512)
	copy(low, l.kernel[:setup])
	line := "console=ttyS0 quiet nokaslr panic=-1 " + strings.Join(words, " ")
	if setup > 0xd000 || len(line) > 511 {
		t.Fatalf("a setup of %d bytes, a command line of %d", setup, len(line))
	}
	copy(low[command:], line)
	low[0x210] = 0xff  // type_of_loader: one without a number
	low[0x211] |= 0x80 // loadflags: there is a heap
	for at, v := range map[int]uint32{0x218: initrdAt, 0x21c: uint32(len(l.initrd)), 0x224: 0xde00, 0x228: commandAt} {
		binary.LittleEndian.PutUint32(low[at:], v)
	}
	var image []byte
	for _, part := range []struct {
		data []byte
		to   uint32
	}{{low, setupAt}, {l.kernel[setup:], kernelAt}, {l.initrd, initrdAt}} {
		pieces := (len(part.data) + piece - 1) / piece
		sector = append(binary.LittleEndian.AppendUint16(sector, uint16(pieces)), byte(part.to>>16), byte(part.to>>24))
		image = append(image, part.data...)
		image = append(image, make([]byte, pieces*piece-len(part.data))...)
	}
	sector = append(append(sector, make([]byte, 510-len(sector))...), 0x55, 0xaa)
	file := filepath.Join(t.TempDir(), name+".raw")
	if err := os.WriteFile(file, append(sector, image...), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
