package guest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// A NIC is one of a guest's network interfaces. Its zero value leads nowhere and is
// not valid: a guest without a network has no NIC.
type NIC struct {
	// Link is what the interface leads to.
	Link Link

	// Model is what the guest sees; the zero value is VirtIONet.
	Model NICModel

	// Isolated keeps the guest from everything behind a LinkNAT: it gets an address and
	// an answer to what it asks of the LinkNAT itself, and nothing more. Only with LinkNAT.
	Isolated bool

	// MAC is the interface's hardware address; the zero value is the one of
	// [Guest.MAC].
	MAC MAC
}

// A Link is what a network interface leads to.
type Link int

// The links. The zero Link is none.
const (
	// LinkNAT leads to what the host reaches, with the host's addresses: others see the
	// host, and nobody can begin a connection to the guest. The host's WLAN is shared
	// this way, and stays with the host.
	LinkNAT Link = iota + 1
	// LinkTap leads to a tap interface of the host, such as one on a bridge: the guest is
	// a neighbour of the host's on a network, with an address of its own. Whoever
	// starts the guest opens it.
	LinkTap
)

// String returns "nat" or "tap".
func (l Link) String() string {
	switch l {
	case LinkNAT:
		return "nat"
	case LinkTap:
		return "tap"
	}
	return fmt.Sprintf("Link(%d)", int(l))
}

// A NICModel is the hardware that a network interface seems to be.
type NICModel int

// The models.
const (
	// VirtIONet is the fastest; Linux and the BSDs have its driver, Windows has not.
	VirtIONet NICModel = iota
	// E1000E is Intel's 82574L, which every operating system knows.
	E1000E
)

// String returns "virtio" or "e1000e".
func (m NICModel) String() string {
	switch m {
	case VirtIONet:
		return "virtio"
	case E1000E:
		return "e1000e"
	}
	return fmt.Sprintf("NICModel(%d)", int(m))
}

// A MAC is the hardware address of a network interface. The zero MAC is none.
type MAC [6]byte

// ParseMAC reads six bytes as String writes them, in hexadecimal of either case. A
// group address and the zero address are refused: no interface has one.
func ParseMAC(s string) (MAC, error) {
	var m MAC
	ok := len(s) == 17
	for i := range m {
		if !ok {
			break
		}
		_, err := hex.Decode(m[i:i+1], []byte(s[3*i:3*i+2]))
		ok = err == nil && (i == 5 || s[3*i+2] == ':')
	}
	if !ok {
		return MAC{}, fmt.Errorf("MAC address %s: expected one such as 52:54:00:12:34:56", quote(s))
	}
	if m == (MAC{}) || m.isGroup() {
		return MAC{}, fmt.Errorf("MAC address %s: not the address of one interface", quote(s))
	}
	return m, nil
}

// String returns such as "52:54:00:12:34:56".
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

func (m MAC) isGroup() bool { return m[0]&1 != 0 }

// MAC returns the hardware address of the i-th network interface, counted from 0: its
// own, or one made of the guest's name and i, in the range that QEMU's guests have. It
// is the same at every start and on every host, and differs between two guests of one
// host but for a chance of one in 16 million.
func (g Guest) MAC(i int) MAC {
	if i < len(g.NICs) && g.NICs[i].MAC != (MAC{}) {
		return g.NICs[i].MAC
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", g.Name, i))
	return MAC{0x52, 0x54, 0x00, sum[0], sum[1], sum[2]}
}

func validateNICs(nics []NIC) (errs []error) {
	if len(nics) > MaxNICs {
		errs = append(errs, fmt.Errorf("network: %d interfaces are more than %d", len(nics), MaxNICs))
	}
	seen := make(map[MAC]bool, len(nics))
	for i, n := range nics {
		bad := func(why string) { errs = append(errs, fmt.Errorf("network interface %d: %s", i+1, why)) }
		if n.Link != LinkNAT && n.Link != LinkTap {
			bad("it leads nowhere (" + n.Link.String() + ")")
		}
		if n.Model != VirtIONet && n.Model != E1000E {
			bad(n.Model.String() + " is no model")
		}
		if n.Isolated && n.Link == LinkTap {
			bad("only a LinkNAT can isolate")
		}
		if n.MAC.isGroup() {
			bad(n.MAC.String() + " is a group address")
		}
		if n.MAC != (MAC{}) && seen[n.MAC] {
			bad(n.MAC.String() + " is given twice")
		}
		seen[n.MAC] = true
	}
	return errs
}

// A SharedFolder is a folder of the host that the guest sees, through virtiofs.
type SharedFolder struct {
	// Path is the absolute name of the folder on the host.
	Path string

	// Name is the tag by which the guest mounts it, [A-Za-z0-9][A-Za-z0-9_.-]{0,35}:
	// mount -t virtiofs NAME /mnt.
	Name string

	// ReadOnly keeps the guest from changing anything in it.
	ReadOnly bool
}

func validateFolders(folders []SharedFolder) (errs []error) {
	if len(folders) > maxFolders {
		errs = append(errs, fmt.Errorf("folders: %d are more than %d", len(folders), maxFolders))
	}
	seen := make(map[string]bool, len(folders))
	for i, f := range folders {
		bad := func(why string) { errs = append(errs, fmt.Errorf("folder %d (%s): %s", i+1, quote(f.Path), why)) }
		if !strings.HasPrefix(f.Path, "/") || strings.ContainsRune(f.Path, 0) {
			bad("not an absolute file name")
		}
		if !isTag(f.Name) {
			bad("name " + quote(f.Name) + ": expected 1 to 36 of A-Z, a-z, 0-9, _, . and -, starting with a letter or digit")
		} else if seen[f.Name] {
			bad("name " + quote(f.Name) + " is given twice")
		}
		seen[f.Name] = true
	}
	return errs
}

// isTag reports whether s can be the tag of a file system: the field of virtio's
// section 5.11.4 has 36 bytes.
func isTag(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || i > 0 && strings.IndexByte("_.-", c) >= 0) {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 36
}
