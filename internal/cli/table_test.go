package cli

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// TestTableFits: whatever is in the cells, no line is longer than the terminal is wide
// as long as that has room for the least widths, and nothing is cut without need.
func TestTableFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tab := table{least: []int{4, 0, 6}}
		rows := rapid.IntRange(1, 6).Draw(t, "rows")
		cell := rapid.StringMatching(`[a-z0-9äß:.]{0,30}`)
		fixed := rapid.StringMatching(`[a-z]{1,9}`)
		for range rows {
			tab.add(cell.Draw(t, "first"), fixed.Draw(t, "second"), cell.Draw(t, "third"))
		}
		e := &Env{Width: rapid.IntRange(25, 90).Draw(t, "width")}
		var b strings.Builder
		tab.write(e, &b)
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > e.Width {
				t.Fatalf("%d columns in %d: %q", n, e.Width, line)
			}
		}
		if tab.width() <= e.Width && strings.Contains(b.String(), "…") {
			t.Fatalf("cut without need:\n%s", b.String())
		}
	})
}

// TestTableColours: what is cut is cut by what it shows, not by the codes of colours.
func TestTableColours(t *testing.T) {
	tab := table{least: []int{0, 8}, colours: []func(int, string) colour{1: verdictCell}}
	tab.add("A", "VERDICT")
	tab.add("x", "refused: bridge")
	var b strings.Builder
	tab.write(&Env{Width: 12, Colour: true}, &b)
	if want := "\x1b[1mA\x1b[0m  \x1b[1mVERDICT\x1b[0m\nx  \x1b[31mrefused:…\x1b[0m\n"; b.String() != want {
		t.Errorf("got  %q\nwant %q", b.String(), want)
	}
}

func TestNarrow(t *testing.T) {
	tab := table{least: []int{0, 4}}
	tab.add("ADDRESS", "NAME")
	tab.add("0000:00:02.0", "a graphics card")
	tab.add("10000:e0:06.0", "behind a VMD")
	tab.narrow(&Env{Width: 80}, 0)
	if tab.rows[1][0] != "0000:00:02.0" {
		t.Errorf("shortened without need: %q", tab.rows[1][0])
	}
	tab.narrow(&Env{Width: 20}, 0)
	if tab.rows[1][0] != "00:02.0" || tab.rows[2][0] != "10000:e0:06.0" {
		t.Errorf("%q", tab.rows)
	}
}

func TestEscapeJSON(t *testing.T) {
	const text = "{\n  \"a\": \"\\u001b x\u009b \u202e ü \U000e0001\"\n}\n"
	if got, want := string(escapeJSON([]byte(text))), "{\n  \"a\": \"\\u001b x\\u009b \\u202e ü \\udb40\\udc01\"\n}\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
