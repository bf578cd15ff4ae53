// Command enumerate times the library alone: it lists the PCI functions of a machine
// again and again in one process, and prints the median of a scan in nanoseconds and
// the number of functions, as the program made of floor.c does.
//
//	enumerate ROUNDS          the running host
//	enumerate ROUNDS SAVED    a saved machine
package main

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "enumerate:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 1 || len(args) > 2 {
		return fmt.Errorf("usage: enumerate ROUNDS [SAVED]")
	}
	rounds, err := strconv.Atoi(args[0])
	if err != nil || rounds < 1 {
		return fmt.Errorf("%q: expected a number of rounds", args[0])
	}
	var fsys fs.FS = hostfs.Live()
	if len(args) == 2 {
		saved, err := hostfs.Open(args[1])
		if err != nil {
			return err
		}
		defer saved.Close()
		fsys = saved
	}
	times := make([]time.Duration, rounds)
	found := 0
	for i := range times {
		start := time.Now()
		functions, err := pci.Functions(fsys)
		times[i] = time.Since(start)
		if err != nil {
			return err
		}
		found = len(functions)
	}
	slices.Sort(times)
	fmt.Println(times[rounds/2].Nanoseconds(), found)
	return nil
}
