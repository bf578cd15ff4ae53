package pci

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
)

// A TopologyPath says where a function is plugged in: the root of its hierarchy and
// from there device and function of each bridge down to itself, as in
// pci0000:00/1c.4/00.0. Bus numbers change when the firmware or a dock adds a
// bridge somewhere else, and addresses with them; a TopologyPath does not.
//
// A hierarchy that a function carries itself, as Intel VMD does, follows that
// function, pci0000:00/0e.0/pci:e0/06.0/00.0: with the number of its first bus but
// not that of its domain, which Linux gives in the order in which drivers load. A
// virtual function is its physical one's with a number, pci0000:00/1c.4/00.0/vf3.
//
// Two functions of one machine never have the same path. Another device in the
// same slot does: compare ids as well. TopologyPaths are comparable and may be map
// keys; the zero TopologyPath is no path.
type TopologyPath struct{ s string }

const (
	maxTopology = 64        // elements; each bridge takes one of 256 buses, hubs in docks a few
	maxVF       = 1<<16 - 1 // what SR-IOV can count
)

// ParseTopologyPath reads what String writes.
func ParseTopologyPath(s string) (TopologyPath, error) {
	bad := func(why string) (TopologyPath, error) {
		return TopologyPath{}, fmt.Errorf("PCI topology path %q: %s; expected such as pci0000:00/1c.4/00.0", plain.Short(s), why)
	}
	if strings.Count(s, "/") >= maxTopology {
		return bad("too many elements")
	}
	elems := strings.Split(s, "/")
	const (
		root = iota
		function
		virtual
	)
	last := -1
	for i, elem := range elems {
		kind := function
		ok := isDeviceFunction(elem)
		switch {
		case i == 0:
			kind, ok = root, isRoot(elem)
		case strings.HasPrefix(elem, "pci:"):
			kind, ok = root, isHex(elem[4:], 2)
		case strings.HasPrefix(elem, "vf"):
			kind, ok = virtual, isVF(elem[2:])
		}
		switch {
		case !ok:
			return bad(fmt.Sprintf("element %d is not one", i+1))
		case last == virtual:
			return bad("nothing follows a virtual function")
		case kind != function && last == root:
			return bad("a function follows a root")
		}
		last = kind
	}
	if last == root {
		return bad("it does not end in a function")
	}
	return TopologyPath{strings.Clone(s)}, nil
}

// isRoot accepts pciDDDD:BB as the kernel writes it.
func isRoot(s string) bool {
	domain, bus, ok := strings.Cut(strings.TrimPrefix(s, "pci"), ":")
	if !ok || !strings.HasPrefix(s, "pci") || !isHex(bus, 2) || !isHex(domain, len(domain)) {
		return false
	}
	return len(domain) == 4 || len(domain) > 4 && len(domain) <= 8 && domain[0] != '0'
}

// isDeviceFunction accepts DD.F.
func isDeviceFunction(s string) bool {
	return len(s) == 4 && isHex(s[:2], 2) && s[0] <= '1' && s[2] == '.' && '0' <= s[3] && s[3] <= '7'
}

func isVF(s string) bool {
	n, err := strconv.ParseUint(s, 10, 32)
	return err == nil && n <= maxVF && strconv.FormatUint(n, 10) == s
}

// isHex accepts n digits in lower case, so that one path has one spelling.
func isHex(s string, n int) bool {
	if len(s) != n || n == 0 {
		return false
	}
	for i := range n {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// ReadTopologyPath reads where function a is plugged in, from the link
// /sys/bus/pci/devices/ADDRESS, and of a virtual function from the links physfn and
// virtfnN. It wakes nothing. The error is an *[OpError].
func ReadTopologyPath(fsys fs.FS, a Address) (TopologyPath, error) {
	pf, err := PhysicalFunction(fsys, a)
	if err != nil {
		return TopologyPath{}, err
	}
	if pf.IsValid() && pf != a {
		n, err := virtualNumber(fsys, pf, a)
		if err != nil {
			return TopologyPath{}, opError("topology of", a, err)
		}
		path, err := readTopology(fsys, pf)
		if err != nil {
			return TopologyPath{}, opError("topology of", a, err)
		}
		return TopologyPath{path.s + "/vf" + strconv.Itoa(n)}, nil
	}
	path, err := readTopology(fsys, a)
	if err != nil {
		return TopologyPath{}, opError("topology of", a, err)
	}
	return path, nil
}

// virtualNumber finds which of the virtual functions of pf is vf.
func virtualNumber(fsys fs.FS, pf, vf Address) (int, error) {
	dir := devices + "/" + pf.String()
	for n := range maxVF + 1 {
		s, err := hostfs.ReadLinkBase(fsys, dir+"/virtfn"+strconv.Itoa(n))
		if errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("%s does not name it among its virtual functions: %w", pf, err)
		}
		if err != nil {
			return 0, err
		}
		if a, err := ParseAddress(s); err == nil && a == vf {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%s has more virtual functions than can be", pf)
}

func readTopology(fsys fs.FS, a Address) (TopologyPath, error) {
	target, err := fs.ReadLink(fsys, devices+"/"+a.String())
	if err != nil {
		return TopologyPath{}, err
	}
	return topologyOf(target, a)
}

// topologyOf takes apart the path of a function's directory, such as
// ../../../devices/pci0000:00/0000:00:1c.4/0000:05:00.0. What comes before the
// first root, as on machines where it is a platform device, is left out.
func topologyOf(target string, a Address) (TopologyPath, error) {
	bad := func(why string) (TopologyPath, error) {
		return TopologyPath{}, fmt.Errorf("link %q %s", plain.Short(target), why)
	}
	target = strings.TrimRight(target, "/")
	if strings.Count(target, "/") > 4*maxTopology {
		return bad("is too long")
	}
	elems := strings.Split(target, "/")
	first := slices.IndexFunc(elems, isRoot)
	if first < 0 {
		return bad("does not lead through a root such as pci0000:00")
	}
	path := elems[first]
	var last Address
	for _, elem := range elems[first+1:] {
		if isRoot(elem) {
			path += "/pci:" + elem[len(elem)-2:]
			continue
		}
		f, err := ParseAddress(elem)
		if err != nil {
			return bad("has an element that is neither root nor address")
		}
		path += fmt.Sprintf("/%02x.%x", f.Device(), f.Function())
		last = f
	}
	if last != a {
		return bad("does not end in the address")
	}
	return ParseTopologyPath(path)
}

// IsValid reports whether p is a path, that is, not the zero TopologyPath.
func (p TopologyPath) IsValid() bool { return p.s != "" }

// Compare orders paths by their text; the zero TopologyPath comes first.
func (p TopologyPath) Compare(q TopologyPath) int { return cmp.Compare(p.s, q.s) }

// String returns the path, or "invalid topology path" for the zero TopologyPath.
func (p TopologyPath) String() string {
	if !p.IsValid() {
		return "invalid topology path"
	}
	return p.s
}

// MarshalText writes the path as String does; the zero TopologyPath is empty text.
func (p TopologyPath) MarshalText() ([]byte, error) { return []byte(p.s), nil }

// UnmarshalText reads what MarshalText writes.
func (p *TopologyPath) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*p = TopologyPath{}
		return nil
	}
	v, err := ParseTopologyPath(string(text))
	if err == nil {
		*p = v
	}
	return err
}
