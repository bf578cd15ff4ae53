package assign

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strconv"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// A VFRequest asks for virtual functions (SR-IOV) of a physical one, which stays with its
// driver. If there are none they are made; if there are, those are taken that no driver
// of the host and no guest has.
type VFRequest struct {
	Physical pci.Address
	Count    int // at least 1

	// MACs and VLANs are set for one virtual function after the other; what there is
	// none of is left as the driver has it. A VLAN is from 0, which is none, to 4094.
	MACs  []net.HardwareAddr
	VLANs []int
	// SpoofCheck says whether the function drops what a guest sends from another
	// address: "on", "off", or as the driver has it if empty.
	SpoofCheck string
}

// VirtualFunctions are the virtual functions of one physical function that a plan hands
// over.
type VirtualFunctions struct {
	Physical  pci.Address       `json:"physical"`
	Made      bool              `json:"made"` // by the plan; they go when they are given back
	Functions []VirtualFunction `json:"functions"`
}

// A VirtualFunction is one of them, and what is set for it.
type VirtualFunction struct {
	Number     int         `json:"number"` // as in the link virtfn0 of the physical function
	Address    pci.Address `json:"address"`
	MAC        string      `json:"mac,omitempty"`
	VLAN       string      `json:"vlan,omitempty"`
	SpoofCheck string      `json:"spoof_check,omitempty"`
}

// VFClaim is the claim of all virtual functions of a physical one, and of their number.
func VFClaim(physical pci.Address) Claim { return Claim("vfs " + physical.String()) }

// virtualClaim is what a lease of function a claims of virtual functions: all of its own,
// or as a virtual one a share of them, so that they stay.
func virtualClaim(fsys fs.FS, a pci.Address) (Claim, error) {
	pf, err := pci.PhysicalFunction(fsys, a)
	if err != nil {
		return "", err
	}
	if pf.IsValid() {
		return Under(VFClaim(pf)), nil
	}
	if _, err := fs.Lstat(fsys, deviceDir("", a.String())+"/sriov_totalvfs"); err != nil {
		return "", err
	}
	return VFClaim(a), nil
}

// physical is what a plan needs to know of a physical function.
type physical struct {
	total, offset, stride int
	driver                string
	autoprobe             string        // sriov_drivers_autoprobe, empty where the kernel has it not
	enabled               []pci.Address // by number
	existing              []pci.Address // those of the enabled that are asked for
	settings              map[string]string
	network               bool
}

