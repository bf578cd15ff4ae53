package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/power"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// asleep is what is asked of a guest's devices over the host's sleep, as in [runner.Prepared].
type asleep struct {
	check   func() error
	forgets func() []string
	reopen  func(i int) (*os.File, error)
}

// overSleep says which of the guest's devices work after the host has slept, and how those are
// opened that were unplugged meanwhile.
func (r *guestRun) overSleep(env *Env, functions []pci.Address, ports []usb.PortPath) (a asleep, err error) {
	devices, err := power.Devices(env.Host, functions)
	if err != nil {
		return a, err
	}
	a.check = func() error { return power.Lost(env.Host, devices) }
	a.forgets = func() (all []string) {
		for _, d := range devices {
			if why := power.Forgets(env.Host, d.Address); why != "" {
				all = append(all, "pci:"+d.Address.String()+" "+why)
			}
		}
		return all
	}
	a.reopen = func(i int) (*os.File, error) {
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
	return a, nil
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
