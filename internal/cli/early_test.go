package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSchemaOfEarly lists a host that is set up so.
func TestSchemaOfEarly(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"etc/modprobe.d/indy-early-0000:02:00.0.conf": "# early 0000:02:00.0 0x1b36 0x0010 0x1af4 0x1100\nsoftdep nvme pre: vfio-pci\n",
		"etc/modprobe.d/indy-early-0000:77:00.0.conf": "# early 0000:77:00.0 0x1b36 0x0010 0x1af4 0x1100\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c := newConsole(t)
	stdout, stderr, code := c.run("early", "--json", "--root", root)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	validate(t, "early", []byte(stdout))
	if !strings.Contains(stdout, `"driver": "nvme"`) || !strings.Contains(stdout, `"driver": ""`) {
		t.Error(stdout)
	}
}
