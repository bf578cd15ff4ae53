package image

import (
	"bytes"
	"encoding/binary"
	"strings"
)

const (
	block         = 512      // VMware's and Microsoft's sectors
	maxDescriptor = 64 << 10 // bytes
	maxDirectory  = 8 << 20  // entries, of 4 bytes each
)

// vmdk reads an image that is one sparse file with its description in it, as by VMware's
// Virtual Disk Format 5.0. A description by itself names other files.
func (c *checker) vmdk() (Info, error) {
	h, err := c.upTo(0, block)
	if err != nil {
		return Info{}, err
	}
	switch {
	case bytes.HasPrefix(h, []byte("# Disk DescriptorFile")):
		return Info{}, c.convert(ExtentFile, "it is a list of files, which are not opened")
	case bytes.HasPrefix(h, []byte("COWD")):
		return Info{}, c.convert(UnknownVersion, "it is of a kind that only VMware's servers write")
	case !bytes.HasPrefix(h, []byte("KDMV")):
		return Info{}, c.refuse(OtherFormat, "it is not a VMDK image")
	case len(h) < block:
		return Info{}, c.refuse(Truncated, "it ends in its header")
	}
	le32 := func(at int) uint32 { return binary.LittleEndian.Uint32(h[at:]) }
	le64 := func(at int) uint64 { return binary.LittleEndian.Uint64(h[at:]) }
	if v := le32(4); v < 1 || v > 3 {
		return Info{}, c.refuse(UnknownVersion, "version %d is not known", v)
	}
	const atEnd = 1<<64 - 1
	if le64(56) == atEnd { // a stream, whose header is written again when all is known
		if c.size < 2*block {
			return Info{}, c.refuse(Truncated, "it ends before its footer")
		}
		if h, err = c.read(uint64(c.size-2*block), block, "footer"); err != nil {
			return Info{}, err
		}
		if !bytes.HasPrefix(h, []byte("KDMV")) || le64(56) == atEnd {
			return Info{}, c.refuse(Damaged, "its footer is none")
		}
	}
	capacity, grain, entries, directory := le64(12), le64(20), uint64(le32(44)), le64(56)
	switch {
	case capacity == 0: // QEMU would look for other files in the description
		return Info{}, c.convert(ExtentFile, "it holds no disk itself, and the files that do are not opened")
	case capacity > MaxVirtual/block:
		return Info{}, c.refuse(HugeDisk, "the disk would have %d sectors", capacity)
	case grain == 0 || grain&(grain-1) != 0 || grain > 1<<16:
		return Info{}, c.refuse(Damaged, "grains of %d sectors", grain)
	case entries == 0 || entries > 512:
		return Info{}, c.refuse(Damaged, "tables of %d grains", entries)
	case binary.LittleEndian.Uint16(h[77:]) > 1:
		return Info{}, c.refuse(UnknownFeature, "it is compressed in a way that is not known")
	case (capacity+grain*entries-1)/(grain*entries) > maxDirectory:
		return Info{}, c.refuse(HugeTable, "a directory of %d tables", (capacity+grain*entries-1)/(grain*entries))
	case directory > 1<<50:
		return Info{}, c.refuse(HugeTable, "its directory would be in sector %d", directory)
	}
	if err := c.within(directory*block, (capacity+grain*entries-1)/(grain*entries)*4, "directory"); err != nil {
		return Info{}, err
	}
	// Where the description is stands in the first header.
	if h, err = c.read(0, block, "header"); err != nil {
		return Info{}, err
	}
	if err := c.descriptor(le64(28), le64(36)); err != nil {
		return Info{}, err
	}
	return Info{Virtual: int64(capacity) * block}, nil
}

// descriptor reads the description: one sparse extent, which is this file, and no parent.
func (c *checker) descriptor(at, sectors uint64) error {
	if at == 0 || sectors == 0 {
		return c.convert(ExtentFile, "it has no description, and is a part of a disk")
	}
	if at > 1<<40 || sectors > maxDescriptor/block {
		return c.refuse(HugeTable, "a description of %d sectors in sector %d", sectors, at)
	}
	text, err := c.read(at*block, int(sectors)*block, "description")
	if err != nil {
		return err
	}
	text, _, _ = bytes.Cut(text, []byte{0})
	extents, parent, kind := 0, "", ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		key, value, assigned := strings.Cut(line, "=")
		key, value = strings.ToLower(strings.TrimSpace(key)), strings.Trim(strings.TrimSpace(value), `"`)
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "#"):
		case len(words) >= 3 && (words[0] == "RW" || words[0] == "RDONLY" || words[0] == "NOACCESS"):
			extents++
			if words[2] != "SPARSE" {
				return c.convert(ExtentFile, "it names an extent of kind %q, which is not opened", short(words[2]))
			}
		case assigned && key == "parentcid" && !strings.EqualFold(value, "ffffffff"), assigned && key == "parentfilenamehint":
			parent = value
		case assigned && key == "createtype":
			kind = value
		}
	}
	switch {
	case parent != "":
		return c.convert(Parent, "it is the difference to another disk, %q, which is not opened", short(parent))
	case kind != "monolithicSparse" && kind != "streamOptimized":
		return c.convert(ExtentFile, "it is of the kind %q, not one sparse file", short(kind))
	case extents != 1:
		return c.convert(ExtentFile, "it names %d extents", extents)
	}
	return nil
}
