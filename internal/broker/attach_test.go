package broker

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAttach(t *testing.T) {
	name := filepath.Join(t.TempDir(), `a "b" $(c)`)
	if err := Attach("printf '%s' text >", name); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(name); err != nil || string(got) != "text" {
		t.Errorf("%q, %v", got, err)
	}
	if err := Attach("exit 3 #", name); err == nil {
		t.Error("no error of a command that fails")
	}
}
