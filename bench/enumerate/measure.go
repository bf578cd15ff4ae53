package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/project-independence/indy/bench/internal/peers"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
)

// patience bounds one run of one program.
const patience = 60 * time.Second

// A Machine is what was measured on one machine.
type Machine struct {
	Name      string    `json:"name"`
	Functions int       `json:"functions"`
	Processes []Process `json:"processes"` // run as often as each other; times compare with the first
	Slow      []Process `json:"slow"`      // likewise, fewer rounds
	Library   []Scan    `json:"library"`   // in one process each; times compare with the C floor
}

// A Process is one program, run as a whole. Times are in milliseconds, memory in KiB.
type Process struct {
	Name        string  `json:"name"`
	Median      float64 `json:"median_ms"`
	Least       float64 `json:"least_ms"`
	Ratio       float64 `json:"ratio"`
	Memory      int64   `json:"peak_kib"`
	SystemCalls int64   `json:"system_calls"` // 0 if not counted
	Failed      string  `json:"failed,omitempty"`
}

// A Scan is one listing in a process that lists again and again.
type Scan struct {
	Name   string  `json:"name"`
	Median float64 `json:"median_ms"`
	Ratio  float64 `json:"ratio"`
}

func (b *bench) host() (Machine, error) {
	functions, _ := pci.Functions(hostfs.Live())
	return b.machine(work{"this host", len(functions), b.rounds, max(3, b.rounds/4), 200})
}

func (b *bench) machine(w work) (Machine, error) {
	m := Machine{Name: w.Name, Functions: w.Functions}
	fmt.Fprintf(os.Stderr, "enumerate: %s\n", w.Name)
	var err error
	if m.Processes, err = b.beside(b.peers(), w.Functions, w.Rounds); err != nil {
		return m, err
	}
	if w.Few > 0 {
		if m.Slow, err = b.beside(b.slow(), w.Functions, w.Few); err != nil {
			return m, err
		}
	}
	m.Library, err = b.library(w.Scans)
	return m, err
}

// beside runs programs in turn. One that is missing, or fails when first tried, has no
// figures.
func (b *bench) beside(programs []peer, functions, rounds int) ([]Process, error) {
	type running struct {
		peer
		took []time.Duration
	}
	var processes []Process
	var all []*running
	for _, p := range programs {
		r := &running{peer: p}
		out := Process{Name: p.name}
		switch _, err := exec.LookPath(p.command[0]); {
		case err != nil:
			out.Failed = "not installed"
		case p.most > 0 && functions > p.most:
			out.Failed = "not run: takes minutes"
		default:
			// The first run warms the caches.
			if _, err := b.once(p.command); err != nil {
				out.Failed = err.Error()
			} else {
				out.SystemCalls, out.Memory = b.systemCalls(p.command), b.memory(p.command)
				all = append(all, r)
			}
		}
		processes = append(processes, out)
	}
	for range rounds {
		for _, r := range all {
			took, err := b.once(r.command)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.name, err)
			}
			r.took = append(r.took, took)
		}
	}
	for _, r := range all {
		slices.Sort(r.took)
		i := slices.IndexFunc(processes, func(p Process) bool { return p.Name == r.name })
		processes[i].Median, processes[i].Least = peers.Milliseconds(r.took[rounds/2]), peers.Milliseconds(r.took[0])
	}
	for i := range processes {
		if first := processes[0].Median; first > 0 && processes[i].Failed == "" {
			processes[i].Ratio = processes[i].Median / first
		}
	}
	return processes, nil
}

// once runs a program whose output is thrown away. The exit codes 1 and 5 of indy say
// something of the machine, not that it failed.
func (b *bench) once(words []string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	start := time.Now()
	err := cmd.Run()
	took := time.Since(start)
	if ctx.Err() != nil {
		return took, fmt.Errorf("not done after %v", patience)
	}
	if exit := new(exec.ExitError); errors.As(err, &exit) && filepath.Base(words[0]) == "indy" && (exit.ExitCode() == 1 || exit.ExitCode() == 5) {
		err = nil
	}
	return took, err
}

// systemCalls counts those of a program and all it starts; 0 without strace.
func (b *bench) systemCalls(words []string) int64 {
	for line := range strings.Lines(b.under([]string{"strace", "-f", "-qq", "-c", "-o"}, words)) {
		if f := strings.Fields(line); len(f) >= 5 && f[len(f)-1] == "total" {
			return atoi(f[3])
		}
	}
	return 0
}

// memory is the most that a program, or one it starts, had in memory, in KiB; 0 without
// time(1). What wait4(2) tells a large process of its child has its own size in it,
// since the child begins as a part of it; time is small.
func (b *bench) memory(words []string) int64 {
	out := strings.Fields(b.under([]string{"time", "-q", "-f", "%M", "-o"}, words))
	if len(out) == 0 {
		return 0
	}
	return atoi(out[len(out)-1])
}

// under runs words with another program before them that writes to a file.
func (b *bench) under(before, words []string) string {
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	file := filepath.Join(b.dir, "under")
	defer os.Remove(file)
	args := append(append(before[1:], file), words...)
	_ = exec.CommandContext(ctx, before[0], args...).Run() // its exit code is the program's
	data, _ := os.ReadFile(file)
	return string(data)
}

// library compares listings within a process: each program runs five times, in turn,
// and the median of their medians counts.
func (b *bench) library(scans int) ([]Scan, error) {
	enumerate := filepath.Join(b.dir, "enumerate")
	programs := []peer{
		{"C floor", []string{filepath.Join(b.dir, "floor"), "/sys", strconv.Itoa(scans)}, 0},
		{"pci.Functions", []string{enumerate, "-scan", "indy", strconv.Itoa(scans)}, 0},
		{"uevent.Seqnum: nothing changed", []string{enumerate, "-scan", "seqnum", strconv.Itoa(scans)}, 0},
		{"ghw.PCI", []string{enumerate, "-scan", "ghw", strconv.Itoa(max(1, scans/10))}, 0},
	}
	medians := make([][]int64, len(programs))
	for range 5 {
		for i, p := range programs {
			out, err := exec.CommandContext(b.ctx, p.command[0], p.command[1:]...).Output()
			if err != nil {
				if i == 0 {
					continue // no C compiler
				}
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
			first, _, _ := strings.Cut(string(out), " ")
			medians[i] = append(medians[i], atoi(first))
		}
	}
	var scansOf []Scan
	for i, p := range programs {
		if len(medians[i]) == 0 {
			continue
		}
		slices.Sort(medians[i])
		s := Scan{Name: p.name, Median: float64(medians[i][len(medians[i])/2]) / 1e6}
		if len(medians[0]) > 0 {
			s.Ratio = s.Median / (float64(medians[0][len(medians[0])/2]) / 1e6)
		}
		scansOf = append(scansOf, s)
	}
	return scansOf, nil
}
