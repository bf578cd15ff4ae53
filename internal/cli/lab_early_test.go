package cli_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/project-independence/indy/internal/lab"
	"github.com/project-independence/indy/internal/lab/labtest"
)

// TestEarly has vfio-pci take devices before their host driver, as modprobe reads what
// indy early has written.
func TestEarly(t *testing.T) {
	t.Parallel()
	labtest.Open(t)
	labtest.RunTestOn(t, lab.Machine{Env: []string{indyVariable + "=" + labtest.BuildIndy(t)}}, "./internal/cli", "^TestEarlyInside$")
}

func TestEarlyInside(t *testing.T) {
	labtest.Inside(t)
	out, err := exec.CommandContext(t.Context(), "/bin/bash", "testdata/early.sh", os.Getenv(indyVariable)).CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !strings.HasSuffix(string(out), "done\n") {
		t.Error(err)
	}
}
