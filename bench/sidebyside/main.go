// Command sidebyside runs programs in turn and compares them:
//
//	sidebyside ROUNDS NAME=COMMAND...
//
// Each round runs every command once, so that whatever else the machine does meets
// all of them alike. It prints a row of a Markdown table for each: the median and the
// least wall time, the median's ratio to that of the first command, and the peak of
// memory. Commands are split at blanks, without a shell; their output is thrown away.
// A command that cannot be run, or that fails when it is first tried, has no figures.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type command struct {
	name  string
	args  []string
	times []time.Duration
	rss   int64 // KiB
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sidebyside:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("usage: sidebyside ROUNDS NAME=COMMAND [NAME=COMMAND]")
	}
	rounds, err := strconv.Atoi(args[0])
	if err != nil || rounds < 1 {
		return fmt.Errorf("%q: expected a number of rounds", args[0])
	}
	var all []*command
	for _, arg := range args[1:] {
		name, line, ok := strings.Cut(arg, "=")
		if !ok || strings.TrimSpace(line) == "" {
			return fmt.Errorf("%q: expected NAME=COMMAND", arg)
		}
		c := &command{name: name, args: strings.Fields(line)}
		if err := c.once(); err != nil {
			fmt.Printf("| %s | - | - | - | - | %s |\n", c.name, err)
			continue
		}
		c.times = nil // the first run warmed the caches
		all = append(all, c)
	}
	for range rounds {
		for _, c := range all {
			if err := c.once(); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	for _, c := range all {
		slices.Sort(c.times)
		median := c.times[rounds/2]
		fmt.Printf("| %s | %.2f | %.2f | %.2f | %.1f | |\n", c.name, ms(c.times[0]), ms(median),
			ms(median)/ms(all[0].times[rounds/2]), float64(c.rss)/1024)
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (c *command) once() error {
	cmd := exec.Command(c.args[0], c.args[1:]...)
	start := time.Now()
	err := cmd.Run()
	c.times = append(c.times, time.Since(start))
	if use, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		c.rss = max(c.rss, use.Maxrss)
	}
	return err
}
