package laptop

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/project-independence/indy/pci"
)

// config says what a function states of itself in configuration space, and with leave
// to wake it in its product data. A function that sleeps is only asked with leave.
func (f *facts) config(a pci.Address, dir string) {
	f.in(SectionAbilities)
	file := dir + "/config"
	if !f.awake {
		f.add("configuration space", "not read: that would wake the device, which sleeps; --wake reads it", file)
		return
	}
	c, err := pci.ReadConfig(f.fsys, a)
	switch {
	case errors.Is(err, pci.ErrNoAnswer):
		f.add("configuration space", "all ones: the function sleeps in D3cold, or is gone", file)
	case f.ok("configuration space", file, err):
		d := decoder{f, c, file}
		d.header()
		d.chains()
		d.express()
		d.powerStates()
		d.interrupts()
		d.isolation()
		d.translation()
		d.virtualFunctions(dir)
		d.resizable(a, dir)
		d.errors()
		if n, err := c.SerialNumber(); err == nil {
			f.in(SectionIdentity).add("serial number", n.String()+" (tells this device from all others)", file)
		}
		if !f.has("BARs") && !f.has("windows") { // a saved machine may have config alone
			bars, _ := c.BARs()
			windows, _ := c.Windows()
			f.in(SectionAbilities).rangesOf(append(bars, windows...), file)
		}
	default:
		d := decoder{f, c, file} // what the kernel says beside it
		d.virtualFunctions(dir)
		d.resizable(a, dir)
	}
	if f.wake {
		f.productData(a, dir)
	}
}

// has reports whether there is a fact of a name.
func (f *facts) has(name string) bool {
	return slices.ContainsFunc(f.list, func(have Fact) bool { return have.Name == name })
}

// A decoder makes facts of one configuration space. What is not in the chains of
// capabilities has no fact, and where these end early is said once.
type decoder struct {
	f    *facts
	c    pci.Config
	file string
}

func (d *decoder) add(name, value string) { d.f.in(SectionAbilities).add(name, value, d.file) }

func (d *decoder) header() {
	h, err := d.c.Header()
	if err != nil {
		d.add("configuration space", fmt.Sprintf("%d bytes: %v", d.c.Len(), err))
		return
	}
	kind := "device"
	switch h.Type {
	case pci.HeaderNormal:
	case pci.HeaderBridge:
		kind = fmt.Sprintf("bridge to buses %02x to %02x", h.Secondary, h.Subordinate)
		if h.Secondary == h.Subordinate {
			kind = fmt.Sprintf("bridge to bus %02x", h.Secondary)
		}
	case pci.HeaderCardBus:
		kind = fmt.Sprintf("CardBus bridge to bus %02x", h.Secondary)
	default:
		kind = fmt.Sprintf("unknown type %#02x", uint8(h.Type))
	}
	if h.MultiFunction {
		kind += ", of several functions"
	}
	d.add("header", kind)
	var may []string
	for _, c := range []struct {
		bit  pci.Command
		what string
	}{{pci.CommandIO, "answer I/O"}, {pci.CommandMemory, "answer memory accesses"}, {pci.CommandBusMaster, "access memory itself (DMA)"}} {
		if h.Command&c.bit != 0 {
			may = append(may, c.what)
		}
	}
	d.add("may now", or(list(may), "nothing: neither I/O nor memory nor DMA"))
}

// chains lists the capabilities, and says where one of the two chains ends early.
func (d *decoder) chains() {
	var names []string
	capabilities, err := d.c.Capabilities()
	for _, c := range capabilities {
		names = append(names, c.ID.String())
	}
	d.chain("capabilities", names, err)
	names = nil
	extended, extendedErr := d.c.ExtendedCapabilities()
	for _, c := range extended {
		names = append(names, c.ID.String())
	}
	if err == nil || len(names) > 0 { // else it is unknown whether there are any, which is said above
		d.chain("extended capabilities", names, extendedErr)
	}
}

