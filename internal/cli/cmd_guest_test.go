package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/project-independence/indy/internal/cli"
	"github.com/project-independence/indy/internal/hosttest"
)

func guestEnv(t *testing.T) (run func(code int, args ...string) (stdout, stderr string), dir string) {
	t.Helper()
	dir = t.TempDir()
	return func(code int, args ...string) (string, string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		env := cli.Env{GuestDir: filepath.Join(dir, "guests"), Names: os.DirFS(filepath.Join(hosttest.Root(t), "testdata", "ids")),
			Stdin: strings.NewReader("name: work\nmemory: 2GiB\n"), Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" }}
		if got := cli.Main(append([]string{"guest"}, args...), &env); got != code {
			t.Errorf("indy guest %v: exit %d, want %d: %s", args, got, code, &stderr)
		}
		return stdout.String(), stderr.String()
	}, dir
}

func TestGuestSchemas(t *testing.T) {
	run, dir := guestEnv(t)
	none, _ := run(0, "list", "--json")
	validate(t, "guest-list", []byte(none))
	file := filepath.Join(dir, "work.yaml")
	text := "name: work\nmemory: 1GiB\nautostart: {priority: 7}\ndisks: [{file: a.raw, read_only: true}, {file: /dev/x, format: raw}]\nnetwork: bridge:br0\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run(0, "import", file)
	some, _ := run(0, "list", "--json")
	validate(t, "guest-list", []byte(some))
	for _, want := range []string{`"autostart": 7`, `"network": "bridge:br0"`, `"file": "` + dir + `/a.raw"`, `"file": "/dev/x"`, `"read_only": true`} {
		if !strings.Contains(some, want) {
			t.Errorf("%s lacks %s", some, want)
		}
	}
	shown, _ := run(0, "show", "work", "--json", "--from", filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-intel.txtar"))
	validate(t, "guest-show", []byte(shown))
	_, failed := run(2, "show", "nobody", "--json")
	validate(t, "error", []byte(failed))
}

func TestGuestExitStatus(t *testing.T) {
	run, dir := guestEnv(t)
	file := filepath.Join(dir, "work.yaml")
	for _, tt := range []struct {
		text string
		code int
		want string
	}{
		{"name: work\nmemory: 1GB\n", 1, "not a size"},
		{"name: work\nmemory: 1GiB\n", 0, ""},
	} {
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, stderr := run(tt.code, "import", file); !strings.Contains(stderr, tt.want) {
			t.Errorf("%s, want %s", stderr, tt.want)
		}
	}
	if out, _ := run(0, "edit", "work", "--file", "-"); !strings.Contains(out, "changed guest work") {
		t.Error(out)
	}
	// What an image hides is refused, which has a status of its own.
	backed := make([]byte, 4096)
	copy(backed, "QFI\xfb\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x04")
	copy(backed[512:], "/etc")
	image := filepath.Join(dir, "a.qcow2")
	if err := os.WriteFile(image, backed, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, stderr := run(4, "create", "other", "--disk", image); !strings.Contains(stderr, `backing file "/etc"`) {
		t.Error(stderr)
	}
	run(2, "show", "nobody")
	run(2, "create", "A")
	run(0, "delete", "work")
	run(2, "delete", "work")
}

// A user without a home is told so.
func TestNoGuestDir(t *testing.T) {
	var stdout, stderr bytes.Buffer
	env := cli.Env{Stdout: &stdout, Stderr: &stderr, Getenv: func(string) string { return "" }}
	if code := cli.Main([]string{"guest", "list"}, &env); code != 1 || !strings.Contains(stderr.String(), "neither XDG_DATA_HOME nor HOME") {
		t.Errorf("exit %d: %s", code, &stderr)
	}
}
