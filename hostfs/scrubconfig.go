package hostfs

import (
	"encoding/binary"
	"slices"
)

// withoutSerial zeroes the serial number in a function's configuration space: the
// eight bytes of the extended capability 0003h, which often hold a MAC address.
func withoutSerial(config []byte) []byte {
	const first, end, serialNumber = 0x100, 0x1000, 0x0003
	out := slices.Clone(config)
	seen := map[int]bool{}
	for at := first; at >= first && at < end && at+4 <= len(out) && !seen[at]; {
		seen[at] = true
		header := binary.LittleEndian.Uint32(out[at:])
		if header&0xffff == serialNumber {
			clear(out[at+4 : min(at+12, len(out))])
		}
		at = int(header>>20) &^ 3
	}
	return out
}
