package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/project-independence/indy/hostfs"
)

// SelfTestInside is the part of [SelfTest] that runs inside the emulated laptop: it
// uses the program indy as a person would and looks at the kernel after every
// command. Anywhere but in an emulated laptop it does nothing and returns an error.
//
// The nonce is what the boot sector of the NVMe disk prints. SelfTestInside passes it
// to no command.
func SelfTestInside(ctx context.Context, indy, nonce string, out io.Writer) error {
	in := &inside{indy: indy, nonce: nonce, host: hostfs.Live()}
	if err := in.isLab(ctx); err != nil {
		return err
	}
	return in.run(ctx, out, in.steps())
}

// inside is a self-test under way.
type inside struct {
	indy, nonce string
	host        fs.FS
}

// A step is one thing that is done and then looked at. Do returns what was seen.
type step struct {
	name string
	do   func(context.Context) (seen string, err error)
}

func (in *inside) run(ctx context.Context, out io.Writer, steps []step) error {
	for i, s := range steps {
		seen, err := s.do(ctx)
		if err != nil {
			return fmt.Errorf("step %d of %d, %s: %w", i+1, len(steps), s.name, err)
		}
		if _, err := fmt.Fprintf(out, "ok %2d  %s: %s\n", i+1, s.name, seen); err != nil {
			return err
		}
	}
	return nil
}

// isLab guards real machines: the disk that is taken away must be the lab's.
func (in *inside) isLab(ctx context.Context) error {
	err := eventually(ctx, func() error {
		serial, err := hostfs.ReadString(in.host, "sys/block/nvme0n1/device/serial")
		if err == nil && serial != "LAB1" {
			err = fmt.Errorf("the disk's serial number is %q", serial)
		}
		return err
	})
	if err == nil {
		_, err = fs.ReadDir(in.host, strings.TrimPrefix(OutDir, "/"))
	}
	if err != nil {
		return fmt.Errorf("this is not the emulated laptop, nothing was done: %w", err)
	}
	return nil
}

// result is what a command left behind.
type result struct {
	args           []string
	status         int
	stdout, stderr string
}

func (r result) Error() string {
	return fmt.Sprintf("indy %s: exit status %d\nstdout: %s\nstderr: %s",
		strings.Join(r.args, " "), r.status, strings.TrimSpace(r.stdout), strings.TrimSpace(r.stderr))
}

// command runs indy to its end, within a minute.
func (in *inside) command(ctx context.Context, args ...string) (result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("took longer than a minute"))
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, in.indy, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	r := result{args, -1, stdout.String(), stderr.String()}
	if ctx.Err() != nil {
		return r, fmt.Errorf("%w: %w", r, context.Cause(ctx))
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return r, fmt.Errorf("%w: %w", r, err)
	}
	r.status = cmd.ProcessState.ExitCode()
	return r, nil
}

// want runs indy and expects the given exit status.
func (in *inside) want(ctx context.Context, status int, args ...string) (result, error) {
	r, err := in.command(ctx, args...)
	if err == nil && r.status != status {
		err = fmt.Errorf("%w\nwanted exit status %d", r, status)
	}
	return r, err
}

// read runs indy with --json and stores what it prints in v.
func (in *inside) read(ctx context.Context, v any, args ...string) error {
	r, err := in.want(ctx, 0, append(args, "--json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(r.stdout), v); err != nil {
		return fmt.Errorf("%w: %w", r, err)
	}
	return nil
}

// binding is what the kernel says about who drives a function.
type binding struct{ driver, override string }

func (in *inside) binding(address string) (binding, error) {
	var b binding
	dir := "sys/bus/pci/devices/" + address
	driver, err := hostfs.ReadLinkBase(in.host, dir+"/driver")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	override, err := hostfs.ReadString(in.host, dir+"/driver_override")
	return binding{driver, override}, err
}

// expect looks until each function has its driver, or ten seconds have passed: a
// driver may finish after the command that started it.
func (in *inside) expect(ctx context.Context, want map[string]binding) error {
	return eventually(ctx, func() error {
		for address, w := range want {
			got, err := in.binding(address)
			if err != nil {
				return err
			}
			if got != w {
				return fmt.Errorf("%s has driver %q with driver_override %q, wanted %q with %q",
					address, got.driver, got.override, w.driver, w.override)
			}
		}
		return nil
	})
}

// vfioNode returns the VFIO node of a function's group, which must exist.
func (in *inside) vfioNode(address string) (group int, node string, err error) {
	name, err := hostfs.ReadLinkBase(in.host, "sys/bus/pci/devices/"+address+"/iommu_group")
	if err != nil {
		return 0, "", err
	}
	if group, err = strconv.Atoi(name); err != nil {
		return 0, "", err
	}
	nodes, err := fs.ReadDir(in.host, "dev/vfio")
	for _, n := range nodes {
		if n.Name() == name {
			return group, "/dev/vfio/" + name, nil
		}
	}
	return 0, "", errors.Join(fmt.Errorf("there is no /dev/vfio/%s", name), err)
}

// findQEMU returns the directory of a running QEMU's process, empty when none runs,
// and its command line.
func (in *inside) findQEMU() (dir, line string, err error) {
	entries, err := fs.ReadDir(in.host, "proc")
	if err != nil {
		return "", "", err
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		// The command line of a process that has ended is empty.
		line, err := hostfs.ReadString(in.host, "proc/"+e.Name()+"/cmdline")
		if program, _, _ := strings.Cut(line, "\x00"); err == nil && strings.Contains(program, "qemu-system") {
			return "proc/" + e.Name(), strings.ReplaceAll(line, "\x00", " "), nil
		}
	}
	return "", "", nil
}

// noQEMU fails when a QEMU runs.
func (in *inside) noQEMU() error {
	dir, line, err := in.findQEMU()
	if err == nil && dir != "" {
		err = fmt.Errorf("%s still runs: %s", dir, line)
	}
	return err
}

// confined fails unless the QEMU that runs is not root, has no capability, cannot
// gain any, and filters its system calls.
func (in *inside) confined() error {
	dir, _, err := in.findQEMU()
	if err != nil {
		return err
	}
	if dir == "" {
		return errors.New("no QEMU runs")
	}
	status, err := hostfs.ReadString(in.host, dir+"/status")
	if err != nil {
		return err
	}
	looked := 0
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		bad := false
		looked++
		switch name {
		case "Uid", "Gid":
			bad = slices.Contains(strings.Fields(value), "0")
		case "CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb":
			bad = strings.Trim(value, "0") != ""
		case "NoNewPrivs":
			bad = value != "1"
		case "Seccomp":
			bad = value != "2"
		default:
			looked--
		}
		if bad {
			return fmt.Errorf("QEMU is not confined: %s is %s", name, value)
		}
	}
	if looked != 9 {
		return fmt.Errorf("%s/status tells %d of the 9 things that confine QEMU", dir, looked)
	}
	return nil
}

// eventually calls check until it succeeds, for at most ten seconds.
func eventually(ctx context.Context, check func() error) error {
	limit := time.NewTimer(10 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-limit.C:
			return err
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
	}
}