func (d *decoder) chain(name string, found []string, err error) {
	s := list(counted(found))
	switch {
	case err == nil && s == "" && name == "capabilities":
		s = "none"
	case errors.Is(err, pci.ErrUnread):
		rest := fmt.Sprintf("unknown: only %d bytes are readable, root sees more", d.c.Len())
		if s == "" {
			s = rest
		} else {
			s += "; the rest " + rest
		}
	case err != nil:
		s = strings.TrimPrefix(s+"; ", "; ") + "broken: " + err.Error()
	}
	d.add(name, s)
}

func (d *decoder) express() {
	e, err := d.c.Express()
	if errors.Is(err, pci.ErrNoCapability) {
		d.add("PCI Express", "no")
	}
	if err != nil {
		return
	}
	s := []string{strings.ReplaceAll(strings.ToLower(e.Type.String()), "pci", "PCI")}
	if e.Type == pci.PortEndpoint || e.Type == pci.PortLegacyEndpoint || e.Type == pci.PortIntegratedEndpoint {
		s = append(s, "function level reset: "+yesNo(e.FLR))
	}
	s = append(s, fmt.Sprintf("payload %d of %d bytes", e.MaxPayload, e.MaxPayloadSupported))
	if e.HasSlot && e.Slot.HotPlug {
		s = append(s, "hot-plug slot")
	} else if e.HasSlot {
		s = append(s, "slot")
	}
	if e.ARIForwardingSupported {
		s = append(s, "ARI forwarding "+onOff(e.ARIForwarding))
	}
	if _, err := d.c.ARI(); err == nil {
		s = append(s, "ARI")
	}
	if e.TransactionsPending {
		s = append(s, "waits for answers now")
	}
	d.add("PCI Express", list(s))
	if l := e.Link; e.HasLink && !d.f.has("link") { // sysfs says it since 4.11; saved machines may not
		text := linkText(pci.LinkState{Speed: l.Speed, Width: l.Width, MaxSpeed: l.MaxSpeed, MaxWidth: l.MaxWidth})
		d.f.in(SectionPower).add("link", text, d.file)
	}
}

func (d *decoder) powerStates() {
	p, err := d.c.PowerManagement()
	if err != nil {
		return
	}
	s := "D0 "
	if p.D1 {
		s += "D1 "
	}
	if p.D2 {
		s += "D2 "
	}
	s += "D3hot"
	if p.PME != 0 {
		s += "; can wake the machine from " + strings.ReplaceAll(p.PME.String(), " ", ", ")
	}
	if p.NoSoftReset {
		s += "; D3hot does not reset it"
	} else {
		s += "; D3hot resets it"
	}
	d.f.in(SectionPower).add("power states", s, d.file)
}

func (d *decoder) interrupts() {
	var s []string
	if x, err := d.c.MSIX(); err == nil {
		s = append(s, fmt.Sprintf("MSI-X %s, %s", plural(x.Vectors, "vector"), onOff(x.Enabled)))
	}
	if m, err := d.c.MSI(); err == nil {
		s = append(s, fmt.Sprintf("MSI %s, %s", plural(m.Vectors, "vector"), onOff(m.Enabled)))
	}
	if h, err := d.c.Header(); err == nil && h.InterruptPin >= 1 && h.InterruptPin <= 4 {
		s = append(s, "INT"+string("ABCD"[h.InterruptPin-1]))
	}
	d.add("interrupts", listBy(s, "; "))
}

