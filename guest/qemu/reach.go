package qemu

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/project-independence/indy/guest"
)

// The names of what looks at a guest's network, on QMP.
const (
	watchID = "watch"
	knockID = "knock"
)

// knockAgain is how often a port is tried.
const knockAgain = 250 * time.Millisecond

// Reach waits until the guest takes connections on a TCP port, seen from its own network:
// from beside its first network interface, whatever carries that. Nobody can begin a
// connection to a guest on NAT, and so frames are put before it as if from its network, the
// beginning of a connection that is given up when the guest agrees; its programs see nothing of
// it. The guest's address is found in what it sends. It must be one of IPv4, and the guest must have
// a default route unless it is on QEMU's user network.
//
// The options must have Reach set; Reach may be called once, and takes out of QEMU what looks at
// the network. The error is that of ctx, or that QEMU has ended.
func (v *VM) Reach(ctx context.Context, port uint16) error {
	k := v.knocker.Swap(nil)
	if k == nil {
		return &OpError{"reach a port of", v.name, fmt.Errorf("it is tried already, or nothing looks at the guest's network: %w", errors.ErrUnsupported)}
	}
	err := k.reach(ctx, port)
	if gone := v.lookAway(); err == nil && gone != nil {
		v.log.Warn("the guest's network is still looked at", "err", gone)
	}
	k.close()
	if err != nil {
		return &OpError{"reach a port of", v.name, err}
	}
	return nil
}

// lookAway has QEMU forget what looks at the guest's network.
func (v *VM) lookAway() error {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	var errs []error
	for _, id := range []string{watchID, knockID} {
		errs = append(errs, v.qmp.Call(ctx, "object-del", map[string]any{"id": id}, nil))
	}
	for _, id := range []string{watchID, knockID} {
		errs = append(errs, v.qmp.Call(ctx, "chardev-remove", map[string]any{"id": id}, nil))
	}
	return errors.Join(errs...)
}

// A knocker sees what a guest sends and puts frames before it.
type knocker struct {
	watch, knock net.Conn
	mac          guest.MAC // the guest's
	at           netip.Addr
	known        []netip.Addr // the guest's, the last one last
	header       int          // of virtio before each frame, in bytes
	tries        uint16
	first        uint32 // number of the first byte of the first try
}

// knockerMAC is whose the frames are that are put before the guest, a locally administered
// address.
const knockerMAC = "\x02indy\x01"

// newKnocker returns a knocker for the first network interface of g. On the user network its
// address is one of that network which nobody has, and so the guest asks for it; elsewhere it is one of
// those (RFC 3927) that are behind no router, and the guest answers by way of its own.
func newKnocker(watch, knock net.Conn, g guest.Guest, nat NAT) *knocker {
	k := &knocker{watch: watch, knock: knock, mac: g.MAC(0), at: netip.AddrFrom4([4]byte{169, 254, 1, 2}), first: uint32(time.Now().UnixNano())}
	if nat == UserNetwork {
		k.at = netip.AddrFrom4([4]byte{10, 0, 2, 253})
		k.known = []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 2, 15})}
	}
	return k
}

func (k *knocker) close() {
	k.watch.Close()
	k.knock.Close()
}

// reach knocks until it is answered.
func (k *knocker) reach(ctx context.Context, port uint16) error {
	stop := context.AfterFunc(ctx, func() { _ = k.watch.SetDeadline(time.Now()); _ = k.knock.SetDeadline(time.Now()) })
	defer stop()
	heard := make(chan []byte)
	failed := make(chan error, 1)
	over := make(chan struct{})
	defer close(over)
	go func() {
		r := bufio.NewReaderSize(k.watch, 64<<10)
		for {
			frame, err := readFrame(r)
			if err != nil {
				failed <- err
				return
			}
			select {
			case heard <- frame:
			case <-over:
				_, _ = io.Copy(io.Discard, r) // until it is closed: QEMU waits for who reads
				return
			}
		}
	}()
	tick := time.NewTicker(knockAgain)
	defer tick.Stop()
	for {
		var say [][]byte
		open := false
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return ended(err)
		case <-tick.C:
			say = k.begin(port)
		case frame := <-heard:
			say, open = k.hear(frame, port)
		}
		for _, frame := range say {
			if _, err := k.knock.Write(k.packed(frame)); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return ended(err)
			}
		}
		if open {
			return nil
		}
	}
}

// The frames of a filter of QEMU (net/filter-mirror.c): the length of what follows behind the second number, the
// length of the header of virtio that it begins with, both big-endian, and these.
const maxFrame = 128 << 10 // with segments put together by the guest's card

// readFrame returns the header's length in four bytes, and the frame with it.
func readFrame(r io.Reader) ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n, header := binary.BigEndian.Uint32(head[:]), binary.BigEndian.Uint32(head[4:])
	if n > maxFrame || header > n || header > 64 {
		return nil, fmt.Errorf("a frame of %d bytes with a header of %d", n, header)
	}
	frame := make([]byte, 4+n)
	copy(frame, head[4:])
	_, err := io.ReadFull(r, frame[4:])
	return frame, err
}

func (k *knocker) packed(frame []byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(k.header+len(frame)))
	out = binary.BigEndian.AppendUint32(out, uint32(k.header))
	return append(append(out, make([]byte, k.header)...), frame...)
}

// maxKnown is how many addresses of a guest are tried.
const maxKnown = 4

// learn notes that the guest has an address.
func (k *knocker) learn(b []byte) {
	a := netip.AddrFrom4([4]byte(b))
	if a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == k.at || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return
	}
	if i := slices.Index(k.known, a); i >= 0 {
		return
	}
	if k.known = append(k.known, a); len(k.known) > maxKnown {
		k.known = k.known[1:]
	}
}

