package hostedit

import (
	"fmt"
	"strings"
)

// context is how many lines a hunk shows around what differs.
const context = 3

// unified writes a unified diff of two texts, as diff -u does; empty when they are the
// same. A name of /dev/null stands for a file that is not there.
func unified(from, to, before, after string) string {
	if before == after && from == to {
		return ""
	}
	a, b := splitLines(before), splitLines(after)
	ops := compare(a, b)
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", from, to)
	for i := 0; i < len(ops); {
		if ops[i].kind == ' ' {
			i++
			continue
		}
		start := max(0, i-context)
		end, same := i, 0
		for j := i; j < len(ops) && same <= 2*context; j++ {
			if ops[j].kind == ' ' {
				same++
			} else {
				same, end = 0, j+1
			}
		}
		end = min(len(ops), end+context)
		hunk(&out, ops[start:end])
		i = end
	}
	return out.String()
}

// An op is one line of a diff: kept, removed or added; a and b say before which line of
// each text, from 0, it stands.
type op struct {
	kind byte // ' ', '-' or '+'
	line string
	a, b int
}

func hunk(out *strings.Builder, ops []op) {
	olds, news := 0, 0
	for _, o := range ops {
		if o.kind != '+' {
			olds++
		}
		if o.kind != '-' {
			news++
		}
	}
	span := func(at, n int) string {
		if n > 0 {
			at++
		}
		if n == 1 {
			return fmt.Sprint(at)
		}
		return fmt.Sprintf("%d,%d", at, n)
	}
	fmt.Fprintf(out, "@@ -%s +%s @@\n", span(ops[0].a, olds), span(ops[0].b, news))
	for _, o := range ops {
		out.WriteByte(o.kind)
		out.WriteString(o.line)
		if !strings.HasSuffix(o.line, "\n") {
			out.WriteString("\n\\ No newline at end of file\n")
		}
	}
}

func splitLines(text string) []string {
	var lines []string
	for l := range strings.Lines(text) {
		lines = append(lines, l)
	}
	return lines
}

// compare finds what to remove from a and to add to make b: the same lines at both ends
// are kept, and of those between the longest common sequence, unless that takes too long.
func compare(a, b []string) []op {
	var ops []op
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		ops = append(ops, op{' ', a[head], head, head})
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	i, j := head, head
	endA, endB := len(a)-tail, len(b)-tail
	const most = 1 << 20
	var common [][]int32 // of a[i:] and b[j:]
	if n, m := endA-head, endB-head; n > 0 && m > 0 && n*m <= most {
		common = make([][]int32, n+1)
		for r := range common {
			common[r] = make([]int32, m+1)
		}
		for r := n - 1; r >= 0; r-- {
			for c := m - 1; c >= 0; c-- {
				if a[head+r] == b[head+c] {
					common[r][c] = common[r+1][c+1] + 1
				} else {
					common[r][c] = max(common[r+1][c], common[r][c+1])
				}
			}
		}
	}
	for i < endA || j < endB {
		switch {
		case i < endA && j < endB && common != nil && a[i] == b[j]:
			ops = append(ops, op{' ', a[i], i, j})
			i, j = i+1, j+1
		case i < endA && (j == endB || common == nil || common[i+1-head][j-head] >= common[i-head][j+1-head]):
			ops = append(ops, op{'-', a[i], i, j})
			i++
		default:
			ops = append(ops, op{'+', b[j], i, j})
			j++
		}
	}
	for ; i < len(a); i, j = i+1, j+1 {
		ops = append(ops, op{' ', a[i], i, j})
	}
	return ops
}
