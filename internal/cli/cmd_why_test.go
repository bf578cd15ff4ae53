package cli

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// TestWrap: no word is lost, no line is wider than it may be unless it is one word, and
// no line ends before it has to.
func TestWrap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.StringMatching(`[a-zä:]{1,9}`), 1, 12).Draw(t, "words")
		width := rapid.IntRange(1, 30).Draw(t, "width")
		lines := wrap(strings.Join(words, " "), width)
		if got := strings.Fields(strings.Join(lines, " ")); strings.Join(got, " ") != strings.Join(words, " ") {
			t.Fatalf("%q of %q", got, words)
		}
		for i, l := range lines {
			n := utf8.RuneCountInString(l)
			if n > width && strings.Contains(l, " ") {
				t.Fatalf("%d columns in %d: %q", n, width, l)
			}
			if i+1 < len(lines) {
				next, _, _ := strings.Cut(lines[i+1], " ")
				if n+1+utf8.RuneCountInString(next) <= width {
					t.Fatalf("%q fits after %q", next, l)
				}
			}
		}
	})
	if got := wrap("any width at all", 0); len(got) != 1 || got[0] != "any width at all" {
		t.Errorf("%q", got)
	}
	if got := wrap("", 10); len(got) != 1 {
		t.Errorf("%q", got)
	}
}
