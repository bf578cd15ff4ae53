package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/project-independence/indy/internal/hosttest"
)

// A change makes something else of a good image.
type change func(b []byte)

func put32(at int, v uint32) change { return func(b []byte) { binary.BigEndian.PutUint32(b[at:], v) } }
func put64(at int, v uint64) change { return func(b []byte) { binary.BigEndian.PutUint64(b[at:], v) } }
func le16(at int, v uint16) change {
	return func(b []byte) { binary.LittleEndian.PutUint16(b[at:], v) }
}
func le32(at int, v uint32) change {
	return func(b []byte) { binary.LittleEndian.PutUint32(b[at:], v) }
}
func le64(at int, v uint64) change {
	return func(b []byte) { binary.LittleEndian.PutUint64(b[at:], v) }
}
func write(at int, s string) change { return func(b []byte) { copy(b[at:], s) } }
func all(changes ...change) change {
	return func(b []byte) {
		for _, c := range changes {
			c(b)
		}
	}
}

// qcow2Image is a whole image of 1 GiB: header, table of reference counts, their block,
// L1 table.
func qcow2Image() []byte {
	b := make([]byte, 4<<16)
	copy(b, "QFI\xfb")
	all(put32(4, 3), put32(20, 16), put64(24, 1<<30), put32(36, 2), put64(40, 3<<16), put64(48, 1<<16), put32(56, 1),
		put32(96, 4), put32(100, 104), put64(1<<16, 2<<16))(b)
	return b
}

// isoImage is a CD-ROM that BIOS and UEFI can start.
func isoImage() []byte {
	b := make([]byte, 20*sector)
	copy(b[16*sector:], "\x01CD001\x01")
	copy(b[16*sector+40:], "DEBIAN 13 \x1b             ")
	copy(b[17*sector:], "\x00CD001\x01EL TORITO SPECIFICATION")
	binary.LittleEndian.PutUint32(b[17*sector+71:], 19)
	copy(b[18*sector:], "\xffCD001\x01")
	c := b[19*sector:]
	c[0], c[30], c[31], c[32] = 1, 0x55, 0xaa, 0x88
	binary.LittleEndian.PutUint16(c[28:], -(0xaa55+1)&0xffff)
	c[64], c[65], c[66], c[96] = 0x91, 0xef, 1, 0x88
	return b
}

