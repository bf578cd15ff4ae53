package usb

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/pci"
)

// A Port is one port of a hub: a socket, half of one, the place of a device that is
// built in, or nothing at all.
type Port struct {
	// Path is the port path of what is plugged in here, now or later: port 2 of the
	// hub 1-4 is 1-4.2. Its Parent is the hub.
	Path PortPath

	// Controller is as in [Device].
	Controller pci.Address

	// Connect is what the firmware says of the port (connect_type): hotplug for a
	// socket, hardwired for a device that is built in, not used, or unknown. It is
	// "" when the kernel does not state it.
	Connect string

	// Occupied tells that a device is plugged in (device).
	Occupied bool

	// Peer is the other half of a USB 3 socket (peer): one is on the bus for up to
	// 480 Mbit/s, one on that for 5000 and more, and a device appears on either. The
	// zero PortPath when there is no other half, or none that the kernel knows of.
	Peer PortPath

	// Physical is the same for both halves, now and after a boot. It is the zero
	// PhysicalPort when the controller is not known, or not whether the bus is USB 3.
	Physical PhysicalPort

	// Location is where the firmware says the port is, from physical_location below
	// the port, else below the device in it.
	Location Location

	// FirmwareLocation is the same as a number without a meaning of its own
	// (location), 0 when it is unknown. Ports with the same number are one socket.
	FirmwareLocation uint32

	// State is that of the device in the port (state): not attached, configured,
	// suspended and so on; "" when the kernel does not state it.
	State string

	// OverCurrents counts how often the port had to be switched off because too much
	// current was drawn (over_current_count), -1 when it is not known.
	OverCurrents int64
}

// Ports lists all ports of all hubs, those of root hubs too, in the order of their
// port paths: the directories PORT in /sys/bus/usb/devices/INTERFACE of each hub. It
// costs what [Hubs] does, and for each port up to four files, two links and
// five files more. Nothing in it wakes a hub; the file disable, which would, is not
// read.
//
// The error, if any, joins one *[OpError] for each hub or port that could not be
// read in full; the ports are returned all the same, with what is known. A port that
// vanished meanwhile, with its hub, is only in the error.
func Ports(fsys fs.FS) ([]Port, error) {
	hubs, err := Hubs(fsys)
	if hubs == nil && err != nil {
		return nil, err
	}
	errs := []error{err}
	interfaces, err := hubInterfaces(fsys, hubs)
	if err != nil {
		return nil, err
	}
	var ports []Port
	for _, h := range hubs {
		for _, dir := range interfaces[h.Name()] {
			found, err := readPorts(fsys, h, devices+"/"+dir)
			ports = append(ports, found...)
			errs = append(errs, err)
		}
	}
	slices.SortStableFunc(ports, func(a, b Port) int { return a.Path.Compare(b.Path) })
	nameSockets(ports, hubs)
	return ports, errors.Join(errs...)
}

// hubInterfaces returns the names of the interfaces of each hub by its name.
func hubInterfaces(fsys fs.FS, hubs []Hub) (map[string][]string, error) {
	entries, err := fs.ReadDir(fsys, devices)
	if err != nil {
		return nil, opError("list USB devices", PortPath{}, err)
	}
	isHub := map[string]bool{}
	for _, h := range hubs {
		isHub[h.Name()] = true
	}
	interfaces := map[string][]string{}
	for _, e := range entries {
		if _, _, ok := parseInterface(e.Name()); !ok {
			continue
		}
		hub, _, _ := strings.Cut(e.Name(), ":")
		if bus, ok := strings.CutSuffix(hub, "-0"); ok {
			hub = "usb" + bus
		}
		if isHub[hub] {
			interfaces[hub] = append(interfaces[hub], e.Name())
		}
	}
	return interfaces, nil
}

func readPorts(fsys fs.FS, h Hub, dir string) ([]Port, error) {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", errGone, err)
		}
		return nil, opError("list ports of "+h.Name(), PortPath{}, err)
	}
	var ports []Port
	var errs []error
	for _, e := range entries {
		n, ok := portNumber(h.Name(), e.Name())
		if !ok {
			continue
		}
		p := Port{Path: h.port(n), Controller: h.Controller, OverCurrents: -1}
		if !p.Path.IsValid() {
			errs = append(errs, opError("list ports of "+h.Name(), PortPath{}, fmt.Errorf("%q: more than %d hubs deep", plain.Short(e.Name()), maxPorts)))
			continue
		}
		if err := p.read(fsys, dir+"/"+e.Name()); err != nil {
			errs = append(errs, opError("read port", p.Path, err))
			if errors.Is(err, errGone) {
				continue
			}
		}
		ports = append(ports, p)
	}
	return ports, errors.Join(errs...)
}