// isolation says how a function keeps the traffic of its neighbours apart. Ports without
// it are why groups are large.
func (d *decoder) isolation() {
	acs, err := d.c.ACS()
	e, expressErr := d.c.Express()
	h, _ := d.c.Header()
	port := expressErr == nil && (e.Type == pci.PortRoot || e.Type == pci.PortDownstream)
	switch {
	case errors.Is(err, pci.ErrNoCapability) && port:
		d.add("ACS", "none: it does not keep what is behind it apart")
	case errors.Is(err, pci.ErrNoCapability) && expressErr == nil && h.MultiFunction:
		d.add("ACS", "none: its functions may reach each other past the IOMMU")
	case err == nil && !port && acs.Supported == 0: // PCI Express Base 6.0, section 6.12.1.2
		d.add("ACS", "nothing to turn on: its functions do not reach each other")
	case err == nil:
		s := "on: " + or(comma(acs.Enabled.String()), "nothing")
		if off := acs.Supported &^ acs.Enabled; off != 0 {
			s += "; off: " + comma(off.String())
		}
		if missing := pci.ACSIsolation &^ acs.Supported; port && missing != 0 {
			s += "; missing: " + comma(missing.String())
		}
		d.add("ACS", s)
	}
}

// comma separates names that package pci separates by blanks.
func comma(s string) string { return strings.ReplaceAll(s, " ", ", ") }

// translation says what a function asks of the IOMMU by itself.
func (d *decoder) translation() {
	var s []string
	if v, err := d.c.ATS(); err == nil {
		s = append(s, "ATS "+onOff(v.Enabled))
	}
	if v, err := d.c.PageRequest(); err == nil {
		s = append(s, "page requests (PRI) "+onOff(v.Enabled))
	}
	if v, err := d.c.PASID(); err == nil {
		s = append(s, fmt.Sprintf("PASID of %d bits %s", v.Width, onOff(v.Enabled)))
	}
	d.add("address translation", list(s))
}

// virtualFunctions says how many there are and could be. The kernel keeps the numbers
// for functions whose driver it has, and asks no device for them.
func (d *decoder) virtualFunctions(dir string) {
	file := dir + "/sriov_totalvfs"
	if total := d.f.in(SectionAbilities).read("SR-IOV", file); total != "" {
		d.f.add("SR-IOV", or(d.f.read("SR-IOV now", dir+"/sriov_numvfs"), "unknown")+" of "+total+" virtual functions", file)
	} else if v, err := d.c.SRIOV(); err == nil {
		n := v.NumVFs
		if !v.Enabled {
			n = 0
		}
		d.add("SR-IOV", fmt.Sprintf("%d of %d virtual functions", n, v.TotalVFs))
	}
}

// resizable says which sizes BARs may be given.
func (d *decoder) resizable(a pci.Address, dir string) {
	var s []string
	bars, err := d.c.ResizableBARs()
	for _, b := range bars {
		s = append(s, fmt.Sprintf("BAR %d has %s, can have %s", b.BAR, sizeText(b.Size), sizesText(b.Supported)))
	}
	d.add("resizable", listBy(s, "; "))
	if err == nil || errors.Is(err, pci.ErrNoCapability) {
		return
	}
	for bar := range 6 { // config was cut off, as in a saved machine; the kernel may have been asked
		file := fmt.Sprintf("%s/resource%d_resize", dir, bar)
		if sizes, err := pci.ResizableSizes(d.f.fsys, a, bar); d.f.ok("resizable", file, err) {
			d.f.add("resizable", fmt.Sprintf("BAR %d can have %s", bar, sizesText(sizes)), file)
		}
	}
}

func sizesText(sizes pci.BARSizes) string {
	var s []string
	for _, n := range sizes.Bytes() {
		s = append(s, sizeText(n))
	}
	if len(s) > 4 {
		return s[0] + " to " + s[len(s)-1]
	}
	return strings.Join(s, ", ")
}

func (d *decoder) errors() {
	e, err := d.c.AER()
	if err != nil {
		return
	}
	var s []string
	if e.Uncorrectable != 0 {
		s = append(s, "seen, uncorrectable: "+comma(e.Uncorrectable.String()))
	}
	if e.Correctable != 0 {
		s = append(s, "seen, corrected: "+comma(e.Correctable.String()))
	}
	d.add("error reporting (AER)", or(listBy(s, "; "), "no errors seen"))
}
