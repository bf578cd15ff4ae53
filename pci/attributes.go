package pci

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
)

// The functions of this file each read one attribute below
// /sys/bus/pci/devices/ADDRESS. Their errors are *[OpError]; one that is
// [fs.ErrNotExist] means that this kernel, function or saved machine does not
// state it, which is "unknown" and never "no".

func attribute(fsys fs.FS, a Address, name string) (string, error) {
	s, err := hostfs.ReadString(fsys, devices+"/"+a.String()+"/"+name)
	if err != nil {
		return "", opError("read "+name+" of", a, err)
	}
	return s, nil
}

// DriverOverride returns the driver to which the function is tied, empty when to
// none (the kernel then says "(null)"). It waits while the kernel binds, unbinds or
// resets the function.
func DriverOverride(fsys fs.FS, a Address) (string, error) {
	s, err := attribute(fsys, a, "driver_override")
	if s == "(null)" {
		s = ""
	}
	return s, err
}

// Driver returns the driver the function is bound to now, from the link driver,
// empty when to none.
func Driver(fsys fs.FS, a Address) (string, error) {
	s, err := hostfs.ReadLinkBase(fsys, devices+"/"+a.String()+"/driver")
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := fs.Lstat(fsys, devices+"/"+a.String()); err != nil {
			return "", opError("read driver of", a, err)
		}
		return "", nil
	}
	if err != nil {
		return "", opError("read driver of", a, err)
	}
	return s, nil
}

// ResetMethods returns the ways the kernel would reset the function, in the order
// it tries them: device_specific, acpi, flr, af_flr, pm, bus, cxl_bus (reset_method,
// since Linux 5.15). On such a kernel a function that cannot be reset has no such
// file; elsewhere its absence says nothing.
func ResetMethods(fsys fs.FS, a Address) ([]string, error) {
	s, err := attribute(fsys, a, "reset_method")
	return strings.Fields(s), err
}

// BootVGA reports whether the firmware used the function as its display
// (boot_vga). The kernel states it for VGA controllers (class 0300) alone.
func BootVGA(fsys fs.FS, a Address) (bool, error) {
	s, err := attribute(fsys, a, "boot_vga")
	if err == nil && s != "0" && s != "1" {
		err = opError("read boot_vga of", a, fmt.Errorf("%q is neither 0 nor 1", plain.Short(s)))
	}
	return err == nil && s == "1", err
}

// Revision returns the revision id (revision).
func Revision(fsys fs.FS, a Address) (uint8, error) {
	s, err := attribute(fsys, a, "revision")
	if err != nil {
		return 0, err
	}
	n, ok := parseHex(strings.TrimPrefix(s, "0x"))
	if !ok || n > 0xff {
		return 0, opError("read revision of", a, fmt.Errorf("%q is not a byte in hexadecimal", plain.Short(s)))
	}
	return uint8(n), nil
}

// RuntimeStatus returns the runtime power state: active, suspended, suspending,
// resuming, error or unsupported (power/runtime_status). Reading it wakes nothing.
func RuntimeStatus(fsys fs.FS, a Address) (string, error) {
	return attribute(fsys, a, "power/runtime_status")
}

// RuntimeControl returns whether the kernel may suspend the function while it is idle:
// auto, or on for never (power/control).
func RuntimeControl(fsys fs.FS, a Address) (string, error) {
	return attribute(fsys, a, "power/control")
}

// PowerState returns the PCI power state: D0, D1, D2, D3hot, D3cold or unknown
// (power_state, since Linux 5.10). Reading it wakes nothing.
func PowerState(fsys fs.FS, a Address) (string, error) { return attribute(fsys, a, "power_state") }

// D3coldAllowed reports whether the kernel may take the function's power away while
// it is idle (d3cold_allowed). It is a permission; whether the machine can do it is
// not said.
func D3coldAllowed(fsys fs.FS, a Address) (bool, error) {
	s, err := attribute(fsys, a, "d3cold_allowed")
	if err == nil && s != "0" && s != "1" {
		err = opError("read d3cold_allowed of", a, fmt.Errorf("%q is neither 0 nor 1", plain.Short(s)))
	}
	return err == nil && s == "1", err
}

// Removable reports whether a user can unplug the function: the kernel says
// removable of what sits behind a port that the firmware calls external-facing,
// such as Thunderbolt (removable, since Linux 5.14). Other functions have no such
// file, which is [fs.ErrNotExist] and says nothing. What the kernel knows of the
// port itself, and whether it distrusts the function, is in no file.
func Removable(fsys fs.FS, a Address) (bool, error) {
	s, err := attribute(fsys, a, "removable")
	if err != nil {
		return false, err
	}
	switch s {
	case "removable":
		return true, nil
	case "fixed":
		return false, nil
	case "unknown":
		return false, opError("read removable of", a, fmt.Errorf("the kernel says unknown: %w", fs.ErrNotExist))
	}
	return false, opError("read removable of", a, fmt.Errorf("%q is none of removable, fixed and unknown", plain.Short(s)))
}

// Forwards reports whether other functions sit behind this one, whatever its class
// says: the kernel gives secondary_bus_number to functions with a bridge's header
// only. The file is looked for and not read, because since Linux 6.18 reading it
// wakes the bridge. Saved machines may lack it; then the class decides.
func Forwards(fsys fs.FS, f Function) bool {
	if f.IsBridge() {
		return true
	}
	_, err := fs.Lstat(fsys, devices+"/"+f.Address.String()+"/secondary_bus_number")
	return err == nil
}

// PhysicalFunction returns the physical function of a virtual one, from the link
// physfn. A function that is not virtual has the zero Address and no error.
func PhysicalFunction(fsys fs.FS, a Address) (Address, error) {
	s, err := hostfs.ReadLinkBase(fsys, devices+"/"+a.String()+"/physfn")
	if errors.Is(err, fs.ErrNotExist) {
		return Address{}, nil
	}
	var pf Address
	if err == nil {
		pf, err = ParseAddress(s)
	}
	if err != nil {
		return Address{}, opError("read physfn of", a, err)
	}
	return pf, nil
}

// VirtualFunctions returns the virtual functions that a physical one has enabled,
// from the links virtfn0, virtfn1 and so on. It does not read sriov_numvfs, because that
// waits while the kernel binds, unbinds or resets the function.
func VirtualFunctions(fsys fs.FS, a Address) ([]Address, error) {
	var vfs []Address
	for n := range maxVF + 1 {
		vf, err := virtualFunction(fsys, a, "virtfn"+strconv.Itoa(n))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return vfs, err
		}
		vfs = append(vfs, vf)
	}
	slices.SortFunc(vfs, Address.Compare)
	return vfs, nil
}

// virtualFunction reads one of the links.
func virtualFunction(fsys fs.FS, a Address, link string) (vf Address, err error) {
	s, err := hostfs.ReadLinkBase(fsys, devices+"/"+a.String()+"/"+link)
	if err == nil {
		vf, err = ParseAddress(s)
	}
	if err != nil {
		return Address{}, opError("read virtual functions of", a, err)
	}
	return vf, nil
}
