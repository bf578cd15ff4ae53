package vfio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/project-independence/indy/pci"
)

// An Affected is a function that goes through a hot reset: a reset of a whole bus, or of
// a hot-plug slot.
type Affected struct {
	Address pci.Address
	Group   pci.GroupID
}

const (
	hotResetHeader = 12 // argsz, flags, count
	hotResetEntry  = 8  // group, segment, bus, device and function
	maxHotReset    = 1 << 16
)

// HotReset asks the kernel which functions a hot reset of the device would affect, the
// device itself among them. It resets nothing. VFIO makes such a reset only for who owns
// the groups of all of them. [pci.ReadBusReset] tells the same without an open device.
//
// The error is errors.ErrUnsupported when there is no such reset, as on a root bus.
func (d *Device) HotReset() ([]Affected, error) {
	all, err := d.hotReset()
	if err != nil {
		return nil, d.fail("ask about a hot reset of", err)
	}
	return all, nil
}

func (d *Device) hotReset() ([]Affected, error) {
	u := binary.NativeEndian
	room := 16
	for range 4 { // a function may be plugged in meanwhile
		b := make([]byte, hotResetHeader+room*hotResetEntry)
		u.PutUint32(b, uint32(len(b)))
		err := d.node.data(deviceHotResetInfo, b)
		count := int(u.Uint32(b[8:]))
		switch {
		case errors.Is(err, syscall.ENODEV):
			return nil, &lacking{"the kernel can reset neither its bus nor its slot", err}
		case err != nil && !errors.Is(err, syscall.ENOSPC):
			return nil, err
		case count > maxHotReset:
			return nil, fmt.Errorf("the kernel speaks of %d functions", count)
		case count > room:
			room = count
			continue
		case err != nil:
			return nil, err
		}
		all := make([]Affected, count)
		for i := range all {
			e := b[hotResetHeader+i*hotResetEntry:]
			all[i] = Affected{
				Address: pci.NewAddress(uint32(u.Uint16(e[4:])), e[6], e[7]>>3, e[7]&7),
				Group:   pci.NewGroupID(u.Uint32(e)),
			}
		}
		return all, nil
	}
	return nil, errors.New("their number changes all the time")
}
