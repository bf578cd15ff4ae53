package assign

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// A Fingerprint tells a function from another one that comes to sit at its address, and a
// USB device from another one in its port. What is empty or unknown was not stated or
// could not be read without waking it; it tells nothing apart.
//
// None of it is proof: a guest that has a function can rewrite the memory that much of
// it comes from. So a change after a guest had the function is a finding of its own.
type Fingerprint struct {
	Vendor          pci.ID `json:"vendor_id"`
	Device          pci.ID `json:"device_id"`
	SubsystemVendor pci.ID `json:"subsystem_vendor_id"`
	SubsystemDevice pci.ID `json:"subsystem_device_id"`
	// Header is what the function itself says of its ids, vendor:device and those of the
	// subsystem. The kernel remembers those above from when it found the function.
	Header string `json:"header,omitempty"`
	// Serial is the Device Serial Number of configuration space (PCI Express 6.0, 7.9.3).
	Serial string `json:"serial,omitempty"`
	// Disk is the serial number by which the host's driver knows an NVMe controller, from
	// /sys/class/nvme/nvmeN/serial; it is not there while a guest has the function.
	Disk string `json:"disk,omitempty"`
	// Product is the SHA-256 of the Vital Product Data, in hexadecimal digits.
	Product string `json:"product,omitempty"`

	// Of a USB device Serial is what it states as its serial number, Vendor and Device are
	// its ids. Release is bcdDevice, Descriptors the SHA-256 of its descriptors.
	Release     string `json:"release,omitempty"`
	Descriptors string `json:"descriptors,omitempty"`
}

// ReadFingerprint reads what tells function a from others, from its directory in
// /sys/bus/pci/devices. A function that sleeps is not woken: of it only the ids are
// read, and the serial number of an NVMe controller. Product data are read only where
// the kernel found some, and may take some milliseconds; on broken devices the kernel
// gives up after 125 ms.
//
// An error means that not even the ids could be read; it is [fs.ErrNotExist] when there
// is no such function.
func ReadFingerprint(fsys fs.FS, a pci.Address) (Fingerprint, error) {
	return readFingerprint(fsys, a, ifAwake)
}

// asking says whether a function is asked for what only it can say.
type asking int

const (
	ifAwake asking = iota
	always         // it is woken
	never          // it is being reset, and would let whoever asks wait
)

// readFingerprint is ReadFingerprint, and asks as it is told.
func readFingerprint(fsys fs.FS, a pci.Address, ask asking) (Fingerprint, error) {
	f, err := pci.ReadFunction(fsys, a)
	if err != nil {
		return Fingerprint{}, err
	}
	id := Fingerprint{Vendor: f.Vendor, Device: f.Device, SubsystemVendor: f.SubsystemVendor, SubsystemDevice: f.SubsystemDevice}
	id.Disk = nvmeSerial(fsys, f)
	if ask == always || ask == ifAwake && awake(fsys, a) {
		id.ask(fsys, a)
	}
	return id, nil
}

// ask adds what only the function itself says, which wakes it.
func (id *Fingerprint) ask(fsys fs.FS, a pci.Address) {
	if c, err := pci.ReadConfig(fsys, a); err == nil {
		id.says(c)
	}
	data, err := fs.ReadFile(fsys, "sys/bus/pci/devices/"+a.String()+"/vpd")
	if err == nil && len(data) > 0 {
		sum := sha256.Sum256(data)
		id.Product = hex.EncodeToString(sum[:])
	}
}

// says adds what is in configuration space.
func (id *Fingerprint) says(c pci.Config) {
	if h, err := c.Header(); err == nil {
		id.Header = strings.TrimSpace(pair(h.Vendor, h.Device) + " " + pair(h.SubsystemVendor, h.SubsystemDevice))
	}
	if n, err := c.SerialNumber(); err == nil && n != 0 && n != ^pci.SerialNumber(0) {
		id.Serial = n.String()
	}
}

// awake reports whether reading configuration space wakes nothing. Where the kernel does
// not say it is taken for asleep.
func awake(fsys fs.FS, a pci.Address) bool {
	if state, err := pci.PowerState(fsys, a); err != nil && !errors.Is(err, fs.ErrNotExist) || err == nil && state != "D0" && state != "unknown" {
		return false
	}
	status, err := pci.RuntimeStatus(fsys, a)
	return err == nil && (status == "active" || status == "unsupported")
}

func nvmeSerial(fsys fs.FS, f pci.Function) string {
	if f.Class.Sub() != 0x0108 {
		return ""
	}
	dir := "sys/bus/pci/devices/" + f.Address.String() + "/nvme"
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil || len(entries) != 1 {
		return ""
	}
	s, err := hostfs.ReadString(fsys, dir+"/"+entries[0].Name()+"/serial")
	if err != nil {
		return ""
	}
	return plain.Line(s, 64)
}

