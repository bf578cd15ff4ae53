package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/cli"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/lab"
	"github.com/project-independence/indy/internal/lab/labtest"
)

func inside(t *testing.T, m lab.Machine) (status int, said string) {
	t.Helper()
	l := labtest.Open(t)
	ctx, cancel := context.WithTimeout(t.Context(), labtest.Limit)
	defer cancel()
	var out bytes.Buffer
	m.Stdout = &out
	status, err := l.Run(ctx, m)
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	return status, out.String()
}

// A day in the emulated laptop. What indy captured there shows, outside, the same
// devices and groups as it showed inside.
func TestInside(t *testing.T) {
	t.Parallel()
	labtest.Open(t)
	out := t.TempDir()
	nvme := filepath.Join(t.TempDir(), "nvme.img")
	if err := lab.NVMeImage(nvme, "on the disk"); err != nil {
		t.Fatal(err)
	}
	status, said := inside(t, lab.Machine{
		Args: []string{"/bin/bash", filepath.Join(hosttest.Root(t), "internal", "cli", "testdata", "inside.sh"), labtest.BuildIndy(t), lab.OutDir},
		NVMe: nvme,
		Out:  out,
	})
	t.Log(said)
	if status != 0 || !strings.HasSuffix(said, "done\n") {
		t.Fatalf("exit status %d", status)
	}
	saved := filepath.Join(out, "lab.txtar")
	for _, what := range []string{"devices", "groups"} {
		want, err := os.ReadFile(filepath.Join(out, what+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		env := cli.Env{Names: hostfs.Live(), Stdout: &stdout, Stderr: &stderr, Getenv: os.Getenv}
		if code := cli.Main([]string{what, "--json", "--from", saved}, &env); code != 0 {
			t.Errorf("indy %s --from: exit %d, %s", what, code, &stderr)
		}
		if d := cmp.Diff(withoutReasons(decode(t, want)), withoutReasons(decode(t, stdout.Bytes()))); d != "" {
			t.Errorf("indy %s inside, and from its capture:\n%s", what, d)
		}
	}
}

// withoutReasons takes from groups why they are such: that is in configuration space, which
// is captured only when asked for, and read only of what is awake.
func withoutReasons(doc any) any {
	groups, _ := doc.(map[string]any)["groups"].([]any)
	for _, g := range groups {
		for _, key := range []string{"joins", "unread", "derived"} {
			delete(g.(map[string]any), key)
		}
	}
	return doc
}

func decode(t *testing.T, data []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	return v
}

// A laptop whose firmware keeps the IOMMU off.
func TestInsideWithoutIOMMU(t *testing.T) {
	t.Parallel()
	labtest.Open(t)
	status, said := inside(t, lab.Machine{
		Topology: lab.NoIOMMU,
		Args: []string{"/bin/bash", "-c", `
			"$0" devices && "$0" groups && "$0" why 0000:02:00.0 || exit 90
			"$0" assign 0000:02:00.0; [ $? = 5 ] || exit 91
			"$0" run --accel tcg --device 0000:02:00.0; [ $? = 5 ] || exit 92
			basename $(readlink /sys/bus/pci/devices/0000:02:00.0/driver)`, labtest.BuildIndy(t)},
	})
	if status != 0 || !strings.HasSuffix(said, "nvme\n") || !strings.Contains(said, "remedy: enable VT-d") {
		t.Errorf("exit status %d\n%s", status, said)
	}
}
