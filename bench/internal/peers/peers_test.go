package peers

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVersions(t *testing.T) {
	got := Versions(t.Context(), map[string][]string{
		"first":  {"echo", "the program 1.2-3, of 2026"},
		"silent": {"echo", "nothing known"},
		"fails":  {"false"},
		"none":   {"/nonexistent/program"},
	})
	if diff := cmp.Diff(map[string]string{"first": "1.2-3,"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestWriteJSON(t *testing.T) {
	name := filepath.Join(t.TempDir(), "out.json")
	if err := WriteJSON(name, map[string]int{"a": 1}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if want := "{\n  \"a\": 1\n}\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if err := WriteJSON("", 1); err != nil {
		t.Errorf("no file was asked for: %v", err)
	}
	if err := WriteJSON(filepath.Join(name, "below"), 1); err == nil {
		t.Error("written below a file")
	}
}

func TestBuildFails(t *testing.T) {
	if err := Build(t.Context(), t.TempDir(), "./nonexistent"); err == nil {
		t.Error("built what is not there")
	}
}
