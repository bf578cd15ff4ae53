package usb

import (
	"encoding/hex"
	"time"

	"github.com/project-independence/indy/pci"
)

// VideoControl is what the descriptors of a camera's control interface say (Video
// 1.5, 3.7).
type VideoControl struct {
	Release   ID    // bcdUVC, unknown without a header
	Streaming []int // the interfaces that carry the pictures
	Terminals []Terminal
	Units     []Unit
}

// VideoStreaming is what the descriptors of a streaming interface say (Video 1.5,
// 3.9). All are in its setting 0.
type VideoStreaming struct {
	Input    bool  // pictures go to the host
	Endpoint uint8 // that carries them
	Terminal uint8 // the terminal it is connected to
	Formats  []VideoFormat
}

// A VideoFormat is one way in which pictures come.
type VideoFormat struct {
	Index  uint8
	Kind   string // mjpeg, uncompressed, frame-based, h264
	FourCC string // of uncompressed and frame-based ones: YUY2, NV12, or 32 hexadecimal digits
	Bits   int    // of a pixel, of the same ones
	Frames []VideoFrame
}

// A VideoFrame is one size of picture.
type VideoFrame struct {
	Width, Height int
	// Intervals are the times from one picture to the next; with Range the shortest
	// and the longest.
	Intervals []time.Duration
	Range     bool
}

func (p *parser) videoControl(of []RawDescriptor) ClassSpecific {
	var v VideoControl
	for _, r := range of {
		switch subtype := r.u8(2); {
		case subtype == 0x01 && p.need(r, 12):
			v.Release, v.Streaming = pci.NewID(r.u16(3)), p.collection(r, 11)
		case subtype == 0x02 && p.need(r, 8):
			v.Terminals = append(v.Terminals, Terminal{
				ID: r.u8(3), Input: true, Type: r.u16(4), Name: videoTerminalName(r.u16(4)), Associated: r.u8(6), StringIndex: uint16(r.u8(7)),
			})
		case subtype == 0x03 && p.need(r, 9):
			v.Terminals = append(v.Terminals, Terminal{
				ID: r.u8(3), Type: r.u16(4), Name: videoTerminalName(r.u16(4)), Associated: r.u8(6), Source: r.u8(7), StringIndex: uint16(r.u8(8)),
			})
		case subtype >= 0x04 && subtype <= 0x07 && p.need(r, 4):
			kind := [...]string{"selector", "processing", "extension", "encoding"}[subtype-4]
			v.Units = append(v.Units, Unit{r.u8(3), kind})
		}
	}
	return v
}

func videoTerminalName(t uint16) string {
	switch t {
	case 0x0101:
		return "USB streaming"
	case 0x0201:
		return "camera"
	case 0x0202:
		return "media player"
	case 0x0301:
		return "display"
	case 0x0302:
		return "media recorder"
	case 0x0401:
		return "composite connector"
	case 0x0402:
		return "S-video connector"
	case 0x0403:
		return "component connector"
	}
	switch t >> 8 {
	case 1:
		return "USB"
	case 2:
		return "input"
	case 3:
		return "output"
	case 4:
		return "external"
	}
	return "unknown"
}

func (p *parser) videoStreaming(of []RawDescriptor) ClassSpecific {
	var v VideoStreaming
	for _, r := range of {
		switch subtype := r.u8(2); {
		case subtype == 0x01 && p.need(r, 13):
			v.Input, v.Endpoint, v.Terminal = true, r.u8(6), r.u8(8)
		case subtype == 0x02 && p.need(r, 8):
			v.Endpoint, v.Terminal = r.u8(6), r.u8(7)
		case subtype == 0x04 && p.need(r, 27):
			v.Formats = append(v.Formats, VideoFormat{Index: r.u8(3), Kind: "uncompressed", FourCC: fourCC(r.Bytes[5:21]), Bits: int(r.u8(21))})
		case subtype == 0x06 && p.need(r, 11):
			v.Formats = append(v.Formats, VideoFormat{Index: r.u8(3), Kind: "mjpeg"})
		case subtype == 0x10 && p.need(r, 28):
			v.Formats = append(v.Formats, VideoFormat{Index: r.u8(3), Kind: "frame-based", FourCC: fourCC(r.Bytes[5:21]), Bits: int(r.u8(21))})
		case subtype == 0x13 && p.need(r, 6):
			v.Formats = append(v.Formats, VideoFormat{Index: r.u8(3), Kind: "h264"})
		default:
			p.videoFrame(&v, r)
		}
	}
	return v
}

// videoFrame adds a size to the format before it.
func (p *parser) videoFrame(v *VideoStreaming, r RawDescriptor) {
	size, count, first := 5, 0, 0 // where they are
	switch r.u8(2) {
	case 0x05, 0x07: // uncompressed, mjpeg
		count, first = 25, 26
	case 0x11: // frame-based
		count, first = 21, 26
	case 0x14: // h264
		size, count, first = 4, 43, 44
	default:
		return
	}
	if !p.need(r, first) {
		return
	}
	if len(v.Formats) == 0 {
		p.add(r.Offset, "a size of pictures before any format")
		return
	}
	f := VideoFrame{Width: int(r.u16(size)), Height: int(r.u16(size + 2))}
	n := int(r.u8(count))
	if f.Range = n == 0 && r.u8(2) != 0x14; f.Range {
		n = 2 // and the step, which is left out
	}
	if len(r.Bytes) < first+4*n {
		p.add(r.Offset, "%d intervals are named in %d bytes", n, len(r.Bytes))
		n = (len(r.Bytes) - first) / 4
		f.Range = f.Range && n == 2
	}
	for i := range n {
		f.Intervals = append(f.Intervals, time.Duration(r.u32(first+4*i))*100)
	}
	format := &v.Formats[len(v.Formats)-1]
	format.Frames = append(format.Frames, f)
}

// fourCC returns the four letters that the GUIDs of most formats begin with.
func fourCC(guid []byte) string {
	for _, c := range guid[:4] {
		if c <= ' ' || c > '~' {
			return hex.EncodeToString(guid)
		}
	}
	return string(guid[:4])
}
