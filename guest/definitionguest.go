package guest

import (
	"errors"
	"fmt"
	"path"

	"github.com/project-independence/indy/pci"
)

// Guest makes of d what can be run. Files with relative names are in dir. functions are,
// for each of the needs, the PCI functions it was resolved to, the one that is meant
// first and what goes along after it; none for a need that is not met, that is shared, or that is met
// by something else than PCI functions.
//
// The result is what d says of processors, memory, firmware, disks, CD-ROMs, assigned functions and
// their ROMs; it is valid, or there is an error.
func (d Definition) Guest(dir string, functions [][]pci.Address) (Guest, error) {
	if err := d.Validate(); err != nil {
		return Guest{}, err
	}
	if len(functions) != len(d.Devices) {
		return Guest{}, fmt.Errorf("guest %s: %d needs, and functions for %d", d.Name, len(d.Devices), len(functions))
	}
	below := func(file string) string {
		if path.IsAbs(file) {
			return file
		}
		return path.Join(dir, file)
	}
	g := Guest{Name: d.Name, CPUs: d.CPUs, Memory: d.Memory, Firmware: d.Firmware, SecureBoot: d.SecureBoot}
	for _, k := range d.Disks {
		k.File = below(k.File)
		if k.Key.Kind == Credential {
			k.Key.File = below(k.Key.File)
		}
		g.Disks = append(g.Disks, k)
	}
	for _, file := range d.CDROMs {
		g.Disks = append(g.Disks, Disk{File: below(file), ReadOnly: true, CDROM: true})
	}
	if d.Firmware == UEFI {
		// Those of a firmware without Secure Boot have no keys, and would switch it off.
		g.Variables = below("uefi-variables")
		if d.SecureBoot {
			g.Variables += "-secure"
		}
	}
	var errs []error
	for i, n := range d.Devices {
		if n.How == Share && len(functions[i]) > 0 {
			errs = append(errs, fmt.Errorf("guest %s: devices[%d]: %v is shared, and is given functions", d.Name, i, n))
			continue
		}
		g.Devices = append(g.Devices, functions[i]...)
		if n.ROM != nil && len(functions[i]) > 0 {
			g.ROMs = append(g.ROMs, ROM{Device: functions[i][0], File: below(n.ROM.File), SHA256: n.ROM.SHA256})
		}
	}
	if err := errors.Join(append(errs, g.Validate())...); err != nil {
		return Guest{}, err
	}
	return g, nil
}
