package iommu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/project-independence/indy/internal/plain"
)

const (
	tablesDir   = "sys/firmware/acpi/tables"
	tableHeader = 36 // bytes before what is a table's own

	// The largest tables that are known, of servers, have some 20 KiB.
	maxTable       = 256 << 10
	maxTableErrors = 16
	maxTableText   = 256 // characters of a name
)

// A TableHeader is what an ACPI table says of itself (ACPI 6.5, section 5.2.6).
type TableHeader struct {
	Signature        string // DMAR or IVRS
	Length           int    // of the whole table in bytes, as the table says
	Revision         uint8
	OEM              string // who made it, as LENOVO
	OEMTable         string // which of theirs it is, as TP-N3A
	OEMRevision      uint32
	Compiler         string
	CompilerRevision uint32

	// Checksum says whether the bytes of the table add up to zero, as they must. It is
	// Unknown when the table is not whole. Linux warns of a wrong one, and goes on.
	Checksum Answer
}

// String says whose table it is, and whether its checksum is wrong.
func (h TableHeader) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s revision %d of %s", h.Signature, h.Revision, strings.TrimSpace(h.OEM+" "+h.OEMTable))
	if h.Checksum == No {
		b.WriteString(", with a wrong checksum")
	}
	return b.String()
}

// An UnknownStructure is a part of a table of a kind that is not known here. What it
// says is not decoded.
type UnknownStructure struct {
	Type   uint16
	Offset int // from the beginning of the table
	Length int // in bytes
}

// String names the structure by its number and its place.
func (u UnknownStructure) String() string {
	return fmt.Sprintf("structure of unknown type %#x, %d bytes at byte %d", u.Type, u.Length, u.Offset)
}

// A table is the bytes of one that is being decoded, with what was wrong so far.
type table struct {
	name string
	b    []byte
	errs []error
}

// wrong notes what is wrong at an offset; past some, more of it tells nothing new.
func (t *table) wrong(at int, format string, args ...any) {
	if len(t.errs) < maxTableErrors {
		t.errs = append(t.errs, fmt.Errorf("%s table, byte %d: "+format, append([]any{t.name, at}, args...)...))
	}
}

func (t *table) err() error { return errors.Join(t.errs...) }

// openTable decodes the header, and cuts the bytes to those that are the table's and
// are there. Without a header of the name there are none.
func openTable(name string, data []byte) (TableHeader, *table) {
	t := &table{name: name}
	if len(data) < tableHeader {
		t.wrong(len(data), "no header: %w", io.ErrUnexpectedEOF)
		return TableHeader{}, t
	}
	if string(data[:4]) != name {
		t.wrong(0, "signature %.4q", data[:4])
		return TableHeader{}, t
	}
	length := le32(data, 4)
	h := TableHeader{
		Signature:        name,
		Length:           int(length),
		Revision:         data[8],
		OEM:              tableText(data[10:16]),
		OEMTable:         tableText(data[16:24]),
		OEMRevision:      le32(data, 24),
		Compiler:         tableText(data[28:32]),
		CompilerRevision: le32(data, 32),
	}
	switch n := uint64(len(data)); {
	case length < tableHeader:
		t.wrong(4, "a length of %d is less than its header", length)
		return h, t
	case n < uint64(length):
		t.wrong(len(data), "%d of %d bytes: %w", n, length, io.ErrUnexpectedEOF)
		t.b = data
	default:
		t.b = data[:length]
	}
	if len(t.b) > maxTable {
		t.wrong(maxTable, "it goes on for longer than any table")
		t.b = t.b[:maxTable]
	}
	if len(t.b) == int(length) {
		h.Checksum = No
		var sum byte
		for _, b := range t.b {
			sum += b
		}
		if sum == 0 {
			h.Checksum = Yes
		}
	}
	return h, t
}

// tableText cuts text at its first zero byte and makes it one line.
func tableText(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return plain.Line(s, maxTableText)
}

func le16(b []byte, at int) uint16 { return binary.LittleEndian.Uint16(b[at:]) }
func le32(b []byte, at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
func le64(b []byte, at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }

// tableFlags names the bits that are set, and those without a name by their value.
func tableFlags(flags uint64, names ...string) string {
	var set []string
	for i, name := range names {
		if bit := uint64(1) << i; flags&bit != 0 && name != "" {
			set = append(set, name)
			flags &^= bit
		}
	}
	if flags != 0 {
		set = append(set, fmt.Sprintf("%#x", flags))
	}
	if len(set) == 0 {
		return "none"
	}
	return strings.Join(set, ", ")
}