// readPhysical reads the state of the function whose virtual ones are asked for.
func readPhysical(fsys fs.FS, l *laptop.Laptop, r VFRequest) (physical, error) {
	s := physical{settings: map[string]string{}}
	var errs []error
	note := func(err error) {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	dir := deviceDir("", r.Physical.String())
	number := func(name string) int {
		text, err := hostfs.ReadString(fsys, dir+"/"+name)
		note(err)
		if err != nil {
			return 0
		}
		n, err := strconv.ParseUint(text, 10, 16)
		note(err)
		return int(n)
	}
	if s.total = number("sriov_totalvfs"); s.total == 0 {
		return s, errors.Join(errs...)
	}
	s.offset, s.stride = number("sriov_offset"), number("sriov_stride")
	var err error
	s.autoprobe, err = hostfs.ReadString(fsys, dir+"/sriov_drivers_autoprobe")
	note(err)
	s.driver, err = pci.Driver(fsys, r.Physical)
	note(err)
	interfaces, err := fs.ReadDir(fsys, dir+"/net")
	note(err)
	s.network = len(interfaces) > 0
	for n := range s.total {
		vf, err := hostfs.ReadLinkBase(fsys, fmt.Sprintf("%s/virtfn%d", dir, n))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		a, aerr := pci.ParseAddress(vf)
		note(errors.Join(err, aerr))
		s.enabled = append(s.enabled, a)
	}
	for n, a := range s.enabled {
		// One that a driver of the host or a guest has is somebody's.
		if d := l.Function(a); d == nil || d.PCI.Driver != "" || len(s.existing) == r.Count {
			continue
		}
		s.existing = append(s.existing, a)
		for _, name := range []string{"mac", "vlan", "spoofchk"} {
			what := fmt.Sprintf("%s%d/%s", setting, n, name)
			s.settings[what], err = hostfs.ReadString(fsys, settingsOf(dir)+"/"+what)
			note(err)
		}
	}
	return s, errors.Join(errs...)
}

// address predicts where the virtual function with a number appears: the specification of
// SR-IOV (PCI Express 6.0, 9.3.3.9 and 9.3.3.10) counts from the physical one. Whether the
// kernel sees it so is checked before anything is written to it.
func (s physical) address(pf pci.Address, n int) (pci.Address, bool) {
	id := int(pf.Bus())<<8 + int(pf.Device())<<3 + int(pf.Function()) + s.offset + n*s.stride
	a, err := pci.ParseAddress(fmt.Sprintf("%04x:%02x:%02x.%d", pf.Domain(), id>>8, id>>3&31, id&7))
	return a, err == nil && s.offset > 0 && id < 1<<16 && a != pf
}

// includeVFs adds virtual functions to the plan, and returns what speaks against it.
func (p *Plan) includeVFs(f *Facts, r Request, v VFRequest) []laptop.Finding {
	s := f.kinds.vfs[v.Physical]
	pf := v.Physical.String()
	var refused []laptop.Finding
	weigh := func(finding laptop.Finding) { refused = append(refused, p.weigh(r, finding)...) }
	block := func(file, remedy, detail string, args ...any) {
		weigh(laptop.Finding{
			Code: laptop.NoVirtual, Severity: laptop.Block, Device: "pci:" + pf, Detail: fmt.Sprintf(detail, args...),
			Evidence: "/" + deviceDir("", pf) + "/" + file, Remedy: remedy,
		})
	}
	d := f.laptop.Function(v.Physical)
	switch {
	case d == nil:
		block("", "indy devices lists what there is", "no such function in this machine")
		return refused
	case s.total == 0:
		block("sriov_totalvfs", "hand over the function itself", "%s has no virtual functions (SR-IOV)", pf)
		return refused
	case v.Count < 1 || v.Count > s.total:
		block("sriov_totalvfs", "", "%s has at most %d virtual functions; %d were asked for", pf, s.total, v.Count)
		return refused
	case s.driver == "" || s.driver == VFIODriver:
		block("driver", "give it its own driver first", "virtual functions are made by the driver of %s, which has none of its own now", pf)
		return refused
	case len(s.enabled) > 0 && len(s.existing) < v.Count:
		block("sriov_numvfs", "release some, or ask for fewer: the number cannot be changed while there are some",
			"%s has %d virtual functions, of which %d are free; %d were asked for", pf, len(s.enabled), len(s.existing), v.Count)
		return refused
	case !s.network && (len(v.MACs) > 0 || len(v.VLANs) > 0 || v.SpoofCheck != ""):
		block("net", "leave them out", "%s has no network interface through which addresses and VLANs of its virtual functions could be set", pf)
		return refused
	case len(v.MACs) > v.Count || len(v.VLANs) > v.Count:
		block("sriov_totalvfs", "", "more addresses or VLANs than virtual functions")
		return refused
	}
	for _, finding := range d.Findings {
		switch finding.Code { // what is about the IOMMU is about its virtual functions, too
		case laptop.NoIOMMU, laptop.NoGroup, laptop.NoIOMMUMode, laptop.NoRemapping, laptop.UnsafeInterrupts, laptop.ACSOverride, laptop.RemappingUnknown:
			weigh(finding)
		}
	}
	if len(refused) > 0 {
		return refused
	}
	made := VirtualFunctions{Physical: v.Physical, Made: len(s.enabled) == 0, Functions: []VirtualFunction{}}
	for i := range v.Count {
		vf := VirtualFunction{Number: i, SpoofCheck: v.SpoofCheck}
		if i < len(v.MACs) {
			vf.MAC = v.MACs[i].String()
		}
		if i < len(v.VLANs) {
			vf.VLAN = strconv.Itoa(v.VLANs[i])
		}
		ok := true
		if made.Made {
			vf.Address, ok = s.address(v.Physical, i)
		} else {
			vf.Address, vf.Number = s.existing[i], slices.Index(s.enabled, s.existing[i])
		}
		if !ok {
			block("sriov_offset", "", "where virtual function %d of %s would be cannot be told", i, pf)
			return refused
		}
		made.Functions = append(made.Functions, vf)
		part := vf.Address
		if !made.Made {
			part = pci.Address{} // it is there, and weighed as any other
		}
		for _, finding := range f.partOf(r, v.Physical, part) {
			weigh(finding)
		}
	}
	if len(refused) > 0 {
		return refused
	}
	p.VFs = append(p.VFs, made)
	if !made.Made {
		p.Steps = append(p.Steps, made.settings(s)...) // before the guest's driver has them
		return nil
	}
	p.Steps = append(p.Steps, made.steps(s)...)
	for _, vf := range made.Functions {
		p.Devices = append(p.Devices, vf.Address)
	}
	slices.SortFunc(p.Devices, pci.Address.Compare)
	if slices.ContainsFunc(d.Findings, func(f laptop.Finding) bool { return f.Code == laptop.DefaultRoute }) {
		p.Findings = append(p.Findings, laptop.Finding{
			Code: laptop.DefaultRoute, Severity: laptop.Warning, Device: "pci:" + pf, Evidence: "/" + deviceDir("", pf) + "/sriov_numvfs",
			Detail: "the driver of " + pf + " starts anew when its virtual functions come or go: the host is without this way to the network for a moment",
		})
	}
	return nil
}

// steps make the virtual functions, set them up, and bind them. They keep the host's
// drivers off by sriov_drivers_autoprobe, which does not keep off the one that a driver
// override names.
func (v VirtualFunctions) steps(s physical) []Step {
	pf := v.Physical.String()
	dir := deviceDir("", pf) + "/"
	var all []Step
	if s.autoprobe == "1" {
		const autoprobe = "sriov_drivers_autoprobe"
		all = append(all, Step{
			Device: pf, Prior: Check{What: autoprobe, Is: "1"},
			Do:   Write{File: dir + autoprobe, Value: "0", After: Check{What: autoprobe, Is: "0"}},
			Undo: []Write{{File: dir + autoprobe, Value: "1", After: Check{What: autoprobe, Is: "1"}}},
		})
	}
	last := v.Functions[len(v.Functions)-1]
	all = append(all, Step{
		Device: pf, Prior: Check{What: "virtfn0"},
		Do: Write{
			File: dir + "sriov_numvfs", Value: strconv.Itoa(len(v.Functions)),
			After: Check{What: "virtfn" + strconv.Itoa(last.Number), Is: last.Address.String()},
		},
		Undo: []Write{{File: dir + "sriov_numvfs", Value: "0", After: Check{What: "virtfn0"}}},
	})
	all = append(all, v.settings(s)...)
	for _, vf := range v.Functions {
		a := vf.Address.String()
		override := deviceDir("", a) + "/" + override
		all = append(all, Step{
			Device: a, Prior: Check{What: "physfn", Is: pf},
			Do:   Write{File: override, Value: VFIODriver, After: Check{What: "driver_override", Is: VFIODriver}},
			Undo: []Write{}, // it goes with the function
		}, Step{
			Device: a, Prior: Check{What: driver},
			Do:   Write{File: "sys/bus/pci/drivers_probe", Value: a, After: Check{What: driver, Is: VFIODriver}},
			Undo: []Write{{File: "sys/bus/pci/drivers/" + VFIODriver + "/unbind", Value: a, After: Check{What: driver, Is: VFIODriver, Not: true}}},
		})
	}
	return all
}

// settings set address, VLAN and spoof check through the driver of the physical function.
// Of functions that go when they are given back nothing need be taken back.
func (v VirtualFunctions) settings(s physical) []Step {
	pf := v.Physical.String()
	var all []Step
	for _, vf := range v.Functions {
		for _, set := range []struct{ name, value string }{{"mac", vf.MAC}, {"vlan", vf.VLAN}, {"spoofchk", vf.SpoofCheck}} {
			what := fmt.Sprintf("%s%d/%s", setting, vf.Number, set.name)
			if set.value == "" || !v.Made && s.settings[what] == set.value {
				continue
			}
			file := settingsOf(deviceDir("", pf)) + "/" + what
			step := Step{
				Device: pf, Prior: Check{What: fmt.Sprintf("virtfn%d", vf.Number), Is: vf.Address.String()},
				Do: Write{File: file, Value: set.value, After: Check{What: what, Is: set.value}}, Undo: []Write{},
			}
			if was := s.settings[what]; !v.Made && was != "" {
				step.Prior = Check{What: what, Is: was}
				step.Undo = []Write{{file, was, Check{What: what, Is: was}, &step.Do.After}}
			}
			all = append(all, step)
		}
	}
	return all
}
