package sim_test

import (
	_ "embed"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/lab"
	"github.com/project-independence/indy/internal/lab/labtest"
	"github.com/project-independence/indy/internal/sim"
)

//go:embed testdata/conformance.txt
var script []byte

// golden is what the kernel of the emulated laptop said.
//
//go:embed testdata/conformance.golden
var golden []byte

func TestConformSim(t *testing.T) {
	k := labLaptop(t, sim.Options{})
	check(t, k)
}

var update = flag.Bool("update", false, "take what the emulated laptop is and says for the saved machine and the golden file")

// TestConformLab runs TestConformLive in the emulated laptop.
func TestConformLab(t *testing.T) {
	out := t.TempDir()
	if !*update {
		labtest.RunTest(t, "./internal/sim", "^TestConformLive$", out)
		return
	}
	labtest.RunTest(t, "./internal/sim", "^TestConformLive$", out, "INDY_LAB_UPDATE="+lab.OutDir)
	for from, to := range map[string]string{
		"lab-intel.txtar":    filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-intel.txtar"),
		"conformance.golden": filepath.Join("testdata", "conformance.golden"),
	} {
		data, err := os.ReadFile(filepath.Join(out, from))
		if err == nil {
			err = os.WriteFile(to, data, 0o644)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// TestConformLive runs inside the emulated laptop, which says so by
// INDY_LAB_INSIDE. INDY_LAB_UPDATE names a directory in which to save the machine as
// it is before, and what its kernel says.
func TestConformLive(t *testing.T) {
	if os.Getenv("INDY_LAB_INSIDE") != "1" {
		t.Skip("changes drivers and removes devices: only inside the emulated laptop")
	}
	dir := os.Getenv("INDY_LAB_UPDATE")
	if dir == "" {
		check(t, hostfs.Live())
		return
	}
	opts := hostfs.CaptureOptions{Salt: []byte("the emulated laptop")}
	m, err := hostfs.Capture(hostfs.Live(), opts)
	if err != nil {
		t.Error(err)
	}
	hideCheckout(t, m)
	comment := "The emulated laptop: q35 with an Intel IOMMU, as the conformance test finds it.\n" + opts.Comment() + "\n"
	if err := hostfs.Save(filepath.Join(dir, "lab-intel.txtar"), m, comment); err != nil {
		t.Error(err)
	}
	got, err := sim.Conform(hostfs.Live(), script)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "conformance.golden"), got, 0o644)
	}
	if err != nil {
		t.Error(err)
	}
}

// hideCheckout drops the mount of the kernel's modules, which names the directory this
// repository happens to be in.
func hideCheckout(t *testing.T, m *hostfs.Tree) {
	const name = "proc/self/mountinfo"
	text, err := m.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var kept strings.Builder
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, " /usr/lib/modules/") {
			kept.WriteString(line)
		}
	}
	if err := m.Put(name, []byte(kept.String())); err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, fsys hostfs.FS) {
	got, err := sim.Conform(fsys, script)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(golden), string(got)); diff != "" {
		t.Errorf("not as the kernel of the emulated laptop (-kernel +this):\n%s", diff)
	}
}

func TestConformScriptErrors(t *testing.T) {
	for script, want := range map[string]string{
		"frobnicate x":   `line 1: "frobnicate" is no command`,
		"\nwrite x y*z":  "line 2: value y*z: expected a number before the *",
		"write x \"y":    `line 1: value "y: invalid syntax`,
		"write x -1*z\n": "line 1: value -1*z: expected a number before the *",
	} {
		if _, err := sim.Conform(labLaptop(t, sim.Options{}), []byte(script)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", script, err, want)
		}
	}
}

// labLaptop is a kernel over the saved emulated laptop.
func labLaptop(t testing.TB, opts sim.Options) *sim.Kernel {
	t.Helper()
	return kernel(t, filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-intel.txtar"), opts)
}

func kernel(t testing.TB, file string, opts sim.Options) *sim.Kernel {
	t.Helper()
	m, err := hostfs.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	k, err := sim.New(m.(*hostfs.Tree), opts)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
