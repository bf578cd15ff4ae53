package audio

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"
	"unicode"
)

// nameCards gives the cards the names that /proc/asound/cards has for them.
func nameCards(fsys fs.FS, cards []Card) error {
	text, err := fs.ReadFile(fsys, names)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	byIndex := parseCards(string(text))
	for i := range cards {
		// The file is read after the cards; another card may have the number by now.
		if c := byIndex[cards[i].Index]; cards[i].ID == "" || c.id == cards[i].ID {
			cards[i].Name = c.name
		}
	}
	return nil
}

type idName struct{ id, name string }

// parseCards reads /proc/asound/cards by the numbers of the cards. Each has two
// lines, of which the first says what is wanted here:
//
//	0 [PCH            ]: HDA-Intel - HDA Intel PCH
//	                     HDA Intel PCH at 0x6001100000 irq 141
func parseCards(text string) map[int]idName {
	cards := map[int]idName{}
	for line := range strings.Lines(text) {
		number, rest, ok := strings.Cut(line, " [")
		n, err := strconv.ParseUint(strings.TrimLeft(number, " "), 10, 16)
		if !ok || err != nil {
			continue
		}
		id, rest, ok := strings.Cut(rest, "]: ")
		if !ok {
			continue
		}
		_, name, ok := strings.Cut(rest, " - ") // after the name of the driver
		if !ok {
			continue
		}
		cards[int(n)] = idName{clean(id), clean(name)}
	}
	return cards
}

const maxText = 126 // characters, as many as a USB device can state

// clean makes one bounded line of s: what is not printable becomes a space, and
// runs of spaces become one.
func clean(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return r == ' ' || !unicode.IsPrint(r) || r == unicode.ReplacementChar
	}), " ")
	n := 0
	for i := range s {
		if n++; n > maxText {
			return strings.TrimRight(s[:i], " ")
		}
	}
	return s
}