// made has qemu-img make an image of 4 MiB.
func made(t testing.TB, format string, options ...string) []byte {
	t.Helper()
	img, err := exec.LookPath("qemu-img")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		hosttest.Missing(t, "qemu-img is not installed; install the package qemu-utils")
	}
	name := filepath.Join(t.TempDir(), "disk")
	args := append(append([]string{"create", "-q", "-f", format}, options...), name, "4M")
	if out, err := exec.Command(img, args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func check(b []byte, f Format) (Info, error) { return Check(bytes.NewReader(b), int64(len(b)), f) }

func TestGood(t *testing.T) {
	const size = 4 << 20
	tests := []struct {
		name  string
		image func() []byte
		want  Info
	}{
		{"qcow2 by hand", qcow2Image, Info{Format: Qcow2, Virtual: 1 << 30}},
		{"qcow2", func() []byte { return made(t, "qcow2") }, Info{Format: Qcow2, Virtual: size}},
		{"qcow2 version 2", func() []byte { return made(t, "qcow2", "-o", "compat=0.10") }, Info{Format: Qcow2, Virtual: size}},
		{"qcow2 with all that is new", func() []byte {
			return made(t, "qcow2", "-o", "extended_l2=on,compression_type=zstd,lazy_refcounts=on,cluster_size=2M")
		}, Info{Format: Qcow2, Virtual: size}},
		{"qcow2 with small clusters", func() []byte { return made(t, "qcow2", "-o", "cluster_size=512,refcount_bits=1") }, Info{Format: Qcow2, Virtual: size}},
		{"raw", func() []byte { return make([]byte, 4096) }, Info{Format: Raw, Virtual: 4096}},
		{"VMDK", func() []byte { return made(t, "vmdk") }, Info{Format: VMDK, Virtual: size}},
		{"VMDK as a stream", func() []byte { return made(t, "vmdk", "-o", "subformat=streamOptimized") }, Info{Format: VMDK, Virtual: size}},
		{"VMDK whose directory is at its end", func() []byte { return streamed(made(t, "vmdk", "-o", "subformat=streamOptimized")) }, Info{Format: VMDK, Virtual: size}},
		{"VHDX", func() []byte { return made(t, "vhdx") }, Info{Format: VHDX, Virtual: size}},
		{"VHDX, fixed", func() []byte { return made(t, "vhdx", "-o", "subformat=fixed") }, Info{Format: VHDX, Virtual: size}},
		{"VHD", func() []byte { return made(t, "vpc", "-o", "force_size=on") }, Info{Format: VHD, Virtual: size}},
		{"VHD, fixed", func() []byte { return made(t, "vpc", "-o", "subformat=fixed,force_size=on") }, Info{Format: VHD, Virtual: size}},
		{"VDI", func() []byte { return made(t, "vdi") }, Info{Format: VDI, Virtual: size}},
		{"VDI, static", func() []byte { return made(t, "vdi", "-o", "static=on") }, Info{Format: VDI, Virtual: size}},
		{"CD-ROM", isoImage, Info{Format: ISO, Virtual: 20 * sector, Label: "DEBIAN 13 ?", BootBIOS: true, BootUEFI: true}},
		{"CD-ROM on a stick", isoImage, Info{Format: Raw, Virtual: 20 * sector}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.image()
			if got, err := check(b, tt.want.Format); got != tt.want || err != nil {
				t.Errorf("%+v, %v; want %+v", got, err, tt.want)
			}
			// It is nothing else, least of all raw.
			for _, f := range Formats() {
				if f == tt.want.Format || f == Raw && tt.want.Format == ISO || f == ISO && tt.want.Format == Raw {
					continue
				}
				var refused *RefusedError
				if _, err := check(b, f); !errors.As(err, &refused) || refused.Trick != OtherFormat {
					t.Errorf("as %s: %v", f, err)
				}
			}
			// Of a block device the size is not known; a footer cannot be found there.
			if _, err := Check(bytes.NewReader(b), -1, tt.want.Format); err != nil && tt.want.Format != VHD && tt.name != "VMDK whose directory is at its end" {
				t.Errorf("without a size: %v", err)
			}
		})
	}
}

