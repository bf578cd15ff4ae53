package audio

import (
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"github.com/project-independence/indy/internal/plain"
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

type cardText struct{ id, name, model, longName string }

// parseCards reads /proc/asound/cards by the numbers of the cards. Each has two
// lines, id, model and name, and the long name:
//
//	0 [PCH            ]: HDA-Intel - HDA Intel PCH
//	                     HDA Intel PCH at 0x6001100000 irq 141
func parseCards(text string) map[int]cardText {
	cards := map[int]cardText{}
	last := -1
	for line := range strings.Lines(text) {
		if c, ok := cards[last]; ok && strings.HasPrefix(line, longNameIndent) {
			c.longName = plain.Line(line, maxText)
			cards[last] = c
			last = -1
			continue
		}
		last = -1
		number, rest, ok := strings.Cut(line, " [")
		n, err := strconv.ParseUint(strings.TrimLeft(number, " "), 10, 16)
		if !ok || err != nil {
			continue
		}
		id, rest, ok := strings.Cut(rest, "]: ")
		if !ok {
			continue
		}
		model, name, ok := strings.Cut(rest, " - ")
		if !ok {
			continue
		}
		last = int(n)
		cards[last] = cardText{id: plain.Line(id, maxText), name: plain.Line(name, maxText), model: plain.Line(model, maxText)}
	}
	return cards
}

// longNameIndent begins the second line of a card, which a first one cannot begin
// with: that has the number within the first few columns.
const longNameIndent = "                      "

const maxText = 126 // characters, as many as a USB device can state
