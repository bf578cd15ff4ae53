package pci

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/project-independence/indy/internal/plain"
)

// Flags of the third column (include/linux/ioport.h).
const (
	resourceShadow    = 1 << 1 // of a ROM
	resourceIO        = 1 << 8
	resourceMemory    = 1 << 9
	resourceTypes     = 0xf00
	resourcePrefetch  = 1<<13 | 1<<12 // the second on older kernels; today it is of no use to PCI
	resource64        = 1 << 20
	resourceDisabled  = 1 << 28
	resourceUnset     = 1 << 29
	maxResourceLines  = 64
	linesOfROM        = 6 // after BARs 0 to 5
	linesWithoutVFs   = 7
	linesWithVFs      = 13                 // on a kernel that knows SR-IOV
	linesOfWindows    = 4                  // after those, of a bridge
	linesOfOldBridges = linesOfWindows + 1 // older kernels end with one that is empty
)

// Resources returns the ranges of addresses that the kernel gave a function, with
// their sizes, from /sys/bus/pci/devices/ADDRESS/resource, which everybody may read
// and which wakes nothing. Registers that are not there are left out. A range of
// virtual functions is that of all of them together.
//
// The error is an *[OpError]; what could be understood is returned with it.
func Resources(fsys fs.FS, a Address) ([]BAR, error) {
	s, err := attribute(fsys, a, "resource")
	if err != nil {
		return nil, err
	}
	bars, err := parseResources(s)
	if err != nil {
		return bars, opError("read resource of", a, err)
	}
	return bars, nil
}

// parseResources reads lines of start, end and flags. What a line is for follows
// from its number, and from how many there are: a kernel with SR-IOV has 13, and 17
// or 18 for a bridge; one without has 7, and 11 or 12.
func parseResources(text string) ([]BAR, error) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) > maxResourceLines {
		return nil, fmt.Errorf("%d lines; at most %d were expected", len(lines), maxResourceLines)
	}
	vfs, windows := 0, 0 // the lines where they end
	switch n := len(lines); n {
	case linesWithVFs + linesOfWindows, linesWithVFs + linesOfOldBridges:
		vfs, windows = linesWithVFs, linesWithVFs+linesOfWindows
	case linesWithVFs:
		vfs = linesWithVFs
	case linesWithoutVFs + linesOfWindows, linesWithoutVFs + linesOfOldBridges:
		windows = linesWithoutVFs + linesOfWindows
	}
	var bars []BAR
	var errs []error
	for i, line := range lines {
		b, flags, err := parseResource(line, i == linesOfROM)
		if err != nil {
			errs = append(errs, fmt.Errorf("line %d: %w", i+1, err))
			continue
		}
		if flags == 0 {
			continue
		}
		switch {
		case i < linesOfROM:
			b.Kind, b.Index = KindBAR, i
		case i == linesOfROM:
			b.Kind, b.Shadow = KindROM, flags&resourceShadow != 0
		case i < vfs:
			b.Kind, b.Index = KindVFBAR, i-linesWithoutVFs
		case i < windows:
			b.Kind, b.Index = KindWindow, i-(windows-linesOfWindows)
		default:
			errs = append(errs, fmt.Errorf("line %d of %d: what it stands for is not known", i+1, len(lines)))
			continue
		}
		bars = append(bars, b)
	}
	return bars, errors.Join(errs...)
}

func parseResource(line string, rom bool) (b BAR, flags uint64, err error) {
	fields := strings.Fields(line)
	var n [3]uint64
	ok := len(fields) == 3
	for i := 0; ok && i < 3; i++ {
		digits, prefixed := strings.CutPrefix(fields[i], "0x")
		n[i], ok = parseHex(digits)
		ok = ok && prefixed && len(digits) <= 16
	}
	if !ok {
		return BAR{}, 0, fmt.Errorf("%q: expected start, end and flags in hexadecimal", plain.Short(line))
	}
	start, end, flags := n[0], n[1], n[2]
	if flags == 0 {
		return BAR{}, 0, nil
	}
	b = BAR{
		Is64:         flags&resource64 != 0,
		Prefetchable: flags&resourcePrefetch != 0,
		Disabled:     flags&resourceDisabled != 0,
		Unassigned:   flags&resourceUnset != 0 || start == 0,
	}
	switch kind := flags & resourceTypes; {
	case kind == resourceIO:
		b.Space = SpaceIO
	case kind == resourceMemory:
	case kind == 0 && rom && flags&resourceShadow != 0: // older kernels say no more of a copy
	default:
		return BAR{}, 0, fmt.Errorf("flags %#x are neither of I/O nor of memory", flags)
	}
	if end > start { // a range without a size ends where it begins, or before
		b.Size = end - start + 1
		if b.Size == 0 {
			return BAR{}, 0, errors.New("the range is all there is")
		}
	}
	if !b.Unassigned {
		b.Start = start
	}
	return b, flags, nil
}
