package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/project-independence/indy/internal/hosttest"
)

// listed gives what devices --json says of each device, without texts, and with the
// verdicts if they are to be.
func listed(t *testing.T, stdout string, verdicts bool) []string {
	t.Helper()
	var out struct {
		Devices []struct {
			ID, Role, Driver, Verdict string
			Class                     *string
			Group                     *int    `json:"iommu_group"`
			VendorID                  *string `json:"vendor_id"`
		}
	}
	if err := json.Unmarshal([]byte(stdout), &out); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, d := range out.Devices {
		if !verdicts {
			d.Verdict = ""
		}
		line, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(line))
	}
	return lines
}

// TestFromReports looks at snapshots of ghw, databases of udev and dumps of lspci, and
// converts each: the saved machine shows what the report did.
func TestFromReports(t *testing.T) {
	c := newConsole(t)
	for _, tt := range []struct {
		files   []string
		pattern string
		least   int  // devices on all of them
		all     bool // verdicts, too: ghw states mounts in a table that captures do without
	}{
		{[]string{"hwdata", "sysfs", "ghw"}, "*.tar.gz", 90, false},
		{[]string{"hwdata", "udevadm", "checkbox"}, "*.txt", 360, true},
		{[]string{"hwdata", "lspci", "pciutils"}, "*", 100, true},
	} {
		files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, tt.files...), tt.pattern))
		if err != nil || len(files) < 5 {
			t.Fatalf("%v, %v", files, err)
		}
		total := 0
		for _, file := range files {
			name := filepath.Base(file)
			stdout, stderr, code := c.run("devices", "--json", "--from", file)
			// The id of a sound card is in no database of udev.
			if code != 0 && !strings.Contains(stderr, "/sys/class/sound/") && !strings.Contains(stderr, "sys/class/sound/card") {
				t.Errorf("%s: exit %d, %s", name, code, stderr)
			}
			want := listed(t, stdout, tt.all)
			total += len(want)
			saved := filepath.Join(t.TempDir(), "saved.txtar")
			if stdout, stderr, code := c.run("capture", "--config", "--from", file, saved); code != 0 {
				t.Errorf("%s: exit %d, %s %s", name, code, stdout, stderr)
				continue
			}
			stdout, _, _ = c.run("devices", "--json", "--from", saved)
			if got := listed(t, stdout, tt.all); strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("%s: converted it shows\n%s\nnot\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if st, err := os.Stat(saved); err != nil || st.Size() == 0 {
				t.Errorf("%s: %v", name, err)
			}
		}
		if total < tt.least {
			t.Errorf("%s: %d devices on %d machines", tt.files[1], total, len(files))
		}
	}
}
