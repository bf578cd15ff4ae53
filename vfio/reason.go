package vfio

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/project-independence/indy/pci"
)

const (
	containerNode = "/dev/vfio/vfio"
	driverDir     = "sys/bus/pci/drivers/vfio-pci"

	noVFIO      = "the kernel module vfio is not loaded"
	noContainer = noVFIO + ", or was built without CONFIG_VFIO_CONTAINER"
	noType1     = "the kernel module vfio_iommu_type1 is not loaded"
	noPCI       = "the kernel module vfio-pci is not loaded"
)

// absent reports whether err says that there is nothing behind a node.
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENXIO)
}

func exists(fsys fs.FS, name string) bool {
	_, err := fs.Stat(fsys, name)
	return err == nil
}

// A member is a device of a group with the driver that holds it, if any.
type member struct{ name, driver string }

func (m member) String() string {
	if m.driver == "" {
		return m.name + " has no driver"
	}
	return m.name + " is bound to " + m.driver
}

// handedOver reports whether the driver is vfio-pci or a variant of it for one
// device. Modules and drivers do not agree on dashes and underscores.
func (m member) handedOver() bool {
	return strings.HasSuffix(strings.ReplaceAll(m.driver, "_", "-"), "vfio-pci")
}

// harmless reports whether the driver lets a group be viable: it does no DMA of
// its own.
func (m member) harmless() bool {
	return m.driver == "" || m.driver == "pcieport" || m.driver == "pci-stub" || m.handedOver()
}

// members returns the devices of a group.
func members(fsys fs.FS, id pci.GroupID) ([]member, error) {
	dir := "sys/kernel/iommu_groups/" + id.String() + "/devices"
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, err
	}
	var all []member
	for _, e := range entries {
		link, _ := fs.ReadLink(fsys, dir+"/"+e.Name()+"/driver") // none: no driver
		all = append(all, member{e.Name(), link[strings.LastIndexByte(link, '/')+1:]})
	}
	return all, nil
}

// list joins the members that are wanted, a few of them.
func list(all []member, want func(member) bool) string {
	var s []string
	for _, m := range all {
		if want(m) {
			s = append(s, m.String())
		}
	}
	return some(s)
}

// some joins the first few of a list.
func some(all []string) string {
	const most = 8
	if len(all) > most {
		all = append(all[:most:most], "and more")
	}
	return strings.Join(all, ", ")
}

// whyNoNode turns err, that a group has no node, into the reason.
func whyNoNode(fsys fs.FS, id pci.GroupID, err error) error {
	n := id.String()
	if exists(fsys, "dev/vfio/noiommu-"+n) {
		return &lacking{"no IOMMU stands behind the group, it has only /dev/vfio/noiommu-" + n +
			", with which a guest could write to all memory", err}
	}
	all, readErr := members(fsys, id)
	switch groups, _ := fs.ReadDir(fsys, "sys/kernel/iommu_groups"); {
	case len(groups) == 0:
		return &lacking{"the host has no IOMMU groups: the IOMMU is off in the firmware setup or in the kernel", err}
	case readErr != nil && errors.Is(readErr, fs.ErrNotExist):
		return fmt.Errorf("there is no such IOMMU group: %w", err)
	case readErr != nil:
		return fmt.Errorf("%w (and its members are unknown: %w)", err, readErr)
	}
	if bound := list(all, member.handedOver); bound != "" {
		return fmt.Errorf("%s, but the group has no node: it is late, or /dev is not the host's, "+
			"or the kernel has VFIO without groups (CONFIG_VFIO_GROUP): %w", bound, err)
	}
	if !exists(fsys, driverDir) {
		return &lacking{noPCI, err}
	}
	held := list(all, func(member) bool { return true })
	if held == "" {
		held = "the group is empty"
	}
	return fmt.Errorf("no device of the group is bound to vfio-pci: %s: %w", held, err)
}

// whyNotViable names the devices of a group that the host still holds.
func whyNotViable(fsys fs.FS, id pci.GroupID) error {
	all, _ := members(fsys, id)
	held := list(all, func(m member) bool { return !m.harmless() })
	if held == "" {
		return fmt.Errorf("%w: a driver of the host holds one of its devices", ErrNotViable)
	}
	return fmt.Errorf("%w: %s", ErrNotViable, held)
}
