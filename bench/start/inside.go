package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/bench/internal/peers"
)

// patience bounds one start.
const patience = 30 * time.Second

// A timing is when a start had come how far, from its beginning on; 0 is not known.
type timing struct {
	qmp     time.Duration // QEMU answers on QMP
	running time.Duration // QEMU was told to go on, and has answered; or the command that does all this has ended
	serial  time.Duration // the first byte on the guest's serial port
}

// A contender is one way to start the guest. start returns when the first byte has come, and
// the guest has ended.
type contender struct {
	name  string
	start func(context.Context) (timing, error)
}

// printText is a boot sector, at 7c00, that writes the text behind it to the serial port,
// and halts.
const printText = "baf803be127cac84c07403eeebf8f4ebfd00"

// inside measures in a mount namespace of its own and prints what it found.
func inside(rounds, dir string) error {
	n, err := strconv.Atoi(rounds)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for _, at := range []string{"/run", "/var/lib/indy", "/var/lib/libvirt", "/etc/libvirt", "/var/cache/libvirt", "/var/log/libvirt"} {
		if err := empty(at); err != nil {
			return err
		}
	}
	disk := filepath.Join(dir, "disk.raw")
	if err := bootDisk(disk); err != nil {
		return err
	}
	report := Report{Processor: peers.Processor(), Kernel: peers.Kernel(), Go: runtime.Version(), Rounds: n, Failed: map[string]string{}}
	all, err := ours(ctx, dir, disk)
	if err != nil {
		return err
	}
	virsh, end, err := startLibvirt(ctx, disk)
	if err == nil {
		defer end()
		all = append(all, virsh)
	} else {
		report.Failed["virsh"] = err.Error()
	}
	if report.Contenders, err = measure(ctx, all, n); err != nil {
		return err
	}
	report.Ratios = ratios(report.Contenders)
	return json.NewEncoder(os.Stdout).Encode(report)
}

// empty has an empty directory be at a name of the host's. Where the host has none, it is
// made, and stays.
func empty(at string) error {
	if err := os.MkdirAll(at, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, "mode=0755"); err != nil {
		return fmt.Errorf("mount an empty directory over %s: %w", at, err)
	}
	return nil
}

func bootDisk(name string) error {
	code, err := hex.DecodeString(printText)
	if err != nil {
		return err
	}
	disk := make([]byte, 1<<20)
	copy(disk, append(code, "the guest runs\r\n"...))
	disk[510], disk[511] = 0x55, 0xaa
	return os.WriteFile(name, disk, 0o644)
}

// measure has each contender start the guest in turn, n times after one that warms the
// caches. Each round another one is the first.
func measure(ctx context.Context, all []contender, n int) ([]Contender, error) {
	out := make([]Contender, len(all))
	for round := range n + 1 {
		for k := range all {
			i := (k + round) % len(all)
			out[i].Name = all[i].name
			limit, cancel := context.WithTimeout(ctx, patience)
			t, err := all[i].start(limit)
			cancel()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", all[i].name, errors.Join(err, ctx.Err()))
			}
			if round == 0 {
				continue
			}
			out[i].add(t)
		}
	}
	for i := range out {
		out[i].sum()
	}
	return out, nil
}
