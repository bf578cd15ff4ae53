package hostedit

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Kind is what a file is written in.
type Kind string

// The kinds.
const (
	// ShellString is a file of shell assignments, as /etc/default/grub. The words are in
	// the value of NAME="..." of the first of Keys that is assigned.
	ShellString Kind = "shell-string"
	// ShellAppend is the same with NAME+=" ... ", as dracut.conf(5) wants it.
	ShellAppend Kind = "shell-append"
	// ShellArray is the same with NAME=(...), as /etc/mkinitcpio.conf.
	ShellArray Kind = "shell-array"
	// WordLine is one line of words, as /etc/kernel/cmdline.
	WordLine Kind = "word-line"
	// LoaderEntry is an entry of the Boot Loader Specification; the words are in its
	// options. An entry that starts no Linux is let be.
	LoaderEntry Kind = "loader-entry"
	// Extlinux is extlinux.conf; the words are in APPEND of every label.
	Extlinux Kind = "extlinux"
	// JSONStrings is a JSON document; the words are elements of an array of strings.
	// The first of Keys is the path to it, as user.kernel_options.
	JSONStrings Kind = "json-strings"
	// WordLines has a word at the beginning of each line, and comments after #, as
	// modules-load.d(5) and /etc/initramfs-tools/modules.
	WordLines Kind = "word-lines"
	// Lines is a file of lines that are taken as they are, comments among them, as
	// modprobe.d(5) and udev(7) have them. The words are whole lines.
	Lines Kind = "lines"
)

// An Edit says which words belong into a file. Those that are there already are not
// added again.
type Edit struct {
	File  string   // rooted at / without the slash: etc/default/grub
	Kind  Kind     // how it is written
	Keys  []string // where in it, for the kinds that say so; the first that is there counts
	Words []string // what to add, in this order

	// Against are words that contradict: where one of them is, somebody wanted it so,
	// and the file is left alone.
	Against []string

	// Assigned leaves a file alone in which none of Keys is assigned: what it means then
	// is decided elsewhere.
	Assigned bool

	// Create makes the file, with Heading first, when there is none. Its directory is
	// never made: where it is missing, nobody reads it.
	Create  bool
	Heading string

	// For names what the edit is made for, so that it can be taken back by itself. It
	// may be empty.
	For string

	// Then are the commands a person has to run for the edit to have an effect, and
	// ThenUndone those after it was taken back. They are kept in the record, and not run.
	Then, ThenUndone []string
}

// A NotUnderstoodError says why a file was left alone: it holds something that the
// parser of its kind does not take, or that contradicts.
type NotUnderstoodError struct {
	File string // as /etc/default/grub
	Line int    // from 1; 0 for the file as a whole
	Text string // of that line
	Why  string
}

// Error returns file, line and reason.
func (e *NotUnderstoodError) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Why
	}
	return fmt.Sprintf("%s:%d: %s: %s", e.File, e.Line, e.Why, strings.TrimSpace(e.Text))
}

// What a file and its words may measure.
const (
	maxFile  = 1 << 20
	maxLines = 20_000
	maxWord  = 256
	maxWords = 64
	maxLine  = 2048 // of the kind Lines
)

// safe is what a word may be made of: nothing in it means something to a shell, to JSON
// or to a boot loader.
const safe = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.,=:@/+-"

func (e Edit) check() error {
	if !fs.ValidPath(e.File) || e.File == "." {
		return fmt.Errorf("%q is no path of a file", e.File)
	}
	if len(e.Words) == 0 || len(e.Words) > maxWords {
		return fmt.Errorf("%s: %d words to add", e.File, len(e.Words))
	}
	for _, w := range e.Words {
		if e.Kind == Lines {
			if w == "" || len(w) > maxLine || strings.TrimSpace(w) != w || strings.ContainsFunc(w, func(r rune) bool { return r < ' ' || r > '~' }) {
				return fmt.Errorf("%s: %.64q is no line that can be added", e.File, w)
			}
			continue
		}
		if w == "" || len(w) > maxWord || strings.Trim(w, safe) != "" {
			return fmt.Errorf("%s: %.64q is no word that can be added", e.File, w)
		}
	}
	if len(e.Keys) == 0 && (e.Kind == ShellString || e.Kind == ShellAppend || e.Kind == ShellArray || e.Kind == JSONStrings) {
		return fmt.Errorf("%s: no key of a %s file is named", e.File, e.Kind)
	}
	return nil
}

