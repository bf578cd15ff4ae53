package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/pci"
)

// isBridge says that a function is a bridge by its header, which its class does not say.
func isBridge(fsys fs.FS, f pci.Function) (Finding, bool) {
	if f.IsBridge() || !pci.Forwards(fsys, f) {
		return Finding{}, false
	}
	return Finding{
		Code: Bridge, Severity: Block, Device: "pci:" + f.Address.String(), Evidence: evidence(f.Address, "secondary_bus_number"),
		Detail: f.Address.String() + " is a bridge, whatever its class says: it stays with the host; the devices behind it go without it",
	}, true
}

// virtualInUse says that a function has virtual functions.
func (l *Laptop) virtualInUse(fsys fs.FS, f pci.Function) (Finding, bool, error) {
	vfs, err := pci.VirtualFunctions(fsys, f.Address)
	if len(vfs) == 0 {
		return Finding{}, false, err
	}
	finding := Finding{
		Code: VirtualInUse, Severity: Block, Device: "pci:" + f.Address.String(), Evidence: evidence(f.Address, "sriov_numvfs"),
		Detail: fmt.Sprintf("%s has %d virtual functions enabled, which would vanish", f.Address, len(vfs)),
		Remedy: "release them and write 0 to sriov_numvfs first",
	}
	var held []pci.Address
	for _, vf := range vfs {
		if driver := l.driverOf(fsys, vf); driver != "" && managesDMA(driver) {
			held = append(held, vf)
		}
	}
	if len(held) > 0 {
		finding.Detail += "; " + named(held) + " of them may be in a guest's hands, and its driver would wait for that guest to end"
	}
	return finding, true, err
}

// driverOf returns the driver of a function, also of a machine that was read in part.
func (l *Laptop) driverOf(fsys fs.FS, a pci.Address) string {
	if d := l.Function(a); d != nil {
		return d.PCI.Driver
	}
	if !l.partial {
		return ""
	}
	f, _ := pci.ReadFunction(fsys, a) // as Read does, which goes on with what it could read
	return f.Driver
}

// virtual says what a function's virtual functions, or its physical one, mean for it.
func (r *risks) virtual(f pci.Function) {
	finding, ok, err := r.l.virtualInUse(r.fsys, f)
	r.note(err)
	if ok {
		r.add(finding)
	}
	pf, err := pci.PhysicalFunction(r.fsys, f.Address)
	r.unread(f, "physfn", err)
	if pf.IsValid() {
		r.add(Finding{
			Code: VirtualOf, Severity: Info, Evidence: evidence(f.Address, "physfn"),
			Detail: fmt.Sprintf("%s is a virtual function of %s: it is gone when that one's driver lets go of it", f.Address, pf),
		})
	}
}

// unread says that an attribute could not be read which only warns: nothing depends on it.
func (r *risks) unread(f pci.Function, attribute string, err error) {
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return
	}
	r.add(Finding{
		Code: Partial, Severity: Warning, Evidence: evidence(f.Address, attribute),
		Detail: fmt.Sprintf("what %s says of %s could not be read: %v", attribute, f.Address, err),
	})
}

// power says that a function has none.
func (r *risks) power(f pci.Function) {
	state, err := pci.PowerState(r.fsys, f.Address)
	r.unread(f, "power_state", err)
	if state == "D3cold" {
		r.add(Finding{
			Code: Asleep, Severity: Info, Evidence: evidence(f.Address, "power_state"),
			Detail: f.Address.String() + " is without power now (D3cold): it is woken before it is used, which takes a moment",
			Remedy: "if it does not come back, write 0 to " + evidence(f.Address, "d3cold_allowed"),
		})
	}
}

// external says that a function may go while a guest has it.
func (r *risks) external(f pci.Function) {
	removable, err := pci.Removable(r.fsys, f.Address)
	r.unread(f, "removable", err)
	if removable {
		r.add(Finding{
			Code: External, Severity: Warning, Evidence: evidence(f.Address, "removable"),
			Detail: f.Address.String() + " is behind a socket, such as Thunderbolt's: it may be unplugged while a guest has it, and the guest then fails",
			Remedy: "end the guest, or take the device from it, before you unplug it",
		})
	}
}

// framebuffer reads who holds the firmware's framebuffer, if one of the devices may be
// the one that has it.
func (r *risks) framebuffer(devices []*Device) {
	if slices.ContainsFunc(devices, func(d *Device) bool { return d.Display != nil }) {
		var err error
		if r.screen, err = gpu.ReadFramebuffer(r.fsys); troubleOf(err) == failed {
			r.errs = append(r.errs, err)
		}
	}
}

// graphics says what a display function needs beside its own memory, and who has that.
func (r *risks) graphics(d *Device) {
	if d.Display == nil {
		return
	}
	f := *d.PCI
	if s := r.screen; s.Held == gpu.Yes && (s.Function == f.Address || !s.Function.IsValid() && d.Display.BootVGA == gpu.Yes) {
		finding := Finding{
			Code: BootFramebuffer, Severity: Warning, Evidence: evidence(f.Address, "resource"),
			Detail: s.Holder + " holds the firmware's framebuffer in the memory of " + f.Address.String() + ": as long as it does, a guest cannot use that memory",
			Remedy: "start the host with initcall_blacklist=simpledrm_platform_driver_init,sysfb_init, or unbind it in /sys/bus/platform/drivers first",
		}
		if len(s.Because) > 0 {
			finding.Evidence = s.Because[0].File
		}
		r.add(finding)
	}
	if family, needed := gpu.NeedsVendorReset(f); needed && !slices.Contains(r.resets.of(f.Address).names, "device_specific") {
		r.add(Finding{
			Code: VendorReset, Severity: Warning, Evidence: evidence(f.Address, "reset_method"),
			Detail: fmt.Sprintf("%s (%s) comes back from no reset that Linux has: a guest can use it once, and the next finds it hung", f.Address, family),
			Remedy: "load the module vendor-reset, or switch the machine off between guests",
		})
	}
	if igd, ok := gpu.IntelIGD(f); ok {
		r.add(igdNeeds(f.Address, igd))
	}
}

// igdNeeds says what it takes to hand over a processor's own graphics.
func igdNeeds(a pci.Address, igd gpu.IGD) Finding {
	needs := []string{"a copy of the firmware's OpRegion"}
	switch offset, size := igd.Stolen.Register(); {
	case size != 0:
		needs = append(needs, fmt.Sprintf("memory of its own in place of the stolen memory (register %#x, %d bits)", offset, 8*size))
	case igd.Stolen == gpu.StolenBAR:
		needs = append(needs, "its stolen memory by BAR 2")
	}
	if igd.Legacy {
		needs = append(needs, "for a picture before its driver runs the machine type "+gpu.IGDMachine+", a BIOS and the address 00:02.0")
	} else {
		needs = append(needs, "for a picture before its driver runs the host firmware's driver (GOP) as its ROM")
	}
	f := Finding{
		Code: IGDNeeds, Severity: Warning, Evidence: evidence(a, "device"),
		Detail: fmt.Sprintf("%s is the processor's own graphics (%s), which is more than a PCI device: the guest needs %s", a, igd.Platform, strings.Join(needs, ", ")),
	}
	switch {
	case igd.VirtualFunctions:
		f.Remedy = "share it instead: a virtual function (SR-IOV, driver xe) has none of these needs, and no outputs"
	case igd.GVT:
		f.Remedy = "share it instead: a mediated device (i915-GVTg) has none of these needs"
	}
	return f
}
