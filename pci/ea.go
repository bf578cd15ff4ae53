package pci

// An EnhancedAllocation says where memory of a function is that no BAR can move
// (PCI Express Base 6.0, section 7.8.5). Such BARs read as zero.
type EnhancedAllocation struct {
	Entries []FixedRange
}

// A FixedRange is one entry of an [EnhancedAllocation].
type FixedRange struct {
	Enabled, Writable bool
	// Equivalent is what it stands for: 0 to 5 the BARs, 6 what is behind a bridge, 7
	// none, 8 the expansion ROM, 9 to 14 the BARs of virtual functions.
	Equivalent uint8
	// Properties and Secondary: 0 memory, 1 prefetchable memory, 2 I/O, 3 and 4 the
	// first two of virtual functions, fd to ff unused.
	Properties, Secondary uint8
	Start                 uint64
	Last                  uint64 // offset of the last byte from Start: the size minus one
}

// EnhancedAllocation decodes the enhanced allocation capability.
func (c Config) EnhancedAllocation() (EnhancedAllocation, error) {
	v, err := c.find(CapabilityEnhancedAllocation, 4)
	if err != nil {
		return EnhancedAllocation{}, err
	}
	n, at := int(v[2]&0x3f), 4
	if HeaderType(c.b[0x0e]&0x7f) == HeaderBridge {
		at = 8 // after fixed bus numbers
	}
	var ea EnhancedAllocation
	for range n {
		if err := c.more(v, at+4); err != nil {
			return ea, err
		}
		h := le32(v, at)
		size := 4 * (int(h&7) + 1)
		if err := c.more(v, at+size); err != nil {
			return ea, err
		}
		r, ok := fixedRange(h, v[at+4:at+size])
		if !ok {
			return ea, malformed("enhanced allocation: an entry of %d bytes is too short", size)
		}
		ea.Entries = append(ea.Entries, r)
		at += size
	}
	return ea, nil
}

func fixedRange(h uint32, v string) (FixedRange, bool) {
	r := FixedRange{
		Enabled:    bit(h, 31),
		Writable:   bit(h, 30),
		Equivalent: uint8(h >> 4 & 15),
		Properties: uint8(h >> 8),
		Secondary:  uint8(h >> 16),
	}
	if len(v) < 8 {
		return r, false
	}
	base, last := le32(v, 0), le32(v, 4)
	r.Start, r.Last = uint64(base&^3), uint64(last|3)
	at := 8
	if bit(base, 1) {
		if len(v) < at+4 {
			return r, false
		}
		r.Start |= uint64(le32(v, at)) << 32
		at += 4
	}
	if bit(last, 1) {
		if len(v) < at+4 {
			return r, false
		}
		r.Last |= uint64(le32(v, at)) << 32
	}
	return r, true
}
