package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/cli"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
)

// diff runs indy diff with names of our own.
func diff(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	env := cli.Env{
		Host:  new(hostfs.Tree),
		Names: os.DirFS(filepath.Join(hosttest.Root(t), "testdata", "ids")), Stdout: &out, Stderr: &errs, Getenv: os.Getenv,
	}
	code = cli.Main(append([]string{"diff"}, args...), &env)
	return out.String(), errs.String(), code
}

type diffDocument struct {
	Devices []struct {
		Outcome       laptop.Outcome
		Before, After *string
		Score         int
		Changes       []struct{ Field string }
	}
}

// Every pair of real machines gives what the schema promises; a machine and itself
// differ in nothing.
func TestDiffSchema(t *testing.T) {
	root := hosttest.Root(t)
	machines, _ := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	own, _ := filepath.Glob(filepath.Join(root, "testdata", "hosts", "*.txtar"))
	machines = append(machines, own...)
	if len(machines) < 10 {
		t.Fatalf("only %d saved machines", len(machines))
	}
	for i, m := range machines {
		stdout, stderr, code := diff(t, "--json", "--exit-code", m, m)
		if code != 0 {
			t.Errorf("%s: exit %d: %s", m, code, stderr)
		}
		validate(t, "diff", []byte(stdout))
		var doc diffDocument
		if err := json.Unmarshal([]byte(stdout), &doc); err != nil || len(doc.Devices) == 0 {
			t.Fatal(err)
		}
		for _, d := range doc.Devices {
			if d.Outcome != laptop.Same || *d.Before != *d.After || d.Score != 100 || len(d.Changes) > 0 {
				t.Errorf("%s: %+v", m, d)
			}
		}
		other := machines[(i+1)%len(machines)]
		stdout, stderr, code = diff(t, "--json", "--exit-code", m, other)
		if code != 1 || !strings.Contains(stderr, `"message":"the machines differ"`) {
			t.Errorf("%s, %s: exit %d: %s", m, other, code, stderr)
		}
		validate(t, "diff", []byte(stdout))
		if _, stderr, code := diff(t, m, other); code != 0 || stderr != "" {
			t.Errorf("%s, %s: exit %d: %s", m, other, code, stderr)
		}
	}
}

// Without a second machine the first is compared with this host.
func TestDiffHost(t *testing.T) {
	m := filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-intel.txtar")
	stdout, stderr, code := diff(t, m)
	if code != 0 || !strings.Contains(stdout, "after:  this host\n") || !strings.Contains(stdout, "of 25 devices before and 0 after") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
	for _, args := range [][]string{{}, {m, m, m}, {""}, {m, ""}, {"--bogus", m}} {
		if _, _, code := diff(t, args...); code != 2 {
			t.Errorf("%q: exit %d", args, code)
		}
	}
}

// What a device says of itself reaches no terminal as it is.
func TestDiffHostile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, serial string) string {
		const device = "pci0000:00/0000:00:14.0/usb1/1-1"
		text := "-- sys/bus/usb/devices/1-1 -> ../../../devices/" + device + " --\n" +
			"-- sys/devices/" + device + "/uevent --\nDRIVER=usb\nPRODUCT=1/2/3\nTYPE=0/0/0\n" +
			"-- sys/devices/" + device + "/serial --\n" + serial + "\n" +
			"-- sys/devices/" + device + "/firmware_node/path --\n\x1b]0;" + serial + "\x07" + strings.Repeat("x", 5000) + "\n"
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	a, b := write("a.txtar", "\x1b[31mA1"), write("b.txtar", "\x1b[2JB2\u202e")
	for _, args := range [][]string{{a, b}, {"--all", a, a}, {"--json", a, b}} {
		stdout, stderr, code := diff(t, args...)
		if code != 0 || strings.ContainsAny(stdout+stderr, "\x1b\x07\u202e") || len(stdout) > 20000 {
			t.Errorf("%v: exit %d, %.3000q", args, code, stdout+stderr)
		}
		if args[0] == "--json" {
			validate(t, "diff", []byte(stdout))
		}
	}
}