// A place is where words stand, or may be put, in a text.
type place struct {
	key   string // which of several
	words []word
	// insert says what has to be written where to add a word.
	insert func(w string) []patch
	// text[start:end] is the place as a whole: the line, or the array. It is empty if
	// it cannot be told from the rest.
	start, end int
	absent     bool // the place is made by inserting
}

// A word is one that is there; text[from:to] is what to cut to be rid of it.
type word struct {
	text     string
	from, to int
}

// A patch is text to put in at a position, over the bytes up to to.
type patch struct {
	at, to int
	text   string
}

func (p place) count(w string) (n int) {
	for _, have := range p.words {
		if have.text == w {
			n++
		}
	}
	return n
}

// splice applies patches that do not overlap.
func splice(text string, patches ...patch) string {
	slices.SortStableFunc(patches, func(a, b patch) int { return a.at - b.at })
	var b strings.Builder
	at := 0
	for _, p := range patches {
		b.WriteString(text[at:p.at])
		b.WriteString(p.text)
		at = max(p.to, p.at)
	}
	b.WriteString(text[at:])
	return b.String()
}

// oops is what parsers say: a line and a reason. The caller knows the file.
type oops struct {
	line int
	why  string
}

func (o *oops) Error() string { return o.why }

func (e Edit) notUnderstood(text string, err error) error {
	var o *oops
	if !errors.As(err, &o) {
		return err
	}
	n := &NotUnderstoodError{File: "/" + e.File, Line: o.line, Why: o.why}
	if o.line > 0 {
		lines := strings.Split(text, "\n")
		n.Text = lines[min(o.line, len(lines))-1]
		if r := []rune(n.Text); len(r) > 200 {
			n.Text = string(r[:200]) + "..."
		}
	}
	return n
}

// places finds where in a text of the edit's kind words stand: none where the file has
// no use for them.
func (e Edit) places(text string) ([]place, error) {
	if err := isText(text); err != nil {
		return nil, err
	}
	switch e.Kind {
	case ShellString, ShellAppend, ShellArray:
		return shellPlaces(text, e.Kind, e.Keys)
	case WordLine:
		return wordLinePlaces(text)
	case LoaderEntry:
		return loaderEntryPlaces(text)
	case Extlinux:
		return extlinuxPlaces(text)
	case JSONStrings:
		return jsonPlaces(text, e.Keys[0])
	case WordLines:
		return wordLinesPlaces(text), nil
	case Lines:
		return wholeLinesPlaces(text), nil
	}
	return nil, fmt.Errorf("there is no kind %q", e.Kind)
}

func isText(text string) error {
	switch {
	case len(text) > maxFile:
		return &oops{0, fmt.Sprintf("is larger than %d bytes", maxFile)}
	case !utf8.ValidString(text):
		return &oops{0, "holds bytes that are no text"}
	case strings.Count(text, "\n") > maxLines:
		return &oops{0, fmt.Sprintf("has more than %d lines", maxLines)}
	}
	for i, line := range strings.Split(text, "\n") {
		if strings.ContainsFunc(strings.TrimSuffix(line, "\r"), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return &oops{i + 1, "holds control characters"}
		}
	}
	return nil
}

