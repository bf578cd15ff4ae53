package laptop

import (
	"errors"
	"fmt"

	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// movePort plugs a USB device into another port.
func (s *supposition) movePort(a Assumption, ports []usb.Port) error {
	d, err := s.now.Find(a.Device, nil)
	if err != nil {
		return err
	}
	bad := func(format string, args ...any) error {
		return &AssumptionError{oneLine(plain.Short(a.String())), fmt.Errorf(format, args...)}
	}
	if d.USB == nil {
		return bad("%s is no USB device", d.Where())
	}
	controller, err := s.target(a.Port, ports)
	if err != nil {
		return bad("%w", err)
	}
	if f := s.now.Function(controller); f == nil || f.Role() != USBController {
		return bad("%s is no USB controller of this machine", controller)
	}
	if err := s.then.move(s.fsys, d.USB.Path, controller); err != nil {
		s.errs = append(s.errs, err)
		s.unknown("what is above the controller %s", controller)
	}
	for _, u := range s.now.host.uses {
		if u.Port == d.USB.Path {
			s.cost("the host uses %s (%s): it loses that when %s is unplugged", d.Where(), u.What, d.Where())
		}
	}
	if controller == d.USB.Controller {
		s.note("%s stays on the controller %s: nothing changes", d.Where(), controller)
	}
	for _, p := range ports {
		if p.Path == d.USB.Path && p.Connect == "hardwired" {
			s.unknown("whether %s can be moved at all: the firmware says that it is built in", d.Where())
		}
	}
	return nil
}

var (
	errNoPort   = errors.New("this machine has no such port")
	errOccupied = errors.New("something is plugged in there")
	errNoSocket = errors.New("nothing can be plugged in there: the firmware says that the port has no socket")
)

// target is the controller of the port that is meant.
func (s *supposition) target(word string, ports []usb.Port) (pci.Address, error) {
	if a, err := pci.ParseAddress(word); err == nil {
		return a, nil // any port of it
	}
	path, err := usb.ParsePortPath(word)
	var place usb.PhysicalPort
	if err != nil {
		if place, err = usb.ParsePhysicalPort(word); err != nil {
			return pci.Address{}, errors.New("the port is none: expected such as 3-1, 0000:00:14.0/4 or 0000:00:14.0")
		}
	}
	var found *usb.Port
	occupied := false // either half of a socket
	for i := range ports {
		if p := &ports[i]; p.Path == path || p.Physical.IsValid() && p.Physical == place {
			found = p
		}
	}
	if found == nil {
		return pci.Address{}, errNoPort
	}
	for i := range ports {
		p := &ports[i]
		occupied = occupied || p.Occupied && (p.Path == found.Path || p.Physical.IsValid() && p.Physical == found.Physical)
	}
	switch {
	case occupied:
		return pci.Address{}, errOccupied
	case found.Connect == "hardwired", found.Connect == "not used":
		return pci.Address{}, errNoSocket
	}
	return found.Controller, nil
}
