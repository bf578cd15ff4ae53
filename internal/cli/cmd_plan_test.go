package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/project-independence/indy/internal/cli"
	"github.com/project-independence/indy/internal/hosttest"
)

// What indy says of what would be is what docs promise, on every saved machine.
func TestWhatIfSchema(t *testing.T) {
	root := hosttest.Root(t)
	machines, _ := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	own, _ := filepath.Glob(filepath.Join(root, "testdata", "hosts", "*.txtar"))
	snapshots, _ := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "sysfs", "ghw"), "*.tar.gz"))
	machines = append(append(machines, own...), snapshots...)
	if len(machines) < 20 {
		t.Fatalf("only %d saved machines", len(machines))
	}
	run := func(machine string, args ...string) []byte {
		var stdout, stderr bytes.Buffer
		env := cli.Env{Names: os.DirFS(filepath.Join(root, "testdata", "ids")), Stdout: &stdout, Stderr: &stderr, Getenv: os.Getenv}
		if code := cli.Main(append(args, "--json", "--from", machine), &env); code != 0 {
			t.Errorf("indy %v --from %s: exit %d: %s", args, machine, code, &stderr)
		}
		return stdout.Bytes()
	}
	changes, moves := 0, 0
	check := func(doc []byte) {
		t.Helper()
		validate(t, "what-if", doc)
		var got struct{ Changes []any }
		if err := json.Unmarshal(doc, &got); err != nil {
			t.Error(err)
		}
		changes += len(got.Changes)
	}
	for _, m := range machines {
		check(run(m, "plan", "--what-if", "enable-iommu"))
		check(run(m, "plan", "--what-if", "acs-override", "--what-if", "enable-iommu"))
		check(run(m, "plan", "--what-if", "disable-override"))
		var list struct {
			Devices []struct{ Address, Role, Bus string }
		}
		if err := json.Unmarshal(run(m, "devices"), &list); err != nil {
			t.Fatal(err)
		}
		var stick string
		for _, d := range list.Devices {
			if d.Bus == "usb" {
				stick = d.Address
			}
		}
		for _, d := range list.Devices {
			if d.Role == "usb-controller" && stick != "" {
				moves++
				check(run(m, "plan", "--what-if", "move-port="+stick+":"+d.Address))
			}
		}
	}
	if changes < 100 || moves < 20 {
		t.Errorf("%d changes, %d moves", changes, moves)
	}
}

func TestWhatIfWords(t *testing.T) {
	c := newConsole(t)
	for _, test := range []struct {
		code           int
		stdout, stderr string
		args           []string
	}{
		{2, "", "no such kind", []string{"--what-if", "unplug"}},
		{2, "", "no such kind", []string{"--what-if", ""}},
		{2, "", "expected downstream", []string{"--what-if", "acs-override=all"}},
		{2, "", "not together", []string{"--what-if", "acs-override", "--what-if", "disable-override"}},
		{2, "", "no such port", []string{"--what-if", "move-port=1-1:9-9"}},
		{2, "", "is no USB device", []string{"--what-if", "move-port=serio0:1-2"}},
		{2, "", "no device", []string{"--what-if", "move-port=8-8:1-2"}},
		{2, "", "no device", []string{"--what-if", "enable-iommu", "8-8"}},
		{2, "", "--with-companions is about steps", []string{"--what-if", "enable-iommu", "--with-companions"}},
		{2, "", "--allow is about steps", []string{"--what-if", "enable-iommu", "--allow", "host-disk"}},
		{2, "", "--wake is of use with --what-if only", []string{"--wake", "02:00.0"}},
		{2, "", "nothing is named", nil},
		{0, "nothing changes", "", []string{"--what-if", "enable-iommu"}},
		{0, "02:00.0 does not change: assignable", "", []string{"--what-if", "enable-iommu", "02:00.0", "0000:02:00.0"}},
		{0, "1-1 stays on the controller 0000:00:14.0: nothing changes", "", []string{"--what-if", "move-port=1-1:0000:00:14.0"}},
	} {
		c.expect(test.code, test.stdout, test.stderr, append([]string{"plan"}, test.args...)...)
	}
	if n := len(c.kernel.Writes()); n != 0 {
		t.Errorf("%d writes", n)
	}
}
