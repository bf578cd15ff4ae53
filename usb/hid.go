package usb

import "github.com/project-independence/indy/pci"

// HID is what the descriptor of a human interface device says (HID 1.11, 6.2.1).
// What its reports hold is not in it: the report descriptor has to be asked for.
type HID struct {
	Release      ID    // bcdHID
	Country      uint8 // of a keyboard's layout, 0 for none
	ReportLength int   // of the report descriptor in bytes, 0 when none is named
}

func (p *parser) hid(of []RawDescriptor) ClassSpecific {
	r := of[0]
	h := HID{Release: pci.NewID(r.u16(2)), Country: r.u8(4)}
	n := int(r.u8(5))
	if len(r.Bytes) < 6+3*n {
		p.add(r.Offset, "%d further descriptors are named in %d bytes", n, len(r.Bytes))
	}
	for i := range n {
		at := 6 + 3*i
		if at+3 <= len(r.Bytes) && r.u8(at) == 0x22 && h.ReportLength == 0 {
			h.ReportLength = int(r.u16(at + 1))
		}
	}
	return h
}

// SmartCard is what the descriptor of a smart card reader says (CCID 1.1, 5.1).
type SmartCard struct {
	Release   ID   // bcdCCID
	Slots     int  // cards that it takes
	BusySlots int  // of which so many at once are in use
	T0, T1    bool // protocols it speaks with a card

	// PINEntry and PINChange tell that a PIN is typed on the reader itself.
	PINEntry, PINChange bool

	MaxMessage uint32 // bytes
	Features   uint32 // dwFeatures
}

func (p *parser) smartCard(of []RawDescriptor) ClassSpecific {
	r := of[0]
	return SmartCard{
		Release: pci.NewID(r.u16(2)), Slots: int(r.u8(4)) + 1, BusySlots: int(r.u8(53)), T0: r.u8(6)&1 != 0, T1: r.u8(6)&2 != 0,
		PINEntry: r.u8(52)&1 != 0, PINChange: r.u8(52)&2 != 0, MaxMessage: r.u32(44), Features: r.u32(40),
	}
}

// DFU is what the descriptor of a device that takes a new firmware says (DFU 1.1,
// 4.1.3). While it does so it may be another device, with other ids, at the same
// port.
type DFU struct {
	Release ID // bcdDFUVersion, unknown before 1.1

	// Download, Upload: the firmware can be written, read. Detaches tells that the
	// device goes off the bus by itself when asked to.
	Download, Upload, Detaches bool

	DetachTimeout int // milliseconds
	TransferSize  int // bytes in one transfer
}

func (p *parser) dfu(of []RawDescriptor) ClassSpecific {
	r := of[0]
	d := DFU{
		Download: r.u8(2)&1 != 0, Upload: r.u8(2)&2 != 0, Detaches: r.u8(2)&8 != 0,
		DetachTimeout: int(r.u16(3)), TransferSize: int(r.u16(5)),
	}
	if len(r.Bytes) >= 9 {
		d.Release = pci.NewID(r.u16(7))
	}
	return d
}
