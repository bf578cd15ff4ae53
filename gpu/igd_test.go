package gpu_test

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

func igdOf(device uint16) pci.Function {
	return pci.Function{
		Address: pci.NewAddress(0, 0, 2, 0), Class: pci.NewClass(0x030000),
		Vendor: pci.NewID(0x8086), Device: pci.NewID(device),
	}
}

// TestIntelIGD has one processor of each generation, and what is next to them in the
// list of ids: a wrong register or machine type gives a guest without a picture.
func TestIntelIGD(t *testing.T) {
	const bdsm32, bdsm64, bar = gpu.StolenBDSM32, gpu.StolenBDSM64, gpu.StolenBAR
	for _, tt := range []struct {
		device   uint16
		platform string
		gen      int
		stolen   gpu.StolenMemory
		can      string // legacy, GVT-g, virtual functions
	}{
		{0x0116, "Sandy Bridge", 6, bdsm32, "l"},
		{0x0166, "Ivy Bridge", 7, bdsm32, "l"},
		{0x0a16, "Haswell", 7, bdsm32, "l"},
		{0x0f31, "Bay Trail", 7, bdsm32, "l"},
		{0x1616, "Broadwell", 8, bdsm32, "lg"},
		{0x22b0, "Cherryview", 8, bdsm32, "l"},
		{0x1916, "Skylake", 9, bdsm32, "lg"},
		{0x0a84, "Broxton", 9, bdsm32, "lg"}, // between two of Haswell
		{0x5a85, "Broxton", 9, bdsm32, "lg"}, // Cannon Lake has the others of 5axx
		{0x3185, "Gemini Lake", 9, bdsm32, "l"},
		{0x5917, "Kaby Lake", 9, bdsm32, "lg"},
		{0x87ca, "Amber Lake", 9, bdsm32, "g"},
		{0x3ea0, "Coffee Lake", 9, bdsm32, "lg"},
		{0x9b41, "Comet Lake", 9, bdsm32, "lg"},
		{0x5a51, "Cannon Lake", 10, bdsm32, ""},
		{0x8a52, "Ice Lake", 11, bdsm64, ""},
		{0x4555, "Elkhart Lake", 11, bdsm64, ""},
		{0x4e55, "Jasper Lake", 11, bdsm64, ""},
		{0x9a49, "Tiger Lake", 12, bdsm64, "v"},
		{0x4c8a, "Rocket Lake", 12, bdsm64, ""},
		{0x46a6, "Alder Lake", 12, bdsm64, "v"},
		{0x46d1, "Alder Lake", 12, bdsm64, "v"},
		{0xa7a0, "Raptor Lake", 12, bdsm64, "v"},
		{0x7d55, "Meteor Lake", 12, bar, ""},
		{0x7d51, "Arrow Lake", 12, bar, ""},
		{0xb640, "Arrow Lake", 12, bar, ""},
		{0x64a0, "Lunar Lake", 20, bar, ""},
		{0xb080, "Panther Lake", 30, bar, "v"},
		{0xd750, "Nova Lake", 35, bar, ""},
	} {
		got, ok := gpu.IntelIGD(igdOf(tt.device))
		can := ""
		for _, c := range []struct {
			is   bool
			name string
		}{{got.Legacy, "l"}, {got.GVT, "g"}, {got.VirtualFunctions, "v"}} {
			if c.is {
				can += c.name
			}
		}
		if !ok || got.Platform != tt.platform || got.Generation != tt.gen || got.Stolen != tt.stolen || can != tt.can || !got.OpRegion() {
			t.Errorf("%04x: %+v, %v", tt.device, got, ok)
		}
		rom := []gpu.CodeType{gpu.CodeBIOS, gpu.CodeEFI}
		if !got.Legacy {
			rom = rom[1:]
		}
		if diff := cmp.Diff(rom, got.ROM()); diff != "" {
			t.Errorf("%04x: %s", tt.device, diff)
		}
	}

	for _, device := range []uint16{
		0x4905, 0x4908, // DG1, between Elkhart Lake and Rocket Lake
		0x5690, 0x56a0, 0x56c0, // DG2, ATS-M
		0x0bd5, 0xe20b, 0x674c, // Ponte Vecchio, Battlemage, Crescent Island
		0x0046, 0x2a42, 0xa011, // before Sandy Bridge
		0x0000, 0xffff, 0x5a86, 0xd746,
	} {
		if got, ok := gpu.IntelIGD(igdOf(device)); ok || got.OpRegion() || got.ROM() != nil {
			t.Errorf("%04x: %+v", device, got)
		}
	}
	for what, change := range map[string]func(*pci.Function){
		"another maker":        func(f *pci.Function) { f.Vendor = pci.NewID(0x1002) },
		"of unknown vendor":    func(f *pci.Function) { f.Vendor = pci.ID{} },
		"of unknown device":    func(f *pci.Function) { f.Device = pci.ID{} },
		"of unknown class":     func(f *pci.Function) { f.Class = pci.Class{} },
		"its audio":            func(f *pci.Function) { f.Class = pci.NewClass(0x040300) },
		"its virtual function": func(f *pci.Function) { f.Address = pci.NewAddress(0, 0, 2, 1) },
	} {
		f := igdOf(0xa7a0)
		if change(&f); f == igdOf(0xa7a0) {
			t.Fatal("nothing changed")
		} else if got, ok := gpu.IntelIGD(f); ok {
			t.Errorf("%s: %+v", what, got)
		}
	}
	second := igdOf(0xa7a0) // a display that is not the primary one
	second.Class = pci.NewClass(0x038000)
	if _, ok := gpu.IntelIGD(second); !ok {
		t.Error("class 0380 is no display")
	}
}