// portNumber reads the name of a port of that hub: usb1-port3, 1-4-port2, and port2
// as it was before Linux 3.16.
func portNumber(hub, name string) (int, bool) {
	digits, ok := strings.CutPrefix(strings.TrimPrefix(name, hub+"-"), "port")
	if !ok || digits == "" || digits[0] < '1' || digits[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 8)
	return int(n), err == nil
}

// parsePort reads the name of a port with that of its hub, usb1-port3 or 1-4-port2.
func parsePort(name string) (PortPath, bool) {
	i := strings.LastIndex(name, "-port")
	if i < 0 {
		return PortPath{}, false
	}
	var h Hub
	var ok bool
	if h.Bus, ok = rootHub(name[:i]); !ok {
		if h.Path, ok = parsePortPath(name[:i]); !ok {
			return PortPath{}, false
		}
	}
	n, ok := portNumber(name[:i], name)
	if !ok {
		return PortPath{}, false
	}
	p := h.port(n)
	return p, p.IsValid()
}

// port returns the port path of the hub's port n, the zero PortPath when that is too
// deep.
func (h Hub) port(n int) PortPath {
	if !h.Path.IsValid() {
		return PortPath{uint64(h.Bus)<<(8*maxPorts) | uint64(n)<<(8*(maxPorts-1))}
	}
	for shift := 8 * (maxPorts - 1); shift >= 0; shift -= 8 {
		if h.Path.v>>shift&0xff == 0 {
			return PortPath{h.Path.v | uint64(n)<<shift}
		}
	}
	return PortPath{}
}

func (p *Port) read(fsys fs.FS, dir string) error {
	var errs []error
	// optional keeps an error that says more than that there is no such thing.
	optional := func(name string, err error) {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	var err error
	p.Connect, err = oneOf(fsys, dir+"/connect_type", "hotplug", "hardwired", "not used", "unknown")
	optional("connect_type", err)
	p.State, err = oneOf(fsys, dir+"/state", "not attached", "attached", "powered", "reconnecting", "unauthenticated",
		"default", "addressed", "configured", "suspended")
	optional("state", err)
	if s, err := hostfs.ReadString(fsys, dir+"/over_current_count"); err != nil {
		optional("over_current_count", err)
	} else if n, err := strconv.ParseUint(s, 10, 32); err != nil {
		optional("over_current_count", fmt.Errorf("unexpected value %q", plain.Short(s)))
	} else {
		p.OverCurrents = int64(n)
	}
	if s, err := hostfs.ReadString(fsys, dir+"/location"); err != nil {
		optional("location", err)
	} else if n, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 32); err != nil {
		optional("location", fmt.Errorf("unexpected value %q", plain.Short(s)))
	} else {
		p.FirmwareLocation = uint32(n)
	}
	optional("peer", p.readPeer(fsys, dir))
	optional("device", p.readDevice(fsys, dir))
	p.Location, err = readLocation(fsys, dir)
	optional("physical_location", err)
	if p.Occupied && !p.Location.Known() {
		p.Location, err = readLocation(fsys, devices+"/"+p.Path.String())
		optional("physical_location", err)
	}
	if p.Connect == "" {
		if _, err := fs.Stat(fsys, dir); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %w", errGone, err)
		}
	}
	return errors.Join(errs...)
}

func (p *Port) readPeer(fsys fs.FS, dir string) error {
	name, err := hostfs.ReadLinkBase(fsys, dir+"/peer")
	if err != nil {
		return err
	}
	peer, ok := parsePort(name)
	if !ok || peer == p.Path {
		return fmt.Errorf("%q is no other port", plain.Short(name))
	}
	p.Peer = peer
	return nil
}

func (p *Port) readDevice(fsys fs.FS, dir string) error {
	name, err := hostfs.ReadLinkBase(fsys, dir+"/device")
	if err != nil {
		return err
	}
	if name != p.Path.String() {
		return fmt.Errorf("%q is the device of another port", plain.Short(name))
	}
	p.Occupied = true
	return nil
}

// oneOf reads an attribute that is one of a few words.
func oneOf(fsys fs.FS, name string, words ...string) (string, error) {
	s, err := hostfs.ReadString(fsys, name)
	if err == nil && !slices.Contains(words, s) {
		return "", fmt.Errorf("unexpected value %q", plain.Short(s))
	}
	return s, err
}
