package hostedit

import (
	"fmt"
	"slices"
	"strings"
)

// An assignment is one line of a file that a shell reads: NAME=VALUE or NAME+=VALUE.
type assignment struct {
	name     string
	adds     bool // +=
	line     int
	start    int // of the line
	end      int // of the line with its newline
	from, to int // of the value, quotes and all
}

// shellAssignments reads a file that consists of comments and of assignments, each on
// one line. Values of others than the one looked for may hold anything that ends on the
// line, as GRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`.
func shellAssignments(text string) ([]assignment, error) {
	var found []assignment
	n, start := 0, 0
	for full := range strings.Lines(text) {
		n++
		line := strings.TrimSuffix(full, "\n")
		at := start
		start += len(full)
		if strings.HasSuffix(line, "\r") {
			return nil, &oops{n, "ends in a carriage return, which the shell takes for a part of the value"}
		}
		body := strings.TrimLeft(line, " \t")
		if body == "" || body[0] == '#' {
			continue
		}
		i := len(line) - len(body)
		exports := false
		if rest, ok := strings.CutPrefix(body, "export "); ok {
			rest = strings.TrimLeft(rest, " \t")
			i, exports = len(line)-len(rest), true
		}
		a := assignment{line: n, start: at, end: start}
		name := i
		for i < len(line) && (line[i] == '_' || isAlnum(line[i]) && (i > name || line[i] > '9')) {
			i++
		}
		a.name = line[name:i]
		switch {
		case a.name != "" && strings.HasPrefix(line[i:], "="):
			i++
		case a.name != "" && strings.HasPrefix(line[i:], "+="):
			i, a.adds = i+2, true
		case a.name != "" && exports && strings.Trim(line[i:], " \t") == "":
			continue
		default:
			return nil, &oops{n, "is no assignment, but shell logic"}
		}
		end, err := valueEnd(line, i)
		if err != nil {
			return nil, &oops{n, err.Error()}
		}
		if rest := strings.TrimLeft(line[end:], " \t"); rest != "" && (rest[0] != '#' || len(rest) == len(line[end:])) {
			return nil, &oops{n, "goes on after the value"}
		}
		a.from, a.to = at+i, at+end
		found = append(found, a)
	}
	return found, nil
}

