package hostedit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// A jsonScan walks a JSON document and notes where the array of strings at path is.
type jsonScan struct {
	dec   *json.Decoder
	text  string
	path  string
	found *place
}

// maxJSONDepth bounds how deep a document is followed.
const maxJSONDepth = 32

// jsonPlaces takes the array of strings at path, as user.kernel_options.
func jsonPlaces(text, path string) ([]place, error) {
	s := &jsonScan{dec: json.NewDecoder(strings.NewReader(text)), text: text, path: path}
	err := s.value("", 0)
	if err == nil {
		if _, more := s.dec.Token(); !errors.Is(more, io.EOF) {
			err = shellError("goes on after the document")
		}
	}
	if err != nil {
		var o *oops
		if errors.As(err, &o) {
			return nil, err
		}
		return nil, &oops{lineAt(text, int(s.dec.InputOffset())), "is not JSON as it should be (" + err.Error() + ")"}
	}
	if s.found == nil {
		return nil, &oops{0, "has no list " + path}
	}
	return []place{*s.found}, nil
}

func (s *jsonScan) value(at string, depth int) error {
	if depth > maxJSONDepth {
		return errDeep
	}
	token, err := s.dec.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('{'):
		seen := map[string]bool{}
		for s.dec.More() {
			token, err := s.dec.Token()
			if err != nil {
				return err
			}
			key, _ := token.(string)
			if seen[key] {
				return fmt.Errorf("the key %.64q is there twice", key)
			}
			seen[key] = true
			if err := s.value(strings.TrimPrefix(at+"."+strings.ReplaceAll(key, ".", "\x00"), "."), depth+1); err != nil {
				return err
			}
		}
		_, err = s.dec.Token()
	case json.Delim('['):
		if at == s.path {
			return s.strings()
		}
		for s.dec.More() {
			if err := s.value(at+"[]", depth+1); err != nil {
				return err
			}
		}
		_, err = s.dec.Token()
	default:
		if at == s.path {
			return fmt.Errorf("%s is no list", s.path)
		}
	}
	return err
}

// strings reads the elements of the array whose bracket was just read.
func (s *jsonScan) strings() error {
	open := int(s.dec.InputOffset())
	p := &place{key: s.path, start: open - 1}
	ends := []int{open} // where the bracket and each element end
	for s.dec.More() {
		token, err := s.dec.Token()
		if err != nil {
			return err
		}
		text, ok := token.(string)
		if !ok {
			return fmt.Errorf("%s holds something else than strings", s.path)
		}
		end := int(s.dec.InputOffset())
		p.words = append(p.words, word{text, ends[len(ends)-1], end})
		ends = append(ends, end)
	}
	if _, err := s.dec.Token(); err != nil {
		return err
	}
	p.end = int(s.dec.InputOffset())
	// With an element goes the comma before it; with the first of several that after it.
	if len(p.words) > 1 {
		first := &p.words[0]
		gap := s.text[ends[1]:ends[2]]
		first.to = ends[1] + strings.IndexByte(gap, ',') + 1
	}
	p.insert = func(w string) []patch {
		last := ends[len(ends)-1]
		switch len(p.words) {
		case 0:
			return []patch{{at: open, text: `"` + w + `"`}}
		case 1:
			return []patch{{at: last, text: "," + blanksAfter(s.text, open) + `"` + w + `"`}}
		}
		before := ends[len(ends)-2]
		comma := before + strings.IndexByte(s.text[before:], ',')
		return []patch{{at: last, text: "," + blanksAfter(s.text, comma+1) + `"` + w + `"`}}
	}
	if s.found != nil {
		return fmt.Errorf("%s is there twice", s.path)
	}
	s.found = p
	return nil
}

// blanksAfter is how the element after a position is set off.
func blanksAfter(text string, at int) string {
	rest := text[at:]
	return rest[:len(rest)-len(strings.TrimLeft(rest, " \t\r\n"))]
}
