package gpu

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"syscall"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
)

// MaxROM is the most bytes of an option ROM that are read.
const MaxROM = 16 << 20

const (
	romUnit   = 512
	maxImages = 64
	maxFront  = 64 << 10
)

// An Image is one of the images of an option ROM: PCI Firmware 3.x, section 5.
type Image struct {
	Offset int // in the ROM
	Size   int // bytes, by the data structure

	Vendor  pci.ID
	Device  pci.ID
	Devices []pci.ID // more that the image is for, since PCI 3.0
	Class   pci.Class

	Code     CodeType
	Revision uint16 // of the code, the vendor's number
	Last     bool   // no image follows

	// Checksum tells of a BIOS image whether its bytes add up to zero, which they
	// have to for firmware to run it; of others Unknown.
	Checksum Answer

	EFI EFI // of images with CodeEFI
}

// A CodeType is who can run an image.
type CodeType uint8

// The code types of PCI Firmware. Vendors use numbers above for their own data.
const (
	CodeBIOS         CodeType = 0 // x86, legacy
	CodeOpenFirmware CodeType = 1
	CodeHPPA         CodeType = 2
	CodeEFI          CodeType = 3
)

// String returns BIOS, Open Firmware, HP PA-RISC or EFI, else the number.
func (c CodeType) String() string {
	if names := []string{"BIOS", "Open Firmware", "HP PA-RISC", "EFI"}; int(c) < len(names) {
		return names[c]
	}
	return "type " + strconv.Itoa(int(c))
}

// EFI is the head of an image for UEFI: UEFI, section 14.4.
type EFI struct {
	Present    bool   // the head is there: signature 0ef1
	Subsystem  uint16 // of PE: 11 a boot service driver, 12 a runtime driver
	Machine    uint16 // of PE: 8664 x86-64, aa64 ARM
	Compressed bool
	Offset     int // of the program, from the beginning of the image
}

// ErrNoROM is the cause when there is no option ROM in what was read.
var ErrNoROM = errors.New("no option ROM")

// ParseROM reads the heads of the images of an option ROM, which is untrusted. The
// cause of the error is ErrNoROM when it has none. Otherwise what could be read is
// returned with an error that says where it went wrong.
//
// Files that tools for flashing write often begin with data of the vendor's; the
// first image within 64 KiB is taken. A ROM with an image of CodeEFI can drive a
// screen in a guest with UEFI, one of CodeBIOS in a guest without.
func ParseROM(data []byte) ([]Image, error) {
	if len(data) > MaxROM {
		return nil, fmt.Errorf("option ROM of %d bytes: %w", len(data), hostfs.ErrTooLarge)
	}
	at, ok := firstImage(data)
	if !ok {
		_, err := pcir(data)
		return nil, fmt.Errorf("%w: %w", ErrNoROM, err)
	}
	var images []Image
	for range maxImages {
		m, err := parseImage(data[at:])
		if err != nil {
			return images, fmt.Errorf("image %d at %#x: %w", len(images), at, err)
		}
		m.Offset = at
		images = append(images, m)
		if m.Last {
			return images, nil
		}
		if at += m.Size; at >= len(data) { // Size is above zero
			return images, fmt.Errorf("image %d at %#x: the ROM ends, but no image was the last", len(images), at)
		}
	}
	return images, fmt.Errorf("more than %d images: %w", maxImages, hostfs.ErrTooLarge)
}

// firstImage finds the first head that leads to a data structure; a ROM that is
// closed reads as ones, or as zeros.
func firstImage(data []byte) (int, bool) {
	for at := 0; at < len(data) && at <= maxFront; at += romUnit {
		if _, err := pcir(data[at:]); err == nil {
			return at, true
		}
	}
	return 0, false
}

var (
	errHead      = errors.New("does not begin with 55aa")
	errStructure = errors.New("no PCI data structure")
)

// pcir returns what is in the image from its PCI data structure on.
func pcir(image []byte) ([]byte, error) {
	if len(image) < 26 || image[0] != 0x55 || image[1] != 0xaa {
		return nil, errHead
	}
	at := le16(image[24:])
	if at < 26 || at+24 > len(image) || string(image[at:at+4]) != "PCIR" {
		return nil, errStructure
	}
	return image[at:], nil
}

