package lab

import (
	"encoding/binary"
	"slices"
)

// reservingDMAR is where the kernel looks, in the initial file system, for a table that
// it is to use in place of the firmware's (Documentation/admin-guide/acpi/initrd_table_override.rst).
const reservingDMAR = "kernel/firmware/acpi/dmar.aml"

// dmar returns the ACPI table DMAR of [NoRemappingIntel] (VT-d specification, chapter 8):
// QEMU's own names no reserved memory, and it has no option for it. The kernel takes a
// table of the same name and maker with a higher revision. Reserved are 32 KiB each of
// what is the BIOS's own anyway, so that the kernel finds no fault with it.
func dmar() []byte {
	const (
		bus        = 0
		endpoint   = 1
		includeAll = 1
	)
	le := binary.LittleEndian
	// scope is a device scope of a path of device and function from the root bus.
	scope := func(path ...byte) []byte {
		return append([]byte{endpoint, byte(6 + len(path)), 0, 0, 0, bus}, path...)
	}
	entry := func(kind uint16, body ...byte) []byte {
		return append(le.AppendUint16(le.AppendUint16(nil, kind), uint16(4+len(body))), body...)
	}
	unit := entry(0, le.AppendUint64([]byte{includeAll, 0, 0, 0}, 0xfed90000)...)
	reserved := func(from, to uint64, scope []byte) []byte {
		return entry(1, append(le.AppendUint64(le.AppendUint64(make([]byte, 4), from), to), scope...)...)
	}
	const flags = 0 // without bit 0, INTR_REMAP
	body := slices.Concat(
		[]byte{47, flags}, make([]byte, 10), // addresses of 48 bits
		unit,
		reserved(0xf0000, 0xf7fff, scope(0x02, 0, 0, 0)), // 01:00.0, behind 00:02.0
		reserved(0xf8000, 0xfffff, scope(0x14, 0)),
	)
	table := slices.Concat([]byte("DMAR\x00\x00\x00\x00\x01\x00BOCHS BXPC    "), make([]byte, 12), body)
	le.PutUint32(table[4:], uint32(len(table)))
	le.PutUint32(table[24:], 2) // QEMU's revision is 1
	copy(table[28:], "INDY")
	var sum byte
	for _, b := range table {
		sum += b
	}
	table[9] = -sum
	return table
}