func TestSnapshotsAreCounted(t *testing.T) {
	b := qcow2Image()
	b = append(b, make([]byte, 1<<16)...)
	all(put32(60, 3), put64(64, 4<<16))(b)
	if got, err := check(b, Qcow2); got.Snapshots != 3 || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestTricks(t *testing.T) {
	qcow2 := qcow2Image()
	backing := func(name string) change {
		return all(put64(8, 200), put32(16, uint32(len(name))), write(200, name))
	}
	extension := func(kind, length uint32) change { return all(put32(104, kind), put32(108, length)) }
	vmdk, vhdx, vhd, vdi, iso := made(t, "vmdk"), made(t, "vhdx"), made(t, "vpc"), made(t, "vdi"), isoImage()
	stream := streamed(made(t, "vmdk", "-o", "subformat=streamOptimized"))
	fixed := made(t, "vpc", "-o", "subformat=fixed")
	replace := func(old, new string) change {
		return func(b []byte) {
			i := bytes.Index(b, []byte(old))
			if i < 0 || len(old) != len(new) {
				panic(old)
			}
			copy(b[i:], new)
		}
	}
	foot := func(at int, v uint32) change { // of a VHD, with the sum that it then has
		return func(b []byte) {
			f := b[len(b)-block:]
			binary.BigEndian.PutUint32(f[at:], v)
			sumUp(f, 64)
		}
	}
	dynamic := func(at int, v uint32) change {
		return func(b []byte) {
			binary.BigEndian.PutUint32(b[512+at:], v)
			sumUp(b[512:1536], 36)
		}
	}
	head := func(c change) change { // of both headers of a VHDX
		return func(b []byte) {
			for _, off := range []int{64 << 10, 128 << 10} {
				c(b[off : off+vhdxHeaderSize])
				crcUp(b[off : off+vhdxHeaderSize])
			}
		}
	}
	region := func(c change) change {
		return func(b []byte) {
			c(b[192<<10 : 256<<10])
			crcUp(b[192<<10 : 256<<10])
		}
	}
	tests := []struct {
		name   string
		good   []byte
		format Format
		change change
		trick  Trick
		want   string // part of the message
	}{
		{"version 1", qcow2, Qcow2, put32(4, 1), UnknownVersion, "version 1"},
		{"version 4", qcow2, Qcow2, put32(4, 4), UnknownVersion, "version 4"},
		{"backing file", qcow2, Qcow2, backing("/etc/shadow"), BackingFile, `"/etc/shadow", which is not opened; make one file of all, if you know where they come from: qemu-img convert -f qcow2 -O qcow2 FILE NEW.qcow2`},
		{"backing file without a name", qcow2, Qcow2, put64(8, 200), BackingFile, "backing file"},
		{"backing file with a name that is too long", qcow2, Qcow2, all(put64(8, 200), put32(16, 1<<31)), BackingFile, "backing file"},
		{"backing file outside of the file", qcow2, Qcow2, all(put64(8, 1<<63), put32(16, 8)), BackingFile, "backing file"},
		{"backing file named to a terminal", qcow2, Qcow2, backing("\x1b]0;x\x07"), BackingFile, `"?]0;x?"`},
		{"json: name", qcow2, Qcow2, backing(`json:{"driver":"nbd","host":"x"}`), JSONName, "json:"},
		{"data file", qcow2, Qcow2, put64(72, 1<<2), DataFile, "data file"},
		{"data file named and not marked", qcow2, Qcow2, extension(extensionDataFile, 8), DataFile, "data file"},
		{"marked corrupt", qcow2, Qcow2, put64(72, 1<<1), Corrupt, "qemu-img check -r all"},
		{"unknown feature", qcow2, Qcow2, put64(72, 1<<40), UnknownFeature, "0x10000000000"},
		{"unknown compression", qcow2, Qcow2, all(put64(72, 1<<3), put32(100, 112), put32(104, 7<<24)), UnknownFeature, "compressed"},
		{"compression that is not marked", qcow2, Qcow2, all(put32(100, 112), put32(104, 1<<24)), UnknownFeature, "compressed"},
		{"AES", qcow2, Qcow2, put32(32, 1), Encrypted, "the old method AES"},
		{"LUKS", qcow2, Qcow2, put32(32, 2), Encrypted, "there is no key"},
		{"LUKS by an extension", qcow2, Qcow2, extension(extensionLUKS, 16), Encrypted, "there is no key"},
		{"other encryption", qcow2, Qcow2, put32(32, 9), Encrypted, "not known, 9"},
		{"clusters of 1 byte", qcow2, Qcow2, put32(20, 0), Damaged, "power of 0"},
		{"clusters of 2^63", qcow2, Qcow2, put32(20, 63), Damaged, "power of 63"},
		{"clusters of 4 MiB", qcow2, Qcow2, put32(20, 22), Damaged, "power of 22"},
		{"extended entries of small clusters", qcow2, Qcow2, all(put64(72, 1<<4), put32(20, 13)), Damaged, "extended entries"},
		{"reference counts of 128 bits", qcow2, Qcow2, put32(96, 7), Damaged, "power of 7"},
		{"short header", qcow2, Qcow2, put32(100, 72), Damaged, "header of 72 bytes"},
		{"long header", qcow2, Qcow2, put32(100, 1<<31), Damaged, "header of 2147483648"},
		{"huge extension", qcow2, Qcow2, extension(0xe2792aca, 1<<31), Damaged, "extension of 2147483648"},
		{"huge disk", qcow2, Qcow2, put64(24, 1<<63), HugeDisk, "9223372036854775808"},
		{"no disk", qcow2, Qcow2, put64(24, 0), HugeDisk, "0 bytes"},
		{"huge L1 table", qcow2, Qcow2, put32(36, 1<<31), HugeTable, "an L1 table of 17179869184"},
		{"L1 table that is too small", qcow2, Qcow2, put32(36, 1), Damaged, "too small"},
		{"L1 table outside of the file", qcow2, Qcow2, put64(40, 1<<40), HugeTable, "not in the file"},
		{"L1 table at the end of numbers", qcow2, Qcow2, put64(40, 1<<64-1<<16), HugeTable, "not in the file"},
		{"L1 table amid a cluster", qcow2, Qcow2, put64(40, 3<<16+8), Damaged, "no cluster begins"},
		{"L1 table in the header", qcow2, Qcow2, put64(40, 0), Overlap, "the L1 table is where the header is"},
		{"L1 table in the reference counts", qcow2, Qcow2, put64(40, 1<<16), Overlap, "is where the L1 table is"},
		{"no reference counts", qcow2, Qcow2, put32(56, 0), Damaged, "no table of reference counts"},
		{"huge reference counts", qcow2, Qcow2, put32(56, 1<<31), HugeTable, "reference counts"},
		{"reference counts outside of the file", qcow2, Qcow2, put64(48, 1<<50), HugeTable, "not in the file"},
		{"many snapshots", qcow2, Qcow2, put32(60, 1<<31), HugeTable, "snapshots"},
		{"snapshots outside of the file", qcow2, Qcow2, all(put32(60, 1), put64(64, 1<<40)), HugeTable, "not in the file"},
		{"snapshots in the L1 table", qcow2, Qcow2, all(put32(60, 1), put64(64, 3<<16)), Overlap, "is where the L1 table is"},
		{"qcow2, cut in its header", qcow2[:100], Qcow2, all(), Truncated, "ends in its header"},
		{"qcow2, cut after its magic", qcow2[:8], Qcow2, all(), OtherFormat, "not a qcow2 image"},
		{"qcow2 said to be raw", qcow2, Raw, all(), OtherFormat, "looks like qcow2"},
		{"QED said to be raw", make([]byte, 4096), Raw, write(0, "QED\x00"), OtherFormat, "looks like qed"},
		{"qcow said to be raw", make([]byte, 4096), Raw, write(0, "QFI\xfb\x00\x00\x00\x01"), OtherFormat, "looks like qcow,"},
		{"LUKS said to be raw", make([]byte, 4096), Raw, write(0, "LUKS\xba\xbe"), OtherFormat, "looks like luks"},
		{"parallels said to be raw", make([]byte, 4096), Raw, write(0, "WithoutFreeSpace"), OtherFormat, "looks like parallels"},
		{"VMDK's list said to be raw", make([]byte, 4096), Raw, write(0, "# Disk DescriptorFile\n"), OtherFormat, "looks like vmdk"},
		{"nothing said to be raw", nil, Raw, all(), HugeDisk, "0 bytes"},

		{"list of files", make([]byte, 4096), VMDK, write(0, "# Disk DescriptorFile\nRW 1 FLAT \"/etc/shadow\" 0\n"), ExtentFile, "list of files"},
		{"server's", make([]byte, 4096), VMDK, write(0, "COWD"), UnknownVersion, "servers"},
		{"extents of another kind", vmdk, VMDK, replace(" SPARSE ", " FLAT   "), ExtentFile, `"FLAT"`},
		{"two extents", vmdk, VMDK, replace("# The Disk Data Base", "RW 1 SPARSE \"a\"\n#   "), ExtentFile, "names 2 extents"},
		{"two files", vmdk, VMDK, replace("monolithicSparse", "twoGbMaxExtentSp"), ExtentFile, "twoGbMaxExtentSp"},
		{"difference", vmdk, VMDK, replace("parentCID=ffffffff", "parentCID=12345678"), Parent, "12345678"},
		{"difference by a name", vmdk, VMDK, replace("# The Disk Data Base", "parentFileNameHint=a"), Parent, `"a"`},
		{"no disk in it", vmdk, VMDK, le64(12, 0), ExtentFile, "holds no disk"},
		{"no description", vmdk, VMDK, le64(28, 0), ExtentFile, "no description"},
		{"huge description", vmdk, VMDK, le64(36, 1<<40), HugeTable, "description of 1099511627776"},
		{"description outside of the file", vmdk, VMDK, le64(28, 1<<30), Truncated, "description"},
		{"huge VMDK", vmdk, VMDK, le64(12, 1<<60), HugeDisk, "sectors"},
		{"grains of 3 sectors", vmdk, VMDK, le64(20, 3), Damaged, "grains of 3"},
		{"grains of 2^63", vmdk, VMDK, le64(20, 1<<63), Damaged, "grains of"},
		{"no grains", vmdk, VMDK, le64(20, 0), Damaged, "grains of 0"},
		{"large tables", vmdk, VMDK, le32(44, 1<<31), Damaged, "tables of"},
		{"huge directory", vmdk, VMDK, all(le64(12, 1<<36), le64(20, 1), le32(44, 1)), HugeTable, "directory"},
		{"directory outside of the file", vmdk, VMDK, le64(56, 1<<40), HugeTable, "directory"},
		{"directory at the end of numbers", vmdk, VMDK, le64(56, 1<<64-2), HugeTable, "directory"},
		{"VMDK of version 9", vmdk, VMDK, le32(4, 9), UnknownVersion, "version 9"},
		{"VMDK compressed otherwise", vmdk, VMDK, le16(77, 2), UnknownFeature, "compressed"},
		{"VMDK, cut", vmdk[:300], VMDK, all(), Truncated, "ends in its header"},
		{"stream without a footer", stream, VMDK, func(b []byte) { clear(b[len(b)-2*block:]) }, Damaged, "footer"},
		{"stream with a footer that points on", stream, VMDK, func(b []byte) { le64(56, 1<<64-1)(b[len(b)-2*block:]) }, Damaged, "footer"},
		{"stream without its end", stream[:600], VMDK, all(), Truncated, "footer"},

		{"VHDX with a log", vhdx, VHDX, head(write(48, "x")), Dirty, "qemu-img check -r all"},
		{"VHDX of version 2", vhdx, VHDX, head(le16(66, 2)), UnknownVersion, "version 2"},
		{"VHDX without headers", vhdx, VHDX, all(write(64<<10, "x"), write(128<<10, "x")), Damaged, "neither"},
		{"VHDX with wrong sums", vhdx, VHDX, all(write(64<<10+100, "x"), write(128<<10+100, "x")), Damaged, "neither"},
		{"VHDX with an unknown region", vhdx, VHDX, region(all(write(16, "unknown"), le32(16+28, 1))), UnknownFeature, "region"},
		{"VHDX with many regions", vhdx, VHDX, region(le32(8, 1<<31)), Damaged, "table of regions"},
		{"VHDX with a region outside", vhdx, VHDX, region(le64(16+16, 1<<50)), HugeTable, "not in the file"},
		{"VHDX with regions in its header", vhdx, VHDX, region(le64(16+16, 64<<10)), Overlap, "header"},
		{"VHDX that is a difference", vhdx, VHDX, vhdxItem(itemParameters, func(b []byte) { b[4] |= 2 }), Parent, "difference"},
		{"VHDX with odd blocks", vhdx, VHDX, vhdxItem(itemParameters, le32(0, 3<<20)), Damaged, "blocks of 3145728"},
		{"VHDX that is huge", vhdx, VHDX, vhdxItem(itemVirtual, le64(0, 1<<63)), HugeDisk, "9223372036854775808"},
		{"VHDX of nothing", vhdx, VHDX, vhdxItem(itemVirtual, le64(0, 0)), HugeDisk, "0 bytes"},
		{"VHDX with a parent's name", vhdx, VHDX, vhdxEntry(itemPage83, itemParent), Parent, "difference"},
		{"VHDX with unknown metadata", vhdx, VHDX, vhdxEntry(itemPage83, strings.Repeat("ab", 16)), UnknownFeature, "abababab"},
		{"VHDX without a size", vhdx, VHDX, vhdxEntry(itemVirtual, itemPage83), Damaged, "do not say"},
		{"VHDX, cut", vhdx[:100<<10], VHDX, all(), Truncated, "header"},

		{"VHD that is a difference", vhd, VHD, foot(60, 4), Parent, "difference"},
		{"VHD of an unknown kind", vhd, VHD, foot(60, 7), UnknownFeature, "kind 7"},
		{"VHD of version 2", vhd, VHD, foot(12, 2<<16), UnknownVersion, "0x20000"},
		{"VHD that is huge", vhd, VHD, foot(48, 1<<31), HugeDisk, "bytes"},
		{"VHD of nothing", vhd, VHD, all(foot(48, 0), foot(52, 0)), HugeDisk, "0 bytes"},
		{"VHD with a wrong sum", vhd, VHD, func(b []byte) { b[len(b)-block+70] ^= 1 }, Damaged, "checksum of its footer"},
		{"VHD with a header outside", vhd, VHD, foot(16, 1), Truncated, "dynamic header"},
		{"VHD with another header", vhd, VHD, write(512, "x"), Damaged, "dynamic header is none"},
		{"VHD with a header of a wrong sum", vhd, VHD, write(512+100, "x"), Damaged, "checksum of its dynamic header"},
		{"VHD with odd blocks", vhd, VHD, dynamic(32, 3), Damaged, "blocks of 3"},
		{"VHD with few blocks", vhd, VHD, dynamic(28, 1), Damaged, "too few"},
		{"VHD with many blocks", vhd, VHD, dynamic(28, 1<<31), HugeTable, "table of 2147483648"},
		{"VHD with its table outside", vhd, VHD, dynamic(16, 1), HugeTable, "not in the file"},
		{"fixed VHD that is larger than its file", fixed, VHD, foot(48, 1), Damaged, "not in a file"},
		{"fixed VHD, cut", fixed[:len(fixed)-1], VHD, all(), OtherFormat, "no footer"},
		{"VHD of 100 bytes", vhd[:100], VHD, all(), OtherFormat, "not a VHD"},

		{"VDI of version 2", vdi, VDI, le32(68, 2<<16), UnknownVersion, "0x20000"},
		{"VDI that is a difference", vdi, VDI, le32(76, 4), Parent, "difference"},
		{"VDI with a parent", vdi, VDI, write(440, "x"), Parent, "difference"},
		{"VDI of an unknown kind", vdi, VDI, le32(76, 9), UnknownFeature, "kind 9"},
		{"VDI that is huge", vdi, VDI, le64(368, 1<<63), HugeDisk, "bytes"},
		{"VDI with odd blocks", vdi, VDI, le32(376, 7), UnknownFeature, "blocks of 7"},
		{"VDI with few blocks", vdi, VDI, le32(384, 1), Damaged, "too few"},
		{"VDI with more blocks than there are", vdi, VDI, le32(388, 1<<31), Damaged, "in use"},
		{"VDI with many blocks", vdi, VDI, le32(384, 1<<31), HugeTable, "2147483648 blocks"},
		{"VDI with its table outside", vdi, VDI, le32(340, 1<<31), HugeTable, "not in the file"},
		{"VDI with its table amid a sector", vdi, VDI, le32(340, 513), Damaged, "no sector begins"},
		{"VDI with its data in its header", vdi, VDI, le32(344, 0), Overlap, "header"},
		{"VDI, cut", vdi[:200], VDI, all(), Truncated, "ends in its header"},

		{"catalogue outside of the CD-ROM", iso, ISO, le32(17*sector+71, 1<<31), Truncated, "boot catalogue"},
		{"catalogue with a wrong sum", iso, ISO, write(19*sector+4, "x"), Damaged, "boot catalogue"},
		{"CD-ROM without a volume", iso, ISO, write(16*sector, "\x02"), OtherFormat, "ISO 9660"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := bytes.Clone(tt.good)
			tt.change(b)
			info, err := check(b, tt.format)
			var refused *RefusedError
			if !errors.As(err, &refused) || refused.Trick != tt.trick || refused.Format != tt.format || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%+v, %v; want %s: %s", info, err, tt.trick, tt.want)
			}
		})
	}
	t.Logf("%d tricks refused", len(tests))
}

