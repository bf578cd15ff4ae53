package cli

import (
	"context"
	"fmt"
	"os"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/coreos/go-systemd/v22/util"
	"github.com/godbus/dbus/v5"

	"github.com/project-independence/indy/internal/broker"
)

// scopeLimit is how long systemd is waited for. The process that is to have a scope does
// nothing meanwhile.
const scopeLimit = 10 * time.Second

// A deviceRule is what a unit may open, as DeviceAllow= of systemd.resource-control(5) has it.
type deviceRule struct{ Node, Access string }

// guestDevices is what processes of guests may open, as in indy-broker.service, which says why
// some go by their numbers.
func guestDevices() []deviceRule {
	var rules []deviceRule
	for _, node := range []string{
		"/dev/char/10:232", "/dev/char/10:196", "/dev/iommu", "char-vfio*", "char-189", "char-13", "char-116", "char-226",
		"/dev/net/tun", "/dev/vhost-net", "block-*",
	} {
		rules = append(rules, deviceRule{node, "rwm"})
	}
	return rules
}

// detachInScope starts indy with these arguments, as [broker.DetachWith] does, as a process
// that has a scope of systemd to itself, so that it has a control group below which QEMU gets
// one with limits, and systemd counts it to none of its services. Without systemd, or when
// systemd refuses, the process stays where this one is; it is told why to warn.
func detachInScope(guest string, warn func(error), files []*os.File, args ...string) error {
	pid, err := broker.DetachProcess(os.Getenv("PATH"), files, args...)
	if err != nil || !util.IsRunningSystemd() {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), scopeLimit)
	defer cancel()
	if err := scope(ctx, guest, pid); err != nil {
		warn(fmt.Errorf("guest %s has no scope of its own: %w", guest, err))
	}
	return nil
}

// detachRunner starts the process of a guest: of root's in a scope of its own, where there is
// systemd, of others in the session that they are in.
func (e *Env) detachRunner(guest string, files []*os.File) error {
	args := []string{"guest", runnerCommand, guest}
	if e.DetachInScope == nil || os.Geteuid() != 0 {
		return e.DetachWith(files, args...)
	}
	return e.DetachInScope(guest, func(err error) { e.errorf("%v; its limits of memory and processes may not be in force", err) }, files, args...)
}

// scope has systemd make a scope for a process, and waits until it is in there.
func scope(ctx context.Context, guest string, pid int) error {
	c, err := systemd.NewSystemdConnectionContext(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	property := func(name string, value any) systemd.Property {
		return systemd.Property{Name: name, Value: dbus.MakeVariant(value)}
	}
	done := make(chan string, 1)
	// By its process, too: the scope of the guest's last one may be there a moment longer.
	_, err = c.StartTransientUnitContext(ctx, fmt.Sprintf("indy-guest-%s-%d.scope", guest, pid), "fail", []systemd.Property{
		systemd.PropDescription("Guest " + guest + " of indy"),
		systemd.PropPids(uint32(pid)),
		property("CollectMode", "inactive-or-failed"),
		property("Delegate", true),
		property("TasksMax", ^uint64(0)),
		property("DevicePolicy", "closed"),
		property("DeviceAllow", guestDevices()),
		// That service stops guests in order, and has to be stopped before their scopes are.
		property("Before", []string{"indy-guests.service"}),
	}, done)
	if err != nil {
		return err
	}
	select {
	case result := <-done:
		if result != "done" {
			return fmt.Errorf("systemd made no scope: %s", result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("systemd made no scope: %w", context.Cause(ctx))
	}
}
