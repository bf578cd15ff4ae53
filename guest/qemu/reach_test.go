package qemu

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/project-independence/indy/guest"
)

// A station is a guest that a knocker tries: it has an address, and ports that are open.
type station struct {
	mac    guest.MAC
	ip     netip.Addr
	gate   string // whose hardware address it answers to
	open   map[uint16]bool
	header int // of virtio before each of its frames
}

// frame is one of the guest's as QEMU tells of it.
func (s station) frame(kind uint16, payload []byte) []byte {
	f := append(append([]byte(s.gate), s.mac[:]...), byte(kind>>8), byte(kind))
	f = append(append(make([]byte, s.header), f...), payload...)
	head := binary.BigEndian.AppendUint32(nil, uint32(len(f)))
	return append(binary.BigEndian.AppendUint32(head, uint32(s.header)), f...)
}

func (s station) ipv4(protocol byte, to netip.Addr, payload []byte) []byte {
	from, dest := s.ip.As4(), to.As4()
	p := []byte{0x45, 0, 0, byte(20 + len(payload)), 0, 0, 0x40, 0, 64, protocol, 0, 0}
	binary.BigEndian.PutUint16(p[2:], uint16(20+len(payload)))
	return s.frame(0x0800, append(append(append(p, from[:]...), dest[:]...), payload...))
}

// arp asks who has an address.
func (s station) arp(whom netip.Addr) []byte {
	ip, to := s.ip.As4(), whom.As4()
	p := append([]byte{0, 1, 8, 0, 6, 4, 0, 1}, s.mac[:]...)
	p = append(append(append(p, ip[:]...), 0, 0, 0, 0, 0, 0), to[:]...)
	return s.frame(0x0806, p)
}

// answer returns what the guest says to a frame that is put before it, of which it checks all
// that a guest does.
func (s station) answer(t *testing.T, f []byte) []byte {
	t.Helper()
	if len(f) < 60 || guest.MAC(f[:6]) != s.mac || string(f[6:12]) != knockerMAC {
		t.Fatalf("% x", f)
	}
	p := f[14:]
	if f[12] == 8 && f[13] == 6 {
		return nil
	}
	if f[12] != 8 || f[13] != 0 || p[0] != 0x45 || checksum(p[:20]) != 0 || binary.BigEndian.Uint16(p[2:]) != 40 || p[9] != 6 {
		t.Fatalf("no IPv4: % x", p)
	}
	if netip.AddrFrom4([4]byte(p[16:20])) != s.ip {
		return nil
	}
	from, tcp := netip.AddrFrom4([4]byte(p[12:16])), p[20:40]
	if sum := checksum(append(append(append([]byte{}, p[12:20]...), 0, 6, 0, 20), tcp...)); sum != 0 || tcp[12] != 5<<4 {
		t.Fatalf("no TCP: % x", tcp)
	}
	if tcp[13]&flagSYN == 0 {
		return nil
	}
	flags := byte(flagRST | flagACK)
	if s.open[binary.BigEndian.Uint16(tcp[2:])] {
		flags = flagSYN | flagACK
	}
	reply := append(append([]byte{}, tcp[2:4]...), tcp[0:2]...)
	reply = append(reply, 1, 2, 3, 4)
	reply = binary.BigEndian.AppendUint32(reply, binary.BigEndian.Uint32(tcp[4:])+1)
	return s.ipv4(6, from, append(reply, 5<<4, flags, 1, 0, 0, 0, 0, 0))
}

// network runs a knocker against s, which says what it says unasked.
func (s station) network(t *testing.T, ctx context.Context, nat NAT, said ...[]byte) error {
	t.Helper()
	watch, seen := stream(t)
	knock, put := stream(t)
	k := newKnocker(watch, knock, guest.Guest{Name: "x", NICs: []guest.NIC{{MAC: s.mac}}}, nat)
	go func() {
		for _, f := range said {
			if _, err := seen.Write(f); err != nil {
				return
			}
		}
		for {
			f, err := readFrame(put)
			if err != nil {
				return
			}
			if int(binary.BigEndian.Uint32(f)) != s.header {
				t.Errorf("a header of % x", f[:4])
			}
			if a := s.answer(t, f[4+s.header:]); a != nil {
				if _, err := seen.Write(a); err != nil {
					return
				}
			}
		}
	}()
	err := k.reach(ctx, 22)
	k.close()
	return err
}

