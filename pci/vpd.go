package pci

import (
	"io/fs"

	"github.com/project-independence/indy/internal/plain"
)

const (
	maxVPD  = 32 << 10 // its addresses have 15 bits
	maxText = 128      // characters
)

// A VPD is what a device says about itself as a product: Vital Product Data (PCI
// Local Bus 3.0, appendix I). All of it comes from the device and is untrusted;
// texts are cut to one bounded line of printable characters.
type VPD struct {
	Identifier string // the product's name
	ReadOnly   []VPDField
	ReadWrite  []VPDField
	// Checksum covers all up to the field RV.
	Checksum VPDChecksum
}

// A VPDField is a keyword, such as PN, part number, or SN, serial number, and its
// value. Values that are not text are not shown well. RV and RW are left out.
type VPDField struct {
	Keyword string
	Value   string
}

// A VPDChecksum says whether the sum over VPD is right.
type VPDChecksum uint8

// What is known of the checksum.
const (
	ChecksumMissing VPDChecksum = iota
	ChecksumRight
	ChecksumWrong
)

// String returns missing, right or wrong.
func (c VPDChecksum) String() string { return name([]string{"missing", "right", "wrong"}, c) }

// ReadVPD reads a function's Vital Product Data, from
// /sys/bus/pci/devices/ADDRESS/vpd. It takes root. The device is asked for four
// bytes at a time, which is slow, wakes it, and on broken devices blocks for up to
// 125 ms each; the kernel gives up at the first that times out. Serial numbers are among it.
//
// The error is an *[OpError]: [fs.ErrNotExist] for a function without the
// capability, [ErrMalformed] with what could be understood, else the kernel's.
func ReadVPD(fsys fs.FS, a Address) (VPD, error) {
	data, err := fs.ReadFile(fsys, devices+"/"+a.String()+"/vpd")
	if err != nil {
		return VPD{}, opError("read vpd of", a, err)
	}
	v, err := parseVPD(data)
	if err != nil {
		return v, opError("read vpd of", a, err)
	}
	return v, nil
}

// Tags: the small ones with their length masked.
const (
	vpdIdentifier = 0x82
	vpdReadOnly   = 0x90
	vpdReadWrite  = 0x91
	vpdEnd        = 0x78
)

func parseVPD(data []byte) (VPD, error) {
	var v VPD
	if len(data) > maxVPD {
		data = data[:maxVPD]
	}
	for at := 0; at < len(data); {
		tag, size, body := data[at], 0, 0
		if tag&0x80 == 0 { // small: the length is in the tag
			tag, size, body = tag&^7, int(tag&7), at+1
		} else {
			if at+3 > len(data) {
				return v, malformed("in vital product data a tag is cut off at %#x", at)
			}
			size, body = int(data[at+1])|int(data[at+2])<<8, at+3
		}
		if body+size > len(data) {
			return v, malformed("in vital product data tag %#x at %#x has %d bytes, %d are left", tag, at, size, len(data)-body)
		}
		var err error
		switch tag {
		case vpdEnd:
			return v, nil
		case vpdIdentifier:
			v.Identifier = plain.Line(string(data[body:body+size]), maxText)
		case vpdReadOnly:
			v.ReadOnly, err = v.fields(v.ReadOnly, data, body, size, true)
		case vpdReadWrite:
			v.ReadWrite, err = v.fields(v.ReadWrite, data, body, size, false)
		default:
			err = malformed("in vital product data tag %#x at %#x is unknown", tag, at)
		}
		if err != nil {
			return v, err
		}
		at = body + size
	}
	return v, malformed("vital product data have no end")
}

// fields reads keyword, length and value, over and over.
func (v *VPD) fields(all []VPDField, data []byte, at, size int, readOnly bool) ([]VPDField, error) {
	for end := at + size; at < end; {
		if at+3 > end || at+3+int(data[at+2]) > end {
			return all, malformed("in vital product data the field at %#x is cut off", at)
		}
		keyword, value := string(data[at:at+2]), data[at+3:at+3+int(data[at+2])]
		switch {
		case keyword == "RV" && readOnly && len(value) > 0:
			v.Checksum = checksum(data[:at+4])
		case keyword == "RV" || keyword == "RW":
		default:
			all = append(all, VPDField{plain.Line(keyword, maxText), plain.Line(string(value), maxText)})
		}
		at += 3 + len(value)
	}
	return all, nil
}

// checksum sums up all bytes, of which the last makes the sum zero.
func checksum(data []byte) VPDChecksum {
	var sum byte
	for _, b := range data {
		sum += b
	}
	if sum != 0 {
		return ChecksumWrong
	}
	return ChecksumRight
}