// The numbers of Ethernet, ARP (RFC 826), IPv4 (RFC 791) and TCP (RFC 9293).
const (
	ethernetHeader = 14
	arpLength      = ethernetHeader + 28
	protocolTCP    = 6
	protocolUDP    = 17
	flagSYN        = 1 << 1
	flagRST        = 1 << 2
	flagACK        = 1 << 4
	firstPort      = 49152 // of those that nobody has, RFC 6335
	portMask       = 0x3fff
)

// hear takes a frame of the guest's, as [readFrame] returns it. It returns what is to be said to the
// guest, and whether that takes connections on the port.
func (k *knocker) hear(frame []byte, port uint16) (say [][]byte, open bool) {
	header := int(binary.BigEndian.Uint32(frame))
	f := frame[4+header:]
	if len(f) < ethernetHeader || [6]byte(f[6:12]) != [6]byte(k.mac) {
		return nil, false
	}
	k.header = header
	switch p := f[ethernetHeader:]; binary.BigEndian.Uint16(f[12:]) {
	case 0x0806: // ARP
		if len(f) < arpLength || binary.BigEndian.Uint32(p) != 1<<16|0x0800 || binary.BigEndian.Uint16(p[4:]) != 6<<8|4 {
			return nil, false
		}
		from, to := p[14:18], p[24:28]
		k.learn(from)
		if at := k.at.As4(); binary.BigEndian.Uint16(p[6:]) == 1 && [4]byte(to) == at {
			reply := append(k.ethernet(0x0806), 0, 1, 8, 0, 6, 4, 0, 2)
			reply = append(append(append(reply, knockerMAC...), at[:]...), k.mac[:]...)
			return [][]byte{padded(append(reply, from...))}, false
		}
	case 0x0800: // IPv4
		if len(p) < 20 || p[0]>>4 != 4 {
			return nil, false
		}
		size, total := int(p[0]&15)*4, int(binary.BigEndian.Uint16(p[2:]))
		if size < 20 || total < size || total > len(p) {
			return nil, false
		}
		k.learn(p[12:16])
		tcp, at := p[size:total], k.at.As4()
		if binary.BigEndian.Uint16(p[6:])&0x3fff != 0 { // a part of something
			return nil, false
		}
		if p[9] == protocolUDP {
			k.lease(tcp)
		}
		if p[9] != protocolTCP || [4]byte(p[16:20]) != at || len(tcp) < 20 {
			return nil, false
		}
		ours, ack := binary.BigEndian.Uint16(tcp[2:]), binary.BigEndian.Uint32(tcp[8:])
		if binary.BigEndian.Uint16(tcp) != port || ours < firstPort || ack != k.number(ours)+1 || tcp[13]&(flagSYN|flagACK|flagRST) != flagSYN|flagACK {
			return nil, false
		}
		return [][]byte{k.segment(netip.AddrFrom4([4]byte(p[12:16])), ours, port, ack, flagRST)}, true
	}
	return nil, false
}

// lease learns the address that the guest asks for by DHCP (RFC 2131), in UDP.
func (k *knocker) lease(udp []byte) {
	const options = 8 + 240 // behind its magic cookie
	if len(udp) < options || binary.BigEndian.Uint16(udp) != 68 || binary.BigEndian.Uint16(udp[2:]) != 67 || string(udp[options-4:options]) != "c\x82Sc" {
		return
	}
	k.learn(udp[8+12 : 8+16])
	for o := udp[options:]; len(o) >= 2 && o[0] != 255; {
		if o[0] == 0 {
			o = o[1:]
			continue
		}
		n := 2 + int(o[1])
		if n > len(o) {
			return
		}
		if o[0] == 50 && n == 6 {
			k.learn(o[2:6])
		}
		o = o[n:]
	}
}

// begin returns the beginnings of connections to the addresses that the guest may have.
func (k *knocker) begin(port uint16) (say [][]byte) {
	for _, a := range k.known {
		ours := firstPort + k.tries&portMask
		k.tries++
		say = append(say, k.segment(a, ours, port, k.number(ours), flagSYN))
	}
	return say
}

// number returns the number of the first byte of the connection from one of our ports.
func (k *knocker) number(ours uint16) uint32 { return k.first + uint32(ours)<<8 }

func (k *knocker) ethernet(kind uint16) []byte {
	return binary.BigEndian.AppendUint16(append(append([]byte{}, k.mac[:]...), knockerMAC...), kind)
}

// padded makes a frame as long as they are at least.
func padded(frame []byte) []byte { return append(frame, make([]byte, max(0, 60-len(frame)))...) }

// segment is a frame with a segment of TCP without data.
func (k *knocker) segment(to netip.Addr, ours, port uint16, number uint32, flags byte) []byte {
	from, dest := k.at.As4(), to.As4()
	ip := []byte{0x45, 0, 0, 40, 0, 0, 0, 0, 64, protocolTCP, 0, 0}
	ip = append(append(ip, from[:]...), dest[:]...)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	tcp := binary.BigEndian.AppendUint16(nil, ours)
	tcp = binary.BigEndian.AppendUint16(tcp, port)
	tcp = binary.BigEndian.AppendUint32(tcp, number)
	tcp = append(tcp, 0, 0, 0, 0, 5<<4, flags, 0x10, 0, 0, 0, 0, 0) // a window of 4096 bytes
	pseudo := append(append([]byte{}, ip[12:20]...), 0, protocolTCP, 0, byte(len(tcp)))
	binary.BigEndian.PutUint16(tcp[16:], checksum(append(pseudo, tcp...)))
	return padded(append(append(k.ethernet(0x0800), ip...), tcp...))
}

// checksum is that of RFC 1071 over an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
