package lab

import (
	_ "embed"
	"fmt"
	"path/filepath"
	"strings"
)

// systemScript boots [Machine.Root]; the first process reads it.
//
//go:embed system.sh
var systemScript []byte

// checkRoot looks at what is said of a root file system.
func (m *Machine) checkRoot() error {
	if len(m.Root) > 0 && (len(m.Args) > 0 || len(m.Env) > 0 || m.Dir != "" || m.Out != "") {
		return fmt.Errorf("a root file system and a command %q: one of both", m.Args)
	}
	for _, dir := range m.Root {
		// The characters have a meaning in options of mount.
		if !filepath.IsAbs(dir) || strings.ContainsAny(dir, ",:\\\x00\n") {
			return fmt.Errorf("root file system %q: not an absolute path, or one with a comma, colon or backslash", dir)
		}
	}
	return nil
}

// layers returns the directories of the root file system, as the first process finds them.
func (m *Machine) layers() string {
	var all []string
	for _, dir := range m.Root {
		all = append(all, "/host"+realPath(dir))
	}
	return strings.Join(all, ":")
}
