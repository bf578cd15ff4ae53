package gpu

// A Timing is a mode in every detail. Lines are those of a frame; an interlaced
// frame is drawn in two fields.
type Timing struct {
	Width, Height int   // pixels
	Clock         int64 // pixels a second, in Hz

	// HBlank and VBlank are what is not picture of a line, in pixels, and of a
	// frame, in lines. HFront and HSync, VFront and VSync are the parts of it before
	// and in the sync pulse; of an interlaced timing those of a field.
	HBlank, HFront, HSync int
	VBlank, VFront, VSync int

	WidthMM, HeightMM int // of the picture; zero when not stated
	Interlaced        bool
	Preferred         bool // the screen likes this one best
}

// Refresh returns how often a second the screen is drawn, in Hz; of an interlaced
// timing the fields are counted. It is zero when the timing makes no sense.
func (t Timing) Refresh() float64 {
	total := int64(t.Width+t.HBlank) * int64(t.Height+t.VBlank)
	if total <= 0 {
		return 0
	}
	hz := float64(t.Clock) / float64(total)
	if t.Interlaced {
		hz *= 2
	}
	return hz
}

// detailed reads the 18 bytes of E-EDID 1.4, section 3.10.2.
func detailed(d []byte) Timing {
	t := Timing{
		Clock:    int64(le16(d)) * 10_000,
		Width:    int(d[2]) | int(d[4]&0xf0)<<4,
		HBlank:   int(d[3]) | int(d[4]&0x0f)<<8,
		Height:   int(d[5]) | int(d[7]&0xf0)<<4,
		VBlank:   int(d[6]) | int(d[7]&0x0f)<<8,
		HFront:   int(d[8]) | int(d[11]&0xc0)<<2,
		HSync:    int(d[9]) | int(d[11]&0x30)<<4,
		VFront:   int(d[10]>>4) | int(d[11]&0x0c)<<2,
		VSync:    int(d[10]&0x0f) | int(d[11]&0x03)<<4,
		WidthMM:  int(d[12]) | int(d[14]&0xf0)<<4,
		HeightMM: int(d[13]) | int(d[14]&0x0f)<<8,
	}
	if d[17]&0x80 != 0 { // states a field: half a line more is blank
		t.Interlaced = true
		t.Height *= 2
		t.VBlank = 2*t.VBlank + 1
	}
	return t
}

// longTiming reads the 20 bytes of DisplayID type I, whose clock counts in 10 kHz,
// and type VII, whose clock counts in kHz.
func longTiming(d []byte, unit int64) Timing {
	t := Timing{
		Clock:      int64(le24(d)+1) * unit,
		Width:      le16(d[4:]) + 1,
		HBlank:     le16(d[6:]) + 1,
		HFront:     le16(d[8:])&0x7fff + 1,
		HSync:      le16(d[10:]) + 1,
		Height:     le16(d[12:]) + 1,
		VBlank:     le16(d[14:]) + 1,
		VFront:     le16(d[16:])&0x7fff + 1,
		VSync:      le16(d[18:]) + 1,
		Interlaced: d[3]&0x10 != 0,
		Preferred:  d[3]&0x80 != 0,
	}
	if t.Interlaced { // states a frame
		t.VFront, t.VSync = t.VFront/2, t.VSync/2
	}
	return t
}
