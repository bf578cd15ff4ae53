package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/laptop"
)

func TestWrite(t *testing.T) {
	for _, n := range []struct{ functions, devices int }{{0, 0}, {1, 0}, {30, 12}, {700, 120}} {
		dir := filepath.Join(t.TempDir(), "machine")
		if err := write(dir, n.functions, n.devices); err != nil {
			t.Fatal(err)
		}
		saved, err := hostfs.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer saved.Close()
		l, err := laptop.Read(saved)
		if err != nil {
			t.Errorf("%v: %v", n, err)
		}
		functions := 0
		for _, d := range l.Devices {
			if d.PCI != nil {
				functions++
			}
		}
		if devices := len(l.Devices) - functions; functions != n.functions || devices != n.devices {
			t.Errorf("%v: read %d functions and %d devices", n, functions, devices)
		}
		for _, g := range l.Groups {
			if !g.Known {
				t.Errorf("%v: group %s is not known", n, g.ID)
			}
		}
		noLinkDangles(t, dir)
	}
}

func noLinkDangles(t *testing.T, dir string) {
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type() == fs.ModeSymlink {
			_, err = os.Stat(path)
		}
		return err
	})
	// Without USB devices and functions nothing is below their links' directories.
	if err != nil && !strings.HasSuffix(err.Error(), "bus/usb: no such file or directory") {
		t.Error(err)
	}
}

func TestWriteRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := write(dir, 1, 0); err == nil {
		t.Error("wrote into a directory that was not empty")
	}
	for _, args := range [][]string{nil, {dir, "1"}, {dir, "x", "0"}, {dir, "-1", "0"}, {dir, "1", "99999"}} {
		if err := run(args); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