// streamed makes of a VMDK image one as VMware sends it: the header stands again at the
// end, where alone it says where the directory is.
func streamed(b []byte) []byte {
	b = append(b, b[:block]...)
	b = append(b, make([]byte, block)...)
	le64(56, 1<<64-1)(b)
	return b
}

// sumUp puts in the complement of the sum that VHD has.
func sumUp(b []byte, at int) {
	copy(b[at:at+4], "\x00\x00\x00\x00")
	var sum uint32
	for _, v := range b {
		sum += uint32(v)
	}
	binary.BigEndian.PutUint32(b[at:], ^sum)
}

func TestCDROMsThatDoNotStart(t *testing.T) {
	for name, tt := range map[string]struct {
		change     change
		bios, uefi bool
	}{
		"both":                   {all(), true, true},
		"no catalogue":           {write(17*sector+7, "x"), false, false},
		"BIOS":                   {write(19*sector+96, "\x00"), true, false},
		"UEFI":                   {write(19*sector+32, "\x00"), false, true},
		"UEFI at first":          {all(write(19*sector+1, "\xef"), le16(19*sector+28, -(0xaa55+0xef01)&0xffff)), false, true},
		"section without an end": {all(write(19*sector+64, "\x90"), le16(19*sector+66, 65535)), true, true},
	} {
		b := isoImage()
		tt.change(b)
		if info, err := check(b, ISO); info.BootBIOS != tt.bios || info.BootUEFI != tt.uefi || err != nil {
			t.Errorf("%s: %+v, %v", name, info, err)
		}
	}
}

