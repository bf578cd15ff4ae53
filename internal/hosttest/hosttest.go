// Package hosttest finds the saved machines that tests run over, and builds the command.
package hosttest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Shared returns the path of elem in the collection of saved machines and
// hardware data, the directory shared beside the repository. When it is not there
// the test is skipped, or fails if the environment variable CI is "true": there
// nothing may be left out unseen.
func Shared(t testing.TB, elem ...string) string {
	t.Helper()
	path := filepath.Join(append([]string{Root(t), "..", "shared"}, elem...)...)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the collection of saved machines is missing: %v", err)
		}
		t.Skipf("the collection of saved machines is missing: %v", err)
	}
	return path
}

// Root returns the root of the repository: the directory of go.mod at or above
// the test's working directory.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod at or above the working directory")
		}
		dir = parent
	}
}

// BuildIndy builds the command indy as it is released, statically linked, in dir, and
// returns its path.
func BuildIndy(t testing.TB, dir string) string {
	t.Helper()
	indy := filepath.Join(dir, "indy")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", indy, "./cmd/indy")
	cmd.Dir = Root(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build ./cmd/indy: %v\n%s", err, out)
	}
	return indy
}
