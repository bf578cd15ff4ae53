package image

import (
	"encoding/binary"
	"strings"
)

// The bounds of QEMU (block/qcow2.h), but for snapshots, of which it takes 65536.
const (
	maxL1        = 32 << 20 // bytes
	maxRefcounts = 8 << 20
	maxSnapshots = 4096
	minSnapshot  = 40 // bytes of an entry
)

// The header extensions that change what an image needs (docs/interop/qcow2.txt).
const (
	extensionEnd      = 0x00000000
	extensionDataFile = 0x44415441
	extensionLUKS     = 0x0537be77
)

// The methods of encryption in the header.
const (
	cryptNone = 0
	cryptAES  = 1 // of one password, without a salt: QEMU itself warns of it
	cryptLUKS = 2
)

// qcow2 reads the header of version 2 or 3.
func (c *checker) qcow2() (Info, error) {
	h, err := c.upTo(0, 112)
	if err != nil {
		return Info{}, err
	}
	if len(h) < 72 || string(h[:4]) != "QFI\xfb" {
		return Info{}, c.refuse(OtherFormat, "it is not a qcow2 image")
	}
	be32 := func(at int) uint32 { return binary.BigEndian.Uint32(h[at:]) }
	be64 := func(at int) uint64 { return binary.BigEndian.Uint64(h[at:]) }
	version := be32(4)
	if version != 2 && version != 3 {
		return Info{}, c.refuse(UnknownVersion, "version %d is not known", version)
	}
	if off := be64(8); off != 0 {
		return Info{}, c.backing(off, be32(16))
	}
	if err := c.encryption(be32(32)); err != nil {
		return Info{}, err
	}
	bits := be32(20)
	if bits < 9 || bits > 21 {
		return Info{}, c.refuse(Damaged, "clusters of 2 to the power of %d bytes, not of 9 to 21", bits)
	}
	cluster := uint64(1) << bits
	headerLength, entry := uint64(72), uint64(8)
	if version == 3 {
		if len(h) < 104 {
			return Info{}, c.refuse(Truncated, "it ends in its header")
		}
		if err := c.features(h, be64(72), be32(96)); err != nil {
			return Info{}, err
		}
		headerLength = uint64(be32(100))
		if headerLength < 104 || headerLength > cluster || headerLength%8 != 0 {
			return Info{}, c.refuse(Damaged, "a header of %d bytes", headerLength)
		}
		if be64(72)&(1<<4) != 0 { // extended L2 entries
			entry = 16
			if bits < 14 {
				return Info{}, c.refuse(Damaged, "extended entries with clusters of %d bytes", cluster)
			}
		}
	}
	luks, err := c.extensions(headerLength, cluster)
	if err != nil {
		return Info{}, err
	}
	return c.tables(h, cluster, entry, luks)
}

// encryption checks the method that the header names against what the image is said to be.
func (c *checker) encryption(method uint32) error {
	switch {
	case method == cryptAES:
		e := c.refuse(Encrypted, "it is encrypted by the old method AES, which keeps nothing secret")
		e.Remedy = "make a copy that is encrypted by LUKS, with qemu-img convert"
		return e
	case method > cryptLUKS:
		return c.refuse(Encrypted, "it is encrypted in a way that is not known, %d", method)
	case method == cryptLUKS && !c.encrypted:
		e := c.refuse(Encrypted, "it is encrypted by LUKS, and there is no key")
		e.Remedy = "say where its key comes from, as in the definition of a guest: key: passphrase"
		return e
	case method == cryptNone && c.encrypted:
		return c.refuse(NotEncrypted, "a key is given for it, and everybody can read it; whoever put it there may have put it in the place of the encrypted one")
	}
	return nil
}

