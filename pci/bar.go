package pci

// A BARKind says what a range of addresses belongs to.
type BARKind uint8

// The kinds of ranges.
const (
	KindBAR    BARKind = iota // base address register 0 to 5
	KindROM                   // the expansion ROM
	KindWindow                // what a bridge passes on to the buses behind it
	KindVFBAR                 // base address register of the virtual functions
)

// String returns bar, rom, window or vf-bar.
func (k BARKind) String() string { return name([]string{"bar", "rom", "window", "vf-bar"}, k) }

// A Space is one of the two address spaces.
type Space uint8

// The address spaces.
const (
	SpaceMemory Space = iota
	SpaceIO
)

// String returns memory or io.
func (s Space) String() string { return name([]string{"memory", "io"}, s) }

// A BAR is a range of addresses that a function answers to, or that a bridge passes on.
type BAR struct {
	Kind BARKind
	// Index is the number of the register, 0 to 5. A window is 0 for I/O, 1 for memory
	// and 2 for prefetchable memory; a CardBus bridge has 0 and 1 for I/O, 2 and 3 for
	// memory.
	Index        int
	Space        Space
	Is64         bool // the register has 64 bits
	Prefetchable bool

	Start uint64 // 0 when Unassigned
	// Size in bytes; 0 when it is not known. Configuration space does not tell the size
	// of a BAR, only that of a window.
	Size uint64
	// Unassigned: there is no address (yet), or a window is closed.
	Unassigned bool
	// Disabled: a ROM that does not answer now.
	Disabled bool
	// Shadow: not the ROM itself but the copy that the firmware left in main memory.
	Shadow bool
}

// BARs returns the base address registers and the expansion ROM that the header
// shows, with addresses and without sizes; [Resources] has both. A register that
// reads as zero is left out: there is none, or it is one of 32-bit memory without an
// address. The error is [ErrUnread], [ErrNoAnswer] or [ErrMalformed].
func (c Config) BARs() ([]BAR, error) {
	if err := c.header(); err != nil {
		return nil, err
	}
	n, rom := 6, 0x30
	switch t := HeaderType(c.b[0x0e] & 0x7f); t {
	case HeaderNormal:
	case HeaderBridge:
		n, rom = 2, 0x38
	case HeaderCardBus:
		n, rom = 1, 0
	default:
		return nil, malformed("header type %#x", uint8(t))
	}
	bars := decodeBARs(c.b[0x10:0x10+4*n], KindBAR)
	if rom != 0 {
		if r := le32(c.b, rom); r&^0x7ff != 0 && r != 0xffffffff {
			bars = append(bars, BAR{Kind: KindROM, Start: uint64(r &^ 0x7ff), Disabled: r&1 == 0})
		}
	}
	return bars, nil
}

// decodeBARs decodes registers of 32 bits.
func decodeBARs(v string, kind BARKind) []BAR {
	var bars []BAR
	for i := 0; i < len(v)/4; i++ {
		r := le32(v, 4*i)
		if r == 0 || r == 0xffffffff {
			continue
		}
		b := BAR{Kind: kind, Index: i}
		if r&1 != 0 {
			b.Space, b.Start = SpaceIO, uint64(r&^3)
		} else {
			b.Start, b.Prefetchable = uint64(r&^15), bit(r, 3)
			if r>>1&3 == 2 && 4*i+8 <= len(v) {
				b.Is64 = true
				i++
				b.Start |= uint64(le32(v, 4*i)) << 32
			}
		}
		b.Unassigned = b.Start == 0
		bars = append(bars, b)
	}
	return bars
}

// Windows returns what a bridge passes on to the buses behind it, closed windows as
// Unassigned. Other functions have none. Windows of CardBus bridges are not decoded.
// A bridge without an I/O or prefetchable window may show one that begins at 0.
func (c Config) Windows() ([]BAR, error) {
	if err := c.header(); err != nil {
		return nil, err
	}
	if HeaderType(c.b[0x0e]&0x7f) != HeaderBridge {
		return nil, nil
	}
	window := func(index int, space Space, is64 bool, first, last uint64) BAR {
		b := BAR{Kind: KindWindow, Index: index, Space: space, Is64: is64, Prefetchable: index == 2, Start: first}
		if first > last {
			b.Start, b.Unassigned = 0, true
		} else if b.Size = last - first + 1; b.Size == 0 { // all 64 bits
			b.Size = 1<<64 - 1
		}
		return b
	}
	ioFirst, ioLast := uint64(c.b[0x1c]&0xf0)<<8, uint64(c.b[0x1d]&0xf0)<<8|0xfff
	if c.b[0x1c]&0x0f == 1 {
		ioFirst |= uint64(le16(c.b, 0x30)) << 16
		ioLast |= uint64(le16(c.b, 0x32)) << 16
	}
	memory := func(at int) (first, last uint64) {
		return uint64(le16(c.b, at)&0xfff0) << 16, uint64(le16(c.b, at+2)&0xfff0)<<16 | 0xfffff
	}
	first, last := memory(0x20)
	preFirst, preLast := memory(0x24)
	is64 := c.b[0x24]&0x0f == 1
	if is64 {
		preFirst |= uint64(le32(c.b, 0x28)) << 32
		preLast |= uint64(le32(c.b, 0x2c)) << 32
	}
	return []BAR{
		window(0, SpaceIO, false, ioFirst, ioLast),
		window(1, SpaceMemory, false, first, last),
		window(2, SpaceMemory, is64, preFirst, preLast),
	}, nil
}
