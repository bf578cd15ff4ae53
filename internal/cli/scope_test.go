package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/internal/hosttest"
)

// TestGuestDevices holds that a guest may open the same in a scope of its own as in the
// daemon's unit, from which its process comes.
func TestGuestDevices(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(hosttest.Root(t), "packaging", "systemd", "indy-daemon.service"))
	if err != nil {
		t.Fatal(err)
	}
	var unit []deviceRule
	for _, m := range regexp.MustCompile(`(?m)^DeviceAllow=(\S+) (\S+)$`).FindAllSubmatch(text, -1) {
		unit = append(unit, deviceRule{string(m[1]), string(m[2])})
	}
	if d := cmp.Diff(unit, guestDevices()); d != "" {
		t.Errorf("indy-daemon.service, and scopes of guests:\n%s", d)
	}
}
