package main

import (
	"context"
	"encoding/json"
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

// patience bounds one command, and how long the host's drivers take to have their
// devices again.
const patience = 30 * time.Second

// A target is what is handed over as one: the functions a person names, and by which
// links one sees that the host's drivers are done with all of them.
type target struct {
	name    string
	devices []string
	drivers map[string]string
	ready   []string // patterns
}

// targets are the devices of the emulated laptop, without the bridge of the group of
// three, which stays.
func targets() []target {
	return []target{
		{
			"NVMe", []string{"0000:02:00.0"}, map[string]string{"0000:02:00.0": "nvme"}, []string{"/sys/block/nvme*n1"},
		}, {
			"e1000e", []string{"0000:01:00.0"}, map[string]string{"0000:01:00.0": "e1000e"},
			[]string{"/sys/bus/pci/devices/0000:01:00.0/net/*"},
		}, {
			"group of three", []string{"0000:04:01.0", "0000:04:02.0"},
			map[string]string{"0000:04:01.0": "e1000", "0000:04:02.0": "snd_hda_intel"},
			[]string{"/sys/bus/pci/devices/0000:04:01.0/net/*", "/sys/bus/pci/devices/0000:04:02.0/sound/card*/pcm*p"},
		},
	}
}

// A contender hands over and gives back. What it does between, setting up and looking,
// is not timed.
type contender struct {
	name    string
	prepare func(target) (assign, release func() error, err error)
	idle    bool                   // it touches no device
	kernel  func() []time.Duration // how long each both was in the kernel; may be nil
}

// inside measures in the emulated laptop and writes what it found to file.
func inside(rounds, dir, file string) error {
	n, err := strconv.Atoi(rounds)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Dir(file)); err != nil {
		return fmt.Errorf("this is not the emulated laptop: %w", err)
	}
	ctx := context.Background()
	report := Report{Kernel: peers.Kernel(), Rounds: n, Failed: map[string]string{}}
	all := ours(ctx, dir)
	if _, err := exec.LookPath("driverctl"); err == nil {
		all = append(all, driverctl(ctx))
	} else {
		report.Failed["driverctl"] = errMissing.Error()
	}
	switch stop, err := startLibvirt(ctx); {
	case err == nil:
		defer stop()
		all = append(all, virsh(ctx))
	default:
		report.Failed["virsh"] = err.Error()
	}
	for _, t := range targets() {
		m, err := measure(t, all, n)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		report.Targets = append(report.Targets, m)
	}
	data, err := json.Marshal(report)
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}

// measure has each contender take and give back t in turn, n times after one that warms
// the caches.
func measure(t target, all []contender, n int) (Target, error) {
	type timed struct{ assign, release func() error }
	runs := make([]timed, len(all))
	out := Target{Name: t.name, Devices: t.devices}
	took := make([][3][]time.Duration, len(all))
	for i, c := range all {
		out.Contenders = append(out.Contenders, Contender{Name: c.name})
		a, r, err := c.prepare(t)
		if err != nil {
			return out, fmt.Errorf("%s: %w", c.name, err)
		}
		runs[i] = timed{a, r}
	}
	for round := range n + 1 {
		for i, r := range runs {
			begun := time.Now()
			if err := r.assign(); err != nil {
				return out, fmt.Errorf("%s: assign: %w", all[i].name, err)
			}
			assigned := time.Since(begun)
			if err := t.taken(); err != nil && !all[i].idle {
				return out, fmt.Errorf("%s: after assign: %w", all[i].name, err)
			}
			begun = time.Now()
			if err := r.release(); err != nil {
				return out, fmt.Errorf("%s: release: %w", all[i].name, err)
			}
			released := time.Since(begun)
			if err := t.settle(); err != nil {
				return out, fmt.Errorf("%s: after release: %w", all[i].name, err)
			}
			if round == 0 {
				continue
			}
			for k, d := range []time.Duration{assigned, released, assigned + released} {
				took[i][k] = append(took[i][k], d)
			}
		}
	}
	for i := range out.Contenders {
		c := &out.Contenders[i]
		c.Assign, c.Release, c.Both = median(took[i][0]), median(took[i][1]), median(took[i][2])
		c.Least = peers.Milliseconds(slices.Min(took[i][2]))
		if all[i].kernel != nil {
			c.Kernel = median(all[i].kernel()[1:])
		}
	}
	return out, nil
}

func median(d []time.Duration) float64 {
	slices.Sort(d)
	return peers.Milliseconds(d[len(d)/2])
}

// taken fails unless every function is in vfio-pci's hands.
func (t target) taken() error {
	for _, d := range t.devices {
		if got, err := hostfs.ReadLinkBase(hostfs.Live(), "sys/bus/pci/devices/"+d+"/driver"); got != "vfio-pci" {
			return fmt.Errorf("%s has driver %q, %v", d, got, err)
		}
	}
	return nil
}

// settle waits until the host's drivers have their devices and have made of them what
// they make.
func (t target) settle() error {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		err := t.settled()
		if err == nil {
			// What the drivers go on doing by themselves, looking for partitions say, shall
			// not be in the next one's time.
			time.Sleep(50 * time.Millisecond)
			return nil
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

func (t target) settled() error {
	for d, want := range t.drivers {
		got, err := hostfs.ReadLinkBase(hostfs.Live(), "sys/bus/pci/devices/"+d+"/driver")
		if got != want {
			return fmt.Errorf("%s has driver %q, not %s: %w", d, got, want, err)
		}
		if o, err := hostfs.ReadString(hostfs.Live(), "sys/bus/pci/devices/"+d+"/driver_override"); err != nil || o != "" && o != "(null)" {
			return fmt.Errorf("%s has the override %q, %v", d, o, err)
		}
	}
	for _, p := range t.ready {
		if found, _ := filepath.Glob(p); len(found) == 0 {
			return fmt.Errorf("no %s", p)
		}
	}
	return nil
}

// command returns a function that runs a program to its end.
func command(ctx context.Context, words ...string) func() error {
	return func() error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		out, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, out)
		}
		return err
	}
}

// each runs one command after the other for all functions of t.
func each(t target, run func(device string) func() error) func() error {
	var all []func() error
	for _, d := range t.devices {
		all = append(all, run(d))
	}
	return func() error {
		var errs []error
		for _, f := range all {
			errs = append(errs, f())
		}
		return errors.Join(errs...)
	}
}

func driverctl(ctx context.Context) contender {
	return contender{name: "driverctl", prepare: func(t target) (assign, release func() error, err error) {
		return each(t, func(d string) func() error { return command(ctx, "driverctl", "set-override", d, "vfio-pci") }),
			each(t, func(d string) func() error { return command(ctx, "driverctl", "unset-override", d) }), nil
	}}
}

func virsh(ctx context.Context) contender {
	name := func(d string) string { return "pci_" + strings.NewReplacer(":", "_", ".", "_").Replace(d) }
	return contender{name: "virsh", prepare: func(t target) (assign, release func() error, err error) {
		return each(t, func(d string) func() error { return command(ctx, "virsh", virshURI, "nodedev-detach", name(d)) }),
			each(t, func(d string) func() error { return command(ctx, "virsh", virshURI, "nodedev-reattach", name(d)) }), nil
	}}
}

func addresses(names []string) ([]pci.Address, error) {
	var all []pci.Address
	for _, n := range names {
		a, err := pci.ParseAddress(n)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}
