package vfio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
)

// An Affected is a function that goes through a hot reset: a reset of a whole bus, or of
// a hot-plug slot.
type Affected struct {
	Address pci.Address
	Group   pci.GroupID
}

// ErrNotOwned is the cause when a hot reset would affect functions that are not in the
// address space of the device. The error around it names them.
var ErrNotOwned = errors.New("a hot reset would affect what is not owned")

const (
	hotResetHeader = 12 // argsz, flags, count
	hotResetEntry  = 8  // group, segment, bus, device and function
	maxHotReset    = 1 << 16
)

// Flags of struct vfio_pci_hot_reset_info.
const (
	hotResetByDevice = 1 << 0 // what is said of each function is its number in the iommufd, not its group
	hotResetOwned    = 1 << 1 // all of them are owned

	notOwned = 1<<32 - 1 // VFIO_PCI_DEVID_NOT_OWNED
)

// A hotResetSet is what a hot reset affects.
type hotResetSet struct {
	all      []Affected
	byDevice bool
	owned    bool       // where byDevice: the kernel would do it
	others   []Affected // where byDevice: those that are not owned
}

// HotReset asks the kernel which functions a hot reset of the device would affect, the
// device itself among them (VFIO_DEVICE_GET_PCI_HOT_RESET_INFO). It resets nothing. VFIO
// makes such a reset only for who owns all of them. [pci.ReadBusReset] tells the same
// without an open device.
//
// The error is errors.ErrUnsupported when there is no such reset, as on a root bus.
func (d *Device) HotReset() ([]Affected, error) {
	set, err := d.hotReset()
	if err != nil {
		return nil, d.fail("ask about a hot reset of", err)
	}
	return set.all, nil
}

// ResetBus makes the hot reset, of the device's whole bus or slot
// (VFIO_DEVICE_PCI_HOT_RESET). All functions it affects have to be in the device's
// address space: with groups, their groups; with iommufd, the devices, or another of
// their group. If one is not, nothing is reset and the error is [ErrNotOwned] and names
// all that are not.
func (d *Device) ResetBus() error {
	set, err := d.hotReset()
	if err == nil && set.byDevice {
		err = d.resetByDevice(set)
	} else if err == nil {
		err = d.resetByGroups(set)
	}
	if err != nil {
		return d.fail("reset the bus of", err)
	}
	return nil
}

func (d *Device) resetByDevice(set hotResetSet) error {
	if !set.owned || len(set.others) > 0 {
		return notAll(set.others)
	}
	var b [12]byte // argsz, flags, count
	binary.NativeEndian.PutUint32(b[:], uint32(len(b)))
	return d.node.data(deviceHotReset, b[:])
}

func (d *Device) resetByGroups(set hotResetSet) error {
	have := map[pci.GroupID]*Group{}
	for _, g := range d.space.Groups() {
		have[g.id] = g
	}
	var others []Affected
	var proof []holder // the kernel takes no more of them than there are functions
	seen := map[pci.GroupID]bool{}
	for _, a := range set.all {
		g := have[a.Group]
		switch {
		case g == nil:
			others = append(others, a)
		case !seen[a.Group]:
			seen[a.Group] = true
			proof = append(proof, g.node)
		}
	}
	if len(others) > 0 {
		return notAll(others)
	}
	b := make([]byte, 12+4*len(proof)) // argsz, flags, count, group_fds
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint32(b[8:], uint32(len(proof)))
	return d.node.files(deviceHotReset, b, 12, proof...)
}

// notAll names the functions that keep a hot reset from being made.
func notAll(others []Affected) error {
	if len(others) == 0 {
		return fmt.Errorf("%w: the kernel does not say what", ErrNotOwned)
	}
	var names []string
	for _, a := range others {
		name := a.Address.String()
		if a.Group.IsValid() {
			name += " of group " + a.Group.String()
		}
		names = append(names, name)
	}
	return fmt.Errorf("%w: %s", ErrNotOwned, some(names))
}

func (d *Device) hotReset() (hotResetSet, error) {
	u := binary.NativeEndian
	room := 16
	for range 4 { // a function may be plugged in meanwhile
		b := make([]byte, hotResetHeader+room*hotResetEntry)
		u.PutUint32(b, uint32(len(b)))
		err := d.node.data(deviceHotResetInfo, b)
		count := int(u.Uint32(b[8:]))
		switch {
		case errors.Is(err, syscall.ENODEV):
			return hotResetSet{}, &lacking{"the kernel can reset neither its bus nor its slot", err}
		case err != nil && !errors.Is(err, syscall.ENOSPC):
			return hotResetSet{}, err
		case count > maxHotReset:
			return hotResetSet{}, fmt.Errorf("the kernel speaks of %d functions", count)
		case count > room:
			room = count
			continue
		case err != nil:
			return hotResetSet{}, err
		}
		return parseHotReset(b, d.groupOf), nil
	}
	return hotResetSet{}, errors.New("their number changes all the time")
}

// parseHotReset understands struct vfio_pci_hot_reset_info. Of a device with a node of
// its own it does not say the groups, which groupOf knows.
func parseHotReset(b []byte, groupOf func(pci.Address) pci.GroupID) hotResetSet {
	u := binary.NativeEndian
	flags, count := u.Uint32(b[4:]), u.Uint32(b[8:])
	set := hotResetSet{byDevice: flags&hotResetByDevice != 0, owned: flags&hotResetOwned != 0}
	set.all = []Affected{}
	for b = b[hotResetHeader:]; count > 0 && len(b) >= hotResetEntry; count-- {
		a := Affected{Address: pci.NewAddress(uint32(u.Uint16(b[4:])), b[6], b[7]>>3, b[7]&7)}
		if !set.byDevice {
			a.Group = pci.NewGroupID(u.Uint32(b))
		} else {
			a.Group = groupOf(a.Address)
			if u.Uint32(b) == notOwned {
				set.others = append(set.others, a)
			}
		}
		set.all = append(set.all, a)
		b = b[hotResetEntry:]
	}
	return set
}

// groupOf returns the group of a function by its link, or the zero GroupID.
func (d *Device) groupOf(a pci.Address) pci.GroupID {
	link, _ := hostfs.ReadLinkBase(d.space.host.fsys, "sys/bus/pci/devices/"+a.String()+"/iommu_group")
	id, _ := pci.ParseGroupID(link)
	return id
}