func isAlnum(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' }

// A shellError is why a value does not end on its line.
type shellError string

func (e shellError) Error() string { return string(e) }

const (
	errOpen  shellError = "has a quote or a bracket that does not end on the line"
	errGoes  shellError = "goes on in the next line"
	errLogic shellError = "holds shell logic"
	errDeep  shellError = "is nested too deep"
)

// valueEnd returns where the value of an assignment ends that begins at s[i].
func valueEnd(s string, i int) (int, error) {
	if i < len(s) && s[i] == '(' {
		return skip(s, i+1, ')', 0)
	}
	for i < len(s) {
		var err error
		switch c := s[i]; {
		case c == ' ' || c == '\t':
			return i, nil
		case strings.IndexByte(";&|<>()", c) >= 0:
			return 0, errLogic
		default:
			if i, err = step(s, i, 0); err != nil {
				return 0, err
			}
		}
	}
	return i, nil
}

// step returns the position after the character, quote or substitution at s[i].
func step(s string, i, depth int) (int, error) {
	switch c := s[i]; {
	case c == '\\':
		if i+1 == len(s) {
			return 0, errGoes
		}
		return i + 2, nil
	case c == '\'':
		end := strings.IndexByte(s[i+1:], '\'')
		if end < 0 {
			return 0, errOpen
		}
		return i + 1 + end + 1, nil
	case c == '"', c == '`':
		return skip(s, i+1, c, depth+1)
	case c == '$' && i+1 < len(s) && s[i+1] == '(':
		return skip(s, i+2, ')', depth+1)
	case c == '$' && i+1 < len(s) && s[i+1] == '{':
		return skip(s, i+2, '}', depth+1)
	}
	return i + 1, nil
}

// skip returns the position after the end of what was opened before s[i].
func skip(s string, i int, end byte, depth int) (int, error) {
	if depth > 8 {
		return 0, errDeep
	}
	for i < len(s) {
		c := s[i]
		var err error
		switch {
		case c == end:
			return i + 1, nil
		case end == '"' && c == '\'', end == '"' && c == '#':
			i++ // no quote in here
		case end != '"' && end != '}' && (c == '#' && strings.IndexByte(" \t(", s[i-1]) >= 0 || strings.HasPrefix(s[i:], "<<")):
			return 0, errLogic // a comment, or a document: it ends elsewhere
		case end == ')' && c == '(':
			if i, err = skip(s, i+1, ')', depth+1); err != nil {
				return 0, err
			}
		default:
			if i, err = step(s, i, depth); err != nil {
				return 0, err
			}
		}
	}
	return 0, errOpen
}

// shellPlaces finds the value of the first of keys that is assigned. The values of the
// other keys are places that are only looked at.
func shellPlaces(text string, kind Kind, keys []string) ([]place, error) {
	all, err := shellAssignments(text)
	if err != nil {
		return nil, err
	}
	var places []place
	for _, key := range keys {
		var a *assignment
		for i := range all {
			if all[i].name != key {
				continue
			}
			if a != nil {
				return nil, &oops{all[i].line, fmt.Sprintf("assigns %s again, after line %d", key, a.line)}
			}
			a = &all[i]
		}
		if a == nil {
			continue
		}
		p, err := shellPlace(text, kind, *a)
		if err != nil {
			return nil, &oops{a.line, err.Error()}
		}
		if len(places) > 0 {
			p.insert = nil
		}
		places = append(places, p)
	}
	if len(places) == 0 {
		places = append(places, newAssignment(text, kind, keys[0]))
	}
	return places, nil
}

func shellPlace(text string, kind Kind, a assignment) (place, error) {
	value := text[a.from:a.to]
	p := place{key: a.name, start: a.start, end: a.end}
	if a.adds != (kind == ShellAppend) {
		return p, shellError("is not assigned as " + a.name + form(kind, ""))
	}
	from, to := a.from, a.to
	quoted := true
	switch {
	case kind == ShellArray:
		if len(value) < 2 || value[0] != '(' {
			return p, shellError("is not assigned as " + a.name + form(kind, ""))
		}
		from, to = from+1, to-1
	case len(value) >= 2 && (value[0] == '"' || value[0] == '\'') && strings.IndexByte(value[1:], value[0]) == len(value)-2:
		from, to = from+1, to-1
	default:
		quoted = false
	}
	if inner := text[from:to]; quoted && strings.ContainsAny(inner, "\"'`$\\()*?[]{}~#;&|<>!") || !quoted && strings.Trim(inner, safe) != "" {
		return p, shellError("has a value of more than plain words")
	}
	p.words = wordsIn(text, from, to)
	p.insert = func(w string) []patch {
		switch {
		case !quoted && from == to:
			return []patch{{at: from, text: `"` + w + `"`}}
		case !quoted:
			return []patch{{at: from, text: `"`}, {at: to, text: " " + w + `"`}}
		case kind == ShellAppend && (from == to || text[to-1] != ' '):
			return []patch{{at: to, text: " " + w + " "}}
		case kind == ShellAppend:
			return []patch{{at: to, text: w + " "}}
		case from == to:
			return []patch{{at: to, text: w}}
		}
		return []patch{{at: to, text: " " + w}}
	}
	return p, nil
}

// form is how a value is assigned.
func form(kind Kind, words string) string {
	switch kind {
	case ShellAppend:
		return `+=" ` + words + ` "`
	case ShellArray:
		return "=(" + words + ")"
	}
	return `="` + words + `"`
}

// newAssignment is the place for a name that is not assigned: a line at the end.
func newAssignment(text string, kind Kind, key string) place {
	return place{key: key, absent: true, insert: func(w string) []patch {
		return []patch{{at: len(text), text: newlineAfter(text) + key + form(kind, w) + "\n"}}
	}}
}

// newlineAfter is what ends the last line of a text if nothing does.
func newlineAfter(text string) string {
	if text == "" || strings.HasSuffix(text, "\n") {
		return ""
	}
	return "\n"
}

// wordsIn finds the words of text[from:to], separated by blanks. With a word goes the
// blank before it, or the one after it if it is the first.
func wordsIn(text string, from, to int) []word {
	var found []word
	for i := from; i < to; {
		if text[i] == ' ' || text[i] == '\t' {
			i++
			continue
		}
		end := i
		for end < to && text[end] != ' ' && text[end] != '\t' {
			end++
		}
		w := word{text[i:end], i, end}
		switch {
		case i > from:
			w.from--
		case end < to:
			w.to++
		}
		found = append(found, w)
		i = end
	}
	return slices.Clip(found)
}
