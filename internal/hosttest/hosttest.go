// Package hosttest finds the saved machines that tests run over, and builds the command.
package hosttest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Shared returns the path of elem in the collection of saved machines and
// hardware data, the directory shared beside the repository. When it is not there
// it is [Missing].
func Shared(t testing.TB, elem ...string) string {
	t.Helper()
	path := filepath.Join(append([]string{Root(t), "..", "shared"}, elem...)...)
	if _, err := os.Stat(path); err != nil {
		Missing(t, "the collection of saved machines is missing: %v", err)
	}
	return path
}

// Missing skips a test for want of something, which it says, or fails it if the
// environment variable CI is "true": there nothing may be left out unseen.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
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
	build(t, "build", "-trimpath", "-o", indy, "./cmd/indy")
	return indy
}

// BuildJail is BuildIndy for indy-jail.
func BuildJail(t testing.TB, dir string) string {
	t.Helper()
	stage := filepath.Join(dir, "indy-jail")
	build(t, "build", "-trimpath", "-o", stage, "./cmd/indy-jail")
	return stage
}

// BuildTest compiles the tests of a package of this module, named as ./pci or by its
// import path, statically linked and without the race detector, in dir, and returns the
// path of the program.
func BuildTest(t testing.TB, dir, pkg string) string {
	t.Helper()
	program := filepath.Join(dir, "inside.test")
	build(t, "test", "-c", "-vet=off", "-ldflags=-w", "-o", program, pkg)
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%s has no tests: %v", pkg, err)
	}
	return program
}

func build(t testing.TB, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = Root(t)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
