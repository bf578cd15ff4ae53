package hostedit_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/project-independence/indy/internal/hostedit"
)

func Example() {
	root, err := os.MkdirTemp("", "hostedit-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(root)
	name := filepath.Join(root, "cmdline")
	if err := os.WriteFile(name, []byte("root=UUID=1 quiet\n"), 0o644); err != nil {
		panic(err)
	}

	e := &hostedit.Editor{Root: root}
	c, err := e.Prepare(hostedit.Edit{File: "cmdline", Kind: hostedit.WordLine, Words: []string{"intel_iommu=on"}})
	if err != nil {
		panic(err)
	}
	fmt.Print(c.Diff())
	if err := e.Apply(c); err != nil {
		panic(err)
	}

	// Somebody else changes the same line.
	_ = os.WriteFile(name, []byte("root=UUID=1 quiet intel_iommu=on nosmt\n"), 0o644)

	u, err := e.PrepareUndo(nil)
	if err == nil {
		err = e.Undo(u)
	}
	text, _ := os.ReadFile(name)
	fmt.Print(string(text), u.Files[0].Outcome, " ", err)
	// Output:
	// --- a/cmdline
	// +++ b/cmdline
	// @@ -1 +1 @@
	// -root=UUID=1 quiet
	// +root=UUID=1 quiet intel_iommu=on
	// root=UUID=1 quiet nosmt
	// taken out <nil>
}
