package indy_test

import (
	"go/ast"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestTraps looks for the tests that docs/traps.md names: a promise whose test is gone
// is none.
func TestTraps(t *testing.T) {
	if rows := promises(t, "docs/traps.md"); len(rows) < 30 {
		t.Errorf("docs/traps.md: %d rows", len(rows))
	}
}

// TestFaults looks for the tests that docs/faults.md names. Each fault has a number, which
// is in the name of its tests.
func TestFaults(t *testing.T) {
	rows := promises(t, "docs/faults.md")
	number := regexp.MustCompile(`^[0-9]+ `)
	for _, row := range rows {
		n, err := strconv.Atoi(strings.TrimSpace(number.FindString(row.what)))
		if err != nil {
			t.Errorf("docs/faults.md: no number: %s", row.what)
			continue
		}
		if !slices.ContainsFunc(row.tests, func(test string) bool { return strings.Contains(test, "/TestFault"+twoDigits(n)) }) {
			t.Errorf("docs/faults.md: none of the tests of %d is named after it: %q", n, row.tests)
		}
	}
	if len(rows) < 24 {
		t.Errorf("docs/faults.md: %d rows", len(rows))
	}
}

func twoDigits(n int) string {
	if n < 10 {
		return "0" + strconv.Itoa(n)
	}
	return strconv.Itoa(n)
}

// A promise is a row of a table: what is so, and the tests that show it.
type promise struct {
	what  string
	tests []string // as assign/TestCrashPoints
}

// promises reads the rows of a document and looks for their tests.
func promises(t *testing.T, document string) []promise {
	t.Helper()
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
	var rows []promise
	heading := ""
	for line := range strings.Lines(string(r.files[document])) {
		if !strings.HasPrefix(line, "|") {
			heading = ""
			continue
		}
		if heading == "" {
			heading = line
			continue
		}
		if strings.HasPrefix(line, "|---") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 3 {
			t.Errorf("%s: %d cells: %s", document, len(cells), line)
			continue
		}
		row := promise{what: strings.TrimSpace(cells[0])}
		for _, test := range name.FindAllStringSubmatch(cells[2], -1) {
			row.tests = append(row.tests, test[1])
			if !have[test[1]] {
				t.Errorf("%s: there is no test %s", document, test[1])
			}
		}
		if rest := strings.TrimSpace(name.ReplaceAllString(cells[2], "")); len(row.tests) == 0 || rest != "" {
			t.Errorf("%s: no test, or what is none (%q), is named for: %s", document, rest, row.what)
		}
		rows = append(rows, row)
	}
	return rows
}
