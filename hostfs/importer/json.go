package importer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// A number is written 39 or "0x27" in different versions of nixos-facter.
type number struct {
	value uint64
	known bool
}

func (n *number) UnmarshalJSON(data []byte) error {
	s := strings.Trim(string(data), `"`)
	if s == "null" || s == "" {
		return nil
	}
	v, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		return fmt.Errorf("%s; expected a number", quote(s))
	}
	n.value, n.known = v, true
	return nil
}

// A named is a number with a name, {"name": "Bridge", "value": 6}, or a name alone.
type named struct {
	Name  string `json:"name"`
	Value number `json:"value"`
}

func (n *named) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] != '{' {
		var s *string
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		if s != nil {
			n.Name = *s
		}
		return nil
	}
	type plain named // without this method
	return json.Unmarshal(data, (*plain)(n))
}

// hex returns the number in so many digits, empty when it is unknown or too large.
func (n named) hex(digits int) string {
	if !n.Value.known || n.Value.value >= 1<<(4*digits) {
		return ""
	}
	return fmt.Sprintf("%0*x", digits, n.Value.value)
}

// A one is an object, or the first of an array of them.
type one[T any] struct{ v T }

func (o *one[T]) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '[' {
		var all []json.RawMessage
		if err := json.Unmarshal(data, &all); err != nil || len(all) == 0 {
			return err
		}
		data = all[0]
	}
	return json.Unmarshal(data, &o.v)
}

// checkDepth refuses JSON that is nested deeper than any report, before the decoder
// follows it down.
func checkDepth(data []byte) (line int, err error) {
	depth, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return lineAt(data, i), fmt.Errorf("nested more than %d deep", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return 0, nil
}

func lineAt(data []byte, offset int) int {
	return bytes.Count(data[:min(offset, len(data))], []byte("\n")) + 1
}

// A reader reads JSON value by value and knows the line it is at.
type reader struct {
	*json.Decoder
	data []byte
	line int // of seen
	seen int
}

func newReader(data []byte) *reader {
	return &reader{Decoder: json.NewDecoder(bytes.NewReader(data)), data: data, line: 1}
}

// next returns the line of the value that comes next.
func (r *reader) next() int {
	at := int(r.InputOffset())
	for at < len(r.data) && strings.IndexByte(" \t\r\n,:", r.data[at]) >= 0 {
		at++
	}
	r.line += bytes.Count(r.data[r.seen:at], []byte("\n"))
	r.seen = at
	return r.line
}

// fatal says whether after err nothing more can be read, as the report is cut off or
// is no JSON from here on.
func fatal(err error) bool {
	var syntax *json.SyntaxError
	return errors.As(err, &syntax) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// object calls f for each key of the object that comes next; f reads its value. What
// is no object is skipped with an error.
func (r *reader) object(f func(key string) error) error {
	if err := r.enter('{'); err != nil {
		return err
	}
	for r.More() {
		t, err := r.Token()
		if err != nil {
			return err
		}
		key, _ := t.(string)
		if err := f(key); err != nil {
			return err
		}
	}
	_, err := r.Token()
	return err
}

// array calls f for each element of the array that comes next.
func (r *reader) array(f func() error) error {
	if err := r.enter('['); err != nil {
		return err
	}
	for r.More() {
		if err := f(); err != nil {
			return err
		}
	}
	_, err := r.Token()
	return err
}

// errOther is that of a value of another kind than expected.
var errOther = errors.New("another kind of value")

func (r *reader) enter(open json.Delim) error {
	r.next()
	if r.seen < len(r.data) && r.data[r.seen] != byte(open) {
		if err := r.skip(); err != nil {
			return err
		}
		return fmt.Errorf("%w; expected %s", errOther, open)
	}
	_, err := r.Token()
	return err
}

func (r *reader) skip() error {
	var ignored json.RawMessage
	return r.Decode(&ignored)
}
