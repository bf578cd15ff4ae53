package image

import (
	"encoding/binary"
	"encoding/hex"
	"hash/crc32"
	"slices"
)

// vhd reads a fixed or dynamic image, as by Microsoft's Virtual Hard Disk Image Format
// Specification 1.0: the last 512 bytes say what it is.
func (c *checker) vhd() (Info, error) {
	if c.size < block {
		return Info{}, c.refuse(OtherFormat, "it is not a VHD image")
	}
	f, err := c.read(uint64(c.size-block), block, "footer")
	if err != nil {
		return Info{}, err
	}
	be32 := func(at int) uint32 { return binary.BigEndian.Uint32(f[at:]) }
	if string(f[:8]) != "conectix" {
		return Info{}, c.refuse(OtherFormat, "it is not a VHD image: its last sector is no footer")
	}
	if !complementSum(f, 64) {
		return Info{}, c.refuse(Damaged, "the checksum of its footer is wrong")
	}
	if v := be32(12); v != 1<<16 {
		return Info{}, c.refuse(UnknownVersion, "version %#x is not known", v)
	}
	virtual := binary.BigEndian.Uint64(f[48:])
	if virtual > MaxVirtual || virtual == 0 {
		return Info{}, c.refuse(HugeDisk, "the disk would have %d bytes", virtual)
	}
	switch kind := be32(60); kind {
	case 2:
		if virtual > uint64(c.size-block) {
			return Info{}, c.refuse(Damaged, "a disk of %d bytes is not in a file of %d", virtual, c.size)
		}
		return Info{Virtual: int64(virtual)}, nil
	case 3:
	case 4:
		return Info{}, c.convert(Parent, "it is the difference to another disk, which is not opened")
	default:
		return Info{}, c.refuse(UnknownFeature, "it is of kind %d, which is not known", kind)
	}
	d, err := c.read(binary.BigEndian.Uint64(f[16:]), 1024, "dynamic header")
	if err != nil {
		return Info{}, err
	}
	table, entries, size := binary.BigEndian.Uint64(d[16:]), uint64(binary.BigEndian.Uint32(d[28:])), uint64(binary.BigEndian.Uint32(d[32:]))
	switch {
	case string(d[:8]) != "cxsparse":
		return Info{}, c.refuse(Damaged, "its dynamic header is none")
	case !complementSum(d, 36):
		return Info{}, c.refuse(Damaged, "the checksum of its dynamic header is wrong")
	case binary.BigEndian.Uint32(d[24:]) != 1<<16:
		return Info{}, c.refuse(UnknownVersion, "a dynamic header of version %#x is not known", binary.BigEndian.Uint32(d[24:]))
	case size < block || size&(size-1) != 0 || size > 256<<20:
		return Info{}, c.refuse(Damaged, "blocks of %d bytes", size)
	case entries*size < virtual:
		return Info{}, c.refuse(Damaged, "%d blocks are too few for a disk of %d bytes", entries, virtual)
	case entries*4 > maxDirectory*4:
		return Info{}, c.refuse(HugeTable, "a table of %d blocks", entries)
	}
	return Info{Virtual: int64(virtual)}, c.within(table, entries*4, "table of blocks")
}

// complementSum reports whether the four bytes at are the complement of the sum of the others.
func complementSum(b []byte, at int) bool {
	var sum uint32
	for i, v := range b {
		if i < at || i >= at+4 {
			sum += uint32(v)
		}
	}
	return binary.BigEndian.Uint32(b[at:]) == ^sum
}

// The GUIDs of [MS-VHDX], as they stand in a file.
const (
	regionBAT       = "6677c22d23f600429d64115e9bfd4a08"
	regionMetadata  = "06a27c8b90479a4bb8fe575f050f886e"
	itemParameters  = "3767a1ca36fa434db3b633f0aa44e76b"
	itemVirtual     = "2442a52f1bcd7648b2115dbed83bf4b8"
	itemPage83      = "ab12cabee6b2234593efc309e000c746"
	itemLogical     = "1dbf41816fa90947ba47f233a8faab5f"
	itemPhysical    = "c748a3cd5d4471449cc9e9885251c556"
	itemParent      = "2d5fd3a80bb34d45abf7d3d84834ab0c"
	maxVHDXEntries  = 2047
	vhdxHeaderSize  = 4 << 10
	vhdxRegionsSize = 64 << 10
)

