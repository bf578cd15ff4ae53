package pci

import (
	"fmt"
	"io/fs"
	"math/bits"
	"strconv"
	"strings"

	"github.com/project-independence/indy/internal/plain"
)

// BARSizes is a set of sizes a BAR may be given: bit n stands for 1 MiB << n. The
// zero BARSizes is empty.
type BARSizes uint64

const mostBARSize = 43 // bit of 8 EiB, the largest size of 64 bits

// Has reports whether size, in bytes, is in the set.
func (s BARSizes) Has(size uint64) bool {
	n := bits.TrailingZeros64(size) - 20
	return bits.OnesCount64(size) == 1 && n >= 0 && s>>n&1 != 0
}

// Bytes lists the sizes in bytes, the smallest first.
func (s BARSizes) Bytes() []uint64 {
	var all []uint64
	for n := range mostBARSize + 1 {
		if s>>n&1 != 0 {
			all = append(all, 1<<(20+n))
		}
	}
	return all
}

// Max returns the largest size in bytes, 0 if the set is empty.
func (s BARSizes) Max() uint64 {
	n := bits.Len64(uint64(s & (1<<(mostBARSize+1) - 1)))
	if n == 0 {
		return 0
	}
	return 1 << (20 + n - 1)
}

// String lists the sizes as 256MB 512MB 1GB.
func (s BARSizes) String() string {
	var all []string
	for _, size := range s.Bytes() {
		all = append(all, sizeString(size))
	}
	return strings.Join(all, " ")
}

func sizeString(size uint64) string {
	n := (bits.Len64(size) - 1) / 10
	return strconv.FormatUint(size>>(10*n), 10) + []string{"B", "KB", "MB", "GB", "TB", "PB", "EB"}[n]
}

// A ResizableBAR is what a function says of one BAR whose size can be chosen.
type ResizableBAR struct {
	BAR       uint8 // 0 to 5
	Supported BARSizes
	Size      uint64 // as set, in bytes; 0 for a code that is reserved
}

// ResizableBARs decodes the Resizable BAR capability (PCI Express Base 6.0, section
// 7.8.6).
func (c Config) ResizableBARs() ([]ResizableBAR, error) { return c.resizable(ExtendedResizableBAR) }

// VFResizableBARs decodes that of the virtual functions, whose BARs have the same
// size in each (section 7.8.7).
func (c Config) VFResizableBARs() ([]ResizableBAR, error) { return c.resizable(ExtendedVFResizableBAR) }

func (c Config) resizable(id ExtendedCapabilityID) ([]ResizableBAR, error) {
	v, err := c.findExtended(id, 12)
	if err != nil {
		return nil, err
	}
	n := int(le32(v, 8) >> 5 & 7)
	if n < 1 || n > 6 {
		return nil, malformed("%s names %d BARs", id, n)
	}
	var all []ResizableBAR
	for i := range n {
		if err := c.moreExtended(v, 12+8*i); err != nil {
			return all, err
		}
		sizes, ctl := le32(v, 4+8*i), le32(v, 8+8*i)
		r := ResizableBAR{BAR: uint8(ctl & 7), Supported: BARSizes(sizes>>4) | BARSizes(ctl>>16)<<28}
		if code := ctl >> 8 & 0x3f; code <= mostBARSize {
			r.Size = 1 << (20 + code)
		}
		if r.BAR > 5 {
			return all, malformed("%s names BAR %d", id, r.BAR)
		}
		all = append(all, r)
	}
	return all, nil
}

// ResizableSizes returns the sizes that a BAR, 0 to 5, may be given, from
// /sys/bus/pci/devices/ADDRESS/resourceN_resize (since Linux 6.1). Everybody
// may read it; that wakes a function that is suspended. A BAR that cannot be resized
// has no such file: the error is then [fs.ErrNotExist], as it is on an older kernel.
func ResizableSizes(fsys fs.FS, a Address, bar int) (BARSizes, error) {
	file := "resource" + strconv.Itoa(bar) + "_resize"
	s, err := attribute(fsys, a, file)
	if err != nil {
		return 0, err
	}
	digits := strings.TrimPrefix(s, "0x")
	n, ok := parseHex(digits)
	if !ok || len(digits) > 16 || n>>(mostBARSize+1) != 0 {
		return 0, opError("read "+file+" of", a, fmt.Errorf("%q is no set of sizes", plain.Short(s)))
	}
	return BARSizes(n), nil
}
