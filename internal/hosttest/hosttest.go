// Package hosttest finds the saved machines that tests run over.
package hosttest

import (
	"os"
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
