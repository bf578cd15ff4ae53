package gpu

import "fmt"

// A CTA is a CTA-861 extension: what televisions, and most monitors with HDMI, add.
type CTA struct {
	Revision      uint8
	Underscan     bool // draws the whole picture of a computer
	BasicAudio    bool // two channels, 32 to 48 kHz, 16 bits
	YCbCr444      bool
	YCbCr422      bool
	NativeTimings int // how many of the detailed timings are the panel's own

	Video    []VIC
	Audio    []AudioFormat
	Speakers uint32 // the bits of the speaker allocation block; zero when not stated
	Vendors  []VendorBlock

	// Other holds the tags of the data blocks that are not read here; those of
	// extended blocks have 0x700 added.
	Other []uint16
}

// A VIC is a mode by its number in the tables of CTA-861.
type VIC struct {
	Code    uint8
	Native  bool
	Only420 bool // at this mode the screen takes YCbCr 4:2:0 only
}

// An AudioFormat is one short audio descriptor.
type AudioFormat struct {
	Code     AudioCode
	Channels int   // at most
	Rates    []int // samples a second, ascending
	Depths   []int // bits a sample; of linear PCM
	BitRate  int   // at most, bits a second; of codes 2 to 8, else zero
}

// An AudioCode is a coding of sound in CTA-861, 1 to 15, and 16 and above for the
// extended types of code 15.
type AudioCode uint8

// String returns the usual name, else the number.
func (c AudioCode) String() string {
	names := []string{1: "Linear PCM", "AC-3", "MPEG 1", "MP3", "MPEG 2", "AAC LC", "DTS", "ATRAC",
		"One Bit Audio", "Enhanced AC-3", "DTS-HD", "MAT", "DST", "WMA Pro"}
	if int(c) < len(names) && names[c] != "" {
		return names[c]
	}
	return fmt.Sprintf("code %d", uint8(c))
}

// The vendors whose blocks are read, as in VendorBlock.OUI.
const (
	OUIHDMI      = 0x000c03
	OUIHDMIForum = 0xc45dd8
)

// A VendorBlock is one that a vendor defines.
type VendorBlock struct {
	OUI uint32 // IEEE's number of the vendor

	// Of HDMI: where the screen sits in the tree of HDMI devices, as 1.0.0.0 is
	// 0x1000; zero when not stated.
	PhysicalAddress uint16

	// Of HDMI and HDMI Forum, zero when not stated: the fastest clock in Hz, and the
	// fastest fixed rate link, 1 to 6 (HDMI 2.1, table 10-6).
	MaxTMDS int64
	MaxFRL  uint8
}

// cta reads extension block n: CTA-861, section 7.
func (e *EDID) cta(n int, b []byte) {
	c := CTA{Revision: b[1]}
	timings := int(b[2])
	if c.Revision >= 2 {
		c.Underscan, c.BasicAudio = b[3]&0x80 != 0, b[3]&0x40 != 0
		c.YCbCr444, c.YCbCr422 = b[3]&0x20 != 0, b[3]&0x10 != 0
		c.NativeTimings = int(b[3] & 15)
	}
	switch {
	case timings == 0:
		timings = edidBlock - 1
	case timings < 4 || timings > edidBlock-1:
		e.problem("block %d: timings at %d", n, timings)
		timings = 4
		c.NativeTimings = 0
	case c.Revision >= 3:
		e.dataBlocks(n, b[4:timings], &c)
	}
	for i := timings; i+descriptor < edidBlock && (b[i] != 0 || b[i+1] != 0); i += descriptor {
		e.Timings = append(e.Timings, detailed(b[i:i+descriptor]))
	}
	e.CTA = append(e.CTA, c)
}

// dataBlocks reads what is between the head of a CTA extension and its timings, or
// in a CTA block of DisplayID.
func (e *EDID) dataBlocks(n int, b []byte, c *CTA) {
	for len(b) > 0 {
		tag, size := b[0]>>5, int(b[0]&31)
		if left := len(b) - 1; size > left {
			e.problem("block %d: a data block of %d bytes where %d are left", n, size, left)
			size = left
		}
		data := b[1 : 1+size]
		b = b[1+size:]
		switch tag {
		case 1:
			for ; len(data) >= 3; data = data[3:] {
				c.Audio = append(c.Audio, audioFormat(data))
			}
		case 2:
			for _, v := range data {
				c.Video = append(c.Video, vic(v))
			}
		case 3:
			if len(data) >= 3 {
				c.Vendors = append(c.Vendors, vendorBlock(data))
			}
		case 4:
			if len(data) >= 3 {
				c.Speakers = uint32(le24(data))
			}
		case 7:
			if len(data) > 0 {
				e.extended(data[0], data[1:], c)
			}
		default:
			c.Other = append(c.Other, uint16(tag))
		}
	}
}

// extended reads a data block with an extended tag.
func (e *EDID) extended(tag byte, data []byte, c *CTA) {
	switch {
	case tag == 0x0e:
		for _, v := range data {
			c.Video = append(c.Video, VIC{Code: vic(v).Code, Only420: true})
		}
		return
	case tag == 0x78 && len(data) > 0: // HDMI Forum: more extensions than old sources would stand
		e.Extensions = int(data[0])
	case tag == 0x79 && len(data) >= 2: // HDMI Forum's block where a vendor block has no room
		c.Vendors = append(c.Vendors, forum(data[2:]))
		return
	}
	c.Other = append(c.Other, 0x700|uint16(tag))
}

// vic reads a short video descriptor: for the first 64 modes bit 7 says native.
func vic(b byte) VIC {
	if b >= 129 && b <= 192 {
		return VIC{Code: b & 0x7f, Native: true}
	}
	return VIC{Code: b}
}

func audioFormat(d []byte) AudioFormat {
	a := AudioFormat{Code: AudioCode(d[0] >> 3 & 15), Channels: int(d[0]&7) + 1}
	for i, hz := range []int{32000, 44100, 48000, 88200, 96000, 176400, 192000} {
		if d[1]>>i&1 != 0 {
			a.Rates = append(a.Rates, hz)
		}
	}
	switch {
	case a.Code == 1:
		for i, bits := range []int{16, 20, 24} {
			if d[2]>>i&1 != 0 {
				a.Depths = append(a.Depths, bits)
			}
		}
	case a.Code >= 2 && a.Code <= 8:
		a.BitRate = int(d[2]) * 8000
	case a.Code == 15:
		a.Code = 15 + AudioCode(d[2]>>3)
	}
	return a
}

func vendorBlock(d []byte) VendorBlock {
	oui := uint32(le24(d))
	d = d[3:]
	if oui == OUIHDMIForum {
		return forum(d)
	}
	v := VendorBlock{OUI: oui}
	if oui == OUIHDMI {
		if len(d) >= 2 {
			v.PhysicalAddress = uint16(d[0])<<8 | uint16(d[1])
		}
		if len(d) >= 4 {
			v.MaxTMDS = int64(d[3]) * 5_000_000
		}
	}
	return v
}

// forum reads HDMI Forum's data from its version on.
func forum(d []byte) VendorBlock {
	v := VendorBlock{OUI: OUIHDMIForum}
	if len(d) >= 2 {
		v.MaxTMDS = int64(d[1]) * 5_000_000
	}
	if len(d) >= 4 {
		v.MaxFRL = d[3] >> 4
	}
	return v
}
