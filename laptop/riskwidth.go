package laptop

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// ranges keeps the BARs of a function for what is said of all of them.
func (r *risks) ranges(f pci.Function) {
	// What cannot be understood of them is for [Facts] to say: no plan depends on it.
	r.bars[f.Address], _ = pci.Resources(r.fsys, f.Address)
}

// window says whether a guest's addresses reach as far as it will think, and whether all
// BARs together find room in them.
func (r *risks) window() {
	processor, err := ReadAddressWidth(r.fsys)
	if err != nil {
		processor = 0 // not stated
	}
	unit, file := r.translated()
	evidenceOf := func(a pci.Address) string { return "/proc/cpuinfo, " + evidence(a, "resource") }
	width := processor
	if unit != 0 && (processor == 0 || unit < processor) {
		width = unit
		evidenceOf = func(a pci.Address) string { return file + ", " + evidence(a, "resource") }
	}
	if width == 0 {
		return // there is nothing to compare with
	}
	if unit != 0 && unit < processor {
		r.found = append(r.found, Finding{
			Code: AddressWidth, Severity: Info, Device: "pci:" + r.handed[0].String(), Evidence: "/proc/cpuinfo, " + file,
			Detail: fmt.Sprintf("the IOMMU translates addresses of %d bits, the processor has %d: a guest that is told of these may put memory and BARs where the device does not reach them", unit, processor),
			Remedy: fmt.Sprintf("tell the guest's processor of %d bits (QEMU: -cpu host,host-phys-bits=off,phys-bits=%d)", unit, unit),
		})
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
		Code: BARWidth, Severity: Warning, Device: "pci:" + largest.String(), Evidence: evidenceOf(largest),
		Detail: fmt.Sprintf("the BARs need %s above 4 GiB in the guest, and its firmware offers %s, an eighth of what %d bits address", sizeText(need), sizeText(offered), width),
		Remedy: fmt.Sprintf("give the guest's firmware the option X-PciMmio64Mb=%d, or make the BAR smaller if its size can be set", need>>20),
	}
	if need >= 1<<(width-1) {
		f.Detail = fmt.Sprintf("the BARs need %s above 4 GiB in the guest, for which %d bits of address leave no room beside its memory", sizeText(need), width)
		f.Remedy = "make the BAR smaller if its size can be set"
	}
	r.found = append(r.found, f)
}

// translated returns the least width of the addresses that the units translate which
// stand before the functions, and the file that says so; 0 when none says.
func (r *risks) translated() (bits int, file string) {
	units, _ := iommu.ReadUnits(r.fsys) // what cannot be understood of them is for others to say: no plan depends on it
	for _, u := range units {
		width := u.AddressBits()
		if width == 0 || bits != 0 && width >= bits || !slices.ContainsFunc(r.handed, u.Has) {
			continue
		}
		bits = min(width, 64)
		file = "/sys/class/iommu/" + u.Name + "/" + cmp.Or(map[string]string{"intel": "intel-iommu/cap", "amd": "amd-iommu/features"}[u.Kind], "devices")
	}
	return bits, file
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
