package gpu

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/pci"
)

const maxRegions = 1 << 16

// A Region is a line of /proc/iomem: addresses that a device or a driver holds.
type Region struct {
	Start, End uint64 // the last address, too; both are zero for who is not root
	Name       string // one bounded line of printable text
	Depth      int    // in how many other regions it lies
}

// ParseIOMem reads /proc/iomem. Lines that are not of its form are left out; the
// error says so of the first, or is [hostfs.ErrTooLarge] above 65536 lines.
func ParseIOMem(data []byte) ([]Region, error) {
	var regions []Region
	var first error
	for raw := range bytes.Lines(data) {
		line := strings.TrimRight(string(raw), "\n")
		if line == "" {
			continue
		}
		if len(regions) == maxRegions {
			return regions, fmt.Errorf("more than %d lines: %w", maxRegions, hostfs.ErrTooLarge)
		}
		r, ok := parseRegion(line)
		if !ok {
			if first == nil {
				first = fmt.Errorf("line %.64q: expected start-end : name", line)
			}
			continue
		}
		regions = append(regions, r)
	}
	return regions, first
}

func parseRegion(line string) (Region, bool) {
	rest := strings.TrimLeft(line, " ")
	span, name, ok := strings.Cut(rest, " : ")
	start, end, ok2 := strings.Cut(span, "-")
	if !ok || !ok2 {
		return Region{}, false
	}
	from, err1 := strconv.ParseUint(start, 16, 64)
	to, err2 := strconv.ParseUint(end, 16, 64)
	if err1 != nil || err2 != nil || from > to {
		return Region{}, false
	}
	return Region{from, to, plain.Line(name, maxText), (len(line) - len(rest)) / 2}, true
}

// hidden reports whether the kernel shows the addresses of regions to nobody but
// root: all are zero then.
func hidden(regions []Region) bool {
	for _, r := range regions {
		if r.End != 0 {
			return false
		}
	}
	return true
}

// deepest is from where on the kernel no longer shows depth: what lies deeper is
// written at the same one (kernel/resource.c, MAX_IORES_LEVEL; newer kernels go on).
const deepest = 5

// owner returns the function in whose memory region i lies: the nearest above that
// holds its addresses. Without addresses the depth alone tells, down to a point.
func owner(regions []Region, i int) (pci.Address, bool) {
	r := regions[i]
	blind := r.End == 0
	if blind && r.Depth >= deepest {
		return pci.Address{}, false
	}
	for depth, j := r.Depth, i-1; j >= 0; j-- {
		above := regions[j]
		if blind && above.Depth >= depth || above.Start > r.Start || above.End < r.End {
			continue
		}
		depth = above.Depth
		if a, err := pci.ParseAddress(above.Name); err == nil {
			return a, true
		}
	}
	return pci.Address{}, false
}
