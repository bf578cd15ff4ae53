// Package vflink shows the settings of SR-IOV virtual functions as files beside those of
// the host. No file of the kernel has them: a network function's driver takes MAC address
// and VLAN of its virtual functions by rtnetlink only. As files they are read, written and
// read back like all that a plan changes.
package vflink

import (
	"fmt"
	"io/fs"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
)

// Root is the directory below which the settings are shown, as
// rtnetlink/0000:05:00.0/vf/1/mac: the address of the physical function, the number of
// the virtual one (as in its link virtfn1), and
//
//	mac       the address, 00:00:00:00:00:00 when none is set
//	vlan      the number of the VLAN, 0 for none
//	spoofchk  on when what it sends from another address is dropped, else off
const Root = "rtnetlink"

// Timeout is how long an answer of rtnetlink is waited for. It bounds no request: that is
// carried out by the process that sends it, which waits in the kernel, and cannot be
// ended, until nobody else changes any network interface (rtnl_lock). So a process that
// has more to do asks an [hostfs.Aside].
const Timeout = 10 * time.Second

// A Host is a host with the settings of virtual functions below [Root]. It implements
// [hostfs.FS], [fs.ReadFileFS], [fs.ReadDirFS], [fs.ReadLinkFS] and [fs.StatFS]; all else
// it asks the host below. A setting that is not there is [fs.ErrNotExist]: no such
// function, one whose driver is none of a network, or no such virtual function.
type Host struct {
	below hostfs.FS
	aside hostfs.Aside
}

// Over returns the running host with the settings of virtual functions. They are read and
// written by aside, which is given their names here; if it is nil, by this process, for
// as long as the kernel takes (see [Timeout]).
func Over(host hostfs.FS, aside hostfs.Aside) *Host { return &Host{host, aside} }

// Open opens name for reading. Settings are read by [Host.ReadFile] only.
func (h *Host) Open(name string) (fs.File, error) { return h.below.Open(name) }

// ReadDir lists the directory name. Settings are not listed.
func (h *Host) ReadDir(name string) ([]fs.DirEntry, error) { return fs.ReadDir(h.below, name) }

// ReadLink returns what the link name points to.
func (h *Host) ReadLink(name string) (string, error) { return fs.ReadLink(h.below, name) }

// Stat describes what name is or points to.
func (h *Host) Stat(name string) (fs.FileInfo, error) { return fs.Stat(h.below, name) }

// Lstat describes name itself.
func (h *Host) Lstat(name string) (fs.FileInfo, error) { return fs.Lstat(h.below, name) }

// ReadFile returns a setting, or the content of a file of the host.
func (h *Host) ReadFile(name string) ([]byte, error) {
	s, ok := parse(name)
	if !ok {
		return fs.ReadFile(h.below, name)
	}
	if h.aside != nil {
		return h.aside.ReadFile(name)
	}
	value, err := h.read(s)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: "/" + name, Err: err}
	}
	return []byte(value + "\n"), nil
}

// WriteFile changes a setting, or a file of the host.
func (h *Host) WriteFile(name string, data []byte) error {
	s, ok := parse(name)
	if !ok {
		return h.below.WriteFile(name, data)
	}
	if h.aside != nil {
		return h.aside.WriteFile(name, data)
	}
	if err := h.write(s, strings.TrimSpace(string(data))); err != nil {
		return &fs.PathError{Op: "write", Path: "/" + name, Err: err}
	}
	return nil
}

// A setting is what a name below [Root] stands for.
type setting struct {
	physical  pci.Address
	vf        int
	attribute string
}

func parse(name string) (s setting, ok bool) {
	rest, ok := strings.CutPrefix(name, Root+"/")
	part := strings.Split(rest, "/")
	if !ok || len(part) != 4 || part[1] != "vf" {
		return s, false
	}
	a, err := pci.ParseAddress(part[0])
	n, nerr := strconv.ParseUint(part[2], 10, 16)
	switch part[3] {
	case "mac", "vlan", "spoofchk":
	default:
		return s, false
	}
	return setting{a, int(n), part[3]}, err == nil && nerr == nil
}

// open returns a socket of rtnetlink and the network interface that carries the virtual
// function, with what is said of that.
func (h *Host) open(s setting) (*netlink.Handle, netlink.Link, netlink.VfInfo, error) {
	fail := func(err error) (*netlink.Handle, netlink.Link, netlink.VfInfo, error) {
		return nil, nil, netlink.VfInfo{}, err
	}
	interfaces, err := fs.ReadDir(h.below, "sys/bus/pci/devices/"+s.physical.String()+"/net")
	if err != nil {
		return fail(err)
	}
	socket, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fail(fmt.Errorf("rtnetlink: %w", err))
	}
	if err := socket.SetSocketTimeout(Timeout); err != nil {
		socket.Close()
		return fail(fmt.Errorf("rtnetlink: %w", err))
	}
	for _, i := range interfaces {
		link, err := socket.LinkByName(i.Name())
		if err != nil {
			socket.Close()
			return fail(fmt.Errorf("rtnetlink: %s: %w", i.Name(), err))
		}
		if all := link.Attrs().Vfs; s.vf < len(all) {
			return socket, link, all[s.vf], nil
		}
	}
	socket.Close()
	return fail(unix.ENOENT)
}

func (h *Host) read(s setting) (string, error) {
	socket, _, vf, err := h.open(s)
	if err != nil {
		return "", err
	}
	defer socket.Close()
	switch s.attribute {
	case "mac":
		return vf.Mac.String(), nil
	case "vlan":
		return strconv.Itoa(vf.Vlan), nil
	}
	if vf.Spoofchk {
		return "on", nil
	}
	return "off", nil
}

func (h *Host) write(s setting, value string) error {
	set, err := s.change(value)
	if err != nil {
		return err
	}
	socket, link, _, err := h.open(s)
	if err != nil {
		return err
	}
	defer socket.Close()
	return set(socket, link)
}

// change is what a value asks rtnetlink for. One that is none is EINVAL, as the kernel's.
func (s setting) change(value string) (func(*netlink.Handle, netlink.Link) error, error) {
	switch s.attribute {
	case "mac":
		mac, err := net.ParseMAC(value)
		if err != nil || len(mac) != 6 {
			return nil, fmt.Errorf("%.64q is no MAC address: %w", value, unix.EINVAL)
		}
		return func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetVfHardwareAddr(l, s.vf, mac) }, nil
	case "vlan":
		n, err := strconv.ParseUint(value, 10, 12)
		if err != nil {
			return nil, fmt.Errorf("%.64q is no VLAN: %w", value, unix.EINVAL)
		}
		return func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetVfVlan(l, s.vf, int(n)) }, nil
	}
	if value != "on" && value != "off" {
		return nil, fmt.Errorf("%.64q is neither on nor off: %w", value, unix.EINVAL)
	}
	return func(h *netlink.Handle, l netlink.Link) error { return h.LinkSetVfSpoofchk(l, s.vf, value == "on") }, nil
}
