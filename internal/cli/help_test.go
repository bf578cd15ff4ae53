package cli_test

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// Help of each command fits every terminal, and shows a person no words of Go.
func TestHelpFits(t *testing.T) {
	c := newConsole(t)
	list, _, _ := c.run("help")
	listed := regexp.MustCompile(`(?m)^  ([a-z]+)  +`).FindAllStringSubmatch(list, -1)
	if len(listed) < 20 {
		t.Fatalf("%d commands are listed", len(listed))
	}
	names := []string{""}
	for _, name := range listed {
		names = append(names, name[1])
	}
	for _, name := range names {
		said, _, code := c.run(append([]string{"help"}, strings.Fields(name)...)...)
		if code != 0 {
			t.Errorf("help %s: exit status %d", name, code)
		}
		for line := range strings.Lines(said) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
				t.Errorf("help %s: %d columns: %s", name, n, line)
			}
		}
		if !strings.Contains(said, "Usage:\n  indy") || name != "help" && name != "completion" && !strings.Contains(said, "Exit status:") {
			t.Errorf("help %s says neither how nor with what status:\n%s", name, said)
		}
		if word := regexp.MustCompile(`stringArray|strings  |ints  |arg\(s\)|0m0s`).FindString(said); word != "" {
			t.Errorf("help %s: %q is no word for people", name, word)
		}
	}
}
