package journal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// MaxSize is the most bytes a journal may have, its reserve included.
const MaxSize = 4 << 20

// sumSize is the number of hexadecimal digits before each record.
const sumSize = 16

// A DamageError says that a journal is not as it was written. Who gets it must not take
// what it holds for nothing.
type DamageError struct {
	Name string // of the file
	Why  string
}

// Error names the file and says what is wrong with it.
func (e *DamageError) Error() string { return e.Name + " is damaged: " + e.Why }

// encode returns the line of a record.
func encode(record any) ([]byte, error) {
	text, err := json.Marshal(record)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	line := make([]byte, 0, sumSize+1+len(text)+1)
	line = append(line, checksum(text)...)
	line = append(line, ' ')
	line = append(line, text...)
	return append(line, '\n'), nil
}

func checksum(text []byte) []byte {
	sum := sha256.Sum256(text)
	return hex.AppendEncode(nil, sum[:sumSize/2])
}

// decode returns the JSON of a line without its newline, nil if it is no valid one. What has
// the right checksum is what encode has made, and is not parsed: of many records whoever
// reads them needs only the last, and parses that.
func decode(line []byte) json.RawMessage {
	if len(line) <= sumSize+1 || line[sumSize] != ' ' {
		return nil
	}
	text := line[sumSize+1:]
	if !bytes.Equal(line[:sumSize], checksum(text)) {
		return nil
	}
	return text
}

// parse returns the valid records at the beginning of data, where they end, and whether
// something follows that a crash left of a record. The error is a *[DamageError] without
// a name; the records are those before the damage.
func parse(data []byte) (records []json.RawMessage, end int, torn bool, err error) {
	for {
		n := bytes.IndexByte(data[end:], '\n')
		if n < 0 {
			break
		}
		text := decode(data[end : end+n])
		if text == nil {
			break
		}
		records = append(records, text)
		end += n + 1
	}
	rest := trimZeros(data[end:])
	why := ""
	switch {
	case len(data) > MaxSize:
		why = fmt.Sprintf("it has more than %d bytes", MaxSize)
	case len(records) == 0:
		why = "its first record is not valid"
	case holdsRecord(rest):
		why = fmt.Sprintf("record %d is not valid, and one after it is", len(records)+1)
	case len(rest) > 0 && rest[len(rest)-1] == '\n' && bytes.IndexByte(rest, 0) < 0:
		// A write that was cut short ends before its newline, or has zeros where a part
		// is missing.
		why = fmt.Sprintf("record %d, its last, is not valid", len(records)+1)
	}
	if why != "" {
		return records, end, false, &DamageError{Why: why}
	}
	return records, end, len(rest) > 0, nil
}

// trimZeros is bytes.TrimRight of zeros, in large steps: of most journals the reserve is
// most.
func trimZeros(data []byte) []byte {
	var zeros [1024]byte
	for len(data) >= len(zeros) && bytes.Equal(data[len(data)-len(zeros):], zeros[:]) {
		data = data[:len(data)-len(zeros)]
	}
	return bytes.TrimRight(data, "\x00")
}

// holdsRecord reports whether a valid record begins anywhere in data, also in the middle
// of a line: the newline before it may be what is damaged.
func holdsRecord(data []byte) bool {
	for len(data) > sumSize {
		at := bytes.IndexByte(data, ' ')
		if at < 0 {
			return false
		}
		if at >= sumSize && isHex(data[at-sumSize:at]) {
			line, _, ended := bytes.Cut(data[at-sumSize:], []byte{'\n'})
			if ended && decode(line) != nil {
				return true
			}
		}
		data = data[at+1:]
		// What was cut off cannot be the sum of a record: it has a blank at its end.
	}
	return false
}

func isHex(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
