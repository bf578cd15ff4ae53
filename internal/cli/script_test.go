package cli_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/project-independence/indy/internal/cli"
	"github.com/project-independence/indy/internal/hosttest"
)

var update = flag.Bool("update", false, "rewrite what the scripts compare with")

// TestMain makes this test binary the command indy when a script calls it so: with
// names of its own, whatever is installed, and its leases in the script's directory.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"indy": func() {
			env := cli.OS("test")
			env.Names = os.DirFS(os.Getenv("IDS"))
			env.LeaseDir = filepath.Join(os.Getenv("WORK"), "leases")
			env.StateDir = filepath.Join(os.Getenv("WORK"), "state")
			os.Exit(cli.Main(os.Args[1:], env))
		},
	})
}

func TestScripts(t *testing.T) {
	root := hosttest.Root(t)
	testscript.Run(t, testscript.Params{
		Dir:           filepath.Join(root, "testdata", "script"),
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOSTS", filepath.Join(root, "testdata", "hosts"))
			env.Setenv("IDS", filepath.Join(root, "testdata", "ids"))
			env.Setenv("BAD", filepath.Join(root, "testdata", "bad"))
			return nil
		},
	})
}