// TestReach holds from what a knocker learns a guest's address, and what it takes for an open port.
func TestReach(t *testing.T) {
	mac := guest.MAC{0x52, 0x54, 0, 1, 2, 3}
	other := guest.MAC{0x52, 0x54, 0, 9, 9, 9}
	ip, zero := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("0.0.0.0")
	ssh := map[uint16]bool{22: true}
	s := station{mac: mac, ip: ip, gate: "\x02gate.", open: ssh}
	behind := s
	behind.header = 12
	slirp := s
	slirp.ip = netip.MustParseAddr("10.0.2.15")
	closed := s
	closed.open = map[uint16]bool{80: true}
	stranger, booting := s, s
	stranger.mac, booting.ip = other, zero
	dhcp := make([]byte, 8+240, 300)
	copy(dhcp, "\x00\x44\x00\x43")
	copy(dhcp[8+236:], "c\x82Sc")
	request := append(dhcp, 53, 1, 3, 0, 50, 4, 192, 0, 2, 10, 255)
	gateway := netip.MustParseAddr("192.0.2.1")
	for name, test := range map[string]struct {
		station
		nat  NAT
		said [][]byte
		want bool
	}{
		"known by ARP":          {s, Passt, [][]byte{s.arp(gateway)}, true},
		"known by IPv4":         {s, Passt, [][]byte{s.ipv4(17, gateway, make([]byte, 8))}, true},
		"known by DHCP":         {s, Passt, [][]byte{booting.ipv4(17, netip.MustParseAddr("255.255.255.255"), request)}, true},
		"with a header":         {behind, AutoNAT, [][]byte{behind.arp(gateway)}, true},
		"on the user network":   {slirp, UserNetwork, nil, true},
		"it asks for us":        {slirp, UserNetwork, [][]byte{slirp.arp(netip.MustParseAddr("10.0.2.253"))}, true},
		"another port":          {closed, Passt, [][]byte{closed.arp(gateway)}, false},
		"unknown":               {s, Passt, [][]byte{booting.arp(gateway)}, false},
		"known of somebody":     {s, Passt, [][]byte{stranger.arp(gateway)}, false},
		"with too many others":  {s, Passt, [][]byte{s.arp(gateway), others(s, 1), others(s, 2), others(s, 3), others(s, 4)}, false},
		"with as many as allow": {s, Passt, [][]byte{s.arp(gateway), others(s, 1), others(s, 2), others(s, 3)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			within := 10 * time.Second
			if !test.want {
				within = 3 * knockAgain
			}
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			err := test.network(t, ctx, test.nat, test.said...)
			if test.want && err != nil || !test.want && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
		})
	}
}

// others is what a guest says with another of its addresses.
func others(s station, n byte) []byte {
	s.ip = netip.AddrFrom4([4]byte{198, 51, 100, n})
	return s.arp(netip.MustParseAddr("198.51.100.254"))
}

// TestKnockerAnswers shows that who asks for the knocker's address is told.
func TestKnockerAnswers(t *testing.T) {
	s := station{mac: guest.MAC{2, 0, 0, 0, 0, 1}, ip: netip.MustParseAddr("10.0.2.15"), gate: "\xff\xff\xff\xff\xff\xff"}
	k := newKnocker(nil, nil, guest.Guest{NICs: []guest.NIC{{MAC: s.mac}}}, UserNetwork)
	hear := func(f []byte) [][]byte {
		said, err := readFrame(bytes.NewReader(f))
		if err != nil {
			t.Fatal(err)
		}
		say, open := k.hear(said, 22)
		if open {
			t.Error("it is open")
		}
		return say
	}
	say := hear(s.arp(k.at))
	want := append(append([]byte{}, s.mac[:]...), "\x02indy\x01\x08\x06\x00\x01\x08\x00\x06\x04\x00\x02\x02indy\x01\x0a\x00\x02\xfd"...)
	want = append(append(want, s.mac[:]...), 10, 0, 2, 15)
	if len(say) != 1 || len(say[0]) != 60 || !bytes.HasPrefix(say[0], want) {
		t.Errorf("% x\n% x", say, want)
	}
	if say := hear(s.arp(netip.MustParseAddr("10.0.2.2"))); len(say) != 0 {
		t.Errorf("it answers for another one: % x", say)
	}
}

