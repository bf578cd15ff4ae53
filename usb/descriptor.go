package usb

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"

	"github.com/project-independence/indy/internal/plain"
)

// Descriptors are what a device says of itself in full: its device descriptor and
// those of all its configurations, also of the ones that are not active. They are
// untrusted.
type Descriptors struct {
	Device         DeviceDescriptor
	Configurations []Configuration

	// Hash is the SHA-256 of the bytes, also of those that were not understood.
	Hash DescriptorHash

	// Extra are descriptors before the first configuration.
	Extra []RawDescriptor
}

// A DescriptorHash tells one set of descriptors from another. It is the same for
// every unit of one model with one firmware at one speed: serial numbers and names
// are strings, of which descriptors hold only the indices, and a device has other
// descriptors when it runs at another speed. The zero DescriptorHash is that of no
// descriptors.
type DescriptorHash [sha256.Size]byte

// IsValid reports whether h is the hash of some descriptors.
func (h DescriptorHash) IsValid() bool { return h != DescriptorHash{} }

// String returns 64 hexadecimal digits, or "" for the zero DescriptorHash.
func (h DescriptorHash) String() string {
	if !h.IsValid() {
		return ""
	}
	return hex.EncodeToString(h[:])
}

// MarshalText writes the hash as String does.
func (h DescriptorHash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (h *DescriptorHash) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*h = DescriptorHash{}
		return nil
	}
	var v DescriptorHash
	if len(text) != hex.EncodedLen(len(v)) {
		return fmt.Errorf("descriptor hash %q: expected %d hexadecimal digits", plain.Short(string(text)), hex.EncodedLen(len(v)))
	}
	if _, err := hex.Decode(v[:], text); err != nil {
		return fmt.Errorf("descriptor hash %q: %w", plain.Short(string(text)), err)
	}
	*h = v
	return nil
}

// A DeviceDescriptor is the first descriptor of a device (USB 2.0, 9.6.1).
type DeviceDescriptor struct {
	// USB is the release of the specification in binary coded decimal (bcdUSB): 0210
	// is 2.1. Unknown when there is no device descriptor.
	USB   ID
	Class Class

	Vendor, Product ID
	Release         ID // bcdDevice

	// MaxPacket is the packet size of the control endpoint in bytes
	// (bMaxPacketSize0, which from USB 3 on is an exponent).
	MaxPacket int

	// String indices, 0 for none. What sysfs has of them is in the files
	// manufacturer, product and serial: no file has the name of an index.
	ManufacturerIndex, ProductIndex, SerialIndex uint8

	// Configurations is how many configurations it claims to have
	// (bNumConfigurations).
	Configurations int
}

// A Configuration is one configuration with all that is in it (USB 2.0, 9.6.3).
type Configuration struct {
	Value       int   // bConfigurationValue, by which it is chosen
	StringIndex uint8 // 0 for none

	SelfPowered, RemoteWakeup bool

	// MaxPower is the most that it draws from the bus in mA. Its unit is 8 mA in the
	// descriptors of a device that runs at 5 Gbit/s or more, which say USB 3.0 or
	// later, and 2 mA in all others.
	MaxPower int

	// TotalLength and NumInterfaces are what the descriptor claims of the whole
	// (wTotalLength, bNumInterfaces). Both may be wrong.
	TotalLength, NumInterfaces int

	// Associations and Interfaces are in the order of the bytes. Each alternate
	// setting of an interface is one of Interfaces.
	Associations []Association
	Interfaces   []InterfaceDescriptor

	// Extra are descriptors before the first interface that are of no known type.
	Extra []RawDescriptor
}

// An Association joins interfaces to one function (interface association
// descriptor, USB 3.2, 9.6.4).
type Association struct {
	First, Count int // numbers of interfaces: First, First+1 and so on
	Class        Class
	StringIndex  uint8 // 0 for none
}

// An InterfaceDescriptor is one alternate setting of one interface (USB 2.0, 9.6.5).
type InterfaceDescriptor struct {
	Number, Alternate int
	Class             Class
	StringIndex       uint8 // 0 for none
	Endpoints         []Endpoint

	// Specific is what the descriptors of the interface's class say, if they were
	// understood: a [HID], [CDC], [AudioControl], [AudioStreaming], [VideoControl],
	// [VideoStreaming], [SmartCard] or [DFU], else nil.
	Specific ClassSpecific

	// Extra are all descriptors of the interface that are not standard ones, in the
	// order of the bytes: also those that Specific was made of.
	Extra []RawDescriptor
}

// ClassSpecific is implemented by the types that [InterfaceDescriptor.Specific] may
// have, and by no others.
type ClassSpecific interface{ classSpecific() }

func (HID) classSpecific()            {}
func (CDC) classSpecific()            {}
func (AudioControl) classSpecific()   {}
func (AudioStreaming) classSpecific() {}
func (VideoControl) classSpecific()   {}
func (VideoStreaming) classSpecific() {}
func (SmartCard) classSpecific()      {}
func (DFU) classSpecific()            {}

// A RawDescriptor is one descriptor as it was found.
type RawDescriptor struct {
	Offset int    // of its first byte among all bytes
	Bytes  []byte // all of it, at least its length and type
}

// Type returns the descriptor's type, such as 0x21 for that of a human interface
// device, or 0 for the zero RawDescriptor.
func (r RawDescriptor) Type() uint8 { return r.u8(1) }

// What a descriptor is too short for reads as 0.
func (r RawDescriptor) u8(i int) uint8 {
	if i >= len(r.Bytes) {
		return 0
	}
	return r.Bytes[i]
}

func (r RawDescriptor) u16(i int) uint16 { return uint16(r.u8(i)) | uint16(r.u8(i+1))<<8 }
func (r RawDescriptor) u24(i int) uint32 { return uint32(r.u16(i)) | uint32(r.u8(i+2))<<16 }
func (r RawDescriptor) u32(i int) uint32 { return uint32(r.u16(i)) | uint32(r.u16(i+2))<<16 }

// MarshalText writes the bytes in hexadecimal digits.
func (r RawDescriptor) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, r.Bytes), nil }

// Configuration returns the configuration that is chosen by value, as the file
// bConfigurationValue has it.
func (d Descriptors) Configuration(value int) (Configuration, bool) {
	for _, c := range d.Configurations {
		if c.Value == value {
			return c, true
		}
	}
	return Configuration{}, false
}

// ReadDescriptors reads what the device at p says of itself in full (descriptors
// below /sys/bus/usb/devices/PATH). The kernel keeps these bytes from the time the
// device was plugged in: reading them wakes nothing.
//
// The error is an *[OpError]. One that wraps a *[DescriptorError] tells that
// something in the bytes was not as the specification has it; what could be
// understood is returned all the same.
func ReadDescriptors(fsys fs.FS, p PortPath) (Descriptors, error) {
	data, err := fs.ReadFile(fsys, devices+"/"+p.String()+"/descriptors")
	if err != nil {
		return Descriptors{}, opError("read descriptors of", p, err)
	}
	d, err := ParseDescriptors(data)
	if err != nil {
		err = opError("read descriptors of", p, err)
	}
	return d, err
}
