package cli

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/project-independence/indy/laptop"
)

// A colour is an ANSI code; none is empty.
type colour string

const (
	plain  colour = ""
	bold   colour = "1"
	dim    colour = "2"
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
)

func (e *Env) paint(c colour, s string) string {
	if !e.Colour || c == plain || s == "" {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}

func verdictColour(v laptop.Verdict) colour {
	switch v {
	case laptop.Assignable:
		return green
	case laptop.WithCompanions:
		return yellow
	case laptop.Refused:
		return red
	}
	return dim
}

// A table has columns as wide as their widest cell; the last one is cut at the
// width of the terminal.
type table struct {
	rows    [][]string
	colours []func(row int, cell string) colour // by column, nil for plain
}

// add adds a row. What a device or a saved machine wrote may hold control characters,
// which must not reach a terminal.
func (t *table) add(cells ...string) {
	for i, c := range cells {
		cells[i] = printable(c)
	}
	t.rows = append(t.rows, cells)
}

func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

func (t *table) write(e *Env, w io.Writer) {
	var out strings.Builder
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for n, row := range t.rows {
		var line strings.Builder
		used := 0
		for i, cell := range row {
			pad := widths[i] - utf8.RuneCountInString(cell)
			if i == len(row)-1 {
				pad = 0
				if e.Width > 0 {
					cell = cut(cell, max(e.Width-used, 8))
				}
			}
			c := plain
			switch {
			case n == 0:
				c = bold
			case i < len(t.colours) && t.colours[i] != nil:
				c = t.colours[i](n, cell)
			}
			line.WriteString(e.paint(c, cell))
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", pad+2))
				used += widths[i] + 2
			}
		}
		fmt.Fprintln(&out, strings.TrimRight(line.String(), " "))
	}
	_, _ = io.WriteString(w, out.String()) // one write, however many rows
}

// writePlain writes the rows without a heading and without cutting them.
func (t *table) writePlain(w io.Writer) {
	t.rows = append([][]string{{""}}, t.rows...)
	var b strings.Builder
	t.write(&Env{}, &b)
	_, rows, _ := strings.Cut(b.String(), "\n")
	_, _ = io.WriteString(w, rows)
}

func cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	r := []rune(s)
	return string(r[:width-1]) + "…"
}

// or returns s, or a stand-in when it is empty.
func or(s, none string) string {
	if s == "" {
		return none
	}
	return s
}
