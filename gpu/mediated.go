package gpu

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/pci"
)

const (
	mdevBus  = "sys/class/mdev_bus"
	maxTypes = 4096
)

// A MediatedType is a kind of virtual device that a function's driver can make of
// it, for several guests to share it: Intel GVT-g, NVIDIA vGPU.
type MediatedType struct {
	ID          string // as i915-GVTg_V5_4 or nvidia-63
	Name        string // the driver's, often empty
	Description string // one bounded line
	API         string // device_api: vfio-pci

	// Available is how many more can be made now, -1 when that is not stated. Types
	// of one function draw on the same memory: making one of a type may leave none
	// of another.
	Available int

	// Devices are the UUIDs of those that are made.
	Devices []string
}

// MediatedTypes lists what a function offers
// (/sys/bus/pci/devices/ADDRESS/mdev_supported_types). A function that offers
// nothing has none, and that is no error. The error joins one *[OpError] for each
// type that could not be read in full.
func MediatedTypes(fsys fs.FS, a pci.Address) ([]MediatedType, error) {
	return readTypes(fsys, devices+"/"+a.String(), a.String())
}

// MediatedTypesOf lists what a parent of mediated devices offers, by its name in
// /sys/class/mdev_bus, as [MediatedTypes] does for functions.
func MediatedTypesOf(fsys fs.FS, parent string) ([]MediatedType, error) {
	if !fs.ValidPath(parent) || strings.Contains(parent, "/") || parent == "." {
		return nil, &OpError{"list mediated types of", plain.Line(parent, maxText), fs.ErrInvalid}
	}
	return readTypes(fsys, mdevBus+"/"+parent, parent)
}

func readTypes(fsys fs.FS, dir, parent string) ([]MediatedType, error) {
	dir += "/mdev_supported_types"
	entries, err := fs.ReadDir(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &OpError{"list mediated types of", plain.Line(parent, maxText), err}
	}
	var types []MediatedType
	var errs []error
	for _, e := range entries {
		if len(types) == maxTypes {
			errs = append(errs, &OpError{"list mediated types of", plain.Line(parent, maxText), fmt.Errorf("more than %d: %w", maxTypes, hostfs.ErrTooLarge)})
			break
		}
		m, err := readType(fsys, dir+"/"+e.Name(), e.Name())
		if err != nil {
			errs = append(errs, &OpError{"read mediated type " + plain.Line(e.Name(), maxText) + " of", plain.Line(parent, maxText), err})
		}
		types = append(types, m)
	}
	return types, errors.Join(errs...)
}

func readType(fsys fs.FS, dir, id string) (MediatedType, error) {
	m := MediatedType{ID: plain.Line(id, maxText), Available: -1}
	var errs []error
	read := func(name string) string {
		s, err := hostfs.ReadString(fsys, dir+"/"+name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		return plain.Line(s, maxText)
	}
	m.Name, m.Description, m.API = read("name"), read("description"), read("device_api")
	if s := read("available_instances"); s != "" {
		n, err := strconv.ParseUint(s, 10, 31)
		if err != nil {
			errs = append(errs, fmt.Errorf("available_instances is %.64q", s))
		} else {
			m.Available = int(n)
		}
	}
	entries, err := fs.ReadDir(fsys, dir+"/devices")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, e := range entries[:min(len(entries), maxTypes)] {
		m.Devices = append(m.Devices, plain.Line(e.Name(), maxText))
	}
	return m, errors.Join(errs...)
}

// MediatedParents lists the functions whose drivers make mediated devices, in the
// order of their addresses, from the links in /sys/class/mdev_bus. Parents that
// are not PCI functions are left out. Without the class there are none.
func MediatedParents(fsys fs.FS) ([]pci.Address, error) {
	entries, err := fs.ReadDir(fsys, mdevBus)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &OpError{"list parents of mediated devices", "", err}
	}
	var parents []pci.Address
	for _, e := range entries {
		if a, err := pci.ParseAddress(e.Name()); err == nil {
			parents = append(parents, a)
		}
	}
	slices.SortFunc(parents, pci.Address.Compare)
	return parents, nil
}
