package plain_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/project-independence/indy/internal/plain"
)

func TestLine(t *testing.T) {
	for _, tt := range []struct {
		in   string
		most int
		want string
	}{
		{"Webcam C930e", 126, "Webcam C930e"},
		{"  two\n lines\r\nand\ttabs ", 126, "two lines and tabs"},
		{"\x1b[2J\x1b]0;title\acleared", 126, "[2J ]0;title cleared"},
		{"gp\u202edesrever\u2066\u200b", 126, "gp desrever"},
		{"no\u00a0break, Gerät, 摄像头", 126, "no break, Gerät, 摄像头"},
		{"bad\xff\xfe bytes\x00\ufffd", 126, "bad bytes"},
		{"\x00\x01", 126, ""},
		{"", 126, ""},
		{"摄像头", 2, "摄像"},
		{"ab cd", 2, "ab"},
		{"ab cd", 3, "ab"},
		{"ab cd", 4, "ab c"},
		{"ab", 0, ""},
		{"ab", -1, ""},
		{strings.Repeat("x", 4096), 126, strings.Repeat("x", 126)},
		{strings.Repeat("ab ", 4096), 126, strings.TrimSpace(strings.Repeat("ab ", 42))},
		{strings.Repeat("\u0301\u202e ", 999), 126, strings.Repeat("\u0301 ", 62) + "\u0301"},
	} {
		if got := plain.Line(tt.in, tt.most); got != tt.want {
			t.Errorf("%.80q in %d became %.80q, want %.80q", tt.in, tt.most, got, tt.want)
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"HID_NAME=Pad  2":           "HID_NAME=Pad  2",
		"\x1b[2JPad\n\u202e\xff":    "\ufffd[2JPad\ufffd\ufffd\ufffd",
		"Gerät, 摄像头\u00a0":          "Gerät, 摄像头\ufffd",
		strings.Repeat("\x00", 999): strings.Repeat("\ufffd", 999),
		"":                          "",
	} {
		if got := plain.Printable(in); got != want {
			t.Errorf("%.80q became %.80q, want %.80q", in, got, want)
		}
	}
}

func TestShort(t *testing.T) {
	for _, n := range []int{0, 1, 63, 64} {
		if s := strings.Repeat("x", n); plain.Short(s) != s {
			t.Errorf("%d bytes were cut", n)
		}
	}
	for _, n := range []int{65, 4096} {
		if got, want := plain.Short(strings.Repeat("x", n)), strings.Repeat("x", 64)+"..."; got != want {
			t.Errorf("%d bytes became %q", n, got)
		}
	}
}

func FuzzPlain(f *testing.F) {
	for _, s := range []string{"", "Webcam C930e", "  two\n lines ", "\x1b[2J\u202e\xff\ufffd", "摄像头 摄像头", strings.Repeat("ab ", 99)} {
		f.Add(s, 126)
		f.Add(s, 3)
	}
	f.Fuzz(func(t *testing.T, s string, most int) {
		line := plain.Line(s, most)
		if n := utf8.RuneCountInString(line); n > max(most, 0) || line != strings.Join(strings.Fields(line), " ") || !clean(line) || strings.ContainsRune(line, utf8.RuneError) {
			t.Errorf("%q in %d: %q", s, most, line)
		}
		if again := plain.Line(line, most); again != line {
			t.Errorf("%q in %d: %q, and then %q", s, most, line, again)
		}
		p := plain.Printable(s)
		if !clean(p) || utf8.RuneCountInString(p) != utf8.RuneCountInString(s) || clean(s) != (p == s) {
			t.Errorf("%q: %q", s, p)
		}
		if short := plain.Short(s); len(short) > 67 || short != s && !strings.HasPrefix(s, strings.TrimSuffix(short, "...")) {
			t.Errorf("%q: %q", s, short)
		}
	})
}

func clean(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}
