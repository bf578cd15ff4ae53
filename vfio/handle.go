package vfio

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/pci"
)

// A HandleKind is what a file of an address space is.
type HandleKind string

// The kinds of files.
const (
	HandleContainer HandleKind = "container"
	HandleIOMMUFD   HandleKind = "iommufd"
	HandleGroup     HandleKind = "group"
	HandleDevice    HandleKind = "device"
)

// A Handle is an open file of an address space, for another process: one that may not
// open it, as a QEMU that does not run as root.
type Handle struct {
	Kind   HandleKind
	Group  pci.GroupID // of a group and of a device
	Device pci.Address // of a device
	IOAS   uint32      // number of the address space in an iommufd
	File   *os.File    // who has the handle closes it
}

// maxHandles is how many files one message may carry: SCM_MAX_FD.
const maxHandles = 253

// Handles returns duplicates of all open files of the address space: its own, which
// comes first, its groups' and its devices'. [Rebuild] makes an address space of them,
// in this process or, after [Send] and [Receive], in another. Both are the same one
// for the kernel, and each may close its own: devices stop when the last one does.
//
// An address space with memory in it cannot be handed on, as another process would not
// know what is mapped.
func (s *AddressSpace) Handles() ([]Handle, error) {
	all, err := s.handles()
	if err != nil {
		closeHandles(all)
		return nil, &OpError{Op: "hand on an address space", Err: err}
	}
	return all, nil
}

func (s *AddressSpace) handles() (all []Handle, err error) {
	add := func(h Handle, n node) {
		if err == nil {
			if h.File, err = n.duplicate(); err == nil {
				all = append(all, h)
			}
		}
	}
	groups, devices := s.Groups(), s.Devices()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.maps) > 0 {
		return nil, errors.New("memory is mapped in it")
	}
	kind := HandleContainer
	if s.kind == IOMMUFD {
		kind = HandleIOMMUFD
	}
	add(Handle{Kind: kind, IOAS: s.ioas}, s.node)
	for _, g := range groups {
		add(Handle{Kind: HandleGroup, Group: g.id}, g.node)
	}
	for _, d := range devices {
		add(Handle{Kind: HandleDevice, Group: d.id, Device: d.address}, d.node)
	}
	s.shared = s.shared || err == nil
	return all, err
}

func closeHandles(all []Handle) {
	for _, h := range all {
		if h.File != nil {
			h.File.Close()
		}
	}
}

// Rebuild makes an address space, with its groups and devices, of handles that another
// one gave away. It asks the kernel that each file is what its handle says. The files
// are the address space's from then on, and are closed on an error.
func Rebuild(handles []Handle) (*AddressSpace, error) { return rebuild(live(), handles) }

func rebuild(h host, handles []Handle) (*AddressSpace, error) {
	var nodes []node
	s, err := assemble(h, handles, &nodes)
	if err != nil {
		for _, n := range nodes {
			n.Close()
		}
		closeHandles(handles[len(nodes):])
		return nil, &OpError{Op: "take over an address space", Err: err}
	}
	return s, nil
}

func assemble(h host, handles []Handle, nodes *[]node) (*AddressSpace, error) {
	var s *AddressSpace
	for i, x := range handles {
		if x.File == nil {
			return nil, fmt.Errorf("handle %d has no file", i)
		}
		n, err := h.adopt(x.File), error(nil)
		*nodes = append(*nodes, n)
		switch {
		case (i == 0) != (x.Kind == HandleContainer || x.Kind == HandleIOMMUFD):
			err = errors.New("the first handle, and no other, is a container or an iommufd")
		case x.Kind == HandleContainer:
			s, err = adoptContainer(h, n)
		case x.Kind == HandleIOMMUFD:
			s = emptySpace(h, IOMMUFD, n, 0, x.IOAS)
			_, err = s.ranges()
		case x.Kind == HandleGroup:
			err = s.adoptGroup(x.Group, n)
		case x.Kind == HandleDevice:
			err = s.adoptDevice(x, n)
		default:
			err = errors.New("no such kind")
		}
		if err != nil {
			return nil, fmt.Errorf("handle %d, %.16q: %w", i, x.Kind, err)
		}
	}
	if s == nil {
		return nil, errors.New("there are no handles")
	}
	s.shared = true
	return s, nil
}

func adoptContainer(h host, n node) (*AddressSpace, error) {
	kind, err := containerType(n)
	if err != nil {
		return nil, err
	}
	return emptySpace(h, Groups, n, kind, 0), nil
}

func (s *AddressSpace) adoptGroup(id pci.GroupID, n node) error {
	g := &Group{id: id, host: s.host, node: n, space: s, devices: openDevices{all: map[*Device]struct{}{}}}
	st, err := g.status()
	switch {
	case err != nil:
		return err
	case s.kind != Groups || !id.IsValid() || s.groups[id] != nil || !st.ContainerSet:
		return fmt.Errorf("group %v is not in the container, or twice", id)
	}
	s.groups[id] = g
	s.set = true
	return nil
}

