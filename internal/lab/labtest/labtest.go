// Package labtest lets tests of other packages run in the emulated laptop.
//
// A package that wants its tests to meet a real kernel has one test that calls
// [RunTest] with the names of others, and those others begin with [Inside].
package labtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/lab"
)

// insideVariable is set to 1 for what runs inside.
const insideVariable = "INDY_LAB_INSIDE"

// Limit is how long one boot with its command may take in a test.
const Limit = 15 * time.Minute

// Open returns the lab in the directory named by INDY_LAB, or in .lab at the root of
// the repository. When parts of it are missing the test is skipped, saying which;
// with CI=true it fails instead. With -short it is skipped.
func Open(t testing.TB) *lab.Lab {
	t.Helper()
	if testing.Short() {
		t.Skip("boots an emulated laptop; not with -short")
	}
	dir := os.Getenv("INDY_LAB")
	if dir == "" {
		dir = filepath.Join(hosttest.Root(t), ".lab")
	}
	l, err := lab.Open(dir)
	switch {
	case err == nil:
		return l
	case errors.Is(err, errors.ErrUnsupported) && os.Getenv("CI") != "true":
		t.Skip(err)
	default:
		t.Fatal(err)
	}
	return nil
}

// BuildIndy builds the command indy as it is released, statically linked, into a
// temporary directory, and returns its path.
func BuildIndy(t testing.TB) string {
	t.Helper()
	return hosttest.BuildIndy(t, t.TempDir())
}

// BuildTest compiles the tests of a package of this module, named as ./pci or by its
// import path, statically linked, into a temporary directory, and returns the path of
// the program.
func BuildTest(t testing.TB, pkg string) string {
	t.Helper()
	return hosttest.BuildTest(t, t.TempDir(), pkg)
}

// RunTest compiles the tests of pkg, boots an emulated laptop and runs those that
// match the regular expression run inside it as root, in the package's directory and
// with env, as K=V, in their environment. What they write to [lab.OutDir] is found in
// the directory out, if that is not empty. It fails if one of them fails, and if none
// passes. Their output is logged.
func RunTest(t testing.TB, pkg, run, out string, env ...string) {
	t.Helper()
	RunTestOn(t, lab.Machine{Out: out, Env: env}, pkg, run)
}

// RunTestOn does what [RunTest] does on the machine m, of which it sets Args, Dir and
// Stdout and adds to Env.
func RunTestOn(t testing.TB, m lab.Machine, pkg, run string) {
	t.Helper()
	l := Open(t)
	program := BuildTest(t, pkg)
	ctx, cancel := context.WithTimeout(t.Context(), Limit)
	defer cancel()
	var said bytes.Buffer
	m.Args = []string{program, "-test.v", "-test.count=1", "-test.run", run}
	m.Env = append([]string{insideVariable + "=1"}, m.Env...)
	m.Dir = packageDir(t, pkg)
	m.Stdout = &said
	status, err := l.Run(ctx, m)
	t.Logf("inside the emulated laptop:\n%s", &said)
	if err == nil {
		err = judge(status, said.Bytes())
	}
	if err != nil {
		t.Fatalf("%s, tests %q: %v", pkg, run, err)
	}
}

// judge decides over a test program that ended with status and printed out. One that
// ran nothing, or skipped all, ends with 0 too.
func judge(status int, out []byte) error {
	switch {
	case status != 0:
		return fmt.Errorf("failed inside, exit status %d", status)
	case !regexp.MustCompile(`(?m)^--- PASS: `).Match(out):
		return errors.New("none passed inside")
	}
	return nil
}

func packageDir(t testing.TB, pkg string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.Dir}}", pkg)
	cmd.Dir = hosttest.Root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v", pkg, err)
	}
	return strings.TrimSpace(string(out))
}

// Inside skips a test that does not run in the emulated laptop by [RunTest].
func Inside(t testing.TB) {
	t.Helper()
	if os.Getenv(insideVariable) != "1" {
		t.Skip("runs only inside the emulated laptop")
	}
}
