package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/qemu"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/runner"
)

// The names of contenders that ratios are made of.
const (
	bareQEMU    = "bare QEMU"
	packageQEMU = "package qemu, in a jail"
	indyStart   = "indy guest start"
	virshStart  = "virsh start"
)

// definition is the guest that all start.
const definition = "name: bench\nmemory: 128MiB\ndisks: [{file: %s, format: raw}]\n"

// ours are a bare QEMU, which is what all are compared with, and ours.
func ours(ctx context.Context, dir, disk string) ([]contender, error) {
	text := fmt.Sprintf(definition, disk)
	d, err := guest.ParseDefinition("bench", []byte(text))
	if err != nil {
		return nil, err
	}
	g, err := d.Guest(dir, nil)
	if err == nil {
		g, err = d.Share(g, dir, false, nil)
	}
	if err != nil {
		return nil, err
	}
	// In the order in which package qemu hands them over.
	args, err := qemu.Args(g, qemu.Layout{Accelerator: qemu.TCG, Disks: []qemu.DiskFile{{FD: 3}}, QMP: 4, Serial: 5})
	if err != nil {
		return nil, err
	}
	binary, err := qemu.Find()
	if err != nil {
		return nil, err
	}
	indy := filepath.Join(dir, "indy")
	file := filepath.Join(dir, "bench.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	if err := command(ctx, indy, "guest", "import", file); err != nil {
		return nil, err
	}
	b := bare{binary, args, disk}
	return []contender{
		{bareQEMU, b.start},
		{"package qemu, without a jail", inProcess(g, nil)},
		{packageQEMU, inProcess(g, []string{filepath.Join(dir, "indy-jail")})},
		{"package qemu, indy as the stage", inProcess(g, []string{indy, "jail"})},
		{indyStart, commandOf(indy, args)},
	}, nil
}

func command(ctx context.Context, words ...string) error {
	out, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, out)
	}
	return err
}

// bare is a QEMU that is started by nobody but this.
type bare struct {
	binary string
	args   []string
	disk   string
}

func (b bare) start(ctx context.Context) (t timing, err error) {
	disk, err := os.OpenFile(b.disk, os.O_RDWR, 0)
	if err != nil {
		return t, err
	}
	defer disk.Close()
	control, far, err := socketPair()
	if err != nil {
		return t, err
	}
	defer control.Close()
	console, farConsole, err := socketPair()
	if err != nil {
		far.Close()
		return t, err
	}
	defer console.Close()
	cmd := exec.CommandContext(ctx, b.binary, b.args...)
	cmd.Env, cmd.Dir = []string{}, "/"
	cmd.ExtraFiles = []*os.File{disk, far, farConsole}
	var said bytes.Buffer
	cmd.Stderr = &said
	begun := time.Now()
	err = cmd.Start()
	_, _ = far.Close(), farConsole.Close()
	if err != nil {
		return t, err
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, &said)
		}
	}()
	first := make(chan time.Duration, 1)
	go func() {
		_, _ = io.ReadFull(console, make([]byte, 1))
		first <- time.Since(begun)
	}()
	in := json.NewDecoder(bufio.NewReader(control))
	if err := answered(in, control, "qmp_capabilities"); err != nil {
		return t, err
	}
	t.qmp = time.Since(begun)
	if err := answered(in, control, "cont"); err != nil {
		return t, err
	}
	t.running = time.Since(begun)
	select {
	case t.serial = <-first:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return t, err
}

// answered gives a command and waits for its answer.
func answered(in *json.Decoder, out io.Writer, word string) error {
	if _, err := fmt.Fprintf(out, `{"execute":%q}`, word); err != nil {
		return err
	}
	for {
		var m map[string]json.RawMessage
		if err := in.Decode(&m); err != nil {
			return err
		}
		if m["error"] != nil {
			return fmt.Errorf("%s: %s", word, m["error"])
		}
		if m["return"] != nil {
			return nil
		}
	}
}

// socketPair returns two files that can be waited for.
func socketPair() (near, far *os.File, err error) {
	fd, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if err := unix.SetNonblock(fd[0], true); err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(fd[0]), "near"), os.NewFile(uintptr(fd[1]), "far"), nil
}

// inProcess starts g by package qemu in this process.
func inProcess(g guest.Guest, jail []string) func(context.Context) (timing, error) {
	return func(ctx context.Context) (t timing, err error) {
		first := make(chan time.Duration, 1)
		begun := time.Now()
		vm, err := qemu.Start(ctx, g, qemu.Options{
			Accelerator: qemu.TCG, Jail: jail, PowerdownTimeout: -1,
			Serial: firstByte(func() { first <- time.Since(begun) }),
			Passed: func(m qemu.Milestone) {
				switch m {
				case qemu.Connected:
					t.qmp = time.Since(begun)
				case qemu.Going:
					t.running = time.Since(begun)
				}
			},
		})
		if err != nil {
			return t, err
		}
		select {
		case t.serial = <-first:
		case <-ctx.Done():
			err = ctx.Err()
		}
		return t, errors.Join(err, vm.Stop(context.Background()))
	}
}

// firstByte calls itself at the first write.
type firstByte func()

func (f firstByte) Write(p []byte) (int, error) {
	f()
	return len(p), nil
}

// commandOf starts the guest by the command, which gives it a process of its own. What that
// has passed it tells in the kernel's time.
func commandOf(indy string, args []string) func(context.Context) (timing, error) {
	return func(ctx context.Context) (t timing, err error) {
		dir, err := runner.DirOf("/run/indy/guests", "bench")
		if err != nil {
			return t, err
		}
		begun, at := time.Now(), bootTime()
		if err := command(ctx, indy, "guest", "start", "bench", "--accel", "tcg"); err != nil {
			return t, err
		}
		t.running = time.Since(begun)
		defer func() {
			_, e := dir.Stop(ctx, runner.StopRequest{Force: true})
			err = errors.Join(err, e)
		}()
		for {
			s, err := dir.Status(ctx, hostfs.Live())
			if err != nil {
				return t, err
			}
			if serial, ok := s.At(runner.PhaseSerial); ok {
				qmp, _ := s.At(runner.PhaseQMP)
				t.qmp, t.serial = seconds(qmp-at), seconds(serial-at)
				return t, sameArguments(s.QEMU, args)
			}
			select {
			case <-ctx.Done():
				return t, ctx.Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// bootTime is the time since the kernel started, CLOCK_BOOTTIME, in seconds.
func bootTime() float64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err) // there is such a clock since Linux 2.6.39
	}
	return time.Duration(t.Nano()).Seconds()
}

// sameArguments fails unless a process has these arguments, by which all are compared.
func sameArguments(pid int, args []string) error {
	text, err := hostfs.Live().ReadFile(fmt.Sprintf("proc/%d/cmdline", pid))
	if err != nil {
		return err
	}
	has := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	if !slices.Equal(has[1:], args) {
		return fmt.Errorf("QEMU has other arguments than the bare one:\n%q\n%q", has[1:], args)
	}
	return nil
}
