package gpu

import (
	"fmt"

	"github.com/project-independence/indy/pci"
)

const (
	vendorIntel  = 0x8086
	vendorATI    = 0x1002 // GPUs of AMD
	vendorAMD    = 0x1022 // processors of AMD
	vendorNVIDIA = 0x10de

	subCrypto = 0x1080 // AMD's security processor is one
)

// integrated says whether the GPU at a is a part of the processor. Makers put
// theirs where no card can be, and cards where no such part is:
//
//   - Intel's is device 2 of bus 0, on every platform; Intel's cards are behind
//     bridges.
//   - AMD's was device 1 of bus 0 before Zen. Since then it is behind one of the
//     internal bridges, devices 7 and 8 of bus 0, and shares its device with the
//     processor's security processor. AMD's cards since Vega have a switch of their
//     own.
//   - NVIDIA's are cards, but for chipsets up to 2010, whose bridges are NVIDIA's.
//
// Where that does not tell, vga_switcheroo knows what the firmware says. The rest is
// Unknown, such as a GPU on bus 0 of a virtual machine.
func (f Facts) integrated(a pci.Address) Conclusion {
	if c := f.placed(a); c.Answer != Unknown {
		return c
	}
	for _, s := range f.Switch {
		if s.Function == a && !s.Audio {
			if s.Discrete {
				return because(No, "the firmware calls it discrete", "/"+switcheroo)
			}
			return because(Yes, "the firmware calls it integrated", "/"+switcheroo)
		}
	}
	return f.placed(a)
}

func (f Facts) placed(a pci.Address) Conclusion {
	file := "/" + devices + "/" + a.String()
	fn := f.function(a)
	above, known := f.Bridges[a]
	if !known || !fn.Vendor.Known() {
		return because(Unknown, "vendor or place are not known", file)
	}
	vendor := fn.Vendor.Uint16()
	if len(above) == 0 {
		switch {
		case vendor == vendorIntel && a.Bus() == 0 && a.Device() == 2:
			return because(Yes, "Intel's graphics are device 2 of bus 0", file)
		case vendor == vendorATI && a.Bus() == 0 && a.Device() == 1:
			return because(Yes, "AMD's graphics before Zen are device 1 of bus 0", file)
		}
		return because(Unknown, fmt.Sprintf("on a root bus, which does not tell for vendor %v", fn.Vendor), file)
	}
	root := f.function(above[0])
	switch vendor {
	case vendorIntel:
		return because(No, "Intel's graphics behind a bridge are a card", file)
	case vendorNVIDIA:
		for _, b := range above {
			if v := f.function(b).Vendor; !v.Known() || v.Uint16() == vendorNVIDIA {
				return because(Unknown, fmt.Sprintf("behind bridge %v of vendor %v", b, v), file)
			}
		}
		return because(No, "NVIDIA's graphics behind another maker's bridge are a card", file)
	case vendorATI:
		return f.amd(a, above, root, file)
	}
	return because(Unknown, fmt.Sprintf("nothing is known of vendor %v", fn.Vendor), file)
}

// amd places a GPU of AMD's behind bridges.
func (f Facts) amd(a pci.Address, above []pci.Address, root pci.Function, file string) Conclusion {
	for _, fn := range f.Functions {
		b := fn.Address
		if b.Domain() == a.Domain() && b.Bus() == a.Bus() && b.Device() == a.Device() && fn.Class.Sub() == subCrypto && fn.Vendor.Uint16() == vendorAMD {
			return because(Yes, fmt.Sprintf("shares its device with %v, the processor's security processor", b), "/"+devices+"/"+b.String())
		}
	}
	for _, b := range above[1:] {
		if f.function(b).Vendor.Uint16() == vendorATI {
			return because(No, fmt.Sprintf("behind %v, the switch of a card", b), "/"+devices+"/"+b.String())
		}
	}
	switch d := root.Address.Device(); {
	case !root.Vendor.Known() || a.Device() != 0 || root.Vendor.Uint16() == vendorATI:
	case root.Vendor.Uint16() != vendorAMD:
		return because(No, fmt.Sprintf("behind %v, a root port of another maker's processor", root.Address), file)
	case d != 7 && d != 8:
		return because(No, fmt.Sprintf("behind %v, whose lanes leave the processor", root.Address), file)
	}
	return because(Unknown, fmt.Sprintf("behind %v, which does not tell", above[0]), file)
}
