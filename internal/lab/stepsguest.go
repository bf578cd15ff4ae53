package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// How long the guest may take to print its number, and indy to end it.
const (
	guestBoots = 2 * time.Minute
	guestEnds  = 30 * time.Second
)

// guest runs "indy run" with the NVMe and no other disk, until the number that is
// only on that disk appears on the guest's serial line; then it interrupts indy.
func (in *inside) guest(ctx context.Context, name string) (string, error) {
	args := []string{"run", "--name", name, "--memory", "128MiB", "--accel", "tcg", "--powerdown", "1s", "--device", nvme}
	cmd := exec.CommandContext(ctx, in.indy, args...)
	seen := &watch{want: []byte(in.nonce), seen: make(chan struct{})}
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = seen, &stderr
	cmd.WaitDelay = time.Second
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return "", err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	fail := func(err error) (string, error) {
		_ = cmd.Process.Kill() // it may have ended
		<-ended
		return "", fmt.Errorf("%w: %w", result{args, cmd.ProcessState.ExitCode(), seen.String(), stderr.String()}, err)
	}
	select {
	case <-seen.seen:
	case err := <-ended:
		ended <- err
		return fail(errors.New("it ended before the guest printed the number on its disk"))
	case <-time.After(guestBoots):
		return fail(fmt.Errorf("the guest did not print the number on its disk within %v", guestBoots))
	}
	if err := in.confined(); err != nil {
		return fail(err)
	}
	printed := time.Now()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		return fail(err)
	}
	select {
	case err := <-ended:
		ended <- err
	case <-time.After(guestEnds):
		return fail(fmt.Errorf("it did not end within %v of an interrupt", guestEnds))
	}
	took := time.Since(printed)
	if status := cmd.ProcessState.ExitCode(); status != 130 {
		return fail(fmt.Errorf("exit status %d after an interrupt, wanted 130", status))
	}
	if err := in.noQEMU(); err != nil {
		return fail(err)
	}
	return fmt.Sprintf("it printed the number on its disk after %.1f s, QEMU was not root and confined, and it ended %.1f s after an interrupt",
		printed.Sub(begun).Seconds(), took.Seconds()), nil
}

func (in *inside) runLeased(ctx context.Context) (string, error) {
	return in.guest(ctx, "selftest")
}

func (in *inside) runOnce(ctx context.Context) (string, error) {
	seen, err := in.guest(ctx, "once")
	if err != nil {
		return "", err
	}
	back, err := in.diskBack(ctx)
	return seen + "; " + back, err
}

// refuseHalf asks for the network card without the sound card of its group.
func (in *inside) refuseHalf(ctx context.Context) (string, error) {
	before, err := in.trio()
	if err != nil {
		return "", err
	}
	r, err := in.want(ctx, 4, "assign", nic)
	if err != nil {
		return "", err
	}
	if !strings.Contains(r.stdout+r.stderr, sound) {
		return "", fmt.Errorf("%w\nwanted %s to be named", r, sound)
	}
	after, err := in.trio()
	if err != nil {
		return "", err
	}
	if before != after {
		return "", fmt.Errorf("%w\nbefore: %v\nafter: %v", r, before, after)
	}
	return fmt.Sprintf("%s alone, exit status 4, %s is named, nothing changed", nic, sound), in.noLease(ctx)
}

// trio returns who drives the three functions that are one group.
func (in *inside) trio() (b [3]binding, err error) {
	for i, address := range []string{bridge, nic, sound} {
		if b[i], err = in.binding(address); err != nil {
			return b, err
		}
	}
	return b, nil
}

func (in *inside) assignGroup(ctx context.Context) (string, error) {
	above, err := in.binding(bridge)
	if err != nil {
		return "", err
	}
	if _, err := in.want(ctx, 0, "assign", nic, sound, "--guest", "group"); err != nil {
		return "", err
	}
	err = in.expect(ctx, map[string]binding{nic: assigned(), sound: assigned(), bridge: above})
	if err != nil {
		return "", err
	}
	_, node, err := in.vfioNode(nic)
	return fmt.Sprintf("%s and %s (-> vfio-pci), %s is there, the bridge %s is untouched", nic, sound, node, bridge), err
}

func (in *inside) releaseGroup(ctx context.Context) (string, error) {
	if _, err := in.want(ctx, 0, "release", nic, sound); err != nil {
		return "", err
	}
	err := in.expect(ctx, map[string]binding{nic: atHome("e1000"), sound: atHome("snd_hda_intel")})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s (-> e1000), %s (-> snd_hda_intel)", nic, sound), in.noLease(ctx)
}

// watch closes seen when want has been written to it. It keeps all of it.
type watch struct {
	mu   sync.Mutex
	b    bytes.Buffer
	want []byte
	seen chan struct{}
	done bool
}

func (w *watch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b.Write(p)
	if !w.done && bytes.Contains(w.b.Bytes(), w.want) {
		w.done = true
		close(w.seen)
	}
	return len(p), nil
}

func (w *watch) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}
