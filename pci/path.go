package pci

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/project-independence/indy/internal/plain"
)

// InPath returns the addresses that occur as elements of a path below
// /sys/devices, from the root port down to the function itself:
// ../../devices/pci0000:00/0000:00:1d.0/0000:03:00.0/nvme/nvme0 gives 0000:00:1d.0
// and 0000:03:00.0. Every link in /sys/class and /sys/bus leads to such a path, so
// it tells which function carries a network interface, a disk or a sound card.
func InPath(path string) []Address {
	var found []Address
	for elem := range strings.SplitSeq(path, "/") {
		if len(elem) >= len("0000:00:00.0") && elem[len(elem)-2] == '.' {
			if a, err := ParseAddress(elem); err == nil {
				found = append(found, a)
			}
		}
	}
	return found
}

// Bridges returns the bridges above function a, the one at the root first, from
// the link /sys/bus/pci/devices/ADDRESS. A function on a root bus has none.
func Bridges(fsys fs.FS, a Address) ([]Address, error) {
	target, err := fs.ReadLink(fsys, devices+"/"+a.String())
	if err != nil {
		return nil, opError("topology", a, err)
	}
	path := InPath(target)
	if len(path) == 0 || path[len(path)-1] != a {
		return nil, opError("topology", a, fmt.Errorf("link %q does not end in the address", plain.Short(target)))
	}
	return path[:len(path)-1], nil
}
