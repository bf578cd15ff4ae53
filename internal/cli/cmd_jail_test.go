package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/project-independence/indy/guest/qemu"
)

// TestJailByHand shows what a person gets who calls the stage.
func TestJailByHand(t *testing.T) {
	tests := []struct {
		args []string
		code int
		want string
	}{
		{[]string{"jail"}, exitUsage, "expected: indy jail DESCRIPTOR"},
		{[]string{"jail", "x"}, exitUsage, `descriptor "x" is no number`},
		{[]string{"jail", "-1"}, exitUsage, "-1"},
		{[]string{"jail", "99999999999"}, exitUsage, "is no number"},
		{[]string{"jail", "2"}, exitFailed, "only indy itself uses this command"},
		{[]string{"jail", "60000"}, exitFailed, "only indy itself uses this command"},
	}
	for _, tt := range tests {
		var out, errs bytes.Buffer
		env := &Env{Stdout: &out, Stderr: &errs, Getenv: func(string) string { return "" }}
		if code := Main(tt.args, env); code != tt.code || !strings.Contains(errs.String(), tt.want) {
			t.Errorf("%v: exit %d, %s", tt.args, code, &errs)
		}
	}
}

func TestUnconfined(t *testing.T) {
	var errs bytes.Buffer
	list := []qemu.Measure{{Name: "root", What: "a root", InForce: true}, {Name: "memory", What: "limits of memory", Why: "none\x1b[2J here"}}
	env := &Env{Stderr: &errs}
	env.unconfined(list)
	if errs.Len() > 0 {
		t.Errorf("without a jail: %s", &errs)
	}
	env.Jail = func() []string { return []string{"jail"} }
	env.unconfined(list)
	if got := errs.String(); !strings.HasPrefix(got, "indy: not in force for QEMU: limits of memory: none") || strings.Contains(got, "\x1b") || strings.Count(got, "\n") != 1 {
		t.Errorf("%q", got)
	}
}
