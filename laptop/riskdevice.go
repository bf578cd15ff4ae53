package laptop

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/pci"
)

// virtual says what a function's virtual functions, or its physical one, mean for it.
func (r *risks) virtual(f pci.Function) {
	vfs, err := pci.VirtualFunctions(r.fsys, f.Address)
	r.note(err)
	if len(vfs) > 0 {
		finding := Finding{
			Code: VirtualInUse, Severity: Block, Evidence: evidence(f.Address, "sriov_numvfs"),
			Detail: fmt.Sprintf("%s has %d virtual functions enabled, which would vanish", f.Address, len(vfs)),
			Remedy: "release them and write 0 to sriov_numvfs first",
		}
		var held []pci.Address
		for _, vf := range vfs {
			if d := r.l.Function(vf); d != nil && d.PCI.Driver != "" && managesDMA(d.PCI.Driver) {
				held = append(held, vf)
			}
		}
		if len(held) > 0 {
			finding.Detail += "; " + named(held) + " of them may be in a guest's hands, and its driver would wait for that guest to end"
		}
		r.add(finding)
	}
	pf, err := pci.PhysicalFunction(r.fsys, f.Address)
	r.note(err)
	if pf.IsValid() {
		r.add(Finding{
			Code: VirtualOf, Severity: Info, Evidence: evidence(f.Address, "physfn"),
			Detail: fmt.Sprintf("%s is a virtual function of %s: it is gone when that one's driver lets go of it", f.Address, pf),
		})
	}
}

// power says that a function has none.
func (r *risks) power(f pci.Function) {
	state, err := pci.PowerState(r.fsys, f.Address)
	r.note(err)
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
	r.note(err)
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

// ranges keeps the BARs of a function for what is said of all of them.
func (r *risks) ranges(f pci.Function) {
	// What cannot be understood of them is for [Facts] to say: no plan depends on it.
	r.bars[f.Address], _ = pci.Resources(r.fsys, f.Address)
}

// window says whether all BARs together find room in a guest.
func (r *risks) window() {
	width, err := ReadAddressWidth(r.fsys)
	if err != nil {
		return // not stated: there is nothing to compare with
	}
	var all []pci.BAR
	var largest pci.Address
	var most uint64
	for _, a := range r.handed {
		all = append(all, r.bars[a]...)
		if need := pci.Above4G(r.bars[a]); need > most {
			largest, most = a, need
		}
	}
	need, offered := BARWindow(all, width)
	if need <= offered {
		return
	}
	f := Finding{
		Code: BARWidth, Severity: Warning, Device: "pci:" + largest.String(), Evidence: "/proc/cpuinfo, " + evidence(largest, "resource"),
		Detail: fmt.Sprintf("the BARs need %s above 4 GiB in the guest, and its firmware offers %s, an eighth of what %d bits address", sizeText(need), sizeText(offered), width),
		Remedy: fmt.Sprintf("give the guest's firmware the option X-PciMmio64Mb=%d, or make the BAR smaller if its size can be set", need>>20),
	}
	if need >= 1<<(width-1) {
		f.Detail = fmt.Sprintf("the BARs need %s above 4 GiB in the guest, for which %d bits of address leave no room beside its memory", sizeText(need), width)
		f.Remedy = "make the BAR smaller if its size can be set"
	}
	r.found = append(r.found, f)
}

// BARWindow returns how large a guest's window above 4 GiB has to be for the BARs of all
// functions it gets ([pci.Above4G]), and how large a UEFI firmware (OVMF since 2022)
// makes it of itself: an eighth of what so many bits of a physical address reach, which
// is the smaller of what the processor and the IOMMU know.
func BARWindow(bars []pci.BAR, width int) (need, offered uint64) {
	return pci.Above4G(bars), 1 << min(max(width-3, 0), 63)
}

// ReadAddressWidth returns how many bits a physical address of the processor has, from
// the line "address sizes" of /proc/cpuinfo, which is x86's. The error is
// [fs.ErrNotExist] where there is none.
func ReadAddressWidth(fsys fs.FS) (int, error) {
	text, err := hostfs.ReadString(fsys, "proc/cpuinfo")
	if err != nil {
		return 0, err
	}
	return addressWidth(text)
}

func addressWidth(cpuinfo string) (int, error) {
	for line := range strings.Lines(cpuinfo) {
		name, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) != "address sizes" {
			continue
		}
		var width int
		if n, err := fmt.Sscanf(value, "%d bits physical", &width); n != 1 || err != nil || width < 32 || width > 64 {
			return 0, fmt.Errorf("cpuinfo: %q is no width of addresses", plain.Short(strings.TrimSpace(value)))
		}
		return width, nil
	}
	return 0, fmt.Errorf("cpuinfo: no line %q: %w", "address sizes", fs.ErrNotExist)
}
