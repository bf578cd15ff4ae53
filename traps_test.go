package indy_test

import (
	"go/ast"
	"regexp"
	"strings"
	"testing"
)

// TestTraps looks for the tests that docs/traps.md names: a promise whose test is gone
// is none.
func TestTraps(t *testing.T) {
	r := readRepository(t)
	have := map[string]bool{}
	for _, f := range r.goes {
		for _, d := range f.Decls {
			if d, ok := d.(*ast.FuncDecl); ok && f.test && d.Recv == nil {
				have[f.dir+"/"+d.Name.Name] = true
			}
		}
	}
	name := regexp.MustCompile("`([a-z/]+/(?:Test|Fuzz)[A-Za-z0-9]+)`")
	rows := 0
	for line := range strings.Lines(string(r.files["docs/traps.md"])) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || strings.TrimSpace(cells[0]) == "what is so" {
			continue
		}
		rows++
		if len(cells) != 3 {
			t.Errorf("docs/traps.md: %d cells: %s", len(cells), line)
			continue
		}
		tests := name.FindAllStringSubmatch(cells[2], -1)
		if rest := strings.TrimSpace(name.ReplaceAllString(cells[2], "")); len(tests) == 0 || rest != "" {
			t.Errorf("docs/traps.md: no test, or what is none (%q), is named for: %s", rest, cells[0])
		}
		for _, test := range tests {
			if !have[test[1]] {
				t.Errorf("docs/traps.md: there is no test %s", test[1])
			}
		}
	}
	if rows < 30 {
		t.Errorf("docs/traps.md: %d rows", rows)
	}
}
