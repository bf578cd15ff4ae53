package hostfs

import (
	"encoding/hex"
	"slices"
	"strings"
)

// bos replaces the container id in the capabilities of a USB device (USB 3.2, section
// 9.6.2.3), a UUID that each device has for itself. What is no list of capabilities
// to its end is cut off there.
func (s *scrubber) bos(data []byte) []byte {
	const capability, containerID, size = 0x10, 0x04, 20
	out := slices.Clone(data)
	for at := 0; at < len(out); {
		b := out[at:]
		if len(b) < 3 || int(b[0]) < 3 || int(b[0]) > len(b) {
			return out[:at]
		}
		b = b[:b[0]]
		if b[1] == capability && b[2] == containerID && len(b) >= size {
			id := b[4:size]
			if slices.ContainsFunc(id, func(c byte) bool { return c != 0 }) {
				to, _ := hex.DecodeString(s.hash(hex.EncodeToString(id), 2*len(id)))
				copy(id, to)
			}
			clear(b[size:])
		}
		at += len(b)
	}
	return out
}

// Fields of an IEEE 1284 device id that say which model a printer is. The others are
// the maker's own, serial numbers and states of many names among them.
var printerFields = map[string]bool{
	"MFG": true, "MANUFACTURER": true, "MDL": true, "MODEL": true, "CMD": true, "COMMAND SET": true, "CLS": true,
	"CLASS": true, "DES": true, "DESCRIPTION": true, "CID": true, "COMPATIBLE ID": true, "PID": true, "VID": true,
}

func isSerialField(key string) bool {
	switch strings.ToUpper(strings.TrimSpace(key)) {
	case "SN", "SERN", "SER", "SERIAL", "SERIALNUMBER", "SERIAL NUMBER", "S/N":
		return true
	}
	return false
}

// printer gives what stands for the IEEE 1284 device id v, fields KEY:VALUE; of a
// printer whose serial numbers are words.
func (s *scrubber) printer(v string, words []string) string {
	fields := strings.Split(v, ";")
	for i, f := range fields {
		key, value, ok := strings.Cut(f, ":")
		plain := strings.TrimSpace(value)
		switch {
		case !ok && strings.TrimSpace(f) == "":
		case !ok:
			fields[i] = dropped
		case isSerialField(key) && plain != "":
			fields[i] = key + ":" + s.serial(plain)
		case printerFields[strings.ToUpper(strings.TrimSpace(key))]:
			fields[i] = key + ":" + s.forms(s.withoutWords(value, words))
		default:
			fields[i] = s.forms(s.withoutWords(key, words)) + ":" + dropped
		}
	}
	return strings.Join(fields, ";")
}
