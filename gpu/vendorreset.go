package gpu

import "github.com/project-independence/indy/pci"

// vendorReset are the GPUs of AMD's that the module vendor-reset knows how to reset
// (github.com/gnif/vendor-reset, src/device-db.h), by family.
var vendorReset = []struct {
	family  string
	devices []uint16
}{
	{"Polaris 10", []uint16{0x67c0, 0x67c1, 0x67c2, 0x67c4, 0x67c7, 0x67c8, 0x67c9, 0x67ca, 0x67cc, 0x67cf, 0x67d0, 0x67df, 0x6fdf}},
	{"Polaris 11", []uint16{0x67e0, 0x67e1, 0x67e3, 0x67e7, 0x67e8, 0x67e9, 0x67eb, 0x67ef, 0x67ff}},
	{"Polaris 12", []uint16{0x6980, 0x6981, 0x6985, 0x6986, 0x6987, 0x6995, 0x6997, 0x699f}},
	{"Vega 10", []uint16{0x6860, 0x6861, 0x6862, 0x6863, 0x6864, 0x6867, 0x6868, 0x6869, 0x686a, 0x686b, 0x686c, 0x686d, 0x686e, 0x686f, 0x687f}},
	{"Vega 20", []uint16{0x66a0, 0x66a1, 0x66a2, 0x66a3, 0x66a4, 0x66a7, 0x66af}},
	{"Arcturus", []uint16{0x738c}},
	{"Navi 10", []uint16{0x7310, 0x7312, 0x7318, 0x7319, 0x731a, 0x731b, 0x731e, 0x731f}},
	{"Navi 12", []uint16{0x7360, 0x7362}},
	{"Navi 14", []uint16{0x7340, 0x7341, 0x7347, 0x734f}},
	{"Navi 23", []uint16{0x73ff}},
	{"a processor's graphics", []uint16{0x15bf, 0x15dd, 0x15de, 0x15e7, 0x1636, 0x1638, 0x164c}},
}

// NeedsVendorReset reports whether the function is a GPU of AMD's that does not come
// back from the resets that Linux has, so that a guest can use it once and the next
// finds it hung until the machine was off, and of which family it is. The module
// vendor-reset, which is not a part of Linux, resets it; if that is there,
// [pci.ResetMethods] has device_specific.
func NeedsVendorReset(f pci.Function) (family string, needed bool) {
	if f.Vendor != pci.NewID(vendorATI) || f.Class.Base() != baseDisplay {
		return "", false
	}
	for _, v := range vendorReset {
		for _, id := range v.devices {
			if f.Device == pci.NewID(id) {
				return v.family, true
			}
		}
	}
	return "", false
}
