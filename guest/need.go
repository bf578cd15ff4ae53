package guest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// A Need is what a guest wants of the machine it runs on, said without an address:
// on another machine the same need is met by other hardware.
//
// Want and How are always given. What else is given narrows down which of the devices
// that play the role are meant; a zero value leaves it open.
type Need struct {
	// Want is the role of the device.
	Want Want

	// Which says what kind of it. The zero value is any.
	Which Which

	// Port is where the device is plugged in, by where its socket is on the housing
	// or by its USB port path. The zero value is anywhere.
	Port Port

	// IDs are the ids of the device, of PCI or of USB. The zero value is any.
	IDs IDs

	// Class is the beginning of the class code of the device, of PCI or of USB. The
	// zero value is any.
	Class Class

	// How is whether the guest owns the device or uses it with others.
	How How

	// Optional lets the guest start without it. In a definition it is need: optional;
	// need: required is the same as nothing.
	Optional bool

	// ROM is a file in place of the option ROM of the function; nil is none. Only with
	// Assign.
	ROM *NeedROM
}

// A NeedROM is a file that takes the place of the option ROM of whatever function a need
// is resolved to. See [ROM].
type NeedROM struct {
	File   string // as in [Disk], below the folder of the definition if it is relative
	SHA256 Digest // of what is in it
}

// A Want is the role of a device that can be asked for, one of [Wants]. They are the
// roles of package laptop but for bridges, which stay with the host, and what has no
// role that a person knows.
type Want string

// The roles that can be asked for.
const (
	WantAudio         Want = "audio"
	WantUSBController Want = "usb-controller"
	WantFireWire      Want = "firewire"
	WantWLAN          Want = "wlan"
	WantModem         Want = "modem"
	WantWWAN          Want = "wwan"
	WantBluetooth     Want = "bluetooth"
	WantWebcam        Want = "webcam"
	WantGPU           Want = "gpu"
	WantEthernet      Want = "ethernet"
	WantStorage       Want = "storage"
	WantThunderbolt   Want = "thunderbolt"
	WantTPM           Want = "tpm"
	WantSmartCard     Want = "smartcard"
	WantFingerprint   Want = "fingerprint"
	WantInput         Want = "input"
	WantPrinter       Want = "printer"
	WantUSBDevice     Want = "usb-device"
)

// Wants returns all roles that can be asked for, in the order in which people look for
// them.
func Wants() []Want {
	return []Want{
		WantGPU, WantWebcam, WantAudio, WantWLAN, WantBluetooth, WantWWAN, WantModem, WantEthernet, WantStorage,
		WantUSBController, WantThunderbolt, WantFireWire, WantInput, WantFingerprint, WantSmartCard, WantTPM,
		WantPrinter, WantUSBDevice,
	}
}

// A Which says which kind of the wanted device is meant.
type Which string

// The kinds. An empty one is any.
const (
	BuiltIn    Which = "built-in"   // part of the machine
	External   Which = "external"   // plugged in
	Integrated Which = "integrated" // a GPU in the processor
	Discrete   Which = "discrete"   // a GPU of its own
)

// Whiches returns all kinds.
func Whiches() []Which { return []Which{BuiltIn, External, Integrated, Discrete} }

// A How is the way in which a guest gets a device.
type How string

// The ways.
const (
	Assign How = "assign" // the guest owns the device; the host lets go of it
	Share  How = "share"  // through a device that the host provides
)

// A Port is where a device is plugged in: a place on the housing, as firmware says it of
// a socket, or a USB port path such as 1-4.2, which only means the same socket on the
// same model of machine. A place is a panel (left, right, front, rear, top, bottom), lid
// or dock; a panel may be followed by where on it the socket is, as in left-rear or
// right-upper.
type Port string

// Path returns the USB port path that p is, or an invalid one if p is a place.
func (p Port) Path() usb.PortPath {
	path, err := usb.ParsePortPath(string(p))
	if err != nil {
		return usb.PortPath{}
	}
	return path
}

// Place returns the panel (or lid, or dock) and the position on it, which may be empty. Both are
// empty if p is a port path, or nothing.
func (p Port) Place() (panel, position string) {
	panel, position, given := strings.Cut(string(p), "-")
	places := []string{"left", "right", "front", "rear", "top", "bottom"}
	switch {
	case !given && (panel == "lid" || panel == "dock"):
		return panel, ""
	case !slices.Contains(places, panel), given && !slices.Contains([]string{"left", "right", "front", "rear", "upper", "lower", "center"}, position):
		return "", ""
	}
	return panel, position
}

func (p Port) valid() bool {
	panel, _ := p.Place()
	return panel != "" || p.Path().IsValid() && p.Path().String() == string(p)
}

