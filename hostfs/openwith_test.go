package hostfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/project-independence/indy/hostfs"
)

// Only text that is no txtar is given to report, and what it says comes back.
func TestOpenWith(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	made, bad := new(hostfs.Tree), errors.New("half of it")
	if err := made.Put("a", []byte("b")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, content string
		given         bool
		tree          *hostfs.Tree
		err           error
		want          string // the error, empty for none
	}{
		{"report", "P: /devices\n", true, made, nil, ""},
		{"partly", "P: /devices\n", true, made, bad, "partly: half of it"},
		{"nothing", "P: /devices\n", true, nil, bad, "nothing: half of it"},
		{"machine.txtar", "-- a --\nb\n", false, nil, bad, ""},
		{"broken.txtar", "-- ../a --\nb\n", false, made, nil, "broken.txtar: line 1: "},
		{"binary", "P: /devices\x00\n", false, made, nil, "neither text nor a tar archive"},
		{"empty", "", false, made, nil, "the file is empty"},
	} {
		given := ""
		saved, err := hostfs.OpenWith(write(tt.name, tt.content), func(text []byte) (*hostfs.Tree, error) {
			given = string(text)
			return tt.tree, tt.err
		})
		if want := tt.given; (given != "") != want || want && given != tt.content {
			t.Errorf("%s: given %q", tt.name, given)
		}
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) || tt.err != nil && tt.given && !errors.Is(err, tt.err) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if wantSaved := tt.given && tt.tree != nil || tt.want == ""; (saved != nil) != wantSaved {
			t.Errorf("%s: %v", tt.name, saved)
		}
		if saved != nil {
			if b, err := saved.ReadFile("a"); strings.TrimSpace(string(b)) != "b" || err != nil {
				t.Errorf("%s: %q, %v", tt.name, b, err)
			}
		}
	}
	if _, err := hostfs.Open(write("report", "P: /devices\n")); err == nil || !strings.Contains(err.Error(), "is text without a line") {
		t.Error(err)
	}
}
