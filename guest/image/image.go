package image

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
)

// A Format is how a file holds a disk.
type Format string

// The formats that Check knows.
const (
	Raw   Format = "raw"
	Qcow2 Format = "qcow2"
	VMDK  Format = "vmdk"
	VHDX  Format = "vhdx"
	VHD   Format = "vhd"
	VDI   Format = "vdi"
	ISO   Format = "iso" // ISO 9660, a CD-ROM
)

// Formats returns all formats that Check knows.
func Formats() []Format { return []Format{Raw, Qcow2, VMDK, VHDX, VHD, VDI, ISO} }

// MaxVirtual is the largest disk that an image may hold. A file of a few kilobytes can
// claim any size.
const MaxVirtual = 64 << 40

// An Info is what the header of an image says.
type Info struct {
	Format    Format
	Virtual   int64  // size of the disk that the guest sees, in bytes
	Snapshots int    // within the image; of qcow2 only
	Encrypted bool   // by LUKS; of qcow2 only, see [CheckEncrypted]
	Label     string // of the volume, of a CD-ROM only; one printable line
	BootBIOS  bool   // a CD-ROM that a BIOS can start
	BootUEFI  bool   // a CD-ROM that UEFI can start
}

// A Trick is a way in which an image is more than it seems, or less.
type Trick string

// The tricks.
const (
	OtherFormat    Trick = "other format"        // it is not of the format that it is said to be of
	BackingFile    Trick = "backing file"        // what it lacks is in another file
	JSONName       Trick = "json: name"          // the same, with a name by which QEMU opens anything
	DataFile       Trick = "external data file"  // its data are in another file
	ExtentFile     Trick = "extent files"        // it is a list of other files
	Parent         Trick = "parent disk"         // it is the difference to another file
	UnknownFeature Trick = "unknown feature"     // it needs what is not known here
	UnknownVersion Trick = "unknown version"     // its header is of another version
	Encrypted      Trick = "encryption"          // there is no key, or it is none that keeps anything secret
	NotEncrypted   Trick = "no encryption"       // there is a key, and nothing to open with it
	Corrupt        Trick = "marked corrupt"      // QEMU found its tables wrong
	Dirty          Trick = "unfinished writes"   // its log has to be replayed
	HugeDisk       Trick = "size out of bounds"  // more than MaxVirtual, or nothing
	HugeTable      Trick = "table out of bounds" // more than a reader can be asked to hold, or outside of the file
	Overlap        Trick = "overlapping tables"  // tables of which one would destroy the other
	Damaged        Trick = "damaged header"      // values that nothing writes
	Truncated      Trick = "ends in its header"  // the file is too short
)

// A RefusedError is why an image is not taken.
type RefusedError struct {
	Format Format // that it is said to be of
	Trick  Trick
	Detail string // in words, one printable line
	Remedy string // what makes an image of it that is taken; empty if nothing does
}

