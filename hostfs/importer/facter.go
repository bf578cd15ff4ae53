package importer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
)

// A record is one device of a nixos-facter report, with what of it is used. The
// fields are those of libhd, which writes its own classes over those of the bus: a
// WLAN adapter is 0282, a webcam 010f. The module alias is the kernel's.
type record struct {
	SysfsID    string   `json:"sysfs_id"`
	DeviceLink string   `json:"sysfs_device_link"`
	Group      number   `json:"sysfs_iommu_group_id"`
	BaseClass  named    `json:"base_class"`
	SubClass   named    `json:"sub_class"`
	Interface  named    `json:"pci_interface"`
	Vendor     named    `json:"vendor"`
	Device     named    `json:"device"`
	SubVendor  named    `json:"sub_vendor"`
	SubDevice  named    `json:"sub_device"`
	Revision   named    `json:"revision"`
	Serial     string   `json:"serial"`
	Driver     string   `json:"driver"`
	Drivers    []string `json:"drivers"`
	Alias      string   `json:"module_alias"`
	Label      string   `json:"label"`
	Node       struct {
		Major number `json:"major"`
		Minor number `json:"minor"`
	} `json:"unix_device_number"`
	Detail detail `json:"detail"`

	line int
}

type detail struct {
	// of a PCI function
	HeaderType   number `json:"header_type"`
	SecondaryBus number `json:"secondary_bus"`
	// of a USB interface
	DeviceClass       named  `json:"device_class"`
	DeviceSubclass    named  `json:"device_subclass"`
	DeviceProtocol    number `json:"device_protocol"`
	InterfaceClass    named  `json:"interface_class"`
	InterfaceSubclass named  `json:"interface_subclass"`
	InterfaceProtocol number `json:"interface_protocol"`
}

// A facterReport is what is known so far of the report being read.
type facterReport struct {
	*builder
	seen    map[string]string // what was said of a sysfs id
	devices map[string]usbIDs
	members []link   // of groups
	behind  []record // USB interfaces that the report tells of by their disks only
}

// again says whether the report told of the same before; another word on it is an
// error.
func (f *facterReport) again(r *record) (bool, error) {
	said := fmt.Sprint(r.Alias, "|", r.driver(), "|", r.Group, "|", r.DeviceLink)
	before, ok := f.seen[r.SysfsID]
	if ok && before != said {
		return true, fmt.Errorf("%s is told of twice; the first is taken", quote(r.SysfsID))
	}
	f.seen[r.SysfsID] = said
	return ok, nil
}

// facter reads a nixos-facter report. It is complete as to functions and their
// groups, since the program walks /sys and fails if it cannot read the groups.
func (b *builder) facter(data []byte) {
	if line, err := checkDepth(data); err != nil {
		b.add(line, err)
		return
	}
	r, f := newReader(data), &facterReport{builder: b, seen: map[string]string{}, devices: map[string]usbIDs{}}
	hardware, whole := false, false
	err := r.object(func(key string) error {
		line := r.next()
		var err error
		if key == "hardware" {
			hardware = true
			err = f.hardware(r)
			whole = err == nil && b.err() == nil
		} else {
			err = f.other(r, key, line)
		}
		if err != nil && !fatal(err) {
			b.addf(line, "%s: %w", quote(key), err)
			err = nil
		}
		return err
	})
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		b.addf(lineAt(data, len(bytes.TrimSpace(data))), "the report is cut off; what came before was read")
	case err != nil:
		b.addf(r.next(), "no JSON from here on: %w", err)
	case !hardware:
		b.addf(0, `no "hardware" in it; expected %s`, Accepted)
	}
	f.putBehind()
	if !whole {
		// A function that is missing may be in any group, or the only one in one.
		b.groupsNotStated()
		return
	}
	b.mkdir("sys/kernel/iommu_groups") // and leave it empty when no function is in a group
	b.links = append(b.links, f.members...)
}

// hardware reads the devices, lists of them by what they are.
func (f *facterReport) hardware(r *reader) error {
	return r.object(func(string) error {
		err := r.array(func() error { return f.record(r) })
		if errors.Is(err, errOther) {
			return nil // such as bios, which is one and of no use here
		}
		return err
	})
}

