package daemon

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/internal/hosttest"
)

// TestRolesDocument holds that docs/roles.md has the table as it is.
func TestRolesDocument(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(hosttest.Root(t), "docs", "roles.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^\| verb .*\n(\|.*\n)+`).FindString(string(text))
	if diff := cmp.Diff(RolesTable(), found); diff != "" {
		t.Errorf("docs/roles.md (-table +document):\n%s", diff)
	}
}

// TestRoles holds what must be so of any such table: a higher role may all that a lower one
// may, a locked guest is never open to more people than a free one, and nobody may nothing.
func TestRoles(t *testing.T) {
	seen := map[Verb]bool{}
	for _, rule := range Verbs() {
		if seen[rule.Verb] || rule.Does == "" {
			t.Errorf("%s: is there twice, or says nothing", rule.Verb)
		}
		seen[rule.Verb] = true
		if rule.Free == Nobody || rule.Locked < rule.Free {
			t.Errorf("%s: %s for free guests, %s for locked ones", rule.Verb, rule.Free, rule.Locked)
		}
		for _, locked := range []bool{false, true} {
			if May(Nobody, rule.Verb, locked) || May(-1, rule.Verb, locked) || May(Admin+1, rule.Verb, locked) {
				t.Errorf("%s: nobody may", rule.Verb)
			}
			if !May(Admin, rule.Verb, locked) {
				t.Errorf("%s: an administrator may not", rule.Verb)
			}
			if May(User, rule.Verb, locked) && !May(Operator, rule.Verb, locked) {
				t.Errorf("%s: a user may and an operator not", rule.Verb)
			}
		}
	}
	// Definition and disks of a locked guest are for administrators alone, and so is what
	// can be seen in it.
	for _, v := range []Verb{GuestsCreate, GuestsEdit, GuestsDelete, GuestsConsole, GuestsScreenshot} {
		if May(Operator, v, true) {
			t.Errorf("%s: an operator may, with a locked guest", v)
		}
	}
	for _, v := range []Verb{"", "guests", "anything"} {
		if May(Admin, v, false) || May(Admin, v, true) {
			t.Errorf("%q has no rule, and may be done", v)
		}
	}
	if got, want := len(strings.Split(strings.TrimSpace(RolesTable()), "\n")), len(Verbs())+2; got != want {
		t.Errorf("%d lines, want %d", got, want)
	}
	if got := (Role(7)).String(); got != "Role(7)" {
		t.Error(got)
	}
	if !slices.IsSorted(roles()) {
		t.Error("roles are not in order")
	}
}
