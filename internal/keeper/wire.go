package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// The bounds of what is sent: of one packet, and of the files that go with it.
const (
	maxPacket = 160 << 10
	maxFiles  = 200 // the kernel takes 253
)

// A packet is a request, the answer to one, or, as number 0, what the keeper has to tell.
type packet struct {
	Number uint64          `json:"number,omitempty"`
	Verb   verb            `json:"verb,omitempty"` // empty in an answer
	Body   json.RawMessage `json:"body,omitempty"`
	Error  *Error          `json:"error,omitempty"`
}

// pair returns both ends of a connection.
func pair() (near *net.UnixConn, far *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	far = os.NewFile(uintptr(fds[1]), "keeper")
	if near, err = connOf(os.NewFile(uintptr(fds[0]), "runner")); err != nil {
		return nil, nil, errors.Join(err, far.Close())
	}
	return near, far, nil
}

// connOf makes f, which it closes, a connection.
func connOf(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("a %T is no socket between keeper and runner", c), c.Close())
	}
	return u, nil
}

// send sends a packet with files, which stay the caller's.
func send(c *net.UnixConn, p packet, files []*os.File) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if len(text) > maxPacket || len(files) > maxFiles {
		return fmt.Errorf("%d bytes and %d files are more than %d and %d", len(text), len(files), maxPacket, maxFiles)
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	_, _, err = c.WriteMsgUnix(text, rights, nil)
	clear(text) // there may be a key in it
	return err
}

// receive waits for a packet. The files that come with it are the caller's. The error is
// [io.EOF] when the other end is closed.
func receive(c *net.UnixConn) (packet, []*os.File, error) {
	var p packet
	text, rights := make([]byte, maxPacket+1), make([]byte, unix.CmsgSpace(4*(maxFiles+1)))
	n, m, flags, _, err := c.ReadMsgUnix(text, rights)
	files, bad := filesOf(rights[:m])
	switch {
	case err != nil:
	case n == 0:
		err = io.EOF
	case bad != nil:
		err = bad
	case n > maxPacket || len(files) > maxFiles || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		err = fmt.Errorf("a packet of more than %d bytes or %d files", maxPacket, maxFiles)
	default:
		err = json.Unmarshal(text[:n], &p)
		clear(text[:n]) // there may be a key in it
	}
	if err != nil {
		closeAll(files)
		return packet{}, nil, err
	}
	return p, files, nil
}

// filesOf returns the files in control messages.
func filesOf(rights []byte) (files []*os.File, err error) {
	if len(rights) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		fds, e := unix.ParseUnixRights(&m)
		if e != nil {
			err = errors.Join(err, e)
			continue
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, err
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