// IDs are the vendor and the device id of a device, PCI or USB. The zero value is any
// device; an unknown Device is any of the vendor.
type IDs struct{ Vendor, Device pci.ID }

// ParseIDs reads two ids of four hexadecimal digits as in 8086:15f3, or 8086:* for all
// devices of a vendor.
func ParseIDs(s string) (IDs, error) {
	vendor, device, _ := strings.Cut(s, ":")
	var ids IDs
	var err error
	if ids.Vendor, err = pci.ParseID(vendor); err == nil && device != "*" {
		ids.Device, err = pci.ParseID(device)
	}
	if err != nil || !strings.EqualFold(ids.String(), s) { // fewer digits, or 0x
		return IDs{}, fmt.Errorf("ids %s: expected vendor:device in hexadecimal, such as 8086:15f3 or 8086:*", quote(s))
	}
	return ids, nil
}

// String returns what ParseIDs reads, or nothing for any device.
func (i IDs) String() string {
	switch {
	case !i.Vendor.Known():
		return ""
	case !i.Device.Known():
		return i.Vendor.String() + ":*"
	}
	return i.Vendor.String() + ":" + i.Device.String()
}

// A Class is the beginning of a class code: two, four or six hexadecimal digits in lower
// case, base class first. An empty one is any.
type Class string

// Holds reports whether code, the six hexadecimal digits that pci.Class and usb.Class
// write, begins with c.
func (c Class) Holds(code string) bool { return strings.HasPrefix(code, string(c)) }

func (c Class) valid() bool {
	hex := strings.Trim(string(c), "0123456789abcdef") == ""
	return hex && (len(c) == 2 || len(c) == 4 || len(c) == 6)
}

// String says in one line what is needed, such as "built-in webcam" or
// "usb-device at left-rear". It does not say how.
func (n Need) String() string {
	var b strings.Builder
	if n.Which != "" {
		b.WriteString(string(n.Which) + " ")
	}
	b.WriteString(string(n.Want))
	if n.Port != "" {
		b.WriteString(" at " + string(n.Port))
	}
	if n.IDs != (IDs{}) {
		b.WriteString(" " + n.IDs.String())
	}
	if n.Class != "" {
		b.WriteString(" of class " + string(n.Class))
	}
	return b.String()
}

// Validate returns nil if n can be asked for, and otherwise an error that joins a
// *[DefinitionError] for every reason why not; their fields are want, which and so on.
func (n Need) Validate() error {
	var c checks
	c.need("", n)
	return errors.Join(c.errs...)
}

func (c *checks) need(at string, n Need) {
	switch {
	case n.Want == "":
		c.bad(at+"want", "the role of the device is missing")
	case !slices.Contains(Wants(), n.Want):
		c.bad(at+"want", "%s is no role that can be asked for; expected %s%s", quote(string(n.Want)), alternatives(Wants()), nearest(string(n.Want), Wants()))
	}
	if n.Which != "" && !slices.Contains(Whiches(), n.Which) {
		c.bad(at+"which", "%s is not known; expected %s%s", quote(string(n.Which)), alternatives(Whiches()), nearest(string(n.Which), Whiches()))
	}
	if (n.Which == Integrated || n.Which == Discrete) && n.Want != WantGPU {
		c.bad(at+"which", "%s is said of a gpu only; expected %s", n.Which, alternatives([]Which{BuiltIn, External}))
	}
	if n.Port != "" && !n.Port.valid() {
		c.bad(at+"port", "%s is no port; expected a panel (left, right, front, rear, top, bottom), lid or dock, a place on a panel such as left-rear, or a USB port path such as 1-4.2", quote(string(n.Port)))
	}
	if n.IDs.Device.Known() && !n.IDs.Vendor.Known() {
		c.bad(at+"ids", "the vendor is missing")
	}
	if n.Class != "" && !n.Class.valid() {
		c.bad(at+"class", "%s is no class; expected two, four or six hexadecimal digits in lower case, such as 0403", quote(string(n.Class)))
	}
	switch {
	case n.How == "":
		c.bad(at+"how", "it is not said how; expected assign or share")
	case n.How != Assign && n.How != Share:
		c.bad(at+"how", "%s is not known; expected assign or share%s", quote(string(n.How)), nearest(string(n.How), []How{Assign, Share}))
	}
	if n.ROM == nil {
		return
	}
	if n.How == Share {
		c.bad(at+"rom", "what is shared has no option ROM; it goes with how: assign")
	}
	c.file(at+"rom.file", n.ROM.File)
	if n.ROM.SHA256 == (Digest{}) {
		c.bad(at+"rom.sha256", "the SHA-256 of the file is missing")
	}
}
