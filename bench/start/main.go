// Command start measures how long it takes until a guest runs, by this command, this
// library, a bare QEMU with the same arguments, and virsh, in turn and in one run:
//
//	go run ./bench/start [-rounds N] [-json FILE]
//
// It takes root, installs what is missing of the peers (Debian), and runs in a mount
// namespace of its own, in which libvirtd runs as well: what it writes is gone with it. It
// prints Markdown. What counts are the ratios, each the median of those of the rounds, with
// the interval in which it is with 95 % confidence. Nothing passes or fails by a time.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/project-independence/indy/bench/internal/peers"
)

func main() {
	var err error
	switch {
	case len(os.Args) == 4 && os.Args[1] == "-inside": // ROUNDS DIR
		err = inside(os.Args[2], os.Args[3])
	default:
		err = run(os.Args[1:])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "start:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("start", flag.ExitOnError)
	rounds := flags.Int("rounds", 40, "how often each contender starts the guest")
	jsonFile := flags.String("json", "", "also write all figures to this file")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *rounds < 3 {
		return fmt.Errorf("-rounds %d: expected at least 3", *rounds)
	}
	if os.Geteuid() != 0 {
		return errors.New("only root can start the contenders as they are started on a host")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	peers.Install(ctx, map[string]string{
		"qemu-system-x86_64": "qemu-system-x86", "virsh": "libvirt-clients", "libvirtd": "libvirt-daemon libvirt-daemon-driver-qemu",
	})
	tmp, err := os.MkdirTemp("", "indy-start-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil { // libvirt's QEMU is another user
		return err
	}
	if err := peers.Build(ctx, tmp, "./cmd/indy", "./cmd/indy-jail", "./bench/start"); err != nil {
		return err
	}
	report, err := measureInside(ctx, tmp, *rounds)
	if err != nil {
		return err
	}
	report.Versions = peers.Versions(ctx, map[string][]string{
		"QEMU": {"qemu-system-x86_64", "--version"}, "libvirt": {"libvirtd", "--version"},
	})
	if err := peers.WriteJSON(*jsonFile, report); err != nil {
		return err
	}
	return report.markdown(os.Stdout)
}

// measureInside has it measured by this program in a mount namespace of its own.
func measureInside(ctx context.Context, dir string, rounds int) (r Report, err error) {
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "start"), "-inside", strconv.Itoa(rounds), dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that it ends what it has started
	out, err := cmd.Output()
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(out, &r)
}