// vhdx reads an image as by [MS-VHDX] 2: two headers of which the later counts, a table of
// regions, and in one of them the items that say what the disk is.
func (c *checker) vhdx() (Info, error) {
	id, err := c.upTo(0, 8)
	if err != nil {
		return Info{}, err
	}
	if string(id) != "vhdxfile" {
		return Info{}, c.refuse(OtherFormat, "it is not a VHDX image")
	}
	if err := c.vhdxHeaders(); err != nil {
		return Info{}, err
	}
	regions, err := c.read(192<<10, vhdxRegionsSize, "table of regions")
	if err != nil {
		return Info{}, err
	}
	count := binary.LittleEndian.Uint32(regions[8:])
	if string(regions[:4]) != "regi" || !castagnoli(regions) || count > maxVHDXEntries {
		return Info{}, c.refuse(Damaged, "its table of regions is none")
	}
	var metadata, bat uint64
	parts := []part{{"header", 0, 1 << 20}}
	for i := range int(count) {
		e := regions[16+32*i:]
		off, length := binary.LittleEndian.Uint64(e[16:]), uint64(binary.LittleEndian.Uint32(e[24:]))
		if err := c.within(off, length, "region"); err != nil {
			return Info{}, err
		}
		if len(parts) <= 16 {
			parts = append(parts, part{"region", off, off + length})
		}
		switch id := hex.EncodeToString(e[:16]); {
		case id == regionBAT:
			bat = off
		case id == regionMetadata:
			metadata = off
			if length < vhdxRegionsSize {
				return Info{}, c.refuse(Damaged, "metadata of %d bytes", length)
			}
		case e[28]&1 != 0:
			return Info{}, c.refuse(UnknownFeature, "it needs the region %s, which is not known", id)
		}
	}
	if metadata == 0 || bat == 0 {
		return Info{}, c.refuse(Damaged, "it has no metadata, or no table of blocks")
	}
	if err := c.apart(parts); err != nil {
		return Info{}, err
	}
	return c.vhdxMetadata(metadata)
}

// vhdxHeaders finds the current header, and that there is nothing in the log.
func (c *checker) vhdxHeaders() error {
	var current []byte
	for _, off := range []uint64{64 << 10, 128 << 10} {
		h, err := c.read(off, vhdxHeaderSize, "header")
		if err != nil {
			return err
		}
		valid := string(h[:4]) == "head" && castagnoli(h)
		if valid && (current == nil || binary.LittleEndian.Uint64(h[8:]) > binary.LittleEndian.Uint64(current[8:])) {
			current = h
		}
	}
	switch {
	case current == nil:
		return c.refuse(Damaged, "neither of its headers is one")
	case binary.LittleEndian.Uint16(current[66:]) != 1:
		return c.refuse(UnknownVersion, "version %d is not known", binary.LittleEndian.Uint16(current[66:]))
	case slices.Max(current[48:64]) != 0:
		e := c.refuse(Dirty, "its log has to be replayed")
		e.Remedy = "repair a copy of it: qemu-img check -r all"
		return e
	}
	return nil
}

func (c *checker) vhdxMetadata(at uint64) (Info, error) {
	table, err := c.read(at, vhdxRegionsSize, "metadata")
	if err != nil {
		return Info{}, err
	}
	count := int(binary.LittleEndian.Uint16(table[10:]))
	if string(table[:8]) != "metadata" || count > maxVHDXEntries {
		return Info{}, c.refuse(Damaged, "its metadata are none")
	}
	known := []string{itemPage83, itemLogical, itemPhysical}
	var virtual, parameters bool
	var info Info
	for i := range count {
		e := table[32+32*i:]
		off, length, required := binary.LittleEndian.Uint32(e[16:]), binary.LittleEndian.Uint32(e[20:]), e[24]&4 != 0
		switch id := hex.EncodeToString(e[:16]); {
		case id == itemParent:
			return Info{}, c.convert(Parent, "it is the difference to another disk, which is not opened")
		case id == itemParameters && length == 8, id == itemVirtual && length == 8:
			b, err := c.read(at+uint64(off), 8, "metadata")
			if err != nil {
				return Info{}, err
			}
			if id == itemVirtual {
				size := binary.LittleEndian.Uint64(b)
				if size > MaxVirtual {
					return Info{}, c.refuse(HugeDisk, "the disk would have %d bytes", size)
				}
				info.Virtual, virtual = int64(size), true
				continue
			}
			parameters = true
			if b[4]&2 != 0 {
				return Info{}, c.convert(Parent, "it is the difference to another disk, which is not opened")
			}
			if size := binary.LittleEndian.Uint32(b); size < 1<<20 || size > 256<<20 || size&(size-1) != 0 {
				return Info{}, c.refuse(Damaged, "blocks of %d bytes", size)
			}
		case required && !slices.Contains(known, id):
			return Info{}, c.refuse(UnknownFeature, "it needs the metadata %s, which are not known", id)
		}
	}
	if !virtual || !parameters {
		return Info{}, c.refuse(Damaged, "its metadata do not say what the disk is")
	}
	return info, nil
}

// castagnoli reports whether bytes 4 to 7 are the CRC-32C of all with these as zero.
func castagnoli(b []byte) bool {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := crc32.Update(0, table, b[:4])
	sum = crc32.Update(sum, table, make([]byte, 4))
	return crc32.Update(sum, table, b[8:]) == binary.LittleEndian.Uint32(b[4:])
}
