package lab

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/project-independence/indy/internal/hosttest"
)

// TestLinuxCode assembles what is written above linuxCode.
func TestLinuxCode(t *testing.T) {
	t.Parallel()
	assembler, err := exec.LookPath("as")
	linker, err2 := exec.LookPath("ld")
	if err := errors.Join(err, err2); err != nil {
		hosttest.Missing(t, "%v", err)
	}
	source, err := os.ReadFile("linuxboot.go")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(source), "// linuxCode starts Linux")
	text, _, ok := strings.Cut(text, "\nconst linuxCode")
	var code strings.Builder
	for line := range strings.Lines(text) {
		if line, is := strings.CutPrefix(line, "//\t"); is {
			code.WriteString(line)
		}
	}
	fmt.Fprintf(&code, "\n.org %#x\nentry: .space %d\ninfo: .space 48\nentries: .space 8\n.space 32\ntable:\n", entryAt, infoAt-entryAt)
	dir := t.TempDir()
	run := func(name string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(code.String())
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
	}
	run(assembler, "--32", "-o", "code.o", "-")
	run(linker, "-m", "elf_i386", "-e", "0", fmt.Sprintf("-Ttext=%#x", sectorAt), "--oformat", "binary", "-o", "code", "code.o")
	got, err := os.ReadFile(filepath.Join(dir, "code"))
	if err != nil || !ok {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(linuxCode)
	if err != nil || len(want) > entryAt || len(got) != tableAt || !bytes.Equal(got[:entryAt], append(want, make([]byte, entryAt-len(want))...)) {
		t.Errorf("what is written there is\n%x\nnot\n%x, %v", got, want, err)
	}
}

// kernelImage makes an image of a kernel with a part at 16 MiB, of which a page is zero, and
// a note.
func kernelImage(t *testing.T, kind uint32) []byte {
	t.Helper()
	le := binary.LittleEndian
	elf := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 64-7)...)
	le.PutUint16(elf[16:], 2)  // ET_EXEC
	le.PutUint16(elf[18:], 62) // EM_X86_64
	le.PutUint32(elf[20:], 1)
	le.PutUint64(elf[32:], 64) // program headers
	le.PutUint16(elf[52:], 64)
	le.PutUint16(elf[54:], 56)
	le.PutUint16(elf[56:], 2)
	header := func(kind uint32, at, to, size, memory uint64) {
		b := make([]byte, 56)
		le.PutUint32(b, kind)
		for i, v := range []uint64{at, to, to, size, memory, 0} {
			le.PutUint64(b[8+8*i:], v)
		}
		elf = append(elf, b...)
	}
	header(1, 512, 1<<24, 4096, 8192)
	header(4, 256, 0, 20, 20)
	note := le.AppendUint32(le.AppendUint32(le.AppendUint32(nil, 4), 4), kind)
	note = le.AppendUint32(append(note, "Xen\x00"...), 0x1000a30)
	elf = append(elf, make([]byte, 256-len(elf))...)
	elf = append(elf, note...)
	elf = append(elf, make([]byte, 512-len(elf))...)
	elf = append(elf, "the kernel"...)
	elf = append(elf, make([]byte, 512+4096-len(elf))...)
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	packed := append(z.EncodeAll(elf, nil), 0, 0, 0, 0)
	image := make([]byte, 1024)
	image[0x1f1] = 1
	copy(image[0x202:], "HdrS")
	le.PutUint32(image[0x248:], 16)
	le.PutUint32(image[0x24c:], uint32(len(packed)))
	return append(append(image, make([]byte, 16)...), packed...)
}

func TestUnpackKernel(t *testing.T) {
	t.Parallel()
	whole := kernelImage(t, 18)
	entry, parts, err := unpackKernel(whole)
	if err != nil || entry != 0x1000a30 || len(parts) != 1 || parts[0].to != 1<<24 || parts[0].size != 8192 || string(parts[0].data) != "the kernel" {
		t.Errorf("entered at %#x, %+v, %v", entry, parts, err)
	}
	unpacked := bytes.Clone(whole)
	unpacked[1024+16] = 'x'
	for want, image := range map[string][]byte{
		"not a kernel's image":                            []byte("kernel"),
		"the kernel is not in its image":                  whole[:1100],
		"unsupported operation: the kernel has no PVH":    kernelImage(t, 17),
		"unsupported operation: the kernel is not packed": unpacked,
	} {
		if _, _, err := unpackKernel(image); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func TestWriteLinuxDisk(t *testing.T) {
	t.Parallel()
	l := fakeLab(t)
	if err := os.WriteFile(l.kernel, kernelImage(t, 18), 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "disk")
	d := LinuxDisk{Init: l.busybox, Modules: []string{"nvme", "virtio_pci"}, Busybox: true, Kernel: "quiet"}
	if err := l.WriteLinuxDisk(file, d); err != nil {
		t.Fatal(err)
	}
	disk, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// As the boot sector puts it into memory.
	le := binary.LittleEndian
	memory := map[uint32]string{}
	for row := disk[tableAt:]; le.Uint32(row) != 0; row = row[10:] {
		at, size := int(le.Uint32(row))*sectorSize, int(le.Uint16(row[8:]))*pieceSize
		if at+size > len(disk) {
			t.Fatalf("a part at %d of %d bytes, on a disk of %d", at, size, len(disk))
		}
		memory[le.Uint32(row[4:])] = string(disk[at : at+size])
	}
	module := uint32(1<<24 + 1<<21)
	if !strings.HasPrefix(memory[1<<24], "the kernel\x00") || !strings.HasPrefix(memory[commandAt], "quiet\x00") ||
		le.Uint32(disk[entryAt:]) != 0x1000a30 || le.Uint32(disk[moduleAt:]) != module || string(disk[510:512]) != "\x55\xaa" {
		t.Errorf("the disk begins with %x", disk[:512])
	}
	for _, want := range []string{
		"070701", "module nvme", "modules/nvme.load", "nvme-core.ko\nnvme.ko\n", "bin/busybox", "TRAILER!!!",
	} {
		if !strings.Contains(memory[module], want) {
			t.Errorf("the initial file system lacks %q", want)
		}
	}
	for want, d := range map[string]LinuxDisk{
		"no module nosuch": {Init: l.busybox, Modules: []string{"nosuch"}},
		"no such file":     {Init: "/no/init"},
		"too much":         {Init: l.busybox, Kernel: strings.Repeat("x", 2048)},
	} {
		if err := l.WriteLinuxDisk(file, d); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}