// other reads what the report says besides its devices, the value of key on that line.
func (f *facterReport) other(r *reader, key string, line int) error {
	switch key {
	case "version":
		var v number
		if err := r.Decode(&v); err != nil {
			return err
		}
		if v.value != 1 {
			f.addf(line, "version %d of the report; expected 1", v.value)
		}
	case "smbios":
		var s smbios
		if err := r.Decode(&s); err != nil {
			return err
		}
		f.putSMBIOS(s)
	case "uefi":
		var u struct {
			Size number `json:"platform_size"`
		}
		if err := r.Decode(&u); err != nil {
			return err
		}
		if u.Size.value == 64 || u.Size.value == 32 {
			f.builder.put("sys/firmware/efi/fw_platform_size", fmt.Sprint(u.Size.value))
		}
	default:
		return r.skip()
	}
	return nil
}

// putBehind places the interfaces that disks are behind, unless they have records of
// their own.
func (f *facterReport) putBehind() {
	for _, r := range f.behind {
		if _, ok := f.seen[r.SysfsID]; ok {
			continue
		}
		if err := f.put(&r); err != nil {
			f.add(r.line, err)
		}
	}
}

// record reads one device.
func (f *facterReport) record(r *reader) error {
	line := r.next()
	if !f.builder.record() {
		return io.EOF
	}
	rec := record{line: line}
	if err := r.Decode(&rec); err != nil {
		if fatal(err) {
			return err
		}
		f.add(line, err)
		return nil
	}
	if err := f.put(&rec); err != nil {
		f.add(line, err)
	}
	return nil
}

// put places a device by its sysfs id. What is of no bus or class that is read, as a
// processor, is left out.
func (f *facterReport) put(r *record) error {
	base := path.Base(r.SysfsID)
	usb, isUSB := parseUSBName(base)
	class, name, _ := strings.Cut(strings.TrimPrefix(r.SysfsID, "/class/"), "/")
	switch {
	case strings.HasPrefix(r.SysfsID, "/class/") && (class == "block" || class == "net"):
		return f.putClass(r, class, name)
	case !strings.HasPrefix(r.SysfsID, "/devices/"):
		return nil
	case !isAddress(base) && !(isUSB && usb.inter):
		return nil
	}
	if again, err := f.again(r); again {
		return err
	}
	dir, err := checkDevicePath(r.SysfsID)
	if err != nil {
		return err
	}
	if isUSB {
		return f.putInterface(r, dir, usb)
	}
	return f.putFunction(r, dir)
}

func (f *facterReport) putFunction(r *record, dir string) error {
	i, ok := parsePCIAlias(r.Alias)
	if !ok {
		i = ids{
			vendor: r.Vendor.hex(4), device: r.Device.hex(4),
			subVendor: r.SubVendor.hex(4), subDevice: r.SubDevice.hex(4),
		}
		base, sub, progIf := r.BaseClass.hex(2), r.SubClass.hex(2), r.Interface.hex(2)
		if base+sub == "0282" { // libhd's own for WLAN
			sub = "80"
		}
		if base != "" {
			i.class = base + orZero(sub) + orZero(progIf) // libhd leaves out what is 0
		}
	}
	if i.vendor == "" || i.device == "" || i.class == "" {
		return fmt.Errorf("%s: no ids; expected module_alias, or vendor, device and base_class", path.Base(dir))
	}
	f.found++
	f.mkdir(dir)
	f.onBus("pci", dir)
	f.putIDs(dir, i)
	if ok {
		f.builder.put(dir+"/modalias", r.Alias)
	}
	if revision := r.Revision.hex(2); revision != "" {
		f.builder.put(dir+"/revision", "0x"+revision)
	}
	if r.Detail.HeaderType.value == 1 || r.Detail.HeaderType.value == 2 {
		f.putBusBehind(dir, r.Detail.SecondaryBus)
	}
	f.putKnown(dir+"/label", clean(r.Label))
	if r.Group.known {
		if r.Group.value >= 1<<31 {
			return fmt.Errorf("%s: IOMMU group %d; expected a smaller number", path.Base(dir), r.Group.value)
		}
		group := fmt.Sprintf("sys/kernel/iommu_groups/%d", r.Group.value)
		f.link(dir+"/iommu_group", group)
		f.members = append(f.members, link{group + "/devices/" + path.Base(dir), dir})
	}
	return f.bind("pci", dir, r.driver())
}