// TestIntelIGDIDs goes through all numbers: none is listed for two platforms, and
// each generation says the same of the registers.
func TestIntelIGDIDs(t *testing.T) {
	count, total := map[string]int{}, 0
	for id := range 0x10000 {
		g, ok := gpu.IntelIGD(igdOf(uint16(id)))
		if !ok {
			continue
		}
		count[g.Platform]++
		total++
		offset, size := g.Stolen.Register()
		want := [2]int{}
		switch {
		case g.Generation <= 10:
			want = [2]int{0x5c, 4}
		case g.Generation <= 12 && g.Stolen != gpu.StolenBAR:
			want = [2]int{0xc0, 8}
		}
		if [2]int{offset, size} != want || g.Legacy && g.Generation > 9 || g.GVT && (g.Generation < 8 || g.Generation > 9) || g.VirtualFunctions && g.Generation < 12 {
			t.Errorf("%04x: %+v, register %#x of %d bytes", id, g, offset, size)
		}
	}
	if len(count) != 26 || total != gpu.IGDIDs() {
		t.Errorf("%d platforms, %d ids of %d listed: %v", len(count), total, gpu.IGDIDs(), count)
	}
}

func TestStolenMemoryWords(t *testing.T) {
	var got []string
	for s := range gpu.StolenBAR + 2 {
		text, err := s.MarshalText()
		must(t, err)
		got = append(got, string(text))
	}
	if want := []string{"unknown", "bdsm-32", "bdsm-64", "bar", "unknown"}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}

// TestIntelIGDHosts looks at the Intel graphics of the collection, real notebooks.
func TestIntelIGDHosts(t *testing.T) {
	want := map[string]string{
		"framework13-intel13-A4-ignavia-old.txtar":           "Raptor Lake",
		"framework13-intel13-A6-turingmachine-2024-11.txtar": "Raptor Lake",
		"framework13-intel13-A6-turingmachine.txtar":         "Raptor Lake",
		"gpd-win2-linse-noiommu.txtar":                       "Kaby Lake",
		"thinkpad-t490-fichte-noiommu.txtar":                 "Coffee Lake",
		"thinkpad-x13g1-amd-bernie-noiommu.txtar":            "Comet Lake",
		"thinkpad-x230-daedalus-noiommu.txtar":               "Ivy Bridge",
	}
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	must(t, err)
	got := map[string]string{}
	for _, file := range files {
		host, err := hostfs.Open(file)
		must(t, err)
		functions, _ := pci.Functions(host)
		for _, f := range functions {
			if g, ok := gpu.IntelIGD(f); ok {
				got[filepath.Base(file)] += g.Platform
			} else if f.Class.Base() == 0x03 && f.Vendor == pci.NewID(0x8086) {
				t.Errorf("%s: %v %v:%v is not known", file, f.Address, f.Vendor, f.Device)
			}
		}
		must(t, host.Close())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
