package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/internal/cli"
	"github.com/project-independence/indy/internal/hosttest"
)

// doctor runs indy doctor on a saved machine.
func doctor(t *testing.T, machine string, more ...string) (stdout string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	env := cli.Env{Names: os.DirFS(filepath.Join(hosttest.Root(t), "testdata", "ids")), Stdout: &out, Stderr: &errs, Getenv: os.Getenv}
	code = cli.Main(append([]string{"doctor", "--from", machine}, more...), &env)
	if code > 1 || code == 1 && !strings.Contains(errs.String(), "this host is not ready: ") {
		t.Errorf("indy doctor --from %s: exit %d: %s", machine, code, &errs)
	}
	return out.String(), code
}

// What doctor says of each saved machine, in 80 columns. With -update it is written anew.
func TestDoctorGolden(t *testing.T) {
	machines, _ := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	own, _ := filepath.Glob(filepath.Join(hosttest.Root(t), "testdata", "hosts", "*.txtar"))
	machines = append(machines, own...)
	if len(machines) < 20 {
		t.Fatalf("only %d saved machines", len(machines))
	}
	goldens, _ := filepath.Glob(filepath.Join("testdata", "doctor", "*.golden"))
	if len(goldens) != len(machines) && !*update {
		t.Errorf("%d golden files for %d machines", len(goldens), len(machines))
	}
	for _, m := range machines {
		got, code := doctor(t, m)
		name := filepath.Join("testdata", "doctor", strings.TrimSuffix(filepath.Base(m), ".txtar")+".golden")
		for line := range strings.Lines(got) {
			if len([]rune(strings.TrimSuffix(line, "\n"))) > 80 {
				t.Errorf("%s: wider than 80 columns: %s", name, line)
			}
		}
		if ready := strings.Contains(got, "\n0 problems"); ready != (code == 0) {
			t.Errorf("%s: exit %d", name, code)
		}
		if *update {
			if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(name)
		if d := cmp.Diff(string(want), got); d != "" || err != nil {
			t.Errorf("%s: %v (-update mends it)\n%s", name, err, d)
		}
	}
}

// What doctor writes is what docs/doctor.schema.json promises, on every saved machine.
func TestDoctorSchema(t *testing.T) {
	machines, _ := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	own, _ := filepath.Glob(filepath.Join(hosttest.Root(t), "testdata", "hosts", "*.txtar"))
	snapshots, _ := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "sysfs", "ghw"), "*.tar.gz"))
	machines = append(append(machines, own...), snapshots...)
	if len(machines) < 20 {
		t.Fatalf("only %d saved machines", len(machines))
	}
	for _, m := range machines {
		stdout, code := doctor(t, m, "--json")
		validate(t, "doctor", []byte(stdout))
		var doc struct {
			Checks []struct{ State, Remedy string }
		}
		if err := json.Unmarshal([]byte(stdout), &doc); err != nil || len(doc.Checks) < 20 {
			t.Fatalf("%s: %d checks, %v", m, len(doc.Checks), err)
		}
		problems := 0
		for _, c := range doc.Checks {
			if c.State == "problem" {
				problems++
			}
		}
		if (problems > 0) != (code == 1) {
			t.Errorf("%s: exit %d with %d problems", m, code, problems)
		}
	}
}

// Colours are for terminals, and narrow ones get narrow lines.
func TestDoctorOnTerminal(t *testing.T) {
	c := newConsole(t)
	c.env.Colour, c.env.Width = true, 60
	stdout, _, code := c.run("doctor", "--root", t.TempDir())
	if code != 1 || !strings.Contains(stdout, "\x1b[32mok\x1b[0m       iommu") || !strings.Contains(stdout, "\x1b[31mproblem\x1b[0m  kvm") {
		t.Errorf("exit %d\n%s", code, stdout)
	}
}

// A lease and an override that nobody has are told apart on the simulated host.
func TestDoctorLeftovers(t *testing.T) {
	c := newConsole(t)
	c.expect(0, "assigned", "", "assign", "--guest", "work", "02:00.0")
	c.expect(1, "no override and no lease is left over", "not ready", "doctor", "--root", t.TempDir())
	c.env.LeaseDir = t.TempDir() // nobody knows of it
	c.expect(1, "0000:02:00.0 (vfio-pci) is bound by an override", "not ready", "doctor", "--root", t.TempDir())
}