func parseImage(image []byte) (Image, error) {
	p, err := pcir(image)
	if err != nil {
		return Image{}, err
	}
	m := Image{
		Vendor: pci.NewID(uint16(le16(p[4:]))), Device: pci.NewID(uint16(le16(p[6:]))), Class: pci.NewClass(uint32(le24(p[13:]))),
		Size: le16(p[16:]) * romUnit, Revision: uint16(le16(p[18:])), Code: CodeType(p[20]), Last: p[21]&0x80 != 0,
	}
	if m.Size == 0 {
		return m, errors.New("the data structure says that it has no bytes")
	}
	if list := le16(p[8:]); p[12] >= 3 && list != 0 { // before, this was vital product data
		m.Devices = deviceList(p, list)
	}
	switch {
	case m.Code == CodeBIOS:
		m.Checksum = romChecksum(image, m.Size)
	case m.Code == CodeEFI && le32(image[4:]) == 0x0ef1:
		m.EFI = EFI{Present: true, Subsystem: uint16(le16(image[8:])), Machine: uint16(le16(image[10:])),
			Compressed: le16(image[12:]) != 0, Offset: le16(image[22:])}
	}
	return m, nil
}

// deviceList reads ids up to one that is zero.
func deviceList(p []byte, at int) []pci.ID {
	var ids []pci.ID
	for ; at+2 <= len(p) && len(ids) < 1024; at += 2 {
		id := le16(p[at:])
		if id == 0 {
			break
		}
		ids = append(ids, pci.NewID(uint16(id)))
	}
	return ids
}

// romChecksum adds the bytes that firmware copies to memory, whose number is in
// the head; the rest of the image need not add up.
func romChecksum(image []byte, size int) Answer {
	if n := int(image[2]) * romUnit; n != 0 {
		size = n
	}
	switch {
	case size > len(image):
		return Unknown
	case sum(image[:size]) == 0:
		return Yes
	}
	return No
}

// ReadROM reads the option ROM of a function (/sys/bus/pci/devices/ADDRESS/rom):
// of a saved machine, or of a live one where root has opened it. The kernel gives
// the ROM to root alone, and after a 1 was written to the file; a 0 closes it
// again. ReadROM writes nothing. The error is an *[OpError], [fs.ErrNotExist] when
// the function has no ROM, [errors.ErrUnsupported] when it is closed or empty.
//
// What is read of the GPU that booted the machine is usually not its ROM but the
// firmware's copy, see [ShadowROM]. Opening the ROM of a function while a driver
// uses it may disturb both: on some devices ROM and registers share one decoder.
func ReadROM(fsys fs.FS, a pci.Address) ([]byte, error) {
	data, err := fs.ReadFile(fsys, devices+"/"+a.String()+"/rom")
	switch {
	case errors.Is(err, syscall.EINVAL):
		err = fmt.Errorf("the ROM is closed; root opens it by writing 1 to this file: %w: %w", errors.ErrUnsupported, err)
	case errors.Is(err, syscall.EIO):
		err = fmt.Errorf("the kernel cannot map the ROM, or it has no bytes: %w: %w", errors.ErrUnsupported, err)
	case err == nil && len(data) == 0:
		err = fmt.Errorf("the file is empty; it was read while the ROM was closed: %w", errors.ErrUnsupported)
	}
	if err != nil {
		return nil, &OpError{"read rom of", a.String(), err}
	}
	return data, nil
}

// ShadowROM returns whether what the kernel calls the ROM of a function is the copy
// that the firmware made of it at boot ([pci.BAR.Shadow], from
// /sys/bus/pci/devices/ADDRESS/resource); No also when there is no ROM. Such a copy
// was changed when it ran and may fail in a guest; the file from the vendor, or one
// read while another GPU boots the machine, does not. The kernel says so on x86 of
// the boot display alone. It is Unknown without the file, and with an error, which is
// an *[OpError].
func ShadowROM(fsys fs.FS, a pci.Address) (Answer, error) {
	ranges, err := pci.Resources(fsys, a)
	for _, r := range ranges {
		switch { // whatever is wrong with other lines
		case r.Kind == pci.KindROM && r.Shadow:
			return Yes, nil
		case r.Kind == pci.KindROM:
			return No, nil
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Unknown, nil
	case err != nil:
		return Unknown, &OpError{"read rom of", a.String(), err}
	}
	return No, nil
}
