package qemu

import (
	"context"
	"errors"
	"time"
)

const (
	defaultPowerdown = 10 * time.Second
	commandTimeout   = 2 * time.Second // for QEMU to answer, or to end when it said it would
)

var errUnresponsive = errors.New("QEMU does not answer")

// Stop ends the guest and returns when nothing of it is left: it presses the power
// button, waits for Options.PowerdownTimeout, tells QEMU to quit, and kills a QEMU
// that does not. A QEMU that answers nothing is killed within a few seconds. When ctx
// ends, QEMU is killed at once.
//
// Stop returns Err: nil if the guest powered off or QEMU quit, now or before. It
// may be called any number of times, at once or one after the other; the first
// call decides how long the guest is given.
func (v *VM) Stop(ctx context.Context) error { return v.StopWithin(ctx, v.powerdown) }

// StopWithin is Stop with another time in the place of Options.PowerdownTimeout, of the
// same meaning.
func (v *VM) StopWithin(ctx context.Context, powerdown time.Duration) error {
	v.stop.Do(func() { go v.shutDown(powerdown) })
	select {
	case <-v.done:
	case <-ctx.Done():
		v.proc.kill(ctx.Err())
		<-v.done
	}
	return v.err
}

// shutDown goes from asking to killing. Every step has an end.
func (v *VM) shutDown(grace time.Duration) {
	if grace == 0 {
		grace = defaultPowerdown
	}
	if grace > 0 && v.command("system_powerdown") && v.ends(grace) {
		return
	}
	if v.command("quit") && v.ends(commandTimeout) {
		return
	}
	// a connection that ended because QEMU is ending is no reason to kill it
	select {
	case <-v.qmp.Done():
		if v.ends(commandTimeout) {
			return
		}
	default:
	}
	v.log.Warn("QEMU does not answer and is killed", "pid", v.PID())
	v.proc.kill(errUnresponsive)
}

// command reports whether QEMU took a command.
func (v *VM) command(name string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	err := v.qmp.Call(ctx, name, nil, nil)
	v.log.Debug("command", "name", name, "err", err)
	return err == nil
}

// ends reports whether QEMU ends within d.
func (v *VM) ends(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-v.done:
		return true
	case <-timer.C:
		return false
	}
}
