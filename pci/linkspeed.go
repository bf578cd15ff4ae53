package pci

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/project-independence/indy/internal/plain"
)

// A LinkSpeed is the speed of one lane of a PCI Express link. The zero LinkSpeed
// is unknown, or that of a link that is down.
type LinkSpeed uint8

// The speeds of PCI Express 1 to 6, with the codes of the link registers.
const (
	Speed2GT5 LinkSpeed = iota + 1
	Speed5GT
	Speed8GT
	Speed16GT
	Speed32GT
	Speed64GT
)

// MegatransfersPerSecond returns the speed as a number, 2500 for 2.5 GT/s, 0 when unknown.
func (s LinkSpeed) MegatransfersPerSecond() int {
	if s < Speed2GT5 || s > Speed64GT {
		return 0
	}
	if s == Speed2GT5 {
		return 2500
	}
	if s == Speed5GT {
		return 5000
	}
	return 8000 << (s - Speed8GT)
}

// String returns 2.5GT/s, 5GT/s and so on, or unknown.
func (s LinkSpeed) String() string {
	n := s.MegatransfersPerSecond()
	if n == 0 {
		return "unknown"
	}
	return strconv.FormatFloat(float64(n)/1000, 'g', -1, 64) + "GT/s"
}

// parseLinkSpeed reads what the kernel writes: "8.0 GT/s PCIe", formerly "8 GT/s";
// "Unknown" is no speed and no error.
func parseLinkSpeed(text string) (LinkSpeed, error) {
	if strings.HasPrefix(text, "Unknown") {
		return 0, nil
	}
	if number, unit, ok := strings.Cut(text, " "); ok && (unit == "GT/s" || strings.HasPrefix(unit, "GT/s ")) {
		if f, err := strconv.ParseFloat(number, 64); err == nil {
			for s := Speed2GT5; s <= Speed64GT; s++ {
				if f*1000 == float64(s.MegatransfersPerSecond()) {
					return s, nil
				}
			}
		}
	}
	return 0, fmt.Errorf("%q is no speed of PCI Express; expected such as 8.0 GT/s PCIe", plain.Short(text))
}

func speedOf(code uint32) LinkSpeed {
	if s := LinkSpeed(code & 15); s <= Speed64GT {
		return s
	}
	return 0
}

// LinkSpeeds is a set of speeds. The zero LinkSpeeds is empty.
type LinkSpeeds uint8

// Has reports whether s is in the set.
func (l LinkSpeeds) Has(s LinkSpeed) bool { return s > 0 && s <= Speed64GT && l>>(s-1)&1 != 0 }

// Max returns the highest speed, unknown if the set is empty.
func (l LinkSpeeds) Max() LinkSpeed { return LinkSpeed(bits.Len8(uint8(l & 0x3f))) }

// String lists the speeds.
func (l LinkSpeeds) String() string {
	var all []string
	for s := Speed2GT5; s <= Speed64GT; s++ {
		if l.Has(s) {
			all = append(all, s.String())
		}
	}
	return strings.Join(all, " ")
}

// linkWidth keeps the widths that there are; a register of all ones has none of them.
func linkWidth(lanes uint32) int {
	switch lanes {
	case 1, 2, 4, 8, 12, 16, 32:
		return int(lanes)
	}
	return 0
}
