package assign

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// A Foreign is a function that is prepared for a guest, and not by a lease: with vfio-pci,
// or with a driver override. Whoever did that keeps it.
type Foreign struct {
	Device   pci.Address
	Driver   string // it is bound to; empty for none
	Override string // its driver override; empty for none

	// Driverctl is the driver that driverctl sets for it at each boot
	// (/etc/driverctl.d/pci-ADDRESS); empty for none.
	Driverctl string

	// Holders have its group open.
	Holders []GroupHolder
}

// A GroupHolder is a process that has an IOMMU group open.
type GroupHolder struct {
	laptop.Holder
	Guest   string // name of the guest, of a QEMU that was told it; else empty
	Libvirt bool   // libvirt has started it
}

// String names the process, and its guest.
func (g GroupHolder) String() string {
	switch {
	case g.Guest != "" && g.Libvirt:
		return fmt.Sprintf("libvirt's guest %q, %s", g.Guest, g.Holder)
	case g.Guest != "":
		return fmt.Sprintf("guest %q, %s", g.Guest, g.Holder)
	}
	return g.Holder.String()
}

// String says what is so and who did it, as far as that shows.
func (f Foreign) String() string {
	var parts []string
	if f.Driver == VFIODriver {
		parts = append(parts, "is with vfio-pci")
	}
	if f.Override != "" {
		parts = append(parts, "has the driver override "+plain.Short(f.Override))
	}
	s := f.Device.String() + " " + strings.Join(parts, " and ")
	if f.Driverctl != "" {
		s += "; driverctl sets " + plain.Short(f.Driverctl) + " for it at each boot"
	}
	for _, h := range f.Holders {
		s += "; " + h.String() + " has its group open"
	}
	return s
}

// foreign finds the functions that are with vfio-pci or have an override, and are not in
// held.
func foreign(fsys fs.FS, held map[pci.Address]bool) ([]Foreign, error) {
	functions, err := pci.Functions(fsys)
	if err != nil && len(functions) == 0 {
		return nil, err
	}
	var found []Foreign
	var groups []iommu.GroupID
	var errs []error
	for _, f := range functions {
		if held[f.Address] {
			continue
		}
		override, err := pci.DriverOverride(fsys, f.Address)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		if f.Driver == VFIODriver || override != "" {
			found = append(found, Foreign{Device: f.Address, Driver: f.Driver, Override: override, Driverctl: driverctl(fsys, f.Address)})
			groups = append(groups, f.Group)
		}
	}
	if len(found) > 0 {
		open, _ := laptop.ReadOpen(fsys) // what cannot be seen is not named
		for i := range found {
			found[i].Holders = groupHolders(fsys, open, groups[i])
		}
	}
	return found, errors.Join(errs...)
}

// driverctl returns the driver that driverctl keeps for a function.
func driverctl(fsys fs.FS, a pci.Address) string {
	s, err := hostfs.ReadString(fsys, "etc/driverctl.d/pci-"+a.String())
	if err != nil {
		return ""
	}
	return plain.Short(s)
}

// groupHolders returns who has the node of a group open.
func groupHolders(fsys fs.FS, open laptop.Open, g iommu.GroupID) []GroupHolder {
	if !g.IsValid() {
		return nil
	}
	var holders []GroupHolder
	for _, h := range open.Nodes["dev/vfio/"+g.String()] {
		guest, libvirt := guestOf(fsys, h.PID)
		holders = append(holders, GroupHolder{h, guest, libvirt})
	}
	return holders
}

// maxArguments bounds what is looked at of a command line.
const maxArguments = 1 << 10

// guestOf reads the name of the guest that a process runs from QEMU's -name guest=NAME, or
// -name NAME. Libvirt's have -name guest=NAME,debug-threads=on and their master key in its
// directory.
func guestOf(fsys fs.FS, pid int) (name string, libvirt bool) {
	line, err := fs.ReadFile(fsys, "proc/"+strconv.Itoa(pid)+"/cmdline")
	if err != nil {
		return "", false
	}
	args := strings.SplitN(string(line), "\x00", maxArguments)
	for i, arg := range args {
		if i+1 < len(args) && (arg == "-name" || arg == "--name") && name == "" {
			value, _, _ := strings.Cut(args[i+1], ",")
			name = plain.Short(strings.TrimPrefix(value, "guest="))
		}
		libvirt = libvirt || strings.Contains(arg, "/var/lib/libvirt/") || strings.Contains(arg, "/run/libvirt/")
	}
	return name, libvirt
}
