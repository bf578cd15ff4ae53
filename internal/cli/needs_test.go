package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/internal/cli"
	"github.com/project-independence/indy/internal/hosttest"
)

// showGuest runs indy guest show on a saved machine.
func showGuest(t *testing.T, definition, machine string) []byte {
	t.Helper()
	var stdout, stderr bytes.Buffer
	env := cli.Env{Names: os.DirFS(filepath.Join(hosttest.Root(t), "testdata", "ids")), Stdout: &stdout, Stderr: &stderr, Getenv: os.Getenv}
	if code := cli.Main([]string{"guest", "show", definition, "--json", "--from", machine}, &env); code != 0 {
		t.Errorf("indy guest show --from %s: exit %d: %s", machine, code, &stderr)
	}
	return stdout.Bytes()
}

// TestGuestShowSchema resolves needs for every role, in both ways and of each kind, on
// every saved machine: what is written is what docs promise, and names devices that
// are listed.
func TestGuestShowSchema(t *testing.T) {
	var needs []string
	for _, w := range guest.Wants() {
		for _, how := range []guest.How{guest.Assign, guest.Share} {
			for _, more := range []string{"", ", which: built-in", ", port: 1-4", `, ids: "8086:*", need: optional`} {
				needs = append(needs, fmt.Sprintf("  - {want: %s, how: %s%s}\n", w, how, more))
			}
		}
	}
	needs = append(needs, "  - {want: gpu, which: discrete, how: assign}\n", "  - {want: usb-device, port: left-rear, class: \"03\", how: assign}\n")
	root := hosttest.Root(t)
	machines, _ := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	own, _ := filepath.Glob(filepath.Join(root, "testdata", "hosts", "*.txtar"))
	machines = append(machines, own...)
	if len(machines) < 20 {
		t.Fatalf("only %d saved machines", len(machines))
	}
	for i, part := range slices.Collect(slices.Chunk(needs, 48)) { // as many as a definition may have, and fewer
		file := filepath.Join(t.TempDir(), "all.yaml")
		if err := os.WriteFile(file, []byte("name: all\nmemory: 1GiB\ndevices:\n"+strings.Join(part, "")), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, m := range machines {
			doc := showGuest(t, file, m)
			validate(t, "guest-show", doc)
			var got struct {
				Name  string
				Needs []struct {
					Want    string
					Devices []string
				}
			}
			if err := json.Unmarshal(doc, &got); err != nil || got.Name != "all" || len(got.Needs) != len(part) {
				t.Fatalf("part %d: %v, %d needs of %d", i, err, len(got.Needs), len(part))
			}
			for k, n := range got.Needs {
				if !strings.Contains(part[k], "want: "+n.Want+",") {
					t.Errorf("need %d is %q, came from %s", k, n.Want, part[k])
				}
			}
		}
	}
}
