package bench_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/project-independence/indy/internal/hosttest"
)

// TestOpens holds indy devices to opening one attribute of each function, never its
// config: what is opened costs time, and may wake a sleeping device.
func TestOpens(t *testing.T) {
	if testing.Short() {
		t.Skip("traces indy on a machine of 3,000 functions; not with -short")
	}
	if _, err := exec.LookPath("strace"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("no strace; install the package strace")
		}
		hosttest.Missing(t, "no strace; install the package strace")
	}
	out, err := exec.CommandContext(t.Context(), "./opens.sh").CombinedOutput()
	if err != nil {
		t.Fatalf("opens.sh: %v\n%s", err, out)
	}
}
