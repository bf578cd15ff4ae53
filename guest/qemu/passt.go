package qemu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// findPasst returns the path of passt.
func findPasst() (string, error) { return findHelper("passt", "passt") }

// forwarder is where a guest behind passt may ask the resolver of the host, which
// often listens on the loopback interface alone: no guest reaches that one.
const forwarder = "169.254.1.1"

// startPasst starts passt and returns QEMU's end of its socket.
func startPasst(dns []netip.Addr, cred *syscall.Credential) (*os.File, *process, error) {
	binary, err := findPasst()
	if err != nil {
		return nil, nil, err
	}
	ours, theirs, err := socketFiles("passt")
	if err != nil {
		return nil, nil, err
	}
	args := []string{"--foreground", "--quiet", "--fd", "3", "--no-map-gw", "--dns-forward", forwarder}
	for _, a := range dns {
		args = append(args, "--dns", a.String())
	}
	h, err := serve("passt", binary, args, cred, theirs)
	theirs.Close()
	if err != nil {
		ours.Close()
		return nil, nil, err
	}
	return ours, h, nil
}

// answering starts passt and returns QEMU's end of its socket, on which it answers. A
// host that is connected to nothing has no passt: it ends at once.
func answering(r Rights, dns []netip.Addr) (*os.File, *helper, error) {
	f, c, err := r.Passt(dns)
	if err != nil {
		return nil, nil, err
	}
	h := &helper{"passt", adopt(c)}
	if err := answers(int(f.Fd())); err != nil {
		f.Close()
		h.finish()
		if failed := h.failed(); failed != nil {
			err = failed
		}
		return nil, nil, err
	}
	return f, h, nil
}

// passtTimeout is how long passt may take to answer. It takes a tenth of that.
const passtTimeout = time.Second

// answers asks passt on fd who has an address, as any guest does first, and returns
// nil when it answers. Frames are read whole, so that QEMU finds the beginning of the
// next one. One that runs and says nothing, as on a host with IPv6 alone, is taken as
// it is.
func answers(fd int) error {
	mac := [6]byte{0x52, 0x54, 0, 0, 0, 1}
	frame := binary.BigEndian.AppendUint32(nil, 60)
	frame = append(frame, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	frame = append(frame, mac[:]...)
	frame = append(frame, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1) // ARP over Ethernet for IPv4: a request
	frame = append(frame, mac[:]...)
	frame = append(frame, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	forward := netip.MustParseAddr(forwarder).As4()
	frame = append(frame, forward[:]...)
	frame = append(frame, make([]byte, 4+60-len(frame))...)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(passtTimeout / time.Second)}); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if err := unix.Sendto(fd, frame, unix.MSG_NOSIGNAL, nil); err != nil {
		return fmt.Errorf("passt: %w", os.NewSyscallError("send", err))
	}
	var answer [64 << 10]byte
	for range 64 {
		err := receive(fd, answer[:4])
		n := int64(binary.BigEndian.Uint32(answer[:]))
		switch {
		case errors.Is(err, unix.EAGAIN):
			n = 0
		case err != nil:
			return fmt.Errorf("passt: %w", err)
		case n == 0 || n > int64(len(answer)):
			return fmt.Errorf("passt: a frame of %d bytes", n)
		}
		if n == 0 {
			break
		}
		if err := receive(fd, answer[:n]); err != nil {
			return fmt.Errorf("passt: %w", err)
		}
		if n >= 22 && answer[12] == 8 && answer[13] == 6 && answer[21] == 2 { // an ARP reply
			break
		}
	}
	return os.NewSyscallError("setsockopt", unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, new(unix.Timeval)))
}

// receive fills b from the socket fd.
func receive(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := unix.Read(fd, b)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return os.NewSyscallError("read", err)
		case n == 0:
			return io.ErrUnexpectedEOF
		default:
			b = b[n:]
		}
	}
	return nil
}
