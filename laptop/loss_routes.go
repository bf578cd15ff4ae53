package laptop

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
)

// A prefix is the destination of a route: the first bits of an address, and how many.
type prefix struct {
	bits   uint64 // the highest first
	length int
	by     string // the interface
}

// maxCover is the length of the longest prefix that counts as a part of the way to
// everywhere. VPNs set routes of 1 to 4 bits that together hide the default route.
const maxCover = 4

// parseRoutes returns the interfaces that lead everywhere by the table of
// /proc/net/route, the main one: by a default route, destination and mask 00000000, or
// by routes that together are one, as 0.0.0.0/1 and 128.0.0.0/1. Each has the flag
// RTF_UP. An unreachable default has the interface *.
func parseRoutes(text string) []string {
	var routes []prefix
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 8 || f[0] == "*" {
			continue
		}
		destination, ok1 := littleEndian(f[1])
		mask, ok2 := littleEndian(f[7])
		flags, err := strconv.ParseUint(f[3], 16, 16)
		length := leadingOnes(mask)
		if ok1 && ok2 && err == nil && flags&1 != 0 && length <= maxCover && mask<<length == 0 {
			routes = append(routes, prefix{uint64(destination) << 32, length, f[0]})
		}
	}
	return everywhere(routes, prefix{})
}

// littleEndian reads an address as /proc/net/route writes it on the machines that this
// is for: 0101A8C0 is 192.168.1.1.
func littleEndian(s string) (uint32, bool) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 4 {
		return 0, false
	}
	return binary.LittleEndian.Uint32(b), true
}

func leadingOnes(mask uint32) int {
	n := 0
	for ; n < 32 && mask&(1<<31) != 0; n++ {
		mask <<= 1
	}
	return n
}

// parseIPv6Routes does the same for /proc/net/ipv6_route, all tables, whose last field
// is the interface and whose last but one the flags. RTF_REJECT (0x200) leads nowhere.
// Everywhere is 2000::/3, outside of which there is nothing to be reached globally.
func parseIPv6Routes(text string) []string {
	var routes []prefix
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 10 || f[9] == "lo" {
			continue
		}
		destination, err := hex.DecodeString(f[0])
		length, lengthErr := strconv.ParseUint(f[1], 16, 8)
		flags, flagsErr := strconv.ParseUint(f[8], 16, 32)
		if err != nil || len(destination) != 16 || lengthErr != nil || length > maxCover || flagsErr != nil || flags&0x201 != 1 {
			continue
		}
		routes = append(routes, prefix{binary.BigEndian.Uint64(destination), int(length), f[9]})
	}
	return everywhere(routes, prefix{bits: 1 << 61, length: 3})
}

// everywhere returns the interfaces of those routes that have a part in leading to all
// of an address space, once each; none when the routes leave a part of it out.
func everywhere(routes []prefix, space prefix) []string {
	var interfaces []string
	seen := map[string]bool{}
	add := func(p prefix) {
		if !seen[p.by] {
			seen[p.by] = true
			interfaces = append(interfaces, p.by)
		}
	}
	within := func(p, outer prefix) bool {
		return p.length >= outer.length && (p.bits^outer.bits)>>(64-outer.length) == 0
	}
	var covered func(space prefix) bool
	covered = func(space prefix) bool {
		if slices.ContainsFunc(routes, func(p prefix) bool { return within(space, p) }) {
			return true
		}
		if space.length == maxCover {
			return false
		}
		half := prefix{bits: space.bits, length: space.length + 1}
		other := half
		other.bits |= 1 << (63 - space.length)
		return covered(half) && covered(other)
	}
	if !covered(space) {
		return nil
	}
	// What leads to a part alone hides nothing, unless the parts are the whole.
	parts := slices.DeleteFunc(slices.Clone(routes), func(p prefix) bool { return within(space, p) })
	for _, p := range routes {
		if within(space, p) {
			add(p)
		}
	}
	routes = parts
	if covered(space) {
		for _, p := range parts {
			if within(p, space) {
				add(p)
			}
		}
	}
	return interfaces
}
