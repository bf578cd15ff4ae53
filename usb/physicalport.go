package usb

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/pci"
)

// A PhysicalPort is a place where a plug goes in: the controller's PCI address and
// the port of each hub on the way. Unlike a [PortPath] it does not name the bus, whose
// number changes from boot to boot, and it is one for both halves of a USB 3 socket:
// the ports are those of the half for USB 2, and ports that have no such half are
// marked.
//
// Physical ports are comparable and may be map keys. The zero PhysicalPort is no
// port; those of a controller that is not a PCI function have no other.
type PhysicalPort struct {
	controller pci.Address
	ports      uint64 // as in PortPath, with 0 for the bus
	super      bool   // there is no half for USB 2
}

// ParsePhysicalPort reads what String writes.
func ParsePhysicalPort(s string) (PhysicalPort, error) {
	bad := func() (PhysicalPort, error) {
		return PhysicalPort{}, fmt.Errorf("USB port %q: expected ADDRESS/PORT.PORT such as 0000:00:14.0/4.2, or ADDRESS/usb3-PORT", plain.Short(s))
	}
	address, ports, ok := strings.Cut(s, "/")
	if !ok {
		return bad()
	}
	controller, err := pci.ParseAddress(address)
	if err != nil || controller.String() != address {
		return bad()
	}
	ports, super := strings.CutPrefix(ports, "usb3-")
	p, ok := parsePortPath("1-" + ports)
	if !ok {
		return bad()
	}
	return PhysicalPort{controller, p.ports(), super}, nil
}

// ports returns the path without the bus.
func (p PortPath) ports() uint64 { return p.v << 8 >> 8 }

// IsValid reports whether p is a port, that is, not the zero PhysicalPort.
func (p PhysicalPort) IsValid() bool { return p.ports != 0 }

// Controller returns the PCI function of the controller, the zero Address for the
// zero PhysicalPort.
func (p PhysicalPort) Controller() pci.Address { return p.controller }

// Compare orders ports by controller, then by the numbers of the ports, those that
// are USB 3 alone last. The zero PhysicalPort comes first.
func (p PhysicalPort) Compare(q PhysicalPort) int {
	if c := p.controller.Compare(q.controller); c != 0 {
		return c
	}
	if p.super != q.super {
		if q.super {
			return -1
		}
		return 1
	}
	return cmp.Compare(p.ports, q.ports)
}

// String returns 0000:00:14.0/4.2, or 0000:00:14.0/usb3-1 for a port that is USB 3
// alone, or "invalid port" for the zero PhysicalPort.
func (p PhysicalPort) String() string {
	if !p.IsValid() {
		return "invalid port"
	}
	b := []byte(p.controller.String() + "/")
	if p.super {
		b = append(b, "usb3-"...)
	}
	for rest, separator := p.ports<<8, ""; rest != 0; rest <<= 8 {
		b = strconv.AppendUint(append(b, separator...), rest>>(8*maxPorts), 10)
		separator = "."
	}
	return string(b)
}

// MarshalText writes the port as String does; the zero PhysicalPort is empty text.
func (p PhysicalPort) MarshalText() ([]byte, error) {
	if !p.IsValid() {
		return nil, nil
	}
	return []byte(p.String()), nil
}

// UnmarshalText reads what MarshalText writes.
func (p *PhysicalPort) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*p = PhysicalPort{}
		return nil
	}
	v, err := ParsePhysicalPort(string(text))
	if err == nil {
		*p = v
	}
	return err
}

// nameSockets gives each port its PhysicalPort. A hub in a socket has two halves as
// the socket does, and the ports of both have the same numbers, so that the nearest
// port that has a peer decides, also while only one half of the hub is there. Ports
// of a bus of which it is not known whether it is USB 3 get no name: ports of the
// other bus may have that name.
func nameSockets(ports []Port, hubs []Hub) {
	super := map[int]bool{} // by bus, where it is known
	for _, h := range hubs {
		if !h.Path.IsValid() && h.speedKnown() {
			super[h.Bus] = h.SuperSpeed()
		}
	}
	peers := map[PortPath]PortPath{}
	for _, p := range ports {
		if p.Peer.IsValid() && !super[p.Peer.Bus()] {
			peers[p.Path] = p.Peer
		}
	}
	for i := range ports {
		p := &ports[i]
		isSuper, known := super[p.Path.Bus()]
		if !p.Controller.IsValid() || !known {
			continue
		}
		path := p.Path
		if isSuper {
			path = otherHalf(path, peers)
		}
		p.Physical = PhysicalPort{p.Controller, path.ports(), super[path.Bus()]}
	}
}

// otherHalf returns the path of the same socket on the bus for USB 2, p itself when
// there is none.
func otherHalf(p PortPath, peers map[PortPath]PortPath) PortPath {
	if peer, ok := peers[p]; ok {
		return peer
	}
	above := p.Parent()
	if !above.IsValid() {
		return p
	}
	other := otherHalf(above, peers)
	if other == above {
		return p
	}
	return Hub{Path: other}.port(p.last())
}

// last returns the number of the last port on the way.
func (p PortPath) last() int {
	for shift := 0; shift < 8*maxPorts; shift += 8 {
		if n := p.v >> shift & 0xff; n != 0 {
			return int(n)
		}
	}
	return 0
}
