package vfio

import (
	"errors"
	"fmt"
	"strings"
)

// A Capability is one thing that a kernel's VFIO may have.
type Capability struct {
	// Name is groups, container, type1, iommufd, cdev, vfio-pci or noiommu.
	Name string
	// Has: the kernel has it.
	Has bool
	// Version of type1 is 1 or 2.
	Version int
	// Err says why not: errors.ErrUnsupported, with the module or the option of the
	// kernel that is missing; another error if it is not known. Nil where Has.
	Err error
}

// String says it in one line.
func (c Capability) String() string {
	switch {
	case c.Has && c.Version > 0:
		return fmt.Sprintf("%-10s yes, version %d", c.Name, c.Version)
	case c.Has:
		return fmt.Sprintf("%-10s yes", c.Name)
	case errors.Is(c.Err, errors.ErrUnsupported):
		return fmt.Sprintf("%-10s no: %v", c.Name, c.Err)
	}
	return fmt.Sprintf("%-10s unknown: %v", c.Name, c.Err)
}

// Capabilities are what this host's kernel has of VFIO.
type Capabilities struct {
	Groups    Capability // groups have nodes, /dev/vfio/N
	Container Capability // /dev/vfio/vfio
	Type1     Capability // address spaces for a PC's IOMMU in a container
	IOMMUFD   Capability // /dev/iommu
	Cdev      Capability // devices have nodes, /dev/vfio/devices/vfioN
	VFIOPCI   Capability // the driver for PCI devices
	NoIOMMU   Capability // devices without an IOMMU behind them, which this package refuses
}

// All returns them in the order of the fields.
func (c Capabilities) All() []Capability {
	return []Capability{c.Groups, c.Container, c.Type1, c.IOMMUFD, c.Cdev, c.VFIOPCI, c.NoIOMMU}
}

// Interface returns which interface [AnyInterface] comes to: IOMMUFD, Groups, or
// AnyInterface where there is neither.
func (c Capabilities) Interface() Interface {
	switch {
	case c.IOMMUFD.Has && c.Cdev.Has:
		return IOMMUFD
	case c.Groups.Has && c.Type1.Has:
		return Groups
	}
	return AnyInterface
}

// String is a table of a line each.
func (c Capabilities) String() string {
	var b strings.Builder
	for _, x := range c.All() {
		b.WriteString(x.String() + "\n")
	}
	return b.String()
}

// Probe asks the kernel what it has of VFIO: it opens /dev/vfio/vfio and /dev/iommu and
// closes them again, and reads /proc/devices. It needs no device. Opening the first has
// the kernel load the module vfio where it is installed.
func Probe() Capabilities { return probe(live()) }

func probe(h host) Capabilities {
	c := Capabilities{
		Container: Capability{Name: "container"}, Type1: Capability{Name: "type1"},
		NoIOMMU: Capability{Name: "noiommu"}, IOMMUFD: Capability{Name: "iommufd"},
	}
	n, err := h.open(containerNode)
	if absent(err) {
		err = &lacking{noContainer, err}
	}
	if err == nil {
		_, err = n.value(getAPIVersion, 0)
	}
	if err != nil {
		c.Container.Err, c.Type1.Err, c.NoIOMMU.Err = err, err, err
	} else {
		c.Container.Has = true
		c.Type1 = extension(n, "type1", noType1, type1v2, type1)
		if c.Type1.Has && c.Type1.Version == type1v2 {
			c.Type1.Version = 2
		}
		c.NoIOMMU = extension(n, "noiommu", "it is switched off, or the kernel was built without CONFIG_VFIO_NOIOMMU", noIOMMU)
		c.NoIOMMU.Version = 0
	}
	if n != nil {
		n.Close() // nothing was changed through it
	}
	// After the container, which has the module loaded.
	c.Groups = device(h, "groups", "vfio", "the kernel's VFIO has no nodes for groups: it was built without CONFIG_VFIO_GROUP")
	c.Cdev = device(h, "cdev", "vfio-dev", noCdev)
	c.VFIOPCI = Capability{Name: "vfio-pci", Has: exists(h.fsys, driverDir)}
	if !c.VFIOPCI.Has {
		c.VFIOPCI.Err = &lacking{what: noPCI}
	}
	n, err = h.open(iommufdNode)
	if absent(err) {
		err = &lacking{noIOMMUFD, err}
	}
	if c.IOMMUFD.Has, c.IOMMUFD.Err = err == nil, err; err == nil {
		n.Close()
	}
	return c
}

// extension asks a container for the first of some extensions that it has.
func extension(n node, name, missing string, wanted ...uintptr) Capability {
	for _, w := range wanted {
		has, err := n.value(checkExtension, w)
		if err != nil {
			return Capability{Name: name, Err: err}
		}
		if has > 0 {
			return Capability{Name: name, Has: true, Version: int(w)}
		}
	}
	return Capability{Name: name, Err: &lacking{what: missing}}
}

func device(h host, name, kind, missing string) Capability {
	has, err := characterDevice(h.fsys, kind)
	if err == nil && !has {
		err = &lacking{what: missing}
	}
	return Capability{Name: name, Has: has && err == nil, Err: err}
}
