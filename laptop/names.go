package laptop

import (
	"io/fs"
	"strings"

	"github.com/project-independence/indy/internal/ids"
	"github.com/project-independence/indy/pci"
)

// Names looks up what vendors and devices are called, in the lists pci.ids and
// usb.ids of the host it was made for. Nothing is read before the first question.
// A Names may be used by many goroutines at once.
type Names struct{ pci, usb *ids.File }

// NewNames returns the names that the lists below fsys know. Missing lists know
// none.
func NewNames(fsys fs.FS) *Names { return &Names{ids.PCI(fsys), ids.USB(fsys)} }

// VendorDevice returns the names of a device's vendor and of the device, each empty
// when the lists do not know it.
func (n *Names) VendorDevice(d *Device) (vendor, device string) {
	if d.USB != nil {
		vendor, _ = n.usb.Vendor(d.USB.Vendor)
		device, _ = n.usb.Device(d.USB.Vendor, d.USB.Product)
		return vendor, device
	}
	vendor, _ = n.pci.Vendor(d.PCI.Vendor)
	device, _ = n.pci.Device(d.PCI.Vendor, d.PCI.Device)
	return vendor, device
}

// Name returns what a person reads: vendor and device, as far as they have names,
// else their ids.
func (n *Names) Name(d *Device) string {
	v, id := n.VendorDevice(d)
	var vid, did pci.ID
	if d.USB != nil {
		vid, did = d.USB.Vendor, d.USB.Product
	} else {
		vid, did = d.PCI.Vendor, d.PCI.Device
	}
	switch {
	case v == "":
		return vid.String() + ":" + did.String()
	case id == "":
		return shorten(v) + " " + vid.String() + ":" + did.String()
	}
	return shorten(v) + " " + id
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
