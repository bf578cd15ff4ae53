package iommu

import (
	"fmt"
	"strconv"

	"github.com/project-independence/indy/pci"
)

// An IVHDEntryKind says what an entry of an IVHD is.
type IVHDEntryKind uint8

// The kinds of entries.
const (
	EntryPadding       IVHDEntryKind = 0x00
	EntryAll           IVHDEntryKind = 0x01 // all devices
	EntrySelect        IVHDEntryKind = 0x02 // one device
	EntryRangeStart    IVHDEntryKind = 0x03 // the first of several
	EntryRangeEnd      IVHDEntryKind = 0x04 // the last of them
	EntryAlias         IVHDEntryKind = 0x42 // one that sends under another's number
	EntryAliasStart    IVHDEntryKind = 0x43 // the first of several that do
	EntryExtended      IVHDEntryKind = 0x46 // one, with more settings
	EntryExtendedStart IVHDEntryKind = 0x47 // the first of several, with more settings
	EntrySpecial       IVHDEntryKind = 0x48 // an IOAPIC or an HPET
	EntryACPI          IVHDEntryKind = 0xf0 // a device of ACPI's name space
)

// String names the kind, an unknown one by its number.
func (k IVHDEntryKind) String() string {
	switch k {
	case EntryPadding:
		return "padding"
	case EntryAll:
		return "all devices"
	case EntrySelect:
		return "device"
	case EntryRangeStart:
		return "range from"
	case EntryRangeEnd:
		return "range to"
	case EntryAlias:
		return "alias"
	case EntryAliasStart:
		return "alias range from"
	case EntryExtended:
		return "extended device"
	case EntryExtendedStart:
		return "extended range from"
	case EntrySpecial:
		return "special device"
	case EntryACPI:
		return "ACPI device"
	}
	return fmt.Sprintf("unknown entry %02xh", uint8(k))
}

// EntrySettings is what the firmware wants in the device table for a device: which
// interrupts pass as they are, and system management messages.
type EntrySettings uint8

// String names the settings as the specification does.
func (s EntrySettings) String() string {
	return tableFlags(uint64(s), "INITPass", "EIntPass", "NMIPass", "", "SysMgt1", "SysMgt2", "Lint0Pass", "Lint1Pass")
}

// A SpecialDevice says what an [EntrySpecial] names.
type SpecialDevice uint8

// The special devices.
const (
	SpecialIOAPIC SpecialDevice = 1
	SpecialHPET   SpecialDevice = 2
)

// String returns IOAPIC, HPET, or the number.
func (s SpecialDevice) String() string {
	switch s {
	case SpecialIOAPIC:
		return "IOAPIC"
	case SpecialHPET:
		return "HPET"
	}
	return "special device " + strconv.Itoa(int(s))
}

// An IVHDEntry says of one device, or of one end of a range of them, that it belongs to
// a unit, and how. Addresses are numbers under which devices send; a function of such
// an address need not be there.
type IVHDEntry struct {
	Kind     IVHDEntryKind
	Device   pci.Address // valid in all kinds but padding, all devices, and unknown ones
	Settings EntrySettings

	Alias pci.Address // of an alias: under whose number Device sends

	ATSDisabled bool // of an extended entry: the device is not to translate itself

	// Of a special device: what it is, and the id that ACPI's MADT or HPET table gives it.
	Special SpecialDevice
	Handle  uint8

	// Of an ACPI device: its hardware id, what it is compatible with, and its number or
	// name among those alike. Each is a line of printable text, and may be empty.
	HID, CID, UID string
}

// String returns such as "IOAPIC 33 is 0000:00:14.0".
func (e IVHDEntry) String() string {
	switch e.Kind {
	case EntryPadding, EntryAll:
		return e.Kind.String()
	case EntryAlias, EntryAliasStart:
		return fmt.Sprintf("%s %s as %s", e.Kind, e.Device, e.Alias)
	case EntrySpecial:
		return fmt.Sprintf("%s %d is %s", e.Special, e.Handle, e.Device)
	case EntryACPI:
		if e.UID != "" {
			return fmt.Sprintf("%s %s (%s) is %s", e.Kind, e.HID, e.UID, e.Device)
		}
		return fmt.Sprintf("%s %s is %s", e.Kind, e.HID, e.Device)
	}
	if !e.Device.IsValid() {
		return e.Kind.String()
	}
	return e.Kind.String() + " " + e.Device.String()
}

