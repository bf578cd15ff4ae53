package sim

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"
)

// WriteFile writes data to the existing file name, and the kernel does what that
// asks for. Links in name are followed first.
func (k *Kernel) WriteFile(name string, data []byte) error {
	if !fs.ValidPath(name) {
		return &fs.PathError{Op: "write", Path: name, Err: fs.ErrInvalid}
	}
	err := error(nil)
	if k.Fail != nil {
		err = k.Fail(name, slices.Clone(data))
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		err = k.write(name, data)
	}
	var pe *fs.PathError
	if err != nil && !errors.As(err, &pe) {
		err = fail("write", name, err)
	}
	k.writes = append(k.writes, Write{name, slices.Clone(data), err})
	return err
}

const pageSize = 4096

func (k *Kernel) write(name string, data []byte) error {
	if path, ok := strings.CutPrefix(name, "usbfs/"); ok && base(path) == "reset" {
		return guard(func() error { return k.resetUSB(parent(path), string(data)) })
	}
	real, err := k.resolve(name)
	if err != nil {
		return err
	}
	if st, err := k.tree.Lstat(real); err != nil {
		return syscall.ENOENT
	} else if st.IsDir() {
		return syscall.EISDIR
	}
	do := k.door(real)
	if do == nil {
		return syscall.EACCES
	}
	if len(data) == 0 {
		return nil // sysfs drops an empty write
	}
	value := data[:min(len(data), pageSize)] // and cuts a long one
	if err := guard(func() error { return do(string(value)) }); err != nil {
		return err
	}
	if len(value) < len(data) {
		return io.ErrShortWrite
	}
	return nil
}

// door returns what a write to the file real does, nil if it cannot be written.
func (k *Kernel) door(real string) func(value string) error {
	switch real {
	case "sys/bus/pci/drivers_probe":
		return k.driversProbe
	case "sys/bus/pci/drivers_autoprobe":
		return k.driversAutoprobe
	case "sys/bus/pci/rescan":
		return k.rescan
	}
	dir, attr := real[:max(strings.LastIndexByte(real, '/'), 0)], base(real)
	if d := k.driver[base(dir)]; d != nil && dir == driversDir+d.name {
		switch attr {
		case "bind":
			return d.with(k.bind)
		case "unbind":
			return d.with(k.unbind)
		case "new_id":
			return d.with(k.newID)
		case "remove_id":
			return d.with(k.removeID)
		}
		return nil
	}
	if attr == "authorized" {
		if _, err := k.tree.Lstat(dir + "/idVendor"); err == nil {
			return func(v string) error { return k.authorize(dir, v) }
		}
	}
	if do := k.kindsDoor(dir, attr); do != nil {
		return do
	}
	if attr == "control" && base(dir) == "power" {
		return func(v string) error { return k.powerControl(real, v) }
	}
	dev := k.byPath[dir]
	if dev == nil {
		return nil
	}
	switch attr {
	case "driver_override":
		return dev.with(k.driverOverride)
	case "reset":
		return dev.with(k.reset)
	case "reset_method":
		return dev.with(k.resetMethod)
	case "remove":
		return dev.with(k.remove)
	case "rescan":
		return k.rescan
	case "d3cold_allowed":
		return dev.with(k.d3coldAllowed)
	case "sriov_numvfs":
		return dev.with(k.sriovNumVFs)
	case "sriov_drivers_autoprobe":
		return dev.with(k.sriovAutoprobe)
	}
	return nil
}
