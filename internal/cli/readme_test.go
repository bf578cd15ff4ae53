package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/internal/cli"
	"github.com/project-independence/indy/internal/hosttest"
)

// What README.md shows of looking at a saved machine is what indy says. A transcript
// is an indented block that begins with "$ indy". With -update it is made anew.
func TestReadme(t *testing.T) {
	root := hosttest.Root(t)
	name := filepath.Join(root, "README.md")
	readme, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(root)
	var want strings.Builder
	transcripts, skipping := 0, false
	for line := range strings.Lines(string(readme)) {
		indented := strings.HasPrefix(line, "    ") || line == "\n" && skipping
		if skipping && (!indented || strings.HasPrefix(line, "    $ ")) {
			skipping = false
		}
		if skipping {
			continue
		}
		want.WriteString(line)
		command, ok := strings.CutPrefix(line, "    $ indy ")
		if !ok || !strings.Contains(command, "--from") {
			continue
		}
		transcripts++
		skipping = true
		var stdout, stderr bytes.Buffer
		env := cli.Env{Names: os.DirFS("testdata/ids"), Stdout: &stdout, Stderr: &stderr, Getenv: os.Getenv}
		cli.Main(strings.Fields(command), &env)
		for said := range strings.Lines(stdout.String() + stderr.String()) {
			if said != "\n" {
				want.WriteString("    ")
			}
			want.WriteString(said)
		}
		want.WriteString("\n")
	}
	if transcripts < 3 {
		t.Errorf("%d transcripts", transcripts)
	}
	if *update {
		if err := os.WriteFile(name, []byte(want.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := cmp.Diff(string(readme), want.String()); d != "" {
		t.Errorf("README.md shows something else than indy says (-update mends it):\n%s", d)
	}
}