// Error returns format, trick, detail and remedy.
func (e *RefusedError) Error() string {
	s := fmt.Sprintf("%s image, %s: %s", e.Format, e.Trick, e.Detail)
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

// Check reads the header of an image in format f and returns what it says. Size is that of
// the file in bytes, negative when it is not known, as of a block device.
//
// An image that is refused is a *[RefusedError]; other errors are those of r. A raw image that
// begins as another format does is refused, because whoever guesses formats would take it for that:
// Check is for taking an image in. A raw disk that guests have written to may hold anything.
func Check(r io.ReaderAt, size int64, f Format) (Info, error) {
	return checker{r: r, size: size, format: f}.check()
}

// CheckEncrypted is [Check] of a qcow2 image of which the data are encrypted by LUKS, and are to
// be opened with a key. One that is not is refused, as Check refuses those that are: what is
// said of an image is exactly what it is. Whether a key opens it is found out by QEMU.
func CheckEncrypted(r io.ReaderAt, size int64) (Info, error) {
	return checker{r: r, size: size, format: Qcow2, encrypted: true}.check()
}

func (c checker) check() (Info, error) {
	var info Info
	var err error
	switch f := c.format; f {
	case Raw:
		info, err = c.raw()
	case Qcow2:
		info, err = c.qcow2()
	case VMDK:
		info, err = c.vmdk()
	case VHDX:
		info, err = c.vhdx()
	case VHD:
		info, err = c.vhd()
	case VDI:
		info, err = c.vdi()
	case ISO:
		info, err = c.iso()
	default:
		return Info{}, fmt.Errorf("image format %q is not known", short(string(f)))
	}
	if err == nil && c.format != ISO && (info.Virtual <= 0 || info.Virtual > MaxVirtual) {
		err = c.refuse(HugeDisk, "the disk would have %d bytes, at most %d are taken", info.Virtual, int64(MaxVirtual))
	}
	if err != nil {
		return Info{}, err
	}
	info.Format = c.format
	return info, nil
}

// Looks returns the name of the format that a file looks like to whoever guesses, from what stands at
// its beginning and its end, empty if it is none of those known. It may be one that
// Check does not know, such as luks. It is for telling people what they have, not for
// opening it.
func Looks(r io.ReaderAt, size int64) (Format, error) {
	c := checker{r: r, size: size}
	head, err := c.upTo(0, 512)
	if err != nil {
		return "", err
	}
	begins := func(s string) bool { return strings.HasPrefix(string(head), s) }
	switch {
	case begins("QFI\xfb\x00\x00\x00\x01"):
		return "qcow", nil
	case begins("QFI\xfb"):
		return Qcow2, nil
	case begins("KDMV"), begins("COWD"), begins("# Disk DescriptorFile"):
		return VMDK, nil
	case begins("vhdxfile"):
		return VHDX, nil
	case begins("conectix"):
		return VHD, nil
	case len(head) >= 68 && string(head[64:68]) == "\x7f\x10\xda\xbe":
		return VDI, nil
	case begins("QED\x00"):
		return "qed", nil
	case begins("WithoutFreeSpace"), begins("WithouFreSpacExt"):
		return "parallels", nil
	case begins("Bochs Virtual HD Image"):
		return "bochs", nil
	case begins("LUKS\xba\xbe"):
		return "luks", nil
	}
	if size >= 512 {
		foot, err := c.upTo(size-512, 512)
		switch {
		case err != nil:
			return "", err
		case strings.HasPrefix(string(foot), "conectix"):
			return VHD, nil
		case strings.HasPrefix(string(foot), "koly"):
			return "dmg", nil
		}
	}
	volume, err := c.upTo(firstVolume*sector, 6)
	if err == nil && len(volume) == 6 && string(volume[1:]) == "CD001" {
		return ISO, nil
	}
	return "", err
}

// A checker reads one file.
type checker struct {
	r      io.ReaderAt
	size   int64
	format Format

	encrypted bool // by LUKS, as it is said to be
}

func (c *checker) refuse(t Trick, format string, args ...any) *RefusedError {
	return &RefusedError{Format: c.format, Trick: t, Detail: fmt.Sprintf(format, args...)}
}

// convert refuses what qemu-img can make whole, where its owner trusts what it refers to.
func (c *checker) convert(t Trick, format string, args ...any) *RefusedError {
	e := c.refuse(t, format, args...)
	e.Remedy = fmt.Sprintf("make one file of all, if you know where they come from: qemu-img convert -f %s -O qcow2 FILE NEW.qcow2", qemuName(c.format))
	return e
}

func qemuName(f Format) Format {
	if f == VHD {
		return "vpc"
	}
	return f
}

// upTo reads n bytes at off, or what is left of the file there.
func (c *checker) upTo(off int64, n int) ([]byte, error) {
	b := make([]byte, n)
	got, err := c.r.ReadAt(b, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:got], nil
}

// read reads n bytes at off; a file that ends before is refused.
func (c *checker) read(off uint64, n int, what string) ([]byte, error) {
	if off > 1<<62 {
		return nil, c.refuse(HugeTable, "the %s would be at byte %d", what, off)
	}
	b, err := c.upTo(int64(off), n)
	if err == nil && len(b) < n {
		err = c.refuse(Truncated, "the %s would be at byte %d, and the file ends before", what, off)
	}
	return b, err
}

// within refuses a table that is not wholly in the file.
func (c *checker) within(off, length uint64, what string) error {
	if off > 1<<62 || length > 1<<62 || c.size >= 0 && off+length > uint64(c.size) {
		return c.refuse(HugeTable, "the %s, %d bytes at byte %d, is not in the file", what, length, off)
	}
	return nil
}

func (c *checker) raw() (Info, error) {
	looks, err := Looks(c.r, c.size)
	if err != nil {
		return Info{}, err
	}
	if looks != "" && looks != ISO { // many CD-ROMs can be put on a stick, too
		e := c.refuse(OtherFormat, "it looks like %s, and whoever guesses would take it for that", looks)
		e.Remedy = "say what it is, or make a raw disk of it with a tool that you trust"
		return Info{}, e
	}
	if c.size < 0 {
		return Info{Virtual: MaxVirtual}, nil
	}
	return Info{Virtual: c.size}, nil
}

// A part is a piece of a file that has one use.
type part struct {
	what     string
	from, to uint64
}

// apart refuses parts that overlap.
func (c *checker) apart(parts []part) error {
	for i, a := range parts {
		for _, b := range parts[:i] {
			if a.from < b.to && b.from < a.to {
				return c.refuse(Overlap, "the %s is where the %s is", a.what, b.what)
			}
		}
	}
	return nil
}

// short makes of what an image says one bounded printable line.
func short(s string) string {
	cut := ""
	if len(s) > 80 {
		s, cut = s[:80], "..."
	}
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))) + cut
}
