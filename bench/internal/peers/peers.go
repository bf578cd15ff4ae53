// Package peers is what the measurements share that run programs side by side: what is
// measured is built, what it is compared with installed, and the machine named.
package peers

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/hostfs"
)

// Build builds programs of this module into dir, without cgo, and one that does nothing,
// named empty. The working directory is the root of the repository.
func Build(ctx context.Context, dir string, packages ...string) error {
	empty := filepath.Join(dir, "empty.go")
	if err := os.WriteFile(empty, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		return err
	}
	for _, args := range [][]string{
		append([]string{"build", "-trimpath", "-o", dir + "/"}, packages...),
		{"build", "-o", dir + "/empty", empty},
	} {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("go %s: %w; run it in the root of the repository", strings.Join(args, " "), err)
		}
	}
	return nil
}

// Install gets the programs that are missing, each from the Debian packages named with
// it, separated by blanks. It does so as root, and where there is apt; else, and when it
// fails, it says so on standard error, and the programs are still missing.
func Install(ctx context.Context, from map[string]string) {
	var missing []string
	for program, packages := range from {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, strings.Fields(packages)...)
		}
	}
	if len(missing) == 0 {
		return
	}
	slices.Sort(missing)
	fmt.Fprintln(os.Stderr, "missing:", strings.Join(missing, ", "))
	if _, err := exec.LookPath("apt-get"); err != nil || os.Geteuid() != 0 {
		return
	}
	for _, args := range [][]string{{"update", "-qq"}, append([]string{"install", "-y", "-qq", "--no-install-recommends"}, missing...)} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "apt-get:", err)
		}
	}
}

// Versions returns the version of each program by its name: the first word with a digit
// in it of what its command says. One that cannot be run has none.
func Versions(ctx context.Context, commands map[string][]string) map[string]string {
	versions := map[string]string{}
	for name, words := range commands {
		out, err := exec.CommandContext(ctx, words[0], words[1:]...).Output()
		if err != nil {
			continue
		}
		said := strings.Fields(string(out))
		if i := slices.IndexFunc(said, func(w string) bool { return strings.ContainsAny(w, "0123456789") }); i >= 0 {
			versions[name] = said[i]
		}
	}
	return versions
}

// Processor returns what the first processor of this machine is called (/proc/cpuinfo).
func Processor() string {
	data, _ := hostfs.Live().ReadFile("proc/cpuinfo")
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return "unknown processor"
}

// Kernel returns the release of the running kernel (uname(2)).
func Kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// Milliseconds returns d in milliseconds.
func Milliseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// WriteJSON writes v to a file as indented JSON, unless the file has no name.
func WriteJSON(file string, v any) error {
	if file == "" {
		return nil
	}
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(data, '\n'), 0o644)
}
