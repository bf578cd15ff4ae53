package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// work is what is to be measured on one machine.
type work struct {
	Name      string
	Functions int
	Rounds    int // of each program
	Few       int // of each slow one
	Scans     int // within a process
}

// made makes a machine of n functions and measures it, in a process whose mount
// namespace is its own.
func (b *bench) made(n int) (Machine, error) {
	tree := filepath.Join(b.dir, "tree")
	defer os.RemoveAll(tree)
	if out, err := exec.CommandContext(b.ctx, filepath.Join(b.dir, "gensysfs"), tree, strconv.Itoa(n), "12").CombinedOutput(); err != nil {
		return Machine{}, fmt.Errorf("gensysfs: %w: %s", err, out)
	}
	w := work{fmt.Sprintf("%d functions", n), n, b.rounds, 3, 100}
	switch {
	case n > 10_000:
		w.Rounds, w.Few, w.Scans = 3, 0, 5
	case n > 1000:
		w.Rounds, w.Few, w.Scans = b.rounds/2+1, 1, 15
	}
	text, err := json.Marshal(w)
	if err != nil {
		return Machine{}, err
	}
	cmd := exec.CommandContext(b.ctx, filepath.Join(b.dir, "enumerate"), "-inside", tree, string(text))
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return Machine{}, fmt.Errorf("%s: %w", w.Name, err)
	}
	var m Machine
	return m, json.NewDecoder(bytes.NewReader(out)).Decode(&m)
}

// inside puts the files in tree over this host's /sys, does the work and prints what
// was measured. It is the first thing in a mount namespace of its own.
func inside(tree, text string) error {
	// What is mounted here stays here.
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount(filepath.Join(tree, "sys"), "/sys", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s over /sys: %w", tree, err)
	}
	var w work
	if err := json.Unmarshal([]byte(text), &w); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b := &bench{ctx: ctx, dir: filepath.Dir(tree)}
	m, err := b.machine(w)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(m)
}
