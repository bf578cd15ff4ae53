package cli

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
)

// TestGuestDevices holds that a guest may open the same in a scope of its own as in the
// daemon's unit, from which its process comes.
func TestGuestDevices(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(hosttest.Root(t), "packaging", "systemd", "indy-broker.service"))
	if err != nil {
		t.Fatal(err)
	}
	var unit []deviceRule
	for _, m := range regexp.MustCompile(`(?m)^DeviceAllow=(\S+) (\S+)$`).FindAllSubmatch(text, -1) {
		unit = append(unit, deviceRule{string(m[1]), string(m[2])})
	}
	if d := cmp.Diff(unit, guestDevices()); d != "" {
		t.Errorf("indy-broker.service, and scopes of guests:\n%s", d)
	}
}

// TestDetachRunner: the process of a guest that root starts by hand is to have a scope, as one
// that the daemon starts; others have no scope that systemd would make them.
func TestDetachRunner(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "guests", "work"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "guests", "work", "guest.yaml"), []byte("name: work\nmemory: 64MiB\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var started []string
	said := new(bytes.Buffer)
	env := &Env{
		Host: new(hostfs.Tree), GuestDir: filepath.Join(dir, "guests"), RunDir: filepath.Join(dir, "run"), Stdin: new(bytes.Buffer), Stdout: new(bytes.Buffer),
		Stderr: said, Getenv: func(string) string { return "" },
		DetachWith: func(files []*os.File, args ...string) error {
			started = append([]string{"alone", fmt.Sprint(len(files))}, args...)
			return errors.New("none is started")
		},
		DetachInScope: func(guest string, warn func(error), files []*os.File, args ...string) error {
			started = append([]string{"in the scope of " + guest, fmt.Sprint(len(files))}, args...)
			warn(errors.New("systemd is odd"))
			return errors.New("none is started")
		},
	}
	if code := Main([]string{"guest", "start", "work"}, env); code != exitFailed || !strings.Contains(said.String(), "none is started") {
		t.Errorf("exit %d: %s", code, said)
	}
	want := []string{"alone", "3", "guest", "runner", "work"}
	if os.Geteuid() == 0 {
		want[0] = "in the scope of work"
		if !strings.Contains(said.String(), "systemd is odd; its limits") {
			t.Errorf("%s", said)
		}
	}
	if d := cmp.Diff(want, started); d != "" {
		t.Error(d)
	}
}
