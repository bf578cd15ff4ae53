package importer

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/project-independence/indy/hostfs"
)

// A Format is a kind of report.
type Format uint8

// The kinds of report.
const (
	Unknown      Format = iota
	Facter              // JSON of nixos-facter
	LSPCI               // lspci with -n, -nn or -x, with or without -v, -k and -D
	LSPCIRecords        // lspci -vmm with -n or -nn, with or without -k and -D
	Udev                // udevadm info --export-db
)

// String returns what a person calls the format.
func (f Format) String() string {
	switch f {
	case Facter:
		return "nixos-facter report"
	case LSPCI:
		return "text of lspci"
	case LSPCIRecords:
		return "records of lspci -vmm"
	case Udev:
		return "database of udev"
	}
	return "unknown format"
}

// Accepted says in words what [Parse] reads.
const Accepted = "a nixos-facter report (JSON), or the text of lspci -nnvk, lspci -xxxx, lspci -Dvmmnnk or udevadm info --export-db"

// ErrUnknown is the cause when the text is none of the formats.
var ErrUnknown = errors.New("is no report that is known; expected " + Accepted)

// Bounds of a report.
const (
	maxReport   = hostfs.MaxSaved
	maxRecords  = 65536
	maxEntries  = 250_000  // files, links and directories; real machines make some 10000
	maxLine     = 64 << 10 // bytes; the longest that the kernel writes of a device is a page
	maxElements = 64       // of a path; the deepest of real machines have about 25
	maxName     = 255      // NAME_MAX
	maxPath     = 4096     // PATH_MAX
	maxDepth    = 64       // of JSON; reports have about 8
	maxProblems = 64       // that are told one by one
	maxText     = 256      // characters of a name that a device or firmware gives itself
	probedLines = 64       // that are looked at to tell the format
)

// Parse reads a report in whichever format it is and returns the machine as a tree
// in the shape of /sys, and the format.
//
// One broken record costs that record only: the error then joins what is wrong,
// with the line of each, and comes with the tree of the rest. So does a report that
// is cut off. The tree is nil if nothing of the report could be used: when it is none
// of the formats, the error is [ErrUnknown]; when it is over a bound,
// [hostfs.ErrTooLarge].
func Parse(data []byte) (*hostfs.Tree, Format, error) {
	if len(data) > maxReport {
		return nil, Unknown, fmt.Errorf("report of %d bytes, at most %d are allowed: %w", len(data), maxReport, hostfs.ErrTooLarge)
	}
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")) // as editors put before UTF-8
	format := detect(data)
	b := newBuilder()
	switch format {
	case Facter:
		b.facter(data)
	case LSPCI:
		b.lspci(data)
	case LSPCIRecords:
		b.lspciRecords(data)
	case Udev:
		b.udev(data)
	default:
		return nil, Unknown, ErrUnknown
	}
	t, err := b.finish()
	if err != nil {
		err = fmt.Errorf("%s: %w", format, err)
	}
	return t, format, err
}

// detect looks at the first lines, which may be somebody's words or a prompt.
func detect(data []byte) Format {
	if head := bytes.TrimLeft(data, " \t\r\n"); len(head) > 0 && head[0] == '{' {
		return Facter
	}
	for n, line := range textLines(data) {
		if n > probedLines {
			break
		}
		first, _, _ := strings.Cut(line, " ")
		key, value, _ := strings.Cut(line, ":")
		switch _, isAddress := parseAddress(first); {
		case isAddress:
			return LSPCI
		case strings.HasPrefix(line, "P: /"):
			return Udev
		case key == "Slot":
			if _, ok := parseAddress(strings.TrimSpace(value)); ok {
				return LSPCIRecords
			}
		}
	}
	return Unknown
}

// textLines ranges over the lines with their numbers, from 1, without their ends.
func textLines(data []byte) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		n := 0
		for line := range bytes.Lines(data) {
			n++
			if !yield(n, strings.TrimRight(string(line), "\r\n")) {
				return
			}
		}
	}
}

// problems are what is wrong with a report. Past the first of them they are counted.
type problems struct {
	told []error
	more int
}

func (p *problems) add(line int, err error) {
	if len(p.told) >= maxProblems {
		p.more++
		return
	}
	p.told = append(p.told, &lineError{line, err})
}

func (p *problems) addf(line int, format string, args ...any) {
	p.add(line, fmt.Errorf(format, args...))
}

func (p *problems) err() error {
	all := p.told
	if p.more > 0 {
		all = append(all, fmt.Errorf("and %d more", p.more))
	}
	return errors.Join(all...)
}

// A lineError is what is wrong with one line of a report; line 0 is all of it.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string {
	if e.line == 0 {
		return e.err.Error()
	}
	return fmt.Sprintf("line %d: %v", e.line, e.err)
}

func (e *lineError) Unwrap() error { return e.err }
