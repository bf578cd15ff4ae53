// Package wire sends messages with open files over unix sockets that keep the bounds of each
// (SOCK_SEQPACKET of unix(7)).
package wire

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// MaxFiles is how many files can go with a message; the kernel takes 253.
const MaxFiles = 200

// Send sends text with files, which stay the caller's and in the mode that they are in.
func Send(c *net.UnixConn, text []byte, files []*os.File) error {
	if len(files) > MaxFiles {
		return fmt.Errorf("%d files are more than %d", len(files), MaxFiles)
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			raw, err := f.SyscallConn() // Fd would have a socket wait
			if err == nil {
				err = raw.Control(func(fd uintptr) { fds[i] = int(fd) })
			}
			if err != nil {
				return err
			}
		}
		rights = unix.UnixRights(fds...)
	}
	_, _, err := c.WriteMsgUnix(text, rights, nil)
	runtime.KeepAlive(files)
	return err
}

// Receive waits for a message of at most so many bytes and files. The files that come with it are
// the caller's. The error is [io.EOF] when the other end is closed.
func Receive(c *net.UnixConn, most, mostFiles int) ([]byte, []*os.File, error) {
	text, rights := make([]byte, most+1), make([]byte, unix.CmsgSpace(4*(mostFiles+1)))
	n, m, flags, _, err := c.ReadMsgUnix(text, rights)
	files, bad := filesOf(rights[:m])
	switch {
	case err != nil:
	case n == 0:
		err = io.EOF
	case bad != nil:
		err = bad
	case n > most || len(files) > mostFiles || flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0:
		err = fmt.Errorf("a message of more than %d bytes or %d files", most, mostFiles)
	}
	if err != nil {
		clear(text)
		Close(files)
		return nil, nil, err
	}
	return text[:n], files, nil
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

// Close closes all files.
func Close(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