func TestLooks(t *testing.T) {
	for want, b := range map[Format][]byte{Qcow2: qcow2Image(), ISO: isoImage(), "": make([]byte, 100), "dmg": append(make([]byte, 512), "koly"+strings.Repeat("x", 508)...)} {
		if got, err := Looks(bytes.NewReader(b), int64(len(b))); got != want || err != nil {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
}

type failing struct{ after int64 }

var errDisk = errors.New("disk is gone")

func (f failing) ReadAt(b []byte, off int64) (int, error) {
	if off >= f.after {
		return 0, errDisk
	}
	return bytes.NewReader(qcow2Image()).ReadAt(b, off)
}

func TestReadErrors(t *testing.T) {
	for _, f := range Formats() {
		if _, err := Check(failing{}, 1<<20, f); !errors.Is(err, errDisk) {
			t.Errorf("%s: %v", f, err)
		}
	}
	if _, err := Check(failing{104}, 1<<20, Qcow2); !errors.Is(err, errDisk) {
		t.Errorf("extensions: %v", err)
	}
	if _, err := Check(failing{}, 0, "gif"); err == nil || errors.Is(err, errDisk) {
		t.Errorf("%v", err)
	}
}

// counting counts what is read.
type counting struct {
	io.ReaderAt
	n *int
}

func (c counting) ReadAt(b []byte, off int64) (int, error) {
	*c.n += len(b)
	return c.ReaderAt.ReadAt(b, off)
}

func FuzzCheck(f *testing.F) {
	f.Add(qcow2Image()[:4096], int64(4<<16))
	f.Add(isoImage(), int64(20*sector))
	vdi := make([]byte, 4096)
	all(le32(64, 0xbeda107f), le32(68, 0x10001), le32(76, 1), le32(340, 512), le32(344, 1024), le32(360, 512), le64(368, 1<<20), le32(376, 1<<20), le32(384, 1))(vdi)
	f.Add(vdi, int64(4096))
	vmdk := make([]byte, 4096)
	copy(vmdk, "KDMV")
	all(le32(4, 1), le64(12, 128), le64(20, 128), le64(28, 1), le64(36, 2), le32(44, 512), le64(56, 4),
		write(512, "# Disk DescriptorFile\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\nRW 128 SPARSE \"x\"\n"))(vmdk)
	f.Add(vmdk, int64(4096))
	vhd := make([]byte, 4096)
	copy(vhd[4096-512:], "conectix")
	all(put32(4096-512+12, 1<<16), put64(4096-512+48, 1024), put32(4096-512+60, 2))(vhd)
	sumUp(vhd[4096-512:], 64)
	f.Add(vhd, int64(4096))
	f.Add([]byte("vhdxfile"), int64(8))
	f.Add([]byte{}, int64(-1))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		begin := time.Now()
		for _, format := range Formats() {
			read := 0
			info, err := Check(counting{bytes.NewReader(b), &read}, size, format)
			if read > 1<<20 {
				t.Errorf("%s: %d bytes read", format, read)
			}
			if err != nil {
				if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r == 0x7f }) || len(err.Error()) > 512 {
					t.Errorf("%q", err)
				}
				continue
			}
			if info.Virtual < 0 || info.Virtual > MaxVirtual && format != ISO || info.Format != format || strings.ContainsAny(info.Label, "\n\x1b") {
				t.Errorf("%+v", info)
			}
			if format == Qcow2 && (binary.BigEndian.Uint64(b[8:]) != 0 || binary.BigEndian.Uint32(b[32:]) != 0) {
				t.Error("a backing file or encryption passes")
			}
		}
		_, _ = Looks(bytes.NewReader(b), size)
		if took := time.Since(begin); took > time.Second {
			t.Errorf("%v", took)
		}
	})
}

func ExampleCheck() {
	backed := qcow2Image()
	binary.BigEndian.PutUint64(backed[8:], 112)
	binary.BigEndian.PutUint32(backed[16:], 11)
	copy(backed[112:], "/etc/shadow")
	for _, b := range [][]byte{qcow2Image(), backed} {
		info, err := Check(bytes.NewReader(b), int64(len(b)), Qcow2)
		var refused *RefusedError
		if errors.As(err, &refused) {
			fmt.Println("refused:", refused.Trick)
			continue
		}
		fmt.Println(info.Format, info.Virtual)
	}
	// Output:
	// qcow2 1073741824
	// refused: backing file
}
