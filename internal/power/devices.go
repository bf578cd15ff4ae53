package power

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
)

// A Device is a function that a guest has, and the driver that it is bound to for that.
type Device struct {
	Address pci.Address
	Driver  string
}

// Devices reads to which drivers functions are bound now.
func Devices(fsys fs.FS, functions []pci.Address) ([]Device, error) {
	all := make([]Device, len(functions))
	var errs []error
	for i, a := range functions {
		d, err := pci.Driver(fsys, a)
		all[i], errs = Device{a, d}, append(errs, err)
	}
	return all, errors.Join(errs...)
}

// Lost returns an error that names each function which does not work any more: it is gone,
// is not bound to the same driver, or does not answer: its header reads as all ones. A vendor
// id of ffff alone would not say so, as virtual functions have it.
func Lost(fsys fs.FS, devices []Device) error {
	var errs []error
	for _, d := range devices {
		if err := d.lost(fsys); err != nil {
			errs = append(errs, fmt.Errorf("pci:%s %w", d.Address, err))
		}
	}
	return errors.Join(errs...)
}

func (d Device) lost(fsys fs.FS) error {
	driver, err := pci.Driver(fsys, d.Address)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("is not there any more")
	case err != nil:
		return err
	case driver == "":
		return fmt.Errorf("is not bound to %s any more", d.Driver)
	case driver != d.Driver:
		return fmt.Errorf("is bound to %s, and no more to %s", driver, d.Driver)
	}
	_, err = pci.ReadConfig(fsys, d.Address)
	switch {
	case errors.Is(err, pci.ErrNoAnswer):
		return errors.New("does not answer")
	case err != nil:
		return fmt.Errorf("cannot be read: %w", err)
	}
	return nil
}

// SleepMode returns how the host sleeps, the word in brackets of /sys/power/mem_sleep: s2idle,
// shallow or deep, the last of which is ACPI S3. Empty is that it is not known.
func SleepMode(fsys fs.FS) string {
	s, err := hostfs.ReadString(fsys, "sys/power/mem_sleep")
	if err != nil {
		return ""
	}
	_, s, _ = strings.Cut(s, "[")
	s, _, ok := strings.Cut(s, "]")
	if !ok {
		return ""
	}
	return s
}

// Forgets says why a function does not keep what it was told while the host sleeps, in the
// words that follow its name; empty is that it keeps it. That takes a host that sleeps by
// s2idle, a function that comes back from D3hot as it was (No_Soft_Reset, PCI Bus Power
// Management 1.2, section 3.2.4), and that D3cold is not allowed for it. What cannot be read
// speaks for that it forgets.
func Forgets(fsys fs.FS, a pci.Address) string {
	if mode := SleepMode(fsys); mode != "s2idle" {
		if mode == "" {
			return "may lose its power: how the host sleeps is not known"
		}
		return "loses its power: the host sleeps by " + mode
	}
	c, err := pci.ReadConfig(fsys, a)
	if err != nil {
		return "may be reset: it cannot be read"
	}
	if p, err := c.PowerManagement(); err != nil || !p.NoSoftReset {
		return "is reset on its way from D3hot"
	}
	if allowed, err := pci.D3coldAllowed(fsys, a); err != nil || allowed {
		return "may lose its power: D3cold is allowed for it"
	}
	return ""
}
