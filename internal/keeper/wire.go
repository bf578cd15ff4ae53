package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/internal/wire"
)

// The bounds of what is sent: of one packet, and of the files that go with it.
const (
	maxPacket = 160 << 10
	maxFiles  = wire.MaxFiles
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
	err = wire.Send(c, text, files)
	clear(text) // there may be a key in it
	return err
}

// receive waits for a packet. The files that come with it are the caller's. The error is
// [io.EOF] when the other end is closed.
func receive(c *net.UnixConn) (packet, []*os.File, error) {
	var p packet
	text, files, err := wire.Receive(c, maxPacket, maxFiles)
	if err != nil {
		return packet{}, nil, err
	}
	err = json.Unmarshal(text, &p)
	clear(text) // there may be a key in it
	if err != nil {
		wire.Close(files)
		return packet{}, nil, err
	}
	return p, files, nil
}

func closeAll(files []*os.File) { wire.Close(files) }
