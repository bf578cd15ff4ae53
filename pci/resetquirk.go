package pci

// A ResetQuirk is something that Linux knows of how a function takes a reset, by its
// ids (drivers/pci/quirks.c; the facts are those of Linux 6.18).
type ResetQuirk uint8

// The quirks.
const (
	NoBusReset  ResetQuirk = iota + 1 // a reset of its bus leaves it dead
	NoFLR                             // it says that it can reset itself (FLR), and hangs
	NoPMReset                         // it keeps its state on the way through D3hot, whatever it says
	DeviceReset                       // it takes a sequence of its own: method device_specific
)

// String returns no-bus-reset, no-flr, no-pm-reset or device-reset.
func (q ResetQuirk) String() string {
	return name([]string{1: "no-bus-reset", 2: "no-flr", 3: "no-pm-reset", 4: "device-reset"}, q)
}

// A resetQuirk is a quirk of the functions of a vendor whose device id is the given one
// in the bits of a mask.
type resetQuirk struct {
	vendor, device, mask uint16
	quirk                ResetQuirk
}

const every = 0xffff // bits of a device id

// resetQuirks leaves out the one of AMD's VGA controllers, which goes by class, and
// those of functions that must say that they have FLR for it to be of use.
var resetQuirks = []resetQuirk{
	{0x168c, 0x0030, every, NoBusReset},  // Atheros AR93xx
	{0x168c, 0x0032, every, NoBusReset},  // AR9485
	{0x168c, 0x0033, every, NoBusReset},  // AR9580
	{0x168c, 0x0034, every, NoBusReset},  // AR9462
	{0x168c, 0x003c, every, NoBusReset},  // QCA988x
	{0x168c, 0x003e, every, NoBusReset},  // QCA6174
	{0x177d, 0xa100, every, NoBusReset},  // Cavium CN8xxx, a root port: what is behind it
	{0x104c, 0xb005, every, NoBusReset},  // Texas Instruments C667x
	{0x10de, 0x2340, 0xffc0, NoBusReset}, // NVIDIA GH100 with a processor's memory

	{0x1022, 0x1487, every, NoFLR}, // AMD Starship/Matisse HD audio
	{0x1022, 0x148c, every, NoFLR}, // AMD Starship USB
	{0x1022, 0x149c, every, NoFLR}, // AMD Matisse USB
	{0x1022, 0x7901, every, NoFLR}, // AMD FCH SATA
	{0x8086, 0x1502, every, NoFLR}, // Intel 82579LM
	{0x8086, 0x1503, every, NoFLR}, // Intel 82579V
	{0x14c3, 0x0616, every, NoFLR}, // MediaTek MT7922
	{0xd063, 0x1000, every, NoFLR}, // SolidRun SNET; Linux means revision 01 only

	{0x15b3, 0xcb84, every, NoPMReset}, // NVIDIA (Mellanox) Spectrum to Spectrum-4
	{0x15b3, 0xcf6c, every, NoPMReset},
	{0x15b3, 0xcf70, every, NoPMReset},
	{0x15b3, 0xcf80, every, NoPMReset},

	{0x8086, 0x10ed, every, DeviceReset},  // Intel 82599, virtual function
	{0x8086, 0x0156, every, DeviceReset},  // Intel Ivy Bridge graphics
	{0x8086, 0x0166, every, DeviceReset},  // Intel Ivy Bridge mobile graphics
	{0x144d, 0xa804, every, DeviceReset},  // Samsung SM961/PM961: disabled before FLR
	{0x8086, 0x0953, every, DeviceReset},  // Intel P3700: waits after FLR
	{0x8086, 0x0a54, every, DeviceReset},  // Intel P4510: waits after FLR
	{0x025e, 0xf1ac, every, DeviceReset},  // Solidigm P44 Pro: waits after FLR
	{0x1425, 0x4000, 0xf000, DeviceReset}, // Chelsio T4
	{0x19e5, 0x375e, every, DeviceReset},  // Huawei, virtual function
}

// ResetQuirks returns what Linux knows of how the function takes a reset, NoBusReset
// first. onRoot says that it sits on a root bus, where Linux trusts the way through
// D3hot. The methods of [ResetMethods] have all of it in them already; it is for
// machines that do not state these, and for resets of a whole bus.
func ResetQuirks(f Function, onRoot bool) []ResetQuirk {
	var found []ResetQuirk
	for _, q := range resetQuirks {
		if f.Vendor != NewID(q.vendor) || !f.Device.Known() || f.Device.Uint16()&q.mask != q.device || q.quirk == NoPMReset && onRoot {
			continue
		}
		found = append(found, q.quirk)
	}
	// A VGA controller of AMD's goes through D3hot and keeps what it had.
	if f.Vendor == NewID(0x1002) && f.Class.Sub() == 0x0300 && !onRoot {
		found = append(found, NoPMReset)
	}
	return found
}
