package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/project-independence/indy/internal/cli"
	"github.com/project-independence/indy/internal/hosttest"
)

// validate checks a document against the schema of that name in docs.
func validate(t *testing.T, name string, doc []byte) {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join(hosttest.Root(t), "docs", name+".schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err == nil {
		err = schema.Validate(v)
	}
	if err != nil {
		t.Errorf("%s.schema.json: %v\n%.2000s", name, err, doc)
	}
}

// What indy writes is what docs promise, on every saved machine.
func TestSchemas(t *testing.T) {
	root := hosttest.Root(t)
	machines, _ := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	own, _ := filepath.Glob(filepath.Join(root, "testdata", "hosts", "*.txtar"))
	snapshots, _ := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "sysfs", "ghw"), "*.tar.gz"))
	machines = append(append(machines, own...), snapshots...)
	if len(machines) < 20 {
		t.Fatalf("only %d saved machines", len(machines))
	}
	for _, m := range machines {
		for _, what := range []string{"devices", "groups"} {
			var stdout, stderr bytes.Buffer
			env := cli.Env{Names: os.DirFS(filepath.Join(root, "testdata", "ids")), Stdout: &stdout, Stderr: &stderr, Getenv: os.Getenv}
			if code := cli.Main([]string{what, "--json", "--from", m}, &env); code != 0 {
				t.Errorf("indy %s --from %s: exit %d: %s", what, m, code, &stderr)
			}
			validate(t, what, stdout.Bytes())
		}
	}
}

func TestSchemasOfHandingOver(t *testing.T) {
	c := newConsole(t)
	json := func(code int, args ...string) []byte {
		t.Helper()
		stdout, stderr, got := c.run(append(args, "--json")...)
		if got != code {
			t.Fatalf("indy %v: exit %d: %s", args, got, stderr)
		}
		return []byte(stdout + stderr)
	}
	validate(t, "plan", json(0, "plan", "--with-companions", "04:01.0"))
	validate(t, "leases", json(0, "leases"))
	json(0, "assign", "--guest", "work", "02:00.0")
	validate(t, "leases", json(0, "leases"))
	validate(t, "plan", json(0, "plan", "02:00.0"))
	validate(t, "error", json(4, "assign", "02:00.0"))
	validate(t, "error", json(4, "plan", "04:01.0"))
	validate(t, "error", json(2, "why", "nothing"))
	if got := string(json(0, "release", "--all")); !strings.Contains(got, `"0000:02:00.0"`) {
		t.Errorf("release: %s", got)
	}
}
