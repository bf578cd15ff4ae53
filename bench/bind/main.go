// Command bind measures how long it takes to hand a device to vfio-pci and to get it
// back, by this command, this library and their peers, in turn and in one run, on the
// kernel of the emulated laptop:
//
//	go run ./bench/bind [-rounds N] [-lab DIR] [-json FILE] [-counted]
//
// As root it installs what is missing of the peers (Debian). It prints Markdown. What
// counts are the ratios: every round has each contender hand over and give back each
// device once, and waits between them until the host's driver has it again. Nothing
// passes or fails by a time.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/project-independence/indy/bench/internal/peers"
	"github.com/project-independence/indy/internal/lab"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 5 && os.Args[1] == "-inside": // ROUNDS INDY FILE
		err = inside(os.Args[2], os.Args[3], os.Args[4])
	default:
		err = run(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bind:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("bind", flag.ExitOnError)
	rounds := flags.Int("rounds", 15, "how often each contender has each device")
	dir := flags.String("lab", ".lab", "where the kernel of the emulated laptop is")
	jsonFile := flags.String("json", "", "also write all figures to this file")
	counted := flags.Bool("counted", false, "have the emulated clock count instructions, 4 ns each, while there are any, which other programs on the machine do not change")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *rounds < 1 {
		return fmt.Errorf("-rounds %d: expected at least 1", *rounds)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	install(ctx)
	report, err := boot(ctx, *dir, *rounds, *counted)
	if err != nil {
		return err
	}
	if err := peers.WriteJSON(*jsonFile, report); err != nil {
		return err
	}
	return report.markdown(os.Stdout)
}

// boot builds what is measured and has it measured in an emulated laptop.
func boot(ctx context.Context, dir string, rounds int, counted bool) (Report, error) {
	l, err := lab.Open(dir)
	if err != nil {
		return Report{}, err
	}
	tmp, err := os.MkdirTemp("", "indy-bind-")
	if err != nil {
		return Report{}, err
	}
	defer os.RemoveAll(tmp)
	if err := peers.Build(ctx, tmp, "./cmd/indy", "./bench/bind"); err != nil {
		return Report{}, err
	}
	out := filepath.Join(tmp, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		return Report{}, err
	}
	var said bytes.Buffer
	machine := lab.Machine{
		Args: []string{filepath.Join(tmp, "bind"), "-inside", strconv.Itoa(rounds), tmp, lab.OutDir + "/report.json"},
		Out:  out, Stdout: &said,
	}
	if counted {
		machine.Extra = []string{"-icount", "shift=2"}
	}
	status, err := l.Run(ctx, machine)
	if err == nil && status != 0 {
		err = fmt.Errorf("exit status %d inside the emulated laptop", status)
	}
	if err != nil {
		return Report{}, fmt.Errorf("%w\n%s", err, &said)
	}
	var report Report
	data, err := os.ReadFile(filepath.Join(out, "report.json"))
	if err == nil {
		err = json.Unmarshal(data, &report)
	}
	report.Counted = counted
	report.Processor, report.Go = peers.Processor(), runtime.Version()
	report.Versions = versions(ctx)
	return report, err
}
