package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/power"
	"github.com/project-independence/indy/internal/runner"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// overSleep has the runner know which of the guest's devices work after the host has slept,
// and how those are opened that were unplugged meanwhile.
func (r *guestRun) overSleep(env *Env, p *runner.Prepared, functions []pci.Address, ports []usb.PortPath) error {
	devices, err := power.Devices(env.Host, functions)
	if err != nil {
		return err
	}
	p.Check = func() error { return power.Lost(env.Host, devices) }
	p.Forgets = func() (all []string) {
		for _, d := range devices {
			if why := power.Forgets(env.Host, d.Address); why != "" {
				all = append(all, "pci:"+d.Address.String()+" "+why)
			}
		}
		return all
	}
	p.Reopen = func(i int) (*os.File, error) {
		if i >= len(ports) {
			return nil, fmt.Errorf("there are %d USB devices", len(ports))
		}
		node, err := r.usbNode(ports[i])
		if err != nil {
			return nil, err
		}
		now, err := usb.ReadDevice(env.Host, ports[i])
		if err != nil {
			return nil, err
		}
		if now.Node() != node {
			return nil, fmt.Errorf("usb:%s was %s and is %s now: it may be another one", ports[i], node, now.Node())
		}
		live, ok := env.Host.(*hostfs.LiveHost)
		if !ok {
			return nil, errors.New("this is no running host")
		}
		return live.OpenDevice(node)
	}
	return nil
}

// usbNode returns by which node a device of the leases is opened.
func (r *guestRun) usbNode(p usb.PortPath) (string, error) {
	for _, l := range r.leases {
		for _, d := range l.Plan.USB {
			if d.Path == p && d.Node != "" {
				return d.Node, nil
			}
		}
	}
	return "", fmt.Errorf("no lease of this guest says by which node usb:%s is opened", p)
}