func (c *checker) backing(off uint64, length uint32) error {
	name := ""
	if length <= 1023 && off <= 2<<20 {
		b, err := c.upTo(int64(off), int(length))
		if err != nil {
			return err
		}
		name = string(b)
	}
	if strings.HasPrefix(name, "json:") {
		return c.refuse(JSONName, "it needs a backing file by a name that can mean any file or server, %q", short(name))
	}
	return c.convert(BackingFile, "it needs the backing file %q, which is not opened", short(name))
}

// features checks the bits of which an unknown one means that nobody may read the image.
// 0 dirty, 1 corrupt, 2 external data file, 3 compression type, 4 extended L2.
func (c *checker) features(h []byte, incompatible uint64, refcountOrder uint32) error {
	compression := byte(0)
	if len(h) > 104 && binary.BigEndian.Uint32(h[100:]) > 104 {
		compression = h[104]
	}
	switch {
	case incompatible&(1<<2) != 0:
		return c.convert(DataFile, "its data file is not opened")
	case incompatible&(1<<1) != 0:
		e := c.refuse(Corrupt, "it is marked corrupt")
		e.Remedy = "repair a copy of it: qemu-img check -r all"
		return e
	case incompatible>>5 != 0:
		return c.refuse(UnknownFeature, "it needs features that are not known: %#x", incompatible>>5<<5)
	case compression > 1 || (compression != 0) != (incompatible&(1<<3) != 0):
		return c.refuse(UnknownFeature, "it is compressed in a way that is not known, %d", compression)
	case refcountOrder > 6:
		return c.refuse(Damaged, "reference counts of 2 to the power of %d bits", refcountOrder)
	}
	return nil
}

// extensions walks what follows the header, and returns where the header of the encryption
// is. Each has a type and a length, so there are at most as many as fit in a cluster.
func (c *checker) extensions(off, cluster uint64) (luks part, err error) {
	for off+8 <= cluster {
		b, err := c.upTo(int64(off), 8)
		if err != nil {
			return part{}, err
		}
		if len(b) < 8 {
			break // without any, a file may end here
		}
		kind, length := binary.BigEndian.Uint32(b), uint64(binary.BigEndian.Uint32(b[4:]))
		if kind == extensionEnd {
			break
		}
		switch {
		case kind == extensionDataFile:
			return part{}, c.convert(DataFile, "its data file is not opened")
		case kind == extensionLUKS && !c.encrypted:
			return part{}, c.refuse(Encrypted, "it is encrypted, and there is no key")
		case kind == extensionLUKS && luks.what != "":
			return part{}, c.refuse(Damaged, "two headers of encryption")
		case kind == extensionLUKS:
			if luks, err = c.luks(off+8, length, cluster); err != nil {
				return part{}, err
			}
		}
		if length > cluster-off-8 {
			return part{}, c.refuse(Damaged, "a header extension of %d bytes", length)
		}
		off += 8 + (length+7)/8*8
	}
	if c.encrypted && luks.what == "" {
		return part{}, c.refuse(Damaged, "it is encrypted by LUKS, and does not say where the header of that is")
	}
	return luks, nil
}

// The header of LUKS 1 (LUKS On-Disk Format Specification 1.2.3, 2), with the material of its
// eight keys behind it. Those that QEMU makes have less than 2 MiB.
const (
	minLUKS       = 592
	maxLUKS       = 16 << 20
	maxIterations = 1 << 28 // minutes of a fast processor
	luksSlot      = 208     // where the first of eight slots for keys is
	luksSlotSize  = 48
	luksSlots     = 8
	luksActive    = 0x00ac71f3
)