func (s *AddressSpace) adoptDevice(x Handle, n node) error {
	owner, g := &s.devices, s.groups[x.Group]
	if s.kind == Groups {
		if g == nil {
			return fmt.Errorf("the group %v of %v is not there", x.Group, x.Device)
		}
		owner = &g.devices
	}
	d := newDevice(s, owner, g, x.Group, x.Device, n)
	if !x.Device.IsValid() {
		return errors.New("no device was named")
	}
	if _, err := d.info(); err != nil {
		return err
	}
	s.set = true
	owner.all[d] = struct{}{}
	return nil
}

// A message is what goes with the files: a number of bytes in four bytes, little-endian,
// and then as many of JSON.
type message struct {
	Handles []handleText `json:"handles"`
}

type handleText struct {
	Kind   HandleKind  `json:"kind"`
	Group  pci.GroupID `json:"group"`
	Device string      `json:"device,omitempty"`
	IOAS   uint32      `json:"ioas,omitempty"`
}

const maxMessage = 64 << 10

// Send passes handles to the process at the other end of a Unix socket, in one message
// (SCM_RIGHTS, unix(7)). It closes none of them. It may block until the socket takes the
// message; conn's deadline holds.
func Send(conn *net.UnixConn, handles []Handle) error {
	if err := send(conn, handles); err != nil {
		return &OpError{Op: "pass files on", Err: err}
	}
	return nil
}

func send(conn *net.UnixConn, handles []Handle) (err error) {
	if len(handles) == 0 || len(handles) > maxHandles {
		return fmt.Errorf("%d files, where 1 to %d can be passed", len(handles), maxHandles)
	}
	var m message
	for _, h := range handles {
		if h.File == nil {
			return errors.New("a handle has no file")
		}
		t := handleText{Kind: h.Kind, Group: h.Group, IOAS: h.IOAS}
		if h.Device.IsValid() {
			t.Device = h.Device.String()
		}
		m.Handles = append(m.Handles, t)
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	b := append(binary.LittleEndian.AppendUint32(nil, uint32(len(text))), text...)
	var fds []int
	var pass func(rest []Handle) // with the descriptors of all of them held
	pass = func(rest []Handle) {
		if len(rest) == 0 {
			var n int
			if n, _, err = conn.WriteMsgUnix(b, unix.UnixRights(fds...), nil); err == nil && n < len(b) {
				_, err = conn.Write(b[n:])
			}
			return
		}
		if held := (&file{rest[0].File}).hold(func(fd uintptr) {
			fds = append(fds, int(fd))
			pass(rest[1:])
		}); held != nil {
			err = held
		}
	}
	pass(handles)
	return err
}

// Receive takes what [Send] passed, and blocks until it is there; conn's deadline holds.
// What is no such message is an error, and any file that came with it is closed. Who
// sent it is not asked: that is for the socket's owner.
func Receive(conn *net.UnixConn) ([]Handle, error) {
	files, text, err := receive(conn)
	var all []Handle
	if err == nil {
		all, err = parseMessage(text, files)
	}
	if err != nil {
		for _, f := range files {
			f.Close()
		}
		return nil, &OpError{Op: "take files over", Err: err}
	}
	return all, nil
}

func receive(conn *net.UnixConn) (files []*os.File, text []byte, err error) {
	b := make([]byte, 4+maxMessage)
	rights := make([]byte, unix.CmsgSpace(4*maxHandles))
	n, nr, flags, _, err := conn.ReadMsgUnix(b, rights)
	if err != nil {
		return nil, nil, err
	}
	files, err = openFiles(rights[:nr])
	switch {
	case err != nil:
		return files, nil, err
	case flags&unix.MSG_CTRUNC != 0:
		return files, nil, errors.New("some files were lost")
	}
	for {
		if n >= 4 {
			size := binary.LittleEndian.Uint32(b)
			switch {
			case size > maxMessage:
				return files, nil, fmt.Errorf("a message of %d bytes", size)
			case n == 4+int(size):
				return files, b[4:n], nil
			case n > 4+int(size):
				return files, nil, errors.New("more than one message")
			}
		}
		more, err := conn.Read(b[n:])
		if err != nil {
			return files, nil, fmt.Errorf("a part of a message: %w", err)
		}
		n += more
	}
}

// openFiles makes files of the descriptors that came with a message.
func openFiles(rights []byte) (files []*os.File, err error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	for _, m := range messages {
		fds, wrong := unix.ParseUnixRights(&m)
		if wrong != nil {
			err = errors.Join(err, wrong)
			continue
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return files, err
}

// parseMessage puts together a message and the files that came with it.
func parseMessage(text []byte, files []*os.File) ([]Handle, error) {
	var m message
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, errors.New("not a message about files")
	}
	if len(m.Handles) == 0 || len(m.Handles) != len(files) {
		return nil, fmt.Errorf("%d files came with a message about %d", len(files), len(m.Handles))
	}
	kinds := []HandleKind{HandleContainer, HandleIOMMUFD, HandleGroup, HandleDevice}
	var all []Handle
	for i, t := range m.Handles {
		h := Handle{Kind: t.Kind, Group: t.Group, IOAS: t.IOAS, File: files[i]}
		if !slices.Contains(kinds, t.Kind) {
			return nil, fmt.Errorf("a file of the unknown kind %.16q", t.Kind)
		}
		if t.Device != "" {
			a, err := pci.ParseAddress(t.Device)
			if err != nil {
				return nil, err
			}
			h.Device = a
		}
		all = append(all, h)
	}
	return all, nil
}