// Differs says in which respects now is not what id is, as far as both are known: empty
// when nothing tells them apart.
func (id Fingerprint) Differs(now Fingerprint) string {
	var all []string
	tell := func(what, was, is string) {
		if was != "" && is != "" && was != is {
			all = append(all, what+" "+is+" instead of "+was)
		}
	}
	tell("ids", pair(id.Vendor, id.Device), pair(now.Vendor, now.Device))
	tell("subsystem", pair(id.SubsystemVendor, id.SubsystemDevice), pair(now.SubsystemVendor, now.SubsystemDevice))
	tell("its own ids", id.Header, now.Header)
	tell("serial number", id.Serial, now.Serial)
	tell("serial number", id.Disk, now.Disk)
	tell("product data", id.Product, now.Product)
	tell("release", id.Release, now.Release)
	tell("descriptors", id.Descriptors, now.Descriptors)
	return strings.Join(all, ", ")
}

// SameUnit reports whether both are known to be one and the same piece of hardware,
// wherever it sits: they differ in nothing and share a number that only one unit has.
// Products of a kind may share their product data, which therefore do not tell.
func (id Fingerprint) SameUnit(now Fingerprint) bool {
	shared := id.Serial != "" && id.Serial == now.Serial || id.Disk != "" && id.Disk == now.Disk
	return shared && id.Differs(now) == ""
}

// merge adds to id what it does not know and other does.
func (id Fingerprint) merge(other Fingerprint) Fingerprint {
	if id.Header == "" {
		id.Header = other.Header
	}
	if id.Serial == "" {
		id.Serial = other.Serial
	}
	if id.Disk == "" {
		id.Disk = other.Disk
	}
	if id.Product == "" {
		id.Product = other.Product
	}
	if id.Release == "" {
		id.Release = other.Release
	}
	if id.Descriptors == "" {
		id.Descriptors = other.Descriptors
	}
	return id
}

// pair writes two ids as 8086:10c9, empty when one is unknown.
func pair(vendor, device pci.ID) string {
	if !vendor.Known() || !device.Known() {
		return ""
	}
	return vendor.String() + ":" + device.String()
}

// ReadUSBFingerprint reads what tells the USB device at a path from others: ids, release,
// descriptors, and the serial number that it states, which may wait for whoever resets it.
// It is [fs.ErrNotExist] when there is none.
func ReadUSBFingerprint(fsys fs.FS, p usb.PortPath) (Fingerprint, error) {
	return readUSBFingerprint(fsys, p, always)
}

func readUSBFingerprint(fsys fs.FS, p usb.PortPath, ask asking) (Fingerprint, error) {
	var id Fingerprint
	dir := deviceDir("usb", p.String())
	for _, one := range []struct {
		name string
		into *pci.ID
	}{{"idVendor", &id.Vendor}, {"idProduct", &id.Device}} {
		text, err := hostfs.ReadString(fsys, dir+"/"+one.name)
		if err == nil {
			*one.into, err = pci.ParseID(text)
		}
		if err != nil {
			return Fingerprint{}, err
		}
	}
	optional := func(text string, err error) string {
		if err != nil {
			return ""
		}
		return text
	}
	id.Release = optional(hostfs.ReadString(fsys, dir+"/bcdDevice"))
	descriptors, err := fs.ReadFile(fsys, dir+"/descriptors")
	if err == nil && len(descriptors) > 0 {
		sum := sha256.Sum256(descriptors)
		id.Descriptors = hex.EncodeToString(sum[:])
	} else if err = ignoreNotExist(err); err != nil {
		return Fingerprint{}, err
	}
	if ask != never {
		id.Serial, err = usb.Serial(fsys, p)
		if err = ignoreNotExist(err); err != nil {
			return Fingerprint{}, err
		}
	}
	return id, nil
}

// fingerprintOf reads the fingerprint of what has a name as in [Plan.Names].
func fingerprintOf(fsys fs.FS, name string, ask asking) (Fingerprint, error) {
	if p, ok := usbName(name); ok {
		return readUSBFingerprint(fsys, p, ask)
	}
	a, err := pci.ParseAddress(name)
	if err != nil {
		return Fingerprint{}, err
	}
	return readFingerprint(fsys, a, ask)
}

// stillThere reports whether the USB device of which something is noted is where it was, or
// may be: another one with its serial number is not that one.
func stillThere(fsys fs.FS, r Residue) bool {
	p, ok := usbName(r.Device)
	if !ok {
		return false
	}
	now, err := readUSBFingerprint(fsys, p, always)
	return !errors.Is(err, fs.ErrNotExist) && (err != nil || r.Fingerprint.Differs(now) == "")
}
