package assign

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/project-independence/indy/pci"
)

// ErrDeviceLost is the cause when a device has gone, as when it was unplugged.
var ErrDeviceLost = errors.New("device lost: it has gone from its bus")

// ErrOtherDevice is the cause when another device is where the planned one was. Nothing is
// written to it.
var ErrOtherDevice = errors.New("device changed under its address")

// An Identity is what a device says it is. It tells a device from another one that is
// plugged in later under the same address; it does not tell apart two of the same make.
type Identity struct {
	Bus    string `json:"bus,omitempty"` // as in sys/bus; empty is pci
	Device string `json:"device"`        // name in sys/bus/BUS/devices

	// ID is compared as a whole. Of a PCI function it is vendor and device, those of the
	// subsystem, and class, as "8086:10d3 8086:a01f 020000"; "????" is unknown. Of a USB
	// device it is its ids, its number on the bus, which every replug changes, and the
	// beginning of the SHA-256 of its descriptors.
	ID string `json:"id"`

	// Instance is another one after the device was removed and found again: the inode of
	// its entry on its bus. 0 is not known.
	Instance uint64 `json:"instance,omitempty"`

	// What its driver had made of it when it was planned: network interfaces and disks,
	// by their names in /sys/class. Of a USB controller, also those of what hung on it.
	Interfaces []string `json:"interfaces,omitempty"`
	Disks      []string `json:"disks,omitempty"`
}

// identify returns the ID of a function's [Identity].
func identify(f pci.Function) string {
	return fmt.Sprintf("%s:%s %s:%s %s", f.Vendor, f.Device, f.SubsystemVendor, f.SubsystemDevice, f.Class)
}

// readID reads the ID of an [Identity] anew.
func readID(fsys fs.FS, bus, device string) (string, error) {
	if bus == "usb" {
		return identifyUSB(fsys, device)
	}
	if bus != "" {
		// It is there, and that is all that is known of it.
		_, err := fs.Lstat(fsys, deviceDir(bus, device))
		return "", err
	}
	a, err := pci.ParseAddress(device)
	if err != nil {
		return "", err
	}
	f, err := pci.ReadFunction(fsys, a)
	return identify(f), err
}

// check says that the device has gone, or is another one.
func (i Identity) check(fsys fs.FS) error {
	id, err := readID(fsys, i.Bus, i.Device)
	if err != nil {
		if _, gone := fs.Lstat(fsys, deviceDir(i.Bus, i.Device)); errors.Is(gone, fs.ErrNotExist) {
			return fmt.Errorf("%w: %w", ErrDeviceLost, err)
		}
		return err
	}
	if id != i.ID {
		return fmt.Errorf("%w: it was %s, and is %s", ErrOtherDevice, i.ID, id)
	}
	return nil
}

// instance returns the Instance of an [Identity] as it is now.
func instance(fsys fs.FS, bus, device string) uint64 {
	st, err := fs.Lstat(fsys, deviceDir(bus, device))
	if err != nil {
		return 0
	}
	if i, ok := st.(interface{ Inode() uint64 }); ok {
		return i.Inode()
	}
	return 0
}

// cameBack reports whether a device of the plan was removed and found again since.
func (p *Plan) cameBack(fsys fs.FS) bool {
	return slices.ContainsFunc(p.Identities, func(id Identity) bool {
		now := instance(fsys, id.Bus, id.Device)
		return id.Instance != 0 && now != 0 && now != id.Instance
	})
}