// putBusBehind marks a bridge. Without a number the attribute is empty: that it is there
// makes the function a bridge, and zero would be a bus.
func (f *facterReport) putBusBehind(dir string, bus number) {
	const attribute = "/secondary_bus_number"
	if bus.known {
		f.builder.put(dir+attribute, fmt.Sprint(bus.value))
	} else {
		f.file(dir+attribute, "")
	}
}

func orZero(digits string) string {
	if digits == "" {
		return "00"
	}
	return digits
}

// driver is the one that is bound. A disk lists those of all its layers.
func (r *record) driver() string {
	if r.Driver == "" && len(r.Drivers) == 1 {
		return r.Drivers[0]
	}
	return r.Driver
}

// putClass places a disk or a network interface below the device it links to, or
// among the virtual ones. The kernel puts a directory of the class's name between a
// device on a bus and what it is in a class, and none below another class, as for
// disks of NVMe.
func (f *facterReport) putClass(r *record, class, name string) error {
	if strings.Contains(name, "/") {
		return nil // a partition
	}
	if again, err := f.again(r); again {
		return err
	}
	if err := checkElement(name); err != nil {
		return err
	}
	below, device := "sys/devices/virtual/", ""
	if r.DeviceLink != "" {
		dir, err := checkDevicePath(r.DeviceLink)
		if err != nil {
			return err
		}
		below, device = dir+"/", dir
	}
	if !(class == "block" && strings.HasPrefix(path.Base(r.DeviceLink), "nvme")) {
		below += class + "/"
	}
	dir := below + name
	f.mkdir(dir)
	f.ofClass(class, dir)
	if device != "" {
		f.link(dir+"/device", device)
	}
	if class == "block" {
		f.noteInterface(r)
		f.link("sys/block/"+name, dir)
		if n := r.Node; n.Major.known && n.Minor.known {
			number := fmt.Sprintf("%d:%d", n.Major.value, n.Minor.value)
			f.builder.put(dir+"/dev", number)
			f.link("sys/dev/block/"+number, dir)
		}
	}
	return nil
}

// noteInterface keeps what a disk on USB says of the interface it is behind, as libhd
// makes one of the two. Its names are those of the disk.
func (f *facterReport) noteInterface(r *record) {
	if _, ok := parseUSBAlias(r.Alias); !ok {
		return
	}
	for dir := r.DeviceLink; len(dir) > len("/devices"); dir = path.Dir(dir) {
		if name, ok := parseUSBName(path.Base(dir)); ok && name.inter {
			f.behind = append(f.behind, record{SysfsID: dir, Alias: r.Alias, Driver: r.Driver, line: r.line})
			return
		}
	}
}

// smbios is what the firmware says of the machine.
type smbios struct {
	BIOS struct {
		Vendor  string `json:"vendor"`
		Version string `json:"version"`
		Date    string `json:"date"`
	} `json:"bios"`
	System  one[product] `json:"system"`
	Board   one[product] `json:"board"`
	Chassis one[product] `json:"chassis"`
}

type product struct {
	Manufacturer string `json:"manufacturer"`
	Product      string `json:"product"`
	Version      string `json:"version"`
	Type         named  `json:"chassis_type"`
}

func (b *builder) putSMBIOS(s smbios) {
	chassis := ""
	if t := s.Chassis.v.Type.Value; t.known {
		chassis = fmt.Sprint(t.value)
	}
	b.putDMI([]attribute{
		{"bios_vendor", s.BIOS.Vendor}, {"bios_version", s.BIOS.Version}, {"bios_date", s.BIOS.Date},
		{"sys_vendor", s.System.v.Manufacturer}, {"product_name", s.System.v.Product}, {"product_version", s.System.v.Version},
		{"board_vendor", s.Board.v.Manufacturer}, {"board_name", s.Board.v.Product}, {"board_version", s.Board.v.Version},
		{"chassis_vendor", s.Chassis.v.Manufacturer}, {"chassis_type", chassis}, {"chassis_version", s.Chassis.v.Version},
	})
}
