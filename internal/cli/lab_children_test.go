package cli_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/lab"
	"github.com/project-independence/indy/internal/lab/labtest"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/vfio"
)

// TestFault09UnbindHangs has drivers of a real kernel wait for programs to let go: the
// device is left alone from the deadline on, and everything else goes on. It shares its
// emulated laptop with other tests of what outlives a command.
func TestFault09UnbindHangs(t *testing.T) {
	t.Parallel()
	labtest.Open(t)
	nvme := filepath.Join(t.TempDir(), "nvme.img")
	if err := lab.NVMeImage(nvme, onTheDisk); err != nil {
		t.Fatal(err)
	}
	labtest.RunTestOn(t, lab.Machine{
		NVMe:  nvme,
		Env:   []string{indyVariable + "=" + labtest.BuildIndy(t)},
		Extra: []string{"-device", `{"driver":"virtio-vga","bus":"pcie.0","addr":"0f.0","romfile":""}`},
	}, "./internal/cli", "^(TestFault09HangInside|TestFault22LateNodeInside|TestUnconfirmedInside|TestGuestsInside)$")
}

func TestFault09HangInside(t *testing.T) {
	labtest.Inside(t)
	children(t, "hang")
	if t.Failed() {
		return
	}
	indy := os.Getenv(indyVariable)
	a, err := pci.ParseAddress("0000:05:00.0")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), indy, "assign", a.String()).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	name, err := hostfs.ReadLinkBase(hostfs.Live(), "sys/bus/pci/devices/"+a.String()+"/iommu_group")
	if err != nil {
		t.Fatal(err)
	}
	id, err := pci.ParseGroupID(name)
	if err != nil {
		t.Fatal(err)
	}
	// What a guest does with its device.
	g, err := vfio.OpenGroup(id)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Attach(); err != nil {
		t.Fatal(err)
	}
	d, err := g.OpenDevice(a)
	if err != nil {
		t.Fatal(err)
	}
	children(t, "vfio")
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	children(t, "gone")
}

func TestFault22LateNodeInside(t *testing.T) {
	labtest.Inside(t)
	children(t, "late")
}

func TestUnconfirmedInside(t *testing.T) {
	labtest.Inside(t)
	children(t, "unconfirmed")
}

func children(t *testing.T, part string) {
	t.Helper()
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/bash", "testdata/children.sh", part, os.Getenv(indyVariable), strconv.Itoa(os.Getpid()))
	cmd.WaitDelay = time.Second // what a command left behind may have its output
	out, err := cmd.CombinedOutput()
	t.Logf("%s in %s:\n%s", part, time.Since(began).Round(time.Second), out)
	if err != nil || !strings.HasSuffix(string(out), "done\n") {
		t.Errorf("%s: %v", part, err)
	}
}
