// Command enumerate measures how fast hardware is listed, by this library, this
// command and their peers, in turn and in one run:
//
//	go run ./bench/enumerate [-rounds N] [-sizes 30,300,3000,30000] [-json FILE] [-svg FILE]
//
// As root it installs what is missing of the peers (Debian), and besides this host
// measures machines of the given numbers of PCI functions: gensysfs writes them, and a
// mount namespace of its own puts each over /sys, so that every program sees it without
// knowing. It prints Markdown. What counts are the ratios: every round runs each program
// once, so that whatever else the machine does meets all alike. Nothing passes or fails.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"

	"github.com/project-independence/indy/bench/internal/peers"
)

func main() {
	err := error(nil)
	switch {
	case len(os.Args) == 4 && os.Args[1] == "-inside": // TREE, and the work as JSON
		err = inside(os.Args[2], os.Args[3])
	case len(os.Args) == 4 && os.Args[1] == "-scan": // WHAT ROUNDS
		err = scan(os.Args[2], os.Args[3])
	default:
		err = run(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "enumerate:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("enumerate", flag.ExitOnError)
	rounds := flags.Int("rounds", 21, "how often each program is run; fewer for large machines")
	list := flags.String("sizes", "30,300,3000,30000", "machines to make, by number of PCI functions; none if empty")
	jsonFile := flags.String("json", "", "also write all figures to this file")
	svgFile := flags.String("svg", "", "also write a picture to this file")
	if err := flags.Parse(args); err != nil {
		return err
	}
	sizes, err := parseSizes(*list)
	if err != nil {
		return err
	}
	if *rounds < 1 {
		return fmt.Errorf("-rounds %d: expected at least 1", *rounds)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	b, err := newBench(ctx, *rounds)
	if err != nil {
		return err
	}
	defer b.close()
	report := Report{
		Processor: peers.Processor(), Processors: runtime.NumCPU(), Kernel: peers.Kernel(), Go: runtime.Version(),
		Versions: b.versions(),
	}
	host, err := b.host()
	if err != nil {
		return err
	}
	report.Machines = append(report.Machines, host)
	if !b.root && len(sizes) > 0 {
		fmt.Fprintln(os.Stderr, "enumerate: larger machines are not measured; making a mount namespace needs root")
		sizes = nil
	}
	for _, n := range sizes {
		m, err := b.made(n)
		if err != nil {
			return err
		}
		report.Machines = append(report.Machines, m)
	}
	if err := peers.WriteJSON(*jsonFile, report); err != nil {
		return err
	}
	if *svgFile != "" {
		if err := os.WriteFile(*svgFile, picture(report), 0o644); err != nil {
			return err
		}
	}
	return report.markdown(os.Stdout)
}

func parseSizes(list string) ([]int, error) {
	var sizes []int
	for word := range strings.SplitSeq(list, ",") {
		if word = strings.TrimSpace(word); word == "" {
			continue
		}
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > 100_000 {
			return nil, fmt.Errorf("-sizes %q: expected numbers from 1 to 100000", word)
		}
		sizes = append(sizes, n)
	}
	return sizes, nil
}

// bench is where the programs are, and how often they are run.
type bench struct {
	ctx    context.Context
	rounds int
	root   bool
	dir    string // of what was built, and of the made machines, in memory if possible
}

func newBench(ctx context.Context, rounds int) (*bench, error) {
	b := &bench{ctx: ctx, rounds: rounds, root: os.Geteuid() == 0}
	b.install()
	where := "/dev/shm"
	if f, err := os.CreateTemp(where, "indy"); err != nil {
		where = ""
	} else {
		_, _ = f.Close(), os.Remove(f.Name())
	}
	dir, err := os.MkdirTemp(where, "indy-enumerate-")
	if err != nil {
		return nil, err
	}
	b.dir = dir
	if err := peers.Build(ctx, dir, "./cmd/indy", "./bench/gensysfs", "./bench/enumerate"); err != nil {
		b.close()
		return nil, err
	}
	// Without a C compiler there is no floor.
	if out, err := exec.CommandContext(ctx, "cc", "-O2", "-o", dir+"/floor", "bench/floor.c").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "enumerate: cc: %v\n%s", err, out)
	}
	return b, nil
}

func (b *bench) close() { _ = os.RemoveAll(b.dir) }
