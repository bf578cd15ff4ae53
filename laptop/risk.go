package laptop

import (
	"errors"
	"io/fs"
	"slices"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/pci"
)

// The codes of what makes a hand-over unsafe, impossible or short-lived, beside those
// that come from what the host needs.
const (
	ACSOverride      Code = "acs-override"      // the kernel was told to take functions for isolated that are not
	ACSConfigured    Code = "acs-configured"    // the kernel was told how to set isolation (ACS) of some functions
	UnsafeInterrupts Code = "unsafe-interrupts" // VFIO was told to do without interrupt remapping
	RemappingUnknown Code = "remapping-unknown" // nobody says whether interrupts are remapped
	NotViable        Code = "not-viable"        // a driver that does DMA has a member of the group
	VFIODenied       Code = "vfio-denied"       // vfio-pci refuses functions with these ids
	ResetSet         Code = "reset-set"         // a reset of its bus affects other functions
	VendorReset      Code = "vendor-reset"      // a GPU that comes back from no reset of Linux's
	Asleep           Code = "d3cold"            // it is without power now
	AddressWidth     Code = "address-width"     // the IOMMU translates fewer bits of address than the processor has
	BARWidth         Code = "bar-width"         // its BARs are large for a guest's addresses
	BootFramebuffer  Code = "boot-framebuffer"  // the firmware's framebuffer, which the host holds, is in its memory
	IGDNeeds         Code = "igd"               // Intel's integrated graphics need more than their BARs
	VirtualOf        Code = "virtual-function"  // it is there only while another function has its driver
	External         Code = "external"          // somebody can unplug it
	Lockdown         Code = "lockdown"          // the kernel keeps root out of some of the hardware
)

// Risks says what else matters when the given devices change hands together: what takes
// more reading than a listing does, of each of the devices and of their groups. They are
// the endpoints of whole groups, or what is to be found out is whether they could go
// alone. What a listing says is in [Device.Findings] and not repeated, but for what it
// does not look for where a device is refused anyhow, which Risks says in the same words
// ([Bridge] by the header, [VirtualInUse]), and for [NoReset]: whether a function can be
// reset depends on what is handed over with it, so that what Risks says replaces what the
// listing said.
//
// Reading wakes nothing. The error joins what could not be read, an attribute that this
// kernel or saved machine does not have aside.
func Risks(fsys fs.FS, l *Laptop, devices []*Device) ([]Finding, error) {
	r := &risks{fsys: fsys, l: l, resets: newResets(fsys, l), bars: map[pci.Address][]pci.BAR{}}
	for _, d := range devices {
		if d.PCI != nil && !slices.Contains(r.handed, d.PCI.Address) {
			r.handed = append(r.handed, d.PCI.Address)
		}
	}
	k, err := readKernel(fsys, l.IOMMU.InterruptRemapping, true)
	r.note(err)
	r.framebuffer(devices)
	for _, a := range r.handed {
		d := l.Function(a)
		if d == nil {
			continue
		}
		r.add(k.ofFunction(l.IOMMU.InterruptRemapping)...)
		r.function(d)
		for i := range r.pending {
			r.pending[i].Device = d.ID()
		}
		r.found = append(r.found, r.pending...)
		r.pending = nil
	}
	r.window()
	r.host(devices)
	clean(r.found)
	return r.found, errors.Join(r.errs...)
}

// Judge says of one device all that matters for handing it over with its whole group: the
// findings of the listing, those of [Risks] for the group, and the verdict that they make
// together, which is that of a plan. The error is that of Risks.
func Judge(fsys fs.FS, l *Laptop, d *Device) (Verdict, []Finding, error) {
	g := l.Group(d.Group())
	if d.PCI == nil || g == nil || StaysWithHost(*d.PCI) {
		return d.Verdict, d.Findings, nil
	}
	var group []*Device
	for _, a := range l.Endpoints(g) {
		if member := l.Function(a); member != nil {
			group = append(group, member)
		}
	}
	more, err := Risks(fsys, l, group)
	findings := slices.DeleteFunc(slices.Clone(d.Findings), func(f Finding) bool { return f.Code == NoReset })
	// What is about the device itself comes before what is about the others, as in a listing.
	slices.SortStableFunc(more, func(a, b Finding) int { return order(a.Device != d.ID()) - order(b.Device != d.ID()) })
	for _, f := range more {
		if !slices.Contains(findings, f) {
			findings = append(findings, f)
		}
	}
	return verdict(findings), findings, err
}

// risks are the findings about functions that change hands together, in the making.
type risks struct {
	fsys    fs.FS
	l       *Laptop
	resets  *resets
	handed  []pci.Address
	screen  gpu.Framebuffer
	bars    map[pci.Address][]pci.BAR
	pending []Finding // about one function, which is not yet put in
	found   []Finding
	errs    []error
}

func (r *risks) add(findings ...Finding) { r.pending = append(r.pending, findings...) }

// note keeps an error unless it says that something is not stated.
func (r *risks) note(err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.errs = append(r.errs, err)
	}
}

// function adds what speaks against function d, whose id is put in later.
func (r *risks) function(d *Device) {
	f := *d.PCI
	if finding, ok := isBridge(r.fsys, f); ok {
		r.add(finding)
		return
	}
	if !StaysWithHost(f) && !isPlatform(f) {
		finding, ok, err := r.resets.finding(f, r.handed, true)
		r.note(err)
		if ok {
			r.add(finding)
		}
	}
	r.virtual(f)
	r.power(f)
	r.external(f)
	r.graphics(d)
	r.ranges(f)
}
