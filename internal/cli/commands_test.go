package cli

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOneCommand holds that a command which is made alone is the one that is made with all
// others, and says the same.
func TestOneCommand(t *testing.T) {
	env := &Env{Getenv: func(string) string { return "" }}
	help := func(name string, shape []string) string {
		var out bytes.Buffer
		root := newRootCommand(env, shape)
		root.SetOut(&out)
		root.SetErr(&out)
		root.SetArgs([]string{name, "--help"})
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	for _, c := range commands() {
		if got := c.make(env).Name(); got != c.name {
			t.Errorf("%s is made for %s", got, c.name)
		}
		if n := len(newRootCommand(env, []string{c.name}).Commands()); n != 1 {
			t.Errorf("%d commands are made for %s, want 1", n, c.name)
		}
		if diff := cmp.Diff(help(c.name, nil), help(c.name, []string{c.name})); diff != "" {
			t.Errorf("%s (-with all +alone):\n%s", c.name, diff)
		}
	}
	if n := len(newRootCommand(env, []string{"help", "assign"}).Commands()); n <= len(commands()) {
		t.Errorf("%d commands for help, want all and completion", n)
	}
}
