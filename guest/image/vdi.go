package image

import (
	"encoding/binary"
	"slices"
)

// vdi reads the header of VirtualBox's images, version 1.1 (VDICore.h).
func (c *checker) vdi() (Info, error) {
	h, err := c.upTo(0, block)
	if err != nil {
		return Info{}, err
	}
	le32 := func(at int) uint64 { return uint64(binary.LittleEndian.Uint32(h[at:])) }
	switch {
	case len(h) < 68 || le32(64) != 0xbeda107f:
		return Info{}, c.refuse(OtherFormat, "it is not a VDI image")
	case len(h) < block:
		return Info{}, c.refuse(Truncated, "it ends in its header")
	case le32(68) != 0x10001:
		return Info{}, c.refuse(UnknownVersion, "version %#x is not known", le32(68))
	}
	virtual, size, extra, blocks := binary.LittleEndian.Uint64(h[368:]), le32(376), le32(380), le32(384)
	switch kind := le32(76); {
	case kind == 4 || slices.Max(h[424:456]) != 0: // identifiers of what it is the difference to
		return Info{}, c.convert(Parent, "it is the difference to another disk, which is not opened")
	case kind != 1 && kind != 2:
		return Info{}, c.refuse(UnknownFeature, "it is of kind %d, which is not known", kind)
	case virtual > MaxVirtual:
		return Info{}, c.refuse(HugeDisk, "the disk would have %d bytes", virtual)
	case size != 1<<20 || extra != 0 || le32(360) != block:
		return Info{}, c.refuse(UnknownFeature, "blocks of %d and %d bytes in sectors of %d", size, extra, le32(360))
	case blocks*size < virtual:
		return Info{}, c.refuse(Damaged, "%d blocks are too few for a disk of %d bytes", blocks, virtual)
	case blocks > maxDirectory*8:
		return Info{}, c.refuse(HugeTable, "a table of %d blocks", blocks)
	case le32(388) > blocks:
		return Info{}, c.refuse(Damaged, "%d blocks of %d are in use", le32(388), blocks)
	case le32(340)%block != 0 || le32(344)%block != 0:
		return Info{}, c.refuse(Damaged, "its table or its data are where no sector begins")
	}
	if err := c.within(le32(340), blocks*4, "table of blocks"); err != nil {
		return Info{}, err
	}
	parts := []part{{"header", 0, block}, {"table of blocks", le32(340), le32(340) + blocks*4}, {"first block", le32(344), le32(344) + 1}}
	return Info{Virtual: int64(virtual)}, c.apart(parts)
}
