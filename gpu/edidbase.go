package gpu

import "github.com/project-independence/indy/internal/plain"

// base reads block 0: VESA E-EDID 1.4, section 3.
func (e *EDID) base(b []byte) {
	e.Version, e.Revision = b[18], b[19]
	if e.Version != 1 {
		e.problem("version %d.%d: read as 1.4", e.Version, e.Revision)
	}
	since4 := e.Version != 1 || e.Revision >= 4
	e.Manufacturer = pnpID(b[8], b[9])
	if e.Manufacturer == "" {
		e.problem("manufacturer %02x%02x is not three letters", b[8], b[9])
	}
	e.Product, e.Serial = uint16(le16(b[10:])), le32(b[12:])
	e.Made = made(b[16], b[17], 1990)
	e.input(b[20], since4)
	switch w, h := int(b[21]), int(b[22]); {
	case w > 0 && h > 0:
		e.WidthCM, e.HeightCM = w, h
	case w > 0 && since4:
		e.Aspect = float64(w+99) / 100
	case h > 0 && since4:
		e.Aspect = 100 / float64(h+99)
	}
	if b[23] != 0xff {
		e.Gamma = float64(int(b[23])+100) / 100
	}
	f := b[24]
	e.Features = Features{
		Standby: f&0x80 != 0, Suspend: f&0x40 != 0, Off: f&0x20 != 0, SRGB: f&4 != 0,
		PreferredNative: since4 && f&2 != 0, Continuous: since4 && f&1 != 0,
		YCbCr444: since4 && e.Input.Digital && f&0x08 != 0, YCbCr422: since4 && e.Input.Digital && f&0x10 != 0,
	}
	for i, m := range establishedModes {
		if b[35+i/8]>>(7-i%8)&1 != 0 {
			e.Established = append(e.Established, m)
		}
	}
	for i := 38; i < 54; i += 2 {
		e.standard(b[i], b[i+1])
	}
	for i := 54; i < 126; i += descriptor {
		d := b[i : i+descriptor]
		if d[0] == 0 && d[1] == 0 {
			e.descriptor(d)
			continue
		}
		t := detailed(d)
		t.Preferred = i == 54 && (since4 || f&2 != 0)
		e.Timings = append(e.Timings, t)
	}
}

func (e *EDID) input(b byte, since4 bool) {
	e.Input.Digital = b&0x80 != 0
	if !e.Input.Digital || !since4 {
		return
	}
	if d := int(b >> 4 & 7); d != 0 && d != 7 {
		e.Input.Depth = 4 + 2*d
	}
	if i := Interface(b & 15); i <= DisplayPort {
		e.Input.Interface = i
	}
}

// pnpID unpacks three letters of five bits each, empty when they are not letters.
func pnpID(high, low byte) string {
	n := int(high)<<8 | int(low)
	id := []byte{byte(n >> 10 & 31), byte(n >> 5 & 31), byte(n & 31)}
	for i, c := range id {
		if c < 1 || c > 26 {
			return ""
		}
		id[i] = '@' + c
	}
	return string(id)
}

// made reads week and year; year is counted from epoch.
func made(week, year byte, epoch int) Made {
	m := Made{Year: epoch + int(year)}
	switch {
	case week == 0xff: // since 1.4, and seen before
		m.Model = true
	case week <= 54:
		m.Week = int(week)
	}
	return m
}

// standard reads one of the standard timings, of which 0101 is none.
func (e *EDID) standard(width, rest byte) {
	if width == 1 && rest == 1 || width == 0 {
		return
	}
	w := (int(width) + 31) * 8
	h := 0
	switch rest >> 6 {
	case 0:
		h = w * 10 / 16
		if e.Version == 1 && e.Revision < 3 {
			h = w
		}
	case 1:
		h = w * 3 / 4
	case 2:
		h = w * 4 / 5
	case 3:
		h = w * 9 / 16
	}
	e.Standard = append(e.Standard, Mode{w, h, int(rest&63) + 60})
}

// descriptor reads one of 18 bytes that holds no timing.
func (e *EDID) descriptor(d []byte) {
	switch d[3] {
	case 0xff:
		e.SerialText = text(d[5:])
	case 0xfe:
		if s := text(d[5:]); s != "" {
			e.Texts = append(e.Texts, s)
		}
	case 0xfd:
		e.Range = Range{int(d[5]), int(d[6]), int(d[7]), int(d[8]), int(d[9]) * 10}
		// Since 1.4: more than a byte holds. Both bits say so of the lowest, too.
		for _, r := range []struct {
			bits     byte
			low, top *int
		}{{d[4] & 3, &e.Range.MinV, &e.Range.MaxV}, {d[4] >> 2 & 3, &e.Range.MinH, &e.Range.MaxH}} {
			if r.bits&2 != 0 {
				*r.top += 255
			}
			if r.bits == 3 {
				*r.low += 255
			}
		}
		if d[9] == 0xff {
			e.Range.MaxClock = 0
		}
	case 0xfc:
		e.Name = text(d[5:])
	case 0xfa:
		for i := 5; i < 17; i += 2 {
			e.standard(d[i], d[i+1])
		}
	}
}

// text reads 13 bytes that end with a newline, unless all of them are used.
func text(b []byte) string {
	for i, c := range b {
		if c == '\n' {
			b = b[:i]
			break
		}
	}
	return plain.Line(string(b), maxText)
}

// establishedModes are in the order of the bits of bytes 35 to 37, highest first.
var establishedModes = []Mode{
	{720, 400, 70}, {720, 400, 88}, {640, 480, 60}, {640, 480, 67}, {640, 480, 73}, {640, 480, 75}, {800, 600, 56}, {800, 600, 60},
	{800, 600, 72}, {800, 600, 75}, {832, 624, 75}, {1024, 768, 87}, {1024, 768, 60}, {1024, 768, 70}, {1024, 768, 75}, {1280, 1024, 75},
	{1152, 870, 75},
}
