package main

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jaypipes/ghw"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/uevent"
)

// scan does one thing to the running host again and again in one process, such as to
// list its PCI functions, and prints the median in nanoseconds and their number, as the
// program made of floor.c does.
func scan(what, times string) error {
	rounds, err := strconv.Atoi(times)
	if err != nil || rounds < 1 {
		return fmt.Errorf("%q: expected a number of rounds", times)
	}
	host := hostfs.Live()
	count := map[string]func() (int, error){
		"indy": func() (int, error) {
			functions, err := pci.Functions(host)
			return len(functions), err
		},
		// Whether anything has come or gone since.
		"seqnum": func() (int, error) {
			_, err := uevent.Seqnum(host)
			return 0, err
		},
		"ghw": func() (int, error) {
			info, err := ghw.PCI(ghw.WithDisableWarnings())
			if err != nil {
				return 0, err
			}
			return len(info.Devices), nil
		},
	}[what]
	if count == nil {
		return fmt.Errorf("%q: expected indy, seqnum or ghw", what)
	}
	took, found := make([]time.Duration, rounds), 0
	for i := range took {
		start := time.Now()
		if found, err = count(); err != nil {
			return err
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	fmt.Println(took[rounds/2].Nanoseconds(), found)
	return nil
}
