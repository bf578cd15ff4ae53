package pci_test

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/pci"
)

// A capability at the very end has no room for its registers.
func TestCutCapabilities(t *testing.T) {
	b := space(256, 0xfc)
	b[0xfc] = byte(pci.CapabilityMSIX)
	if _, err := config(t, b).MSIX(); !errors.Is(err, pci.ErrMalformed) {
		t.Errorf("MSI-X at 0xfc: %v", err)
	}
	e := express(0x0001_0001 | 0xff0<<20)
	put32(e, 0xff0, 0x0001_0010)
	if _, err := config(t, e).SRIOV(); !errors.Is(err, pci.ErrMalformed) {
		t.Errorf("SR-IOV at 0xff0: %v", err)
	}
	e = express(0x0001_0015)
	put32(e, 0x108, 7<<5)
	if _, err := config(t, e).ResizableBARs(); !errors.Is(err, pci.ErrMalformed) {
		t.Errorf("7 resizable BARs: %v", err)
	}
}

func TestDecodes(t *testing.T) {
	unhex := func(s string) string {
		b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	b := express(0)
	// 4 sizes from 256 MiB on and one of 8 EiB; 2 GiB are set.
	put32(b, 0x100, 0x0001_0015)
	copy(b[0x104:], unhex("00f00000 20 0b 0080"))
	sizes, err := config(t, b).ResizableBARs()
	if err != nil {
		t.Fatal(err)
	}
	want := []pci.ResizableBAR{{BAR: 0, Supported: 0xf<<8 | 1<<43, Size: 2 << 30}}
	if diff := cmp.Diff(want, sizes); diff != "" {
		t.Error(diff)
	}
	if s := sizes[0].Supported; s.String() != "256MB 512MB 1GB 2GB 8EB" || s.Max() != 8<<60 || !s.Has(1<<30) || s.Has(1<<27) || s.Has(3<<28) || s.Has(1) {
		t.Errorf("%s, at most %d", s, s.Max())
	}
	if s := pci.BARSizes(0); s.String() != "" || s.Max() != 0 || len(s.Bytes()) != 0 {
		t.Errorf("no sizes: %q", s)
	}
	put32(b, 0x100, 0x0001_000d)
	copy(b[0x104:], unhex("7f00 1d00"))
	if a, err := config(t, b).ACS(); err != nil || a.EgressVector != 256 || a.Enabled != pci.ACSIsolation ||
		a.Supported.String() != "SrcValid TransBlk ReqRedir CmpltRedir UpstreamFwd EgressCtrl DirectTrans" {
		t.Errorf("ACS: %+v, %v", a, err)
	}
	put32(b, 0x100, 0x0001_0023)
	copy(b[0x104:], unhex("981e 3104 0300"))
	if v, err := config(t, b).VendorExtended(); err != nil || len(v) != 1 ||
		v[0] != (pci.VendorExtended{Offset: 0x100, Vendor: pci.NewID(0x1e98), ID: 3, Revision: 1, Length: 0x43}) {
		t.Errorf("DVSEC: %+v, %v", v, err)
	}
	put32(b, 0x100, 0x0001_001e)
	copy(b[0x104:], unhex("1f000000 0c000000"))
	if l, err := config(t, b).L1Substates(); err != nil || l.Enabled.String() != "ASPM_L1.2 ASPM_L1.1" {
		t.Errorf("L1 substates: %+v, %v", l, err)
	}
}

// What no dump of the collection shows.
func TestRareDecodes(t *testing.T) {
	b := express(0x0001_001d)
	copy(b[0x104:], "\xa1\x00\x02\x00\x05\x00\x08\x05")
	d, err := config(t, b).DPC()
	if want := (pci.DPC{RootPortExtensions: true, SoftwareTrigger: true, Trigger: 2, Triggered: true, Reason: 2, Source: 0x0508}); d != want || err != nil {
		t.Errorf("DPC: %+v, %v", d, err)
	}
	put32(b, 0x100, 0x0001_0024)
	put32(b, 0x104, 0x30)
	put32(b, 0x108, 0xe0)
	put32(b, 0x10c, 0x60)
	put32(b, 0x110, 0xff02)
	if v, err := config(t, b).VFResizableBARs(); err == nil || len(v) != 0 {
		t.Errorf("7 BARs: %+v, %v", v, err)
	}
	put32(b, 0x108, 0x40)
	v, err := config(t, b).VFResizableBARs()
	if diff := cmp.Diff([]pci.ResizableBAR{{Supported: 3, Size: 1 << 20}, {BAR: 2, Supported: 6}}, v); diff != "" || err != nil {
		t.Errorf("VF resizable BARs: %s, %v", diff, err)
	}
	// MSI with everything: 64 bits of address, masks; codes that are reserved.
	b = space(256, 0x40)
	copy(b[0x40:], "\x05\x00\xfd\x01\x00\x00\xe0\xfe\x01\x00\x00\x00\x34\x12\x00\x00\x01\x00\x00\x80\x02\x00\x00\x00")
	m, err := config(t, b).MSI()
	if want := (pci.MSI{Enabled: true, Address64: true, Maskable: true, Address: 0x1_fee00000, Data: 0x1234, Mask: 0x80000001, Pending: 2}); m != want || err != nil {
		t.Errorf("MSI: %+v, %v", m, err)
	}
	// Enhanced allocation of a bridge begins after its bus numbers. An entry of one
	// word has no room for what it states.
	b = space(256, 0x40)
	b[0x0e] = 1
	copy(b[0x40:], "\x14\x00\x01\x00\x02\x01\x00\x00\x62\x00\xff\xc0\x00\x00\x00\x90\xfc\xff\x0f\x00")
	ea, err := config(t, b).EnhancedAllocation()
	want := []pci.FixedRange{{Enabled: true, Writable: true, Equivalent: 6, Secondary: 0xff, Start: 0x90000000, Last: 0xfffff}}
	if diff := cmp.Diff(want, ea.Entries); diff != "" || err != nil {
		t.Errorf("EA: %s, %v", diff, err)
	}
	b[0x48] = 1
	if ea, err := config(t, b).EnhancedAllocation(); len(ea.Entries) != 0 || !errors.Is(err, pci.ErrMalformed) {
		t.Errorf("EA of a short entry: %+v, %v", ea, err)
	}
	b = space(256, 0x40)
	copy(b[0x40:], "\x0a\x00\x00\xe0")
	if p, err := config(t, b).DebugPort(); !errors.Is(err, pci.ErrMalformed) {
		t.Errorf("a debug port in BAR 7: %+v, %v", p, err)
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		pci.HeaderCardBus.String(): "cardbus", pci.HeaderType(9).String(): "unknown", pci.KindVFBAR.String(): "vf-bar",
		pci.SpaceIO.String(): "io", pci.ChecksumWrong.String(): "wrong", pci.PortDownstream.String(): "Downstream Port",
		pci.PortType(3).String(): "unknown", pci.HyperTransportKind(0x15).String(): "MSI Mapping", pci.HyperTransportKind(0x1f).String(): "kind 0x1f",
		(pci.ASPML0s | pci.ASPML1).String(): "L0s L1", pci.ASPM(0).String(): "none", pci.IsSupplier.String(): "supplier",
		(pci.CommandMemory | pci.CommandBusMaster).String(): "Mem BusMaster", pci.StatusMasterAbort.String(): "<MAbort",
		pci.SerialNumber(0x0123456789abcdef).String(): "01-23-45-67-89-ab-cd-ef", pci.Speed64GT.String(): "64GT/s",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestCapabilityNames(t *testing.T) {
	for id, want := range map[pci.CapabilityID]string{0: "Null", pci.CapabilityMSIX: "MSI-X", pci.CapabilityFlatteningPortal: "Flattening Portal Bridge", 0x16: "capability 0x16"} {
		if id.String() != want {
			t.Errorf("%d is %s, want %s", id, id, want)
		}
	}
	for id, want := range map[pci.ExtendedCapabilityID]string{
		pci.ExtendedACS: "Access Control Services", pci.ExtendedSRIOV: "Single Root I/O Virtualization", pci.ExtendedPTM: "Precision Time Measurement",
		pci.ExtendedDVSEC: "Designated Vendor-Specific", pci.ExtendedDataObjectExchange: "Data Object Exchange",
		pci.ExtendedRegisterBlockLocator: "MMIO Register Block Locator", 0x37: "extended capability 0x0037",
	} {
		if id.String() != want {
			t.Errorf("%d is %s, want %s", id, id, want)
		}
	}
}
