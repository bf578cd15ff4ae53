package image

import (
	"encoding/binary"
	"strings"
)

const (
	sector      = 2048
	firstVolume = 16 // sector of the first volume descriptor
	maxVolumes  = 32
)

// iso reads the volume descriptors (ECMA-119, 8) and the boot catalogue (El Torito 1.0).
func (c *checker) iso() (Info, error) {
	var info Info
	primary, catalogue := false, uint32(0)
	for i := range maxVolumes {
		d, err := c.upTo(int64(firstVolume+i)*sector, sector)
		if err != nil {
			return Info{}, err
		}
		if len(d) < sector || string(d[1:6]) != "CD001" {
			break
		}
		switch d[0] {
		case 0:
			if strings.HasPrefix(string(d[7:39]), "EL TORITO SPECIFICATION") && catalogue == 0 {
				catalogue = binary.LittleEndian.Uint32(d[71:])
			}
		case 1:
			primary = true
			info.Label = short(strings.TrimRight(string(d[40:72]), " \x00"))
		}
		if d[0] == 255 {
			break
		}
	}
	if !primary {
		return Info{}, c.refuse(OtherFormat, "it is not the image of a CD-ROM (ISO 9660)")
	}
	info.Virtual = max(c.size, 0)
	if catalogue == 0 {
		return info, nil
	}
	b, err := c.read(uint64(catalogue)*sector, sector, "boot catalogue")
	if err != nil {
		return Info{}, err
	}
	var sum uint16
	for i := 0; i < 32; i += 2 {
		sum += binary.LittleEndian.Uint16(b[i:])
	}
	if b[0] != 1 || b[30] != 0x55 || b[31] != 0xaa || sum != 0 {
		return Info{}, c.refuse(Damaged, "its boot catalogue is none")
	}
	boots := func(platform, indicator byte) {
		if indicator == 0x88 {
			info.BootBIOS = info.BootBIOS || platform == 0
			info.BootUEFI = info.BootUEFI || platform == 0xef
		}
	}
	boots(b[1], b[32])
	for at := 64; at+32 <= len(b) && (b[at] == 0x90 || b[at] == 0x91); {
		platform, last, entries := b[at+1], b[at] == 0x91, int(binary.LittleEndian.Uint16(b[at+2:]))
		at += 32
		for ; entries > 0 && at+32 <= len(b); entries-- {
			boots(platform, b[at])
			at += 32
		}
		if last {
			break
		}
	}
	return info, nil
}