// A DeviceRange is devices that belong to a unit alike, First and Last included, each
// under the number of Alias if that is valid.
type DeviceRange struct {
	First, Last pci.Address
	Alias       pci.Address
	Settings    EntrySettings
	ATSDisabled bool
}

// Has reports whether the device is in the range.
func (r DeviceRange) Has(a pci.Address) bool {
	return r.First.Compare(a) <= 0 && a.Compare(r.Last) <= 0
}

// Ranges returns which devices of PCI are a unit's, in the order of the table, where a
// later one adds to an earlier one. IOAPICs, HPETs and ACPI devices are not among
// them. A range without both ends is left out.
func (u IVHD) Ranges() []DeviceRange {
	var all []DeviceRange
	var open DeviceRange
	for _, e := range u.Entries {
		r := DeviceRange{e.Device, e.Device, e.Alias, e.Settings, e.ATSDisabled}
		switch e.Kind {
		case EntryAll:
			r.First, r.Last = requester(u.Segment, 0), requester(u.Segment, 0xffff)
			all = append(all, r)
		case EntrySelect, EntryAlias, EntryExtended:
			all = append(all, r)
		case EntryRangeStart, EntryAliasStart, EntryExtendedStart:
			open = r
		case EntryRangeEnd:
			if open.First.IsValid() && open.First.Compare(e.Device) <= 0 {
				open.Last = e.Device
				all = append(all, open)
			}
			open = DeviceRange{}
		}
	}
	return all
}

// entries decodes those of a unit, whose bytes b are, at offset at of the table.
func (t *table) entries(b []byte, at int, segment uint16) []IVHDEntry {
	var all []IVHDEntry
	for off := 0; off < len(b); {
		rest := b[off:]
		n, ok := entryLength(rest)
		if !ok || n > len(rest) {
			t.wrong(at+off, "entry %02xh does not fit into the %d bytes that are left of its unit", rest[0], len(rest))
			break
		}
		all = append(all, entry(rest[:n], segment))
		off += n
	}
	return all
}

// entryLength tells the length of an entry by its kind; ok is false when there is no
// telling.
func entryLength(b []byte) (n int, ok bool) {
	switch kind := b[0]; {
	case kind < 0x80:
		return 4 << (kind >> 6), true
	case kind < 0xc0:
		return 16, true
	case kind < 0xf0:
		return 32, true
	case kind == byte(EntryACPI) && len(b) >= 22:
		return 22 + int(b[21]), true
	}
	return 0, false
}

func entry(b []byte, segment uint16) IVHDEntry {
	e := IVHDEntry{Kind: IVHDEntryKind(b[0]), Settings: EntrySettings(b[3])}
	device := requester(segment, le16(b, 1))
	switch e.Kind {
	case EntrySelect, EntryRangeStart, EntryRangeEnd:
		e.Device = device
	case EntryAlias, EntryAliasStart:
		e.Device, e.Alias = device, requester(segment, le16(b, 5))
	case EntryExtended, EntryExtendedStart:
		e.Device, e.ATSDisabled = device, b[7]&0x80 != 0
	case EntrySpecial:
		e.Handle, e.Device, e.Special = b[4], requester(segment, le16(b, 5)), SpecialDevice(b[7])
	case EntryACPI:
		e.Device, e.HID, e.CID = device, tableText(b[4:12]), tableText(b[12:20])
		switch uid := b[22:]; {
		case b[20] == 1 && len(uid) == 8:
			e.UID = strconv.FormatUint(le64(uid, 0), 10)
		case b[20] == 2:
			e.UID = tableText(uid)
		}
	}
	return e
}
