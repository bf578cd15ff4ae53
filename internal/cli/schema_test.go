package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/project-independence/indy/internal/cli"
	"github.com/project-independence/indy/internal/hosttest"
)

// validate checks a document against the schema of that name in docs.
func validate(t *testing.T, name string, doc []byte) {
	t.Helper()
	if err := conforms(hosttest.Root(t), name, doc); err != nil {
		t.Error(err)
	}
}

func conforms(root, name string, doc []byte) error {
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join(root, "docs", name+".schema.json"))
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err == nil {
		err = schema.Validate(v)
	}
	if err != nil {
		return fmt.Errorf("%s.schema.json: %v\n%.2000s", name, err, doc)
	}
	return nil
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
			if what == "devices" {
				validateWhy(t, m, stdout.Bytes())
			}
		}
	}
}

// validateWhy asks for each device of a machine, as listed.
func validateWhy(t *testing.T, machine string, listed []byte) {
	t.Helper()
	var list struct {
		Devices []struct{ ID string }
	}
	if err := json.Unmarshal(listed, &list); err != nil {
		t.Fatal(err)
	}
	for _, d := range list.Devices {
		var stdout, stderr bytes.Buffer
		env := cli.Env{Names: os.DirFS(filepath.Join(hosttest.Root(t), "testdata", "ids")), Stdout: &stdout, Stderr: &stderr, Getenv: os.Getenv}
		if code := cli.Main([]string{"why", d.ID, "--json", "--from", machine}, &env); code != 0 {
			t.Errorf("indy why %s --from %s: exit %d: %s", d.ID, machine, code, &stderr)
		}
		validate(t, "why", stdout.Bytes())
	}
}

func TestSchemasOfHandingOver(t *testing.T) {
	c := newConsole(t)
	document := func(code int, args ...string) []byte {
		t.Helper()
		stdout, stderr, got := c.run(append(args, "--json")...)
		if got != code {
			t.Fatalf("indy %v: exit %d: %s", args, got, stderr)
		}
		return []byte(stdout + stderr)
	}
	validate(t, "plan", document(0, "plan", "--with-companions", "04:01.0"))
	validate(t, "leases", document(0, "leases"))
	document(0, "assign", "--guest", "work", "02:00.0")
	validate(t, "leases", document(0, "leases"))
	validate(t, "plan", document(0, "plan", "02:00.0"))
	validate(t, "plan", document(0, "plan", "1-1"))
	validate(t, "plan", document(0, "plan", "05:00.0", "--vfs", "2", "--vf-mac", "02:00:00:00:00:01", "--vf-vlan", "0,5", "--vf-spoof-check", "on"))
	document(0, "assign", "1-1", "1-2")
	document(0, "assign", "05:00.0", "--vfs", "2", "--vf-mac", "02:00:00:00:00:01")
	validate(t, "leases", document(0, "leases"))
	document(0, "release", "05:10.0", "1-1")
	validate(t, "error", document(4, "assign", "02:00.0"))
	validate(t, "error", document(4, "plan", "04:01.0"))
	validate(t, "error", document(2, "why", "nothing"))
	validate(t, "recover", document(0, "recover"))
	c.kernel.Fail = func(name string, data []byte) error {
		if s := string(data); s == "0000:05:00.0" || s == "\n" {
			return syscall.EIO
		}
		return nil
	}
	document(3, "assign", "05:00.0")
	validate(t, "leases", document(0, "leases"))
	if stdout, _, code := c.run("recover", "--json"); code != 3 || !strings.Contains(stdout, `"kept"`) {
		t.Errorf("recover: exit %d: %s", code, stdout)
	} else {
		validate(t, "recover", []byte(stdout))
	}
	c.kernel.Fail = nil
	c.expect(0, "gave back 0000:05:00.0 (guest guest, ", "", "recover")
	c.expect(0, "nothing to recover", "", "recover")
	if got := string(document(0, "release", "--all")); !strings.Contains(got, `"0000:02:00.0"`) {
		t.Errorf("release: %s", got)
	}
}