// add returns the text with the edit's words in all its places. It is the same text if
// they are there.
func (e Edit) add(text string) (string, error) {
	changed := text
	for _, w := range e.Words {
		places, err := e.places(changed)
		if err != nil {
			return "", e.notUnderstood(changed, err)
		}
		for _, p := range places {
			if p.absent && e.Assigned {
				return "", e.notUnderstood(changed, &oops{0, "does not assign " + p.key + ", and what holds then is not known"})
			}
			for _, have := range p.words {
				if slices.Contains(e.Against, have.text) {
					return "", e.notUnderstood(changed, &oops{lineAt(changed, have.from), fmt.Sprintf("holds %s, which contradicts %s", have.text, w)})
				}
			}
		}
		var patches []patch
		for _, p := range places {
			if p.insert != nil && p.count(w) == 0 {
				patches = append(patches, p.insert(w)...)
			}
		}
		changed = splice(changed, patches...)
	}
	// What was written must read as it was meant.
	places, err := e.places(changed)
	if err != nil {
		return "", e.notUnderstood(changed, err)
	}
	for _, p := range places {
		for _, w := range e.Words {
			if p.insert != nil && p.count(w) == 0 {
				return "", fmt.Errorf("/%s: %s would not be read where it was put", e.File, w)
			}
		}
	}
	return changed, nil
}

func lineAt(text string, at int) int { return 1 + strings.Count(text[:min(at, len(text))], "\n") }

// An undecided says that what was added cannot be told from what others wrote.
type undecided struct{ why string }

func (u *undecided) Error() string { return u.why }

// takeOut takes from the text now what the edit added when it made after of before, and
// nothing else. gone says that none of it was there any more.
func (e Edit) takeOut(before, after, now string) (text string, gone bool, err error) {
	old, err := e.places(before)
	if err != nil {
		return "", false, e.notUnderstood(before, err)
	}
	made, err := e.places(after)
	if err != nil {
		return "", false, e.notUnderstood(after, err)
	}
	places, err := e.places(now)
	if err != nil {
		return "", false, e.notUnderstood(now, err)
	}
	// A place that is as it was left becomes what it was.
	text = now
	asLeft := map[string]bool{}
	var patches []patch
	for _, p := range places {
		was, became := find(old, p.key), find(made, p.key)
		if was == nil || became == nil || p.end == p.start || now[p.start:p.end] != after[became.start:became.end] {
			continue
		}
		unit := before[was.start:was.end]
		if was.absent {
			unit = ""
		}
		asLeft[p.key] = true
		if unit != now[p.start:p.end] {
			patches = append(patches, patch{p.start, p.end, unit})
		}
	}
	gone = len(patches) == 0
	text = splice(text, patches...)
	// From any other one the words are taken, one after another.
	for _, w := range e.Words {
		cut := false
		if text, cut, err = e.cut(text, w, old, made, asLeft); err != nil {
			return "", false, err
		}
		gone = gone && !cut
	}
	return text, gone, nil
}

// cut takes one word from the places to which it was added.
func (e Edit) cut(text, w string, old, made []place, except map[string]bool) (string, bool, error) {
	places, err := e.places(text)
	if err != nil {
		return "", false, e.notUnderstood(text, err)
	}
	var patches []patch
	for _, p := range places {
		was, became := find(old, p.key), find(made, p.key)
		if except[p.key] || was == nil || became == nil || was.count(w) > 0 || became.count(w) == 0 {
			continue // not ours
		}
		switch n := p.count(w); {
		case n > 1:
			return "", false, &undecided{fmt.Sprintf("%s is there %d times, and which of them was added cannot be told", w, n)}
		case n == 1 && was.absent && len(p.words) == 1:
			patches = append(patches, patch{p.start, p.end, ""})
		case n == 1:
			i := slices.IndexFunc(p.words, func(have word) bool { return have.text == w })
			patches = append(patches, patch{p.words[i].from, p.words[i].to, ""})
		}
	}
	return splice(text, patches...), len(patches) > 0, nil
}

func find(places []place, key string) *place {
	if i := slices.IndexFunc(places, func(p place) bool { return p.key == key }); i >= 0 {
		return &places[i]
	}
	return nil
}
