package hostfs

import (
	"encoding/hex"
	"net/netip"
	"strings"
)

// route gives what stands for a line of /proc/net/route: interface, destination,
// gateway, flags and, seventh, the mask. Addresses are replaced by some of 10.0.0.0/8;
// what is 0 stays, so that default routes stay what they are and no other becomes one.
func (s *scrubber) route(line string) string {
	f := strings.Fields(line)
	switch {
	case len(f) < 8:
		return "" // none
	case f[1] == "Destination":
		return line
	}
	f[0], f[2] = s.element(f[0]), s.ipv4(f[2], "FFFFFFFF")
	f[1] = s.ipv4(f[1], f[7])
	return strings.Join(f, "\t")
}

// ipv4 replaces an address in the digits of a little-endian number, within mask.
func (s *scrubber) ipv4(a, mask string) string {
	const zero, ten = "00000000", "0000000A"
	if a == zero {
		return a
	}
	to, _ := hex.DecodeString(s.hash(a, 6) + "0a")
	bits, err := hex.DecodeString(mask)
	if err != nil || len(bits) != len(to) || mask == zero {
		return ten
	}
	for i := range to {
		to[i] &= bits[i]
	}
	if v := strings.ToUpper(hex.EncodeToString(to)); v != zero {
		return v
	}
	return ten
}

// route6 gives what stands for a line of /proc/net/ipv6_route, whose last field is
// the interface.
func (s *scrubber) route6(line string) string {
	f := strings.Fields(line)
	for i, v := range f {
		if b, err := hex.DecodeString(v); err == nil && len(b) == 16 {
			f[i] = s.ipv6(v)
		} else if i == len(f)-1 {
			f[i] = s.element(v)
		}
	}
	return strings.Join(f, " ")
}

// ipv6 keeps what kind of address it is: none, loopback, link-local, multicast.
func (s *scrubber) ipv6(a string) string {
	const zeros, solicited = "00000000000000000000000000000000", "ff0200000000000000000001ff"
	switch {
	case a[:31] == zeros[:31]:
		return a
	case strings.HasPrefix(a, solicited):
		return solicited + s.hash(a, 6)
	case strings.HasPrefix(a, "ff") && a[4:28] == zeros[4:28]:
		return a // a well-known group
	case strings.HasPrefix(a, "ff"):
		return a[:4] + s.hash(a, 28)
	case a[16:] == zeros[16:] && strings.HasPrefix(a, "fe80"):
		return a
	case strings.HasPrefix(a, "fe80"):
		return a[:16] + s.hash(a[16:], 16)
	}
	return "fd" + s.hash(a, 30)
}

// trie gives what stands for a line of /proc/net/fib_trie, in which only what leads
// everywhere and nowhere keeps its address: |-- 192.0.2.0 or +-- 192.0.2.0/24 2 0 2.
func (s *scrubber) trie(line string) string {
	f := strings.Fields(line)
	if len(f) < 2 || f[0] != "|--" && f[0] != "+--" {
		if strings.Contains(line, ".") {
			return dropped
		}
		return line
	}
	address, rest, _ := strings.Cut(f[1], "/")
	a, err := netip.ParseAddr(address)
	switch {
	case err != nil:
		return dropped
	case a.IsUnspecified(), a.IsLoopback():
		return line
	}
	h, _ := hex.DecodeString(s.hash(address, 6))
	f[1] = netip.AddrFrom4([4]byte{10, h[0], h[1], h[2]}).String()
	if rest != "" {
		f[1] += "/" + rest
	}
	return line[:strings.Index(line, f[0])] + strings.Join(f, " ")
}

// inet6 gives what stands for a line of /proc/net/if_inet6, whose first field is the
// address and whose last the interface.
func (s *scrubber) inet6(line string) string {
	f := strings.Fields(line)
	if len(f) < 6 || len(f[0]) != 32 {
		return "" // none
	}
	f[0], f[len(f)-1] = s.ipv6(f[0]), s.element(f[len(f)-1])
	return strings.Join(f, " ")
}

// fabric gives what stands for the address of an NVMe controller that is behind a
// network, fields KEY=VALUE. That of one on PCI is a function's and has no fields.
func (s *scrubber) fabric(v string) string {
	fields := strings.Split(v, ",")
	for i, f := range fields {
		if key, value, ok := strings.Cut(f, "="); ok {
			fields[i] = key + "=" + s.fabricField(key, value)
		} else {
			fields[i] = dropped
		}
	}
	return strings.Join(fields, ",")
}

// fabricField keeps which port is used and, as elsewhere, which interface. The others
// are addresses: traddr, host_traddr and src_addr, of whatever network.
func (s *scrubber) fabricField(key, value string) string {
	switch {
	case value == "", value == "none", key == "trsvcid":
		return value
	case key == "host_iface":
		return s.element(value)
	}
	return s.hash(value, 12)
}
