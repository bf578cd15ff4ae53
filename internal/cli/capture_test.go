package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
)

// captured is what capture --json writes.
type captured struct {
	File       string
	Files      int
	Bytes      int64
	Unreadable []struct{ Path, Reason string }
}

// What nobody but root may read is said and no failure; what is broken is one, and
// the rest is saved all the same.
func TestCaptureUnreadable(t *testing.T) {
	c := newConsole(t)
	broken := false
	c.env.Host = hosttest.Failing{Tree: c.kernel.Tree(), Fail: func(name string) error {
		switch {
		case strings.HasSuffix(name, "/product_serial"), strings.HasSuffix(name, "/reset_method"), strings.HasPrefix(name, "sys/firmware/acpi/tables/"):
			return syscall.EACCES
		case broken && name == "proc/cmdline":
			return syscall.EIO
		}
		return nil
	}}
	name := filepath.Join(t.TempDir(), "m.txtar")
	stdout, stderr, code := c.run("capture", name)
	if code != 0 || !strings.HasPrefix(stdout, "saved as "+name+", ") {
		t.Errorf("exit %d: %s", code, stdout)
	}
	for _, want := range []string{"indy: 7 files could not be read", " called reset_method, as sys/devices/", "/dmi/id: product_serial", "sys/firmware/acpi/tables: DMAR"} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q is not said:\n%s", want, stderr)
		}
	}
	if lines := strings.Count(stderr, "\n"); lines != 4 {
		t.Errorf("%d lines:\n%s", lines, stderr)
	}
	document := func(want int) (got captured) {
		t.Helper()
		stdout, stderr, code := c.run("capture", "--json", name)
		if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != want || (stderr == "") != (want == 0) {
			t.Fatalf("exit %d, %v\n%s\n%s", code, err, stdout, stderr)
		}
		validate(t, "capture", []byte(stdout))
		if want != 0 {
			validate(t, "error", []byte(stderr))
		}
		return got
	}
	got := document(0)
	st, err := os.Stat(name)
	if err != nil || got.File != name || got.Bytes != st.Size() || got.Files < 500 || len(got.Unreadable) != 7 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, u := range got.Unreadable {
		if u.Reason != "permission denied" || !strings.HasPrefix(u.Path, "sys/") {
			t.Errorf("%+v", u)
		}
	}
	broken = true
	more := document(1)
	if len(more.Unreadable) != len(got.Unreadable)+1 || more.Files != got.Files-1 {
		t.Errorf("%d files and %d unreadable ones became %d and %d", got.Files, len(got.Unreadable), more.Files, len(more.Unreadable))
	}
	_, stderr, code = c.run("capture", name)
	if code != 1 || !strings.Contains(stderr, "proc/cmdline: input/output error") || strings.Count(stderr, "product_serial") != 1 {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if s, err := hostfs.Open(name); err != nil {
		t.Error(err)
	} else if _, err := s.ReadFile("sys/class/dmi/id/product_name"); err != nil {
		t.Error(err)
	}
}

// TestCaptureRoundTrip: commands say the same of a saved machine, of its captures with
// and without serial numbers, and of a capture of that.
func TestCaptureRoundTrip(t *testing.T) {
	machines, _ := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	own, _ := filepath.Glob(filepath.Join(hosttest.Root(t), "testdata", "hosts", "*.txtar"))
	snapshots, _ := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "sysfs", "ghw"), "*.tar.gz"))
	machines = append(append(machines, own...), snapshots...)
	if len(machines) < 20 {
		t.Fatalf("only %d saved machines", len(machines))
	}
	for _, m := range machines {
		t.Run(filepath.Base(m), func(t *testing.T) {
			t.Parallel()
			c := newConsole(t)
			again := filepath.Join(t.TempDir(), "m.tar")
			for _, args := range [][]string{{"capture", "--raw"}, {"capture"}} {
				if testing.Short() && len(args) > 1 {
					continue
				}
				if _, stderr, code := c.run(append(args, "--from", m, again)...); code != 0 {
					t.Fatalf("%v: exit %d: %s", args, code, stderr)
				}
				c.sameOutput(m, again)
			}
			c.sameWhy(m, again)
			scrubbed := again
			again = filepath.Join(t.TempDir(), "again.txtar")
			if _, stderr, code := c.run("capture", "--from", scrubbed, again); code != 0 {
				t.Fatalf("exit %d: %s", code, stderr)
			}
			c.sameOutput(scrubbed, again)
		})
	}
}

// sameOutput checks that listings are the same of two saved machines.
func (c *console) sameOutput(a, b string) {
	c.t.Helper()
	c.compare(a, b, "devices", "--json")
	c.compare(a, b, "groups", "--json")
}

// sameWhy checks that so is what is said of each device, at length.
func (c *console) sameWhy(a, b string) {
	c.t.Helper()
	stdout, _, _ := c.run("devices", "--json", "--from", a)
	var got struct {
		Devices []struct{ Address string }
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		c.t.Fatal(err)
	}
	for i, d := range got.Devices {
		if !testing.Short() || i%8 == 0 {
			c.compare(a, b, "why", d.Address)
		}
	}
}

func (c *console) compare(a, b string, args ...string) {
	c.t.Helper()
	was, stderr, code := c.run(append(args, "--from", a)...)
	is, _, _ := c.run(append(args, "--from", b)...)
	// Scrubbing an address gives another one each time.
	address := regexp.MustCompile(`\b02(:[0-9a-f]{2}){5}\b|SCRUBBED[0-9A-F]{12}`)
	// So it does with a serial number, and columns are as wide as what is in them.
	serial, gap := regexp.MustCompile(`(serial number) +\S+`), regexp.MustCompile(` {2,}`)
	plain := func(s string) string {
		return gap.ReplaceAllString(serial.ReplaceAllString(address.ReplaceAllString(s, "ADDRESS"), "$1 ADDRESS"), "  ")
	}
	was, is = plain(was), plain(is)
	if was != is {
		c.t.Errorf("indy %s (exit %d) says something else:\n%s", strings.Join(args, " "), code, firstDifference(was, is)+stderr)
	}
}

func firstDifference(was, is string) string {
	a, b := strings.Split(was, "\n"), strings.Split(is, "\n")
	for i := range a {
		if i >= len(b) || a[i] != b[i] {
			return "-" + a[i] + "\n+" + strings.Join(b[min(i, len(b)):min(i+1, len(b))], "") + "\n"
		}
	}
	return "+" + b[min(len(a), len(b)-1)] + "\n"
}