// TestKnockerOfNobody shows that a knocker ends with QEMU, and with what is no frame.
func TestKnockerOfNobody(t *testing.T) {
	for name, said := range map[string]string{"nothing": "", "half a frame": "\x00\x00\x00\x20\x00\x00\x00\x00abc", "a long one": "\xff\xff\xff\xff\x00\x00\x00\x00",
		"a header that is longer": "\x00\x00\x00\x04\x00\x00\x00\x0c\x00\x00\x00\x00"} {
		watch, seen := stream(t)
		knock, _ := stream(t)
		if _, err := seen.Write([]byte(said)); err != nil {
			t.Fatal(err)
		}
		seen.Close()
		if err := newKnocker(watch, knock, guest.Guest{}, Passt).reach(t.Context(), 22); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestReachQEMU has QEMU show what a guest's card sends, and forget it when nobody waits any more.
func TestReachQEMU(t *testing.T) {
	g := guestOf()
	g.NICs = []guest.NIC{{Link: guest.LinkNAT, Isolated: true}, {Link: guest.LinkNAT, Isolated: true}}
	vm := startTest(t, g, Options{Reach: true, PowerdownTimeout: -1})
	ctx, cancel := context.WithTimeout(t.Context(), 3*knockAgain)
	defer cancel()
	if err := vm.Reach(ctx, 22); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	var all []struct {
		Label string `json:"label"`
	}
	if err := vm.QMP().Call(t.Context(), "query-chardev", nil, &all); err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if c.Label == watchID || c.Label == knockID {
			t.Errorf("%s is left", c.Label)
		}
	}
	if err := vm.Reach(t.Context(), 22); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a second time: %v", err)
	}
	if _, err := Start(t.Context(), guestOf(), Options{Accelerator: TCG, Reach: true}); err == nil {
		t.Error("nothing to look at is looked at")
	}
}

// FuzzKnocker gives a knocker any frames. What it says in answer is whole, and to the guest alone.
func FuzzKnocker(f *testing.F) {
	s := station{mac: guest.MAC{2, 0, 0, 0, 0, 1}, ip: netip.MustParseAddr("10.0.2.15"), gate: "\xff\xff\xff\xff\xff\xff", header: 12}
	f.Add(s.arp(netip.MustParseAddr("10.0.2.253")))
	f.Add(s.ipv4(6, netip.MustParseAddr("10.0.2.253"), make([]byte, 20)))
	f.Add(s.ipv4(17, netip.MustParseAddr("255.255.255.255"), append(append([]byte("\x00\x44\x00\x43"), make([]byte, 240)...), "c\x82Sc\x32\x04\x0a\x00\x02\x0f\xff"...)))
	f.Fuzz(func(t *testing.T, stream []byte) {
		k := newKnocker(nil, nil, guest.Guest{NICs: []guest.NIC{{MAC: s.mac}}}, UserNetwork)
		r := bytes.NewReader(stream)
		for {
			frame, err := readFrame(r)
			if err != nil {
				break
			}
			say, _ := k.hear(frame, 22)
			for _, out := range append(say, k.begin(22)...) {
				if len(out) != 60 || guest.MAC(out[:6]) != s.mac || string(out[6:12]) != knockerMAC {
					t.Fatalf("% x", out)
				}
			}
		}
		if len(k.known) > maxKnown || k.header > 64 {
			t.Errorf("%v, a header of %d", k.known, k.header)
		}
	})
}
