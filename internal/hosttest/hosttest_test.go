package hosttest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/project-independence/indy/internal/hosttest"
)

func TestRoot(t *testing.T) {
	if _, err := os.Stat(filepath.Join(hosttest.Root(t), "hostfs", "hostfs.go")); err != nil {
		t.Error(err)
	}
}

func TestShared(t *testing.T) {
	found, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	if err != nil || len(found) == 0 {
		t.Errorf("no saved machine found: %v", err)
	}
}

func TestSharedMissing(t *testing.T) {
	for _, ci := range []string{"true", ""} {
		t.Setenv("CI", ci)
		ok := t.Run("missing", func(t *testing.T) {
			if ci == "true" {
				r := &recorder{TB: t}
				func() {
					defer func() { _ = recover() }()
					hosttest.Shared(r, "no-such-thing")
				}()
				if !r.fatal {
					t.Error("did not fail although CI is true")
				}
				return
			}
			hosttest.Shared(t, "no-such-thing")
			t.Error("neither failed nor skipped")
		})
		if !ok {
			t.Errorf("CI=%q", ci)
		}
	}
}

// A recorder takes a failure as the test's result.
type recorder struct {
	testing.TB
	fatal bool
}

func (r *recorder) Fatalf(string, ...any) {
	r.fatal = true
	panic("fatal")
}
