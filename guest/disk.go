package guest

import (
	"fmt"
	"path"
	"strings"
)

// A Disk is a file or block device that a guest sees as a disk.
type Disk struct {
	// File is the name of the file or block device on the host.
	File string

	// Format is how File holds the disk; the zero value is Raw. It is believed, and
	// never guessed from what File holds.
	Format Format

	// ReadOnly keeps the guest from writing.
	ReadOnly bool

	// Bus is how the disk is attached; the zero value is AutoBus.
	Bus Bus

	// CDROM makes it a CD-ROM in a drive, which is always read-only.
	CDROM bool

	// Key is what opens a disk that is encrypted by LUKS, of the format Qcow2; the zero value
	// is a disk that is not. It is believed: a disk that is something else is refused.
	Key Key
}

// A Format is how a file holds a disk.
type Format int

// The formats.
const (
	Raw Format = iota
	Qcow2
)

// String returns "raw" or "qcow2".
func (f Format) String() string {
	switch f {
	case Raw:
		return "raw"
	case Qcow2:
		return "qcow2"
	}
	return fmt.Sprintf("Format(%d)", int(f))
}

// A Bus is how a disk is attached to its guest.
type Bus int

// The buses.
const (
	// AutoBus is SATA for a disk that can be written and for a CD-ROM, because
	// every operating system has the driver, and VirtIO for a read-only disk, of
	// which SATA knows nothing.
	AutoBus Bus = iota
	SATA
	// VirtIO is the fastest; Linux and the BSDs have its driver, Windows has not.
	VirtIO
	// NVMe is as fast as what an operating system of today has a driver for.
	NVMe
)

// String returns "auto", "sata", "virtio" or "nvme".
func (b Bus) String() string {
	switch b {
	case AutoBus:
		return "auto"
	case SATA:
		return "sata"
	case VirtIO:
		return "virtio"
	case NVMe:
		return "nvme"
	}
	return fmt.Sprintf("Bus(%d)", int(b))
}

// ParseBus reads what String writes.
func ParseBus(s string) (Bus, error) {
	for b := AutoBus; b <= NVMe; b++ {
		if s == b.String() {
			return b, nil
		}
	}
	return 0, fmt.Errorf("bus %s: expected auto, sata, virtio or nvme", quote(s))
}

// OnSATA reports whether d is attached by SATA, after AutoBus has been decided.
func (d Disk) OnSATA() bool {
	return d.Bus == SATA || d.Bus == AutoBus && (d.CDROM || !d.ReadOnly)
}

// ParseDisk reads raw:FILE, qcow2:FILE, iso:FILE, or a FILE whose extension says
// the format: .qcow2, .raw, .img or .iso, the last being a CD-ROM. Any other text
// is refused; nothing is read from FILE.
func ParseDisk(s string) (Disk, error) {
	if len(s) > 4096 || strings.ContainsRune(s, 0) {
		return Disk{}, fmt.Errorf("disk %s: not a file name", quote(s))
	}
	kind, file, given := strings.Cut(s, ":")
	switch {
	case given && (kind == "raw" || kind == "qcow2" || kind == "iso"):
	case strings.HasPrefix(path.Ext(s), "."):
		kind, file = path.Ext(s)[1:], s
		if kind == "img" {
			kind = "raw"
		}
	default:
		kind, file = "", s
	}
	if file == "" {
		return Disk{}, fmt.Errorf("disk %s: no file is named", quote(s))
	}
	switch kind {
	case "raw":
		return Disk{File: file}, nil
	case "qcow2":
		return Disk{File: file, Format: Qcow2}, nil
	case "iso":
		return Disk{File: file, ReadOnly: true, CDROM: true}, nil
	}
	return Disk{}, fmt.Errorf("disk %s: the format is not known from the name and is never guessed from the content; write raw:%s or qcow2:%s",
		quote(s), file, file)
}

func validateDisks(disks []Disk) (errs []error) {
	if len(disks) > MaxDisks {
		errs = append(errs, fmt.Errorf("disks: %d are more than %d", len(disks), MaxDisks))
	}
	sata := 0
	writable := make(map[string]bool, len(disks))
	for i, d := range disks {
		bad := func(why string) { errs = append(errs, fmt.Errorf("disk %d (%s): %s", i+1, quote(d.File), why)) }
		if d.File == "" || strings.ContainsRune(d.File, 0) {
			bad("not a file name")
		}
		if d.Format != Raw && d.Format != Qcow2 {
			bad(d.Format.String() + " is no format")
		}
		switch {
		case d.Bus < AutoBus || d.Bus > NVMe:
			bad(d.Bus.String() + " is no bus")
		case d.CDROM && (d.Bus == VirtIO || d.Bus == NVMe):
			bad("a CD-ROM needs the SATA bus")
		case d.Bus == SATA && d.ReadOnly && !d.CDROM:
			bad("a SATA disk cannot be read-only; use the virtio bus or a CD-ROM")
		}
		if d.OnSATA() {
			sata++
		}
		write := !d.ReadOnly && !d.CDROM
		if why := d.badKey(); why != "" {
			bad(why)
		}
		name := path.Clean(d.File)
		if before, twice := writable[name]; twice && (before || write) {
			bad("given twice; only read-only disks can be shared")
		}
		writable[name] = writable[name] || write
	}
	if sata > maxSATA {
		errs = append(errs, fmt.Errorf("disks: %d on SATA are more than %d; put some on the virtio or nvme bus", sata, maxSATA))
	}
	return errs
}