// luks checks the header of the encryption that an extension of that length at off points to.
func (c *checker) luks(off, length, cluster uint64) (part, error) {
	const what = "header of the encryption"
	if length != 16 {
		return part{}, c.refuse(Damaged, "a pointer of %d bytes to the %s", length, what)
	}
	b, err := c.read(off, 16, "pointer to the "+what)
	if err != nil {
		return part{}, err
	}
	at, size := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	switch {
	case at == 0 || at%cluster != 0:
		return part{}, c.refuse(Damaged, "the %s is at byte %d, where no cluster begins", what, at)
	case size < minLUKS || size > maxLUKS:
		return part{}, c.refuse(HugeTable, "the %s has %d bytes, not between %d and %d", what, size, minLUKS, maxLUKS)
	}
	if err := c.within(at, size, what); err != nil {
		return part{}, err
	}
	h, err := c.read(at, minLUKS, what)
	if err != nil {
		return part{}, err
	}
	if string(h[:8]) != "LUKS\xba\xbe\x00\x01" {
		return part{}, c.refuse(Damaged, "the %s is not one of LUKS 1", what)
	}
	iterations, active := binary.BigEndian.Uint32(h[164:]), 0
	for i := range luksSlots {
		slot := h[luksSlot+i*luksSlotSize:]
		if binary.BigEndian.Uint32(slot) == luksActive {
			active++
			iterations = max(iterations, binary.BigEndian.Uint32(slot[4:]))
		}
	}
	switch {
	case active == 0:
		return part{}, c.refuse(Damaged, "no key opens it: all places for keys are empty")
	case iterations > maxIterations:
		return part{}, c.refuse(HugeTable, "%d iterations to try a key are more than %d", iterations, maxIterations)
	}
	return part{what, at, at + (size+cluster-1)/cluster*cluster}, nil
}

// tables checks where the tables are and that they are as large as the disk needs. luks is
// the header of the encryption, if there is one.
func (c *checker) tables(h []byte, cluster, entry uint64, luks part) (Info, error) {
	be32 := func(at int) uint64 { return uint64(binary.BigEndian.Uint32(h[at:])) }
	be64 := func(at int) uint64 { return binary.BigEndian.Uint64(h[at:]) }
	virtual := be64(24)
	if virtual > MaxVirtual {
		return Info{}, c.refuse(HugeDisk, "the disk would have %d bytes, at most %d are taken", virtual, int64(MaxVirtual))
	}
	l1, refcounts, snapshots := be32(36), be32(56), be32(60)
	switch perL1 := cluster / entry * cluster; {
	case l1*8 > maxL1:
		return Info{}, c.refuse(HugeTable, "an L1 table of %d bytes is more than %d", l1*8, maxL1)
	case l1 < (virtual+perL1-1)/perL1:
		return Info{}, c.refuse(Damaged, "an L1 table of %d entries is too small for a disk of %d bytes", l1, virtual)
	case refcounts == 0:
		return Info{}, c.refuse(Damaged, "no table of reference counts")
	case refcounts*cluster > maxRefcounts:
		return Info{}, c.refuse(HugeTable, "a table of reference counts of %d bytes is more than %d", refcounts*cluster, maxRefcounts)
	case snapshots > maxSnapshots:
		return Info{}, c.refuse(HugeTable, "%d snapshots are more than %d", snapshots, maxSnapshots)
	}
	parts := []part{{"header", 0, cluster}}
	if luks.what != "" {
		parts = append(parts, luks)
	}
	for _, table := range []struct {
		what        string
		off, length uint64
	}{
		{"L1 table", be64(40), l1 * 8},
		{"table of reference counts", be64(48), refcounts * cluster},
		{"table of snapshots", be64(64), snapshots * minSnapshot},
	} {
		if table.length == 0 {
			continue
		}
		if table.off%cluster != 0 {
			return Info{}, c.refuse(Damaged, "the %s is at byte %d, where no cluster begins", table.what, table.off)
		}
		if err := c.within(table.off, table.length, table.what); err != nil {
			return Info{}, err
		}
		parts = append(parts, part{table.what, table.off, table.off + table.length})
	}
	if err := c.apart(parts); err != nil {
		return Info{}, err
	}
	return Info{Virtual: int64(virtual), Snapshots: int(snapshots), Encrypted: c.encrypted}, nil
}
