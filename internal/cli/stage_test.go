package cli

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"
)

// TestJailStage: the program beside indy is the stage only where it is as trusted as indy.
func TestJailStage(t *testing.T) {
	self := []string{"/proc/self/exe", "jail"}
	tests := []struct {
		name string
		make func(t *testing.T, dir string)
		own  bool // the program beside it is taken
	}{
		{"beside it", func(*testing.T, string) {}, true},
		{"not there", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, stageProgram))) }, false},
		{"replaced since", func(t *testing.T, dir string) { must(t, os.Remove(filepath.Join(dir, "indy"))) }, false},
		{"others can write it", func(t *testing.T, dir string) { must(t, os.Chmod(filepath.Join(dir, stageProgram), 0o757)) }, false},
		{"others can replace it", func(t *testing.T, dir string) { must(t, os.Chmod(dir, 0o777|os.ModeSticky)) }, false},
		{"no program", func(t *testing.T, dir string) { must(t, os.Chmod(filepath.Join(dir, stageProgram), 0o644)) }, false},
		{"a link", func(t *testing.T, dir string) {
			stage := filepath.Join(dir, stageProgram)
			must(t, os.Rename(stage, stage+"2"))
			must(t, os.Symlink(stage+"2", stage))
		}, false},
	}
	if os.Geteuid() == 0 {
		tests = append(tests, struct {
			name string
			make func(t *testing.T, dir string)
			own  bool
		}{"somebody else's", func(t *testing.T, dir string) { must(t, os.Chown(filepath.Join(dir, stageProgram), 12345, 12345)) }, false})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{"indy", stageProgram} {
				must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o755))
			}
			tt.make(t, dir)
			want := self
			if tt.own {
				want = []string{filepath.Join(dir, stageProgram)}
			}
			host := fstest.MapFS{"proc/self/exe": {Mode: os.ModeSymlink, Data: []byte(filepath.Join(dir, "indy"))}}
			if got := jailStage(host); !slices.Equal(got, want) {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
	if got := jailStage(fstest.MapFS{}); !slices.Equal(got, self) {
		t.Errorf("without /proc: %q", got)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
