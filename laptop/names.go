package laptop

import (
	"io/fs"
	"strings"
	"sync"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/ids"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// Names looks up what vendors and devices are called: in the lists pci.ids and
// usb.ids of the host it was made for, and with [Names.Of] in the words of the
// devices themselves. Nothing is read before the first question. A Names may be used
// by many goroutines at once.
type Names struct {
	pci, usb *ids.File
	machine  fs.FS // of whose devices names are asked; nil for none

	mu  sync.Mutex
	own map[string]string // what devices say they are called, by id
}

// NewNames returns the names that the lists below fsys know. Missing lists know
// none.
func NewNames(fsys fs.FS) *Names { return &Names{pci: ids.PCI(fsys), usb: ids.USB(fsys)} }

// Of returns the same names, and those that devices have for themselves, read from the
// machine below fsys: of a USB device the product string, one open, before that of the
// list, where one product is often many; of one on neither bus the name that its class device gives, three opens at
// most. Such words are cut to one bounded line, and as untrusted as the device.
func (n *Names) Of(fsys fs.FS) *Names {
	return &Names{pci: n.pci, usb: n.usb, machine: fsys, own: map[string]string{}}
}

// VendorDevice returns the names of a device's vendor and of the device, each empty
// when the lists and the device itself do not tell it.
func (n *Names) VendorDevice(d *Device) (vendor, device string) {
	switch {
	case d.USB != nil:
		vendor, _ = n.usb.Vendor(d.USB.Vendor)
		if device = n.ownName(d); device == "" {
			device, _ = n.usb.Device(d.USB.Vendor, d.USB.Product)
		}
	case d.PCI != nil:
		vendor, _ = n.pci.Vendor(d.PCI.Vendor)
		device, _ = n.pci.Device(d.PCI.Vendor, d.PCI.Device)
	default:
		device = n.ownName(d)
	}
	return vendor, device
}

// Name returns what a person reads: vendor and device, as far as they have names,
// else their ids, or the kernel's name of a device that has none.
func (n *Names) Name(d *Device) string {
	v, id := n.VendorDevice(d)
	var vid, did pci.ID
	switch {
	case d.USB != nil:
		vid, did = d.USB.Vendor, d.USB.Product
	case d.PCI != nil:
		vid, did = d.PCI.Vendor, d.PCI.Device
	case id == "":
		return d.Where()
	default:
		return id
	}
	short := shorten(v)
	switch {
	case v == "" && id == "":
		return vid.String() + ":" + did.String()
	case id == "":
		return short + " " + vid.String() + ":" + did.String()
	case v == "", strings.HasPrefix(strings.ToLower(id), strings.ToLower(short)+" "):
		return id // a device's own word often begins with its maker
	}
	return short + " " + id
}

// ownName returns what the device itself says it is called, read once.
func (n *Names) ownName(d *Device) string {
	if n.machine == nil {
		return ""
	}
	id := d.ID()
	n.mu.Lock()
	name, ok := n.own[id]
	n.mu.Unlock()
	if ok {
		return name
	}
	if d.USB != nil {
		name, _ = usb.ProductName(n.machine, d.USB.Path)
	} else {
		name = nameByClass(n.machine, d.Classes)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.own[id] = name
	return name
}

// nameByClass returns the name that the first class device with one gives.
func nameByClass(fsys fs.FS, classes []ClassDevice) string {
	asked := 0
	for _, c := range classes {
		var attributes []string
		var kind string
		switch c.Class {
		case "power_supply":
			attributes = []string{"manufacturer", "model_name", "type"}
		case "tpm":
			attributes, kind = []string{"tpm_version_major"}, "TPM "
		case "input":
			if !numbered(c.Name, "input") {
				continue
			}
			attributes = []string{"name"}
		case "iio", "video4linux":
			attributes = []string{"name"}
		case "sound":
			attributes, kind = []string{"id"}, "sound card "
		case "block":
			attributes = []string{"device/model", "device/name"}
		case "tty":
			return "serial port " + c.Name
		}
		var words []string
		for _, a := range attributes {
			if asked++; asked > 3 {
				break
			}
			if s, err := hostfs.ReadString(fsys, c.Source(a)); err == nil && line(s) != "" {
				words = append(words, line(s))
			}
		}
		if len(words) > 0 {
			return line(kind + strings.Join(words, " "))
		}
	}
	return ""
}

// shorten drops what makes a company of a name.
func shorten(vendor string) string {
	for _, tail := range []string{" Corporation", " Corp.", ", Inc.", ", Inc", " Inc.", " Co., Ltd.", ", Ltd.", ", Ltd", " Semiconductor", " Technology"} {
		vendor = strings.TrimSuffix(vendor, tail)
	}
	// Advanced Micro Devices, Inc. [AMD/ATI] is called AMD/ATI.
	if i := strings.IndexByte(vendor, '['); i >= 0 && strings.HasSuffix(vendor, "]") && i+2 < len(vendor) {
		return vendor[i+1 : len(vendor)-1]
	}
	return vendor
}
