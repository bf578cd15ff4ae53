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

// A table has columns as wide as their widest cell. On a terminal that is too narrow
// the widest of the columns that may shrink do so, and cells that no longer fit are cut.
type table struct {
	rows    [][]string
	least   []int                               // by column, how far it may shrink; 0, or none, not at all
	ragged  []int                               // by column, without a terminal: cells wider than this do not widen it
	colours []func(row int, cell string) colour // by column, nil for plain
}

// narrow drops the domain 0000 of the addresses in a column, as far as the table is too
// wide for the terminal: every command takes them without.
func (t *table) narrow(e *Env, column int) {
	if e.Width == 0 || t.width() <= e.Width {
		return
	}
	for _, row := range t.rows {
		// A tree has its lines, and a blank, before the address.
		if i := strings.Index(" "+row[column], " 0000:"); i >= 0 {
			row[column] = row[column][:i] + row[column][i+len("0000:"):]
		}
	}
}

// width is how wide the table would like to be.
func (t *table) width() int {
	n := -gap
	for _, w := range t.widths(0) {
		n += w + gap
	}
	return n
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

func (t *table) write(e *Env, w io.Writer) { t.print(e, w, bold) }

// writePlain writes the rows without a heading.
func (t *table) writePlain(e *Env, w io.Writer) { t.print(e, w, plain) }

// print writes all rows, the first in a colour of its own unless that is plain.
func (t *table) print(e *Env, w io.Writer, heading colour) {
	var out strings.Builder
	widths := t.widths(e.Width)
	for n, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			if e.Width > 0 && i < len(t.least) && t.least[i] > 0 {
				cell = cut(cell, widths[i])
			}
			c := plain
			switch {
			case n == 0 && heading != plain:
				c = heading
			case i < len(t.colours) && t.colours[i] != nil:
				c = t.colours[i](n, row[i])
			}
			line.WriteString(e.paint(c, cell))
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(cell))+gap))
			}
		}
		fmt.Fprintln(&out, strings.TrimRight(line.String(), " "))
	}
	_, _ = io.WriteString(w, out.String()) // one write, however many rows
}

// gap is how far columns are apart.
const gap = 2

// widths returns how wide the columns are, in so many columns of a terminal; 0 is any
// number.
func (t *table) widths(most int) []int {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			n := utf8.RuneCountInString(cell)
			if most == 0 && i < len(t.ragged) && t.ragged[i] > 0 {
				n = min(n, t.ragged[i])
			}
			widths[i] = max(widths[i], n)
		}
	}
	over := -gap - most
	for _, w := range widths {
		over += w + gap
	}
	for ; most > 0 && over > 0; over-- {
		widest := -1
		for i := range min(len(t.least), len(widths)) {
			if spare := widths[i] - t.least[i]; t.least[i] > 0 && spare > 0 && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break // too narrow for any table
		}
		widths[widest]--
	}
	return widths
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
