package daemon

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/project-independence/indy/internal/hosttest"
)

// runMake runs make as somebody who installs does, and not as a part of the make that runs tests.
func runMake(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "make", append([]string{"--no-print-directory"}, args...)...)
	cmd.Dir = hosttest.Root(t)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains([]string{"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "DESTDIR", "PREFIX", "BIN"}, name)
	})
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// install builds indy and has make install put it below dest.
func install(t *testing.T, dest string) {
	t.Helper()
	bin := t.TempDir()
	hosttest.BuildIndy(t, bin)
	hosttest.BuildJail(t, bin)
	if out, err := runMake(t, "install", "BIN="+bin, "DESTDIR="+dest); err != nil {
		t.Fatalf("make install: %v\n%s", err, out)
	}
}

// treeOf returns what is below dir: each name with its mode and what is in it.
func treeOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	tree := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := d.Info()
		if err != nil {
			return err
		}
		var data []byte
		if d.Type().IsRegular() {
			if data, err = os.ReadFile(name); err != nil {
				return err
			}
		}
		tree[strings.TrimPrefix(name, dir)] = fmt.Sprintf("%v %s", i.Mode(), data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// sameTree tells the names of what is not the same in two trees.
func sameTree(t *testing.T, when string, got, want map[string]string) {
	t.Helper()
	for name := range want {
		if _, there := got[name]; !there {
			t.Errorf("%s: %s is missing", when, name)
		} else if got[name] != want[name] {
			t.Errorf("%s: %s is another one", when, name)
		}
	}
	for name := range got {
		if _, there := want[name]; !there {
			t.Errorf("%s: %s is there", when, name)
		}
	}
}

// TestInstall has make install put everything in its place, twice, with another prefix too, and
// make uninstall leave what was there before.
func TestInstall(t *testing.T) {
	bin := t.TempDir()
	// Not indy itself, which is not what is tested here, and takes long.
	for name, text := range map[string]string{"indy": "#!/bin/sh\necho \"completion of $2\"\n", "indy-jail": "#!/bin/sh\n"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for prefix, where := range map[string]struct{ system, zsh string }{
		"/usr":       {"/usr/lib", "/usr/share/zsh/vendor-completions"},
		"/usr/local": {"/usr/local/lib", "/usr/local/share/zsh/site-functions"},
		"/opt/indy":  {"/etc", "/opt/indy/share/zsh/site-functions"},
	} {
		t.Run(prefix, func(t *testing.T) {
			dest := t.TempDir()
			// An empty directory that was there before stays, as does what others have put.
			for _, d := range []string{where.system + "/modules-load.d", prefix + "/bin"} {
				if err := os.MkdirAll(filepath.Join(dest, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dest, prefix, "bin", "true"), nil, 0o755); err != nil {
				t.Fatal(err)
			}
			args := []string{"BIN=" + bin, "DESTDIR=" + dest, "PREFIX=" + prefix}
			before := treeOf(t, dest)
			out, err := runMake(t, append([]string{"install"}, args...)...)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, next := range []string{"systemd-sysusers\n", "systemd-tmpfiles --create\n", "modprobe vfio-pci\n", "systemctl enable --now indy-broker.socket "} {
				if !strings.Contains(out, next) {
					t.Errorf("it does not say to run %q:\n%s", next, out)
				}
			}
			first := treeOf(t, dest)
			for name, want := range map[string]string{
				prefix + "/bin/indy":                                  "-rwxr-xr-x #!/bin/sh",
				prefix + "/bin/indy-jail":                             "-rwxr-xr-x #!/bin/sh",
				prefix + "/share/bash-completion/completions/indy":    "-rw-r--r-- completion of bash",
				where.zsh + "/_indy":                                  "-rw-r--r-- completion of zsh",
				prefix + "/share/fish/vendor_completions.d/indy.fish": "-rw-r--r-- completion of fish",
				prefix + "/share/doc/indy/docs/daemon.md":             "-rw-r--r-- # The daemon",
				where.system + "/systemd/system/indy-daemon.socket":   "-rw-r--r-- [Unit]",
				where.system + "/systemd/system/indy-daemon.service":  "-rw-r--r-- [Unit]",
				where.system + "/systemd/system/indy-guests.service":  "-rw-r--r-- [Unit]",
				where.system + "/sysusers.d/indy.conf":                "-rw-r--r-- # Groups",
				where.system + "/tmpfiles.d/indy.conf":                "-rw-r--r-- # Directories",
				where.system + "/modules-load.d/indy.conf":            "-rw-r--r-- # What devices",
			} {
				if !strings.HasPrefix(first[name], want) {
					t.Errorf("%s is %.40q, want %q", name, first[name], want)
				}
			}
			for unit, want := range map[string]string{"broker": "\nExecStart=" + prefix + "/bin/indy broker\n", "daemon": "\nExecStart=" + prefix + "/bin/indy daemon --broker /run/indy/broker.sock\n", "guests": "\nExecStop=" + prefix + "/bin/indy daemon stop-guests\n"} {
				if text := first[where.system+"/systemd/system/indy-"+unit+".service"]; !strings.Contains(text, want) {
					t.Errorf("indy-%s.service has no %q", unit, want)
				}
			}
			// Again, with what an older one had put and this one does not.
			list := filepath.Join(dest, prefix, "lib", "indy", "installed")
			old := prefix + "/share/doc/indy/old.md"
			if err := os.WriteFile(filepath.Join(dest, old), nil, 0o644); err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(list)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(list, append(text, "f "+old+"\n"...), 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := runMake(t, append([]string{"install"}, args...)...); err != nil {
				t.Fatalf("again: %v\n%s", err, out)
			}
			again := treeOf(t, dest)
			name := prefix + "/lib/indy/installed"
			lines := func(s string) []string { return slices.Sorted(strings.Lines(strings.TrimPrefix(s, "-rw-r--r-- "))) }
			if got, want := lines(again[name]), lines(first[name]); !slices.Equal(got, want) {
				t.Errorf("again it has installed\n%q, want\n%q", got, want)
			}
			again[name] = first[name]
			sameTree(t, "again", again, first)
			for range 2 {
				if out, err := runMake(t, append([]string{"uninstall"}, args...)...); err != nil {
					t.Fatalf("uninstall: %v\n%s", err, out)
				}
				sameTree(t, "uninstalled", treeOf(t, dest), before)
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		dest := t.TempDir()
		other := filepath.Join(dest, "usr", "bin", "indy-jail")
		if err := os.MkdirAll(filepath.Dir(other), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(other, []byte("of a package"), 0o755); err != nil {
			t.Fatal(err)
		}
		before := treeOf(t, dest)
		for want, args := range map[string][]string{
			other + " is there, but not by make install": {"install", "BIN=" + bin, "DESTDIR=" + dest},
			"run make build first":                       {"install", "BIN=" + dest, "DESTDIR=" + dest},
			"PREFIX is usr; ":                            {"install", "BIN=" + bin, "DESTDIR=" + dest, "PREFIX=usr"},
			"PREFIX is /a|b; ":                           {"install", "BIN=" + bin, "DESTDIR=" + dest, "PREFIX=/a|b"},
			"PREFIX is /usr/../etc; ":                    {"uninstall", "DESTDIR=" + dest, "PREFIX=/usr/../etc"},
		} {
			if out, err := runMake(t, args...); err == nil || !strings.Contains(out, want) {
				t.Errorf("make %q: %v, want %q:\n%s", args, err, want, out)
			}
		}
		// What was put there before it was refused goes, and what was another's stays.
		if out, err := runMake(t, "uninstall", "DESTDIR="+dest); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		sameTree(t, "refused", treeOf(t, dest), before)
	})
}
