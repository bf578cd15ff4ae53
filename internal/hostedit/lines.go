package hostedit

import (
	"fmt"
	"strings"
)

// A textLine is one line of a text.
type textLine struct {
	n          int // from 1
	start, end int // with its end of line
	to         int // without it
	text       string
}

func linesOf(text string) []textLine {
	var lines []textLine
	at := 0
	for full := range strings.Lines(text) {
		line := strings.TrimSuffix(strings.TrimSuffix(full, "\n"), "\r")
		lines = append(lines, textLine{len(lines) + 1, at, at + len(full), at + len(line), line})
		at += len(full)
	}
	return lines
}

// keyword splits a line into its first word and the position where the rest begins.
func (l textLine) keyword() (word string, from int) {
	body := strings.TrimLeft(l.text, " \t")
	end := strings.IndexAny(body, " \t")
	if end < 0 {
		return body, l.to
	}
	rest := strings.TrimLeft(body[end:], " \t")
	return body[:end], l.to - len(rest)
}

// params is the place of kernel parameters in text[from:l.to].
func params(text, key string, l textLine, from int) (place, error) {
	if strings.ContainsAny(text[from:l.to], "\"'$\\") {
		return place{}, &oops{l.n, "has parameters with quotes or variables"}
	}
	return place{
		key: key, words: wordsIn(text, from, l.to), start: l.start, end: l.end,
		insert: func(w string) []patch { return []patch{{at: l.to, text: " " + w}} },
	}, nil
}

// wordLinePlaces takes a file whose only line is the kernel's command line.
func wordLinePlaces(text string) ([]place, error) {
	var places []place
	for _, l := range linesOf(text) {
		switch body := strings.Trim(l.text, " \t"); {
		case body == "":
			continue
		case body[0] == '#':
			return nil, &oops{l.n, "is a comment, which not all programs that read the file take for one"}
		case len(places) > 0:
			return nil, &oops{l.n, "is a second line"}
		}
		p, err := params(text, "", l, l.start)
		if err != nil {
			return nil, err
		}
		places = append(places, p)
	}
	if len(places) == 0 {
		return nil, &oops{0, "is empty"}
	}
	return places, nil
}

// loaderEntryPlaces takes an entry of the Boot Loader Specification: lines of a key and a
// value. What several lines with options say is joined.
func loaderEntryPlaces(text string) ([]place, error) {
	linux := false
	var options []place
	for _, l := range linesOf(text) {
		key, from := l.keyword()
		switch key {
		case "linux":
			linux = true
		case "options":
			p, err := params(text, "options", l, from)
			if err != nil {
				return nil, err
			}
			options = append(options, p)
		}
	}
	switch {
	case !linux:
		return nil, nil
	case len(options) == 0:
		return []place{{key: "options", absent: true, insert: func(w string) []patch {
			return []patch{{at: len(text), text: newlineAfter(text) + "options " + w + "\n"}}
		}}}, nil
	}
	last := options[len(options)-1]
	for _, p := range options[:len(options)-1] {
		last.words = append(last.words, p.words...)
	}
	return []place{last}, nil
}

// extlinuxPlaces takes what each label appends, and what stands before the first label
// and holds for those that append nothing. Keywords are in either case.
func extlinuxPlaces(text string) ([]place, error) {
	var places []place
	label := ""
	seen := map[string]int{}
	for _, l := range linesOf(text) {
		key, from := l.keyword()
		switch strings.ToLower(key) {
		case "label":
			label = "label " + strings.TrimSpace(text[from:l.to])
			seen[label]++
			if n := seen[label]; n > 1 {
				label = fmt.Sprintf("%s #%d", label, n)
			}
		case "append":
			if strings.TrimSpace(text[from:l.to]) == "-" {
				continue // nothing, not even what holds for all
			}
			p, err := params(text, label, l, from)
			if err != nil {
				return nil, err
			}
			for _, other := range places {
				if other.key == label {
					return nil, &oops{l.n, "appends again under the same label"}
				}
			}
			places = append(places, p)
		case "include", "config":
			return nil, &oops{l.n, "takes in another file"}
		}
	}
	if len(places) == 0 {
		return nil, &oops{0, "has no line APPEND"}
	}
	return places, nil
}

// wordLinesPlaces takes a file with a word at the beginning of each line.
func wordLinesPlaces(text string) []place {
	p := place{insert: func(w string) []patch {
		return []patch{{at: len(text), text: newlineAfter(text) + w + "\n"}}
	}}
	for _, l := range linesOf(text) {
		w, _ := l.keyword()
		if w != "" && w[0] != '#' && w[0] != ';' {
			p.words = append(p.words, word{w, l.start, l.end})
		}
	}
	return []place{p}
}

// wholeLinesPlaces takes each line for a word.
func wholeLinesPlaces(text string) []place {
	p := place{insert: func(w string) []patch {
		return []patch{{at: len(text), text: newlineAfter(text) + w + "\n"}}
	}}
	for _, l := range linesOf(text) {
		if w := strings.Trim(l.text, " \t"); w != "" {
			p.words = append(p.words, word{w, l.start, l.end})
		}
	}
	return []place{p}
}
