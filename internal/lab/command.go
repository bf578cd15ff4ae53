package lab

import (
	"io"
	"strings"
)

// writeCommand writes the small archive that carries one run into the machine: the
// kernel unpacks it over the initial file system. Nothing of it passes the kernel's
// command line, so arguments arrive as they are.
func (l *Lab) writeCommand(w io.Writer, m *Machine) error {
	settings := "lab_hostname=lab\nlab_modules=" + shellQuote(l.modules) + "\nlab_out="
	if m.Out != "" {
		settings += "yes"
	}
	if len(m.Root) > 0 {
		settings += "\nlab_root=" + shellQuote(m.layers())
	}
	a := newArchive(w)
	if m.Topology == NoRemappingIntel {
		// The kernel finds it only here, in what comes first and is not compressed.
		if err := a.file(reservingDMAR, 0o644, dmar()); err != nil {
			return err
		}
	}
	if err := a.file("lab/settings", 0o644, []byte(settings+"\n")); err != nil {
		return err
	}
	if err := a.file("lab/run", 0o755, []byte(m.script())); err != nil {
		return err
	}
	if script := m.Topology.prepare(); script != nil {
		if err := a.file("lab/prepare", 0o644, script); err != nil {
			return err
		}
	}
	if len(m.Root) > 0 {
		if err := a.file("lab/system", 0o644, systemScript); err != nil {
			return err
		}
	}
	return a.w.Close()
}

// script returns what the first process runs: the command below the new root, with
// its own session, directory and environment. Descriptor 3 is the status line; the
// command does not get it.
func (m *Machine) script() string {
	dir := m.Dir
	if dir == "" {
		dir = "/"
	}
	const busybox = "/run/indy-lab/busybox"
	words := []string{
		"setsid", "chroot", "/new", busybox, "sh", "-c",
		`cd -- "$0" || { echo "error no working directory $0" >&3; exit 1; }; exec "$@" 3>&-`,
		dir, busybox, "env", "-i",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "TERM=dumb", "LANG=C.UTF-8", "PWD=" + dir,
	}
	words = append(append(words, m.Env...), m.Args...)
	var b strings.Builder
	b.WriteString("exec")
	for _, w := range words {
		b.WriteString(" " + shellQuote(w))
	}
	b.WriteByte('\n')
	return b.String()
}

// shellQuote returns s as one word of a POSIX shell.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
