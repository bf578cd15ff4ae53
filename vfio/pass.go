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

// maxHandles is how many files one message may carry: SCM_MAX_FD.
const maxHandles = 253

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
