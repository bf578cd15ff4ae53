package laptop_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
)

// dumpedConfig returns the configuration space of a function in a dump of lspci -xxxx.
func dumpedConfig(t testing.TB, dump, address string) string {
	t.Helper()
	text, err := os.ReadFile(hosttest.Shared(t, "hwdata", "lspci", "pciutils", dump))
	must(t, err)
	_, text, ok := bytes.Cut(append([]byte("\n"), text...), []byte("\n"+address+" "))
	if !ok {
		t.Fatalf("%s: no %s", dump, address)
	}
	var config []byte
	for l := range strings.Lines(string(text)) {
		at, digits, _ := strings.Cut(strings.TrimSpace(l), ": ")
		b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if n, bad := strconv.ParseUint(at, 16, 16); bad == nil && err == nil && len(b) > 0 && int(n) == len(config) {
			config = append(config, b...)
		} else if len(config) > 0 {
			break
		}
	}
	if len(config) < 64 {
		t.Fatalf("%s: %s has %d bytes", dump, address, len(config))
	}
	return string(config)
}

// The function whose configuration space tests make up, below a root port.
const (
	port05 = "pci0000:00/0000:00:1c.0"
	card05 = port05 + "/0000:05:00.0"
)

func configHost(t testing.TB, class, config string) *host {
	h := laptopHost(t)
	h.function(port05, "060400", "pcieport", 5)
	h.function(card05, class, "vendor", 6)
	h.put("sys/devices/"+card05+"/config", config)
	return h
}

// expectFacts checks facts against lines "name = value", each value the beginning of
// the fact's, or nothing if there is to be no such fact.
func expectFacts(t testing.TB, what string, facts []laptop.Fact, want string) {
	t.Helper()
	checkFacts(t, facts)
	for l := range strings.Lines(want) {
		name, value, _ := strings.Cut(strings.TrimSpace(l), " = ")
		if name == "" {
			continue
		}
		got := fact(facts, strings.TrimSuffix(name, " ="))
		if !strings.HasPrefix(got, value) || value == "" && got != "" {
			t.Errorf("%s, %s: %q, want %q", what, name, got, value)
		}
	}
}

// What a function states in its configuration space, of real ones.
func TestFactsOfConfig(t *testing.T) {
	for _, tt := range []struct{ dump, address, class, want string }{
		{"cap-rebar", "09:00.0", "030000", `
			header = device, of several functions
			capabilities = Vendor Specific, Power Management, PCI Express, MSI
			extended capabilities = Vendor Specific, Advanced Error Reporting, Resizable BAR
			PCI Express = legacy endpoint, function level reset: no, payload 256 of 256 bytes, ARI
			link = 8 GT/s x16
			power states = D0 D1 D2 D3hot; can wake the machine from D1, D2, D3hot, D3cold; D3hot does not reset it
			interrupts = MSI 1 vector, on; INTA
			ACS = none: its functions may reach each other past the IOMMU
			address translation = ATS on, page requests (PRI) off, PASID of 16 bits off
			resizable = BAR 0 has 256 MiB, can have 256 MiB to 4 GiB
			error reporting (AER) = no errors seen
			BARs = BAR 0: prefetchable memory at e0000000, BAR 2: prefetchable memory at f0000000, BAR 4: I/O at e000
			option ROM = at fe840000 (off)`},
		{"cap-pasid-pri", "00:02.0", "030000", `
			PCI Express = root complex integrated endpoint, function level reset: yes
			address translation = ATS on, page requests (PRI) off, PASID of 20 bits on
			ACS =
			link =`},
		{"cap-dpc", "05:01.0", "060400", `
			header = bridge to bus 06
			PCI Express = downstream port, payload 128 of 1024 bytes, hot-plug slot, ARI forwarding on
			extended capabilities = unknown: only 256 bytes are readable, root sees more
			ACS =
			windows = I/O closed, 4 MiB memory at c6c00000, 4 MiB prefetchable memory at 383ff9c00000`},
		{"cap-ea-1", "0002:01:00.0", "020000", `
			SR-IOV = 128 of 128 virtual functions`},
		{"cap-ide", "e1:00.0", "080000", `
			PCI Express = endpoint, function level reset: yes, payload 512 of 1024 bytes, ARI
			ACS = nothing to turn on: its functions do not reach each other
			SR-IOV = 0 of 4 virtual functions`},
		{"cap-vc-pat", "0000:12:08.0", "010700", `
			error reporting (AER) = seen, uncorrectable: UnsupReq`},
	} {
		h := configHost(t, tt.class, dumpedConfig(t, tt.dump, tt.address))
		l := h.read()
		facts, err := laptop.Facts(h, l, find(t, l, "0000:05:00.0"), laptop.FactOptions{})
		must(t, err)
		expectFacts(t, tt.dump, facts, tt.want)
		if n := len(facts); n > 35 {
			t.Errorf("%s: %d facts, more than a person reads", tt.dump, n)
		}
	}
}

// Each bridge, endpoint and oddity of the collection gives facts that hold what all do.
func TestFactsOfAllConfigs(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "lspci", "pciutils"), "*"))
	must(t, err)
	count := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		for l := range strings.Lines(string(text)) {
			if address, _, ok := strings.Cut(l, " "); ok && strings.Count(address, ".") == 1 && strings.Contains(address, ":") && l[0] != ' ' && l[0] != '\t' && len(address) >= 7 {
				h := configHost(t, "020000", dumpedConfig(t, filepath.Base(file), address))
				read := h.read()
				facts, err := laptop.Facts(h, read, find(t, read, "0000:05:00.0"), laptop.FactOptions{Wake: true})
				must(t, err)
				checkFacts(t, facts)
				if fact(facts, "header") == "" || fact(facts, "capabilities") == "" {
					t.Errorf("%s, %s: %v", file, address, facts)
				}
				count++
			}
		}
	}
	t.Logf("%d functions of %d dumps", count, len(files))
	if count < 120 {
		t.Errorf("only %d functions", count)
	}
}

// What configuration space does not say is not claimed.
func TestFactsOfConfigUnknown(t *testing.T) {
	whole := dumpedConfig(t, "cap-rebar", "09:00.0")
	loop := []byte(whole)
	loop[0x49] = 0x48 // the first capability is its own next
	for _, tt := range []struct{ name, config, want string }{
		{"who is not root sees 64 bytes", whole[:64], `
			header = device, of several functions
			may now = answer I/O, answer memory accesses, access memory itself (DMA)
			capabilities = unknown: only 64 bytes are readable, root sees more
			extended capabilities =
			PCI Express =
			ACS =
			interrupts = INTA`},
		{"a saved machine that was cut", whole[:20], `
			configuration space = 20 bytes: not among the bytes
			header =`},
		{"asleep or gone", strings.Repeat("\xff", 4096), `
			configuration space = all ones
			header =`},
		{"a chain that loops", string(loop), `
			capabilities = Vendor Specific; broken: what the function says of itself is malformed
			ACS =`},
	} {
		h := configHost(t, "020000", tt.config)
		l := h.read()
		facts, err := laptop.Facts(h, l, find(t, l, "0000:05:00.0"), laptop.FactOptions{})
		must(t, err)
		expectFacts(t, tt.name, facts, tt.want)
	}
	// Neither state is stated in most saved machines; an active function need not be in D0.
	for states, asked := range map[[2]string]bool{
		{"", ""}: true, {"unknown", "active"}: true, {"D0", "suspended"}: true, {"", "suspended"}: false,
		{"D3hot", "suspended"}: false, {"unknown", "suspended"}: false, {"D3cold", ""}: false,
	} {
		h := configHost(t, "020000", whole)
		for i, name := range []string{"power_state", "power/runtime_status"} {
			if states[i] != "" {
				h.attributes("sys/devices/"+card05, name+"="+states[i])
			}
		}
		h.put("sys/devices/"+card05+"/vpd", "")
		var read []string
		fsys := hosttest.Failing{Tree: h.Tree, Fail: func(name string) error {
			if strings.HasSuffix(name, "/config") || strings.HasSuffix(name, "/vpd") || strings.Contains(name, "_link_") {
				read = append(read, filepath.Base(name))
			}
			return nil
		}}
		l := h.read()
		facts, err := laptop.Facts(fsys, l, find(t, l, "0000:05:00.0"), laptop.FactOptions{})
		must(t, err)
		if slices.Contains(read, "config") != asked || slices.Contains(read, "vpd") || !asked && len(read) > 0 || (fact(facts, "header") != "") != asked {
			t.Errorf("%v: read %v", states, read)
		}
		read = nil
		_, err = laptop.Facts(fsys, l, find(t, l, "0000:05:00.0"), laptop.FactOptions{Wake: true})
		if !slices.Contains(read, "config") || !slices.Contains(read, "vpd") {
			t.Errorf("%v, with leave to wake: read %v, %v", states, read, err)
		}
	}
}

// A port says which parts of ACS are on, off and not there.
func TestFactsOfACS(t *testing.T) {
	port := make([]byte, 4096)
	copy(port[0x06:], "\x10\x00")
	port[0x0e], port[0x34] = 1, 0x40
	copy(port[0x40:], "\x10\x00\x62\x00")
	copy(port[0x100:], "\x0d\x00\x01\x00\x1d\x00\x05\x00")
	h := configHost(t, "060400", string(port))
	l := h.read()
	facts, err := laptop.Facts(h, l, find(t, l, "0000:05:00.0"), laptop.FactOptions{})
	must(t, err)
	expectFacts(t, "port", facts, `
		ACS = on: SrcValid, ReqRedir; off: CmpltRedir, UpstreamFwd
		PCI Express = downstream port
		extended capabilities = Access Control Services`)
	port[0x104] = 0x01
	h = configHost(t, "060400", string(port))
	facts, err = laptop.Facts(h, l, find(t, l, "0000:05:00.0"), laptop.FactOptions{})
	must(t, err)
	expectFacts(t, "port", facts, "ACS = on: SrcValid, ReqRedir; missing: ReqRedir, CmpltRedir, UpstreamFwd")
	port[0x100] = 0
	h = configHost(t, "060400", string(port))
	facts, err = laptop.Facts(h, l, find(t, l, "0000:05:00.0"), laptop.FactOptions{})
	must(t, err)
	expectFacts(t, "port", facts, "ACS = none: it does not keep what is behind it apart")
}

// Product data comes with leave, attributes beside configuration space without.
func TestFactsOfFunction(t *testing.T) {
	h := configHost(t, "020000", dumpedConfig(t, "cap-rebar", "09:00.0")[:64])
	h.function(port05+"/0000:05:00.1", "040300", "snd_hda_intel", 6)
	dir := "sys/devices/" + card05
	h.attributes(dir, "removable=removable", "d3cold_allowed=1", "sriov_totalvfs=8", "sriov_numvfs=1", "power/control=auto", "power/runtime_status=active",
		"resource1_resize=0000000000000700", "sriov_offset=16")
	h.put(dir+"/resource", "0x00000000fe800000 0x00000000fe8fffff 0x0000000000040200\n0x0000004000000000 0x000000400fffffff 0x000000000014220c\n")
	h.put(dir+"/vpd", "\x82\x04\x00Card\x90\x08\x00PN\x05A-123\x78")
	h.function(port05+"/0000:05:02.0", "020000", "", 7)
	h.link("../0000:05:02.0", dir+"/virtfn0")
	h.link("../"+filepath.Base(card05), "sys/devices/"+port05+"/0000:05:02.0/physfn")
	h.put(dir+"/consumer:pci:0000:05:00.1/uevent", "")
	l := h.read()
	want := `
		plugged in at = pci0000:00/1c.0/00.0
		behind = 0000:00:1c.0
		removable = removable
		runtime power = active, suspended when idle
		D3cold allowed = yes
		BARs = BAR 0: 1 MiB memory at fe800000, BAR 1: 256 MiB prefetchable memory at 4000000000
		SR-IOV = 1 of 8 virtual functions
		resizable = BAR 1 can have 256 MiB, 512 MiB, 1 GiB
		virtual functions = 0000:05:02.0
		consumers = 0000:05:00.1
		companions = 0000:05:00.1, its consumer`
	facts, err := laptop.Facts(h, l, find(t, l, "0000:05:00.0"), laptop.FactOptions{})
	must(t, err)
	expectFacts(t, "function", facts, want+"\nproduct data =")
	facts, err = laptop.Facts(h, l, find(t, l, "0000:05:00.0"), laptop.FactOptions{Wake: true})
	must(t, err)
	expectFacts(t, "function awake", facts, want+"\nproduct data = Card, PN A-123")
	facts, err = laptop.Facts(h, l, find(t, l, "0000:05:02.0"), laptop.FactOptions{Wake: true})
	must(t, err)
	expectFacts(t, "virtual function", facts, "virtual function of = 0000:05:00.0\ncompanions =")
	// Who is not root is told so, and nothing of it is an error.
	denied := hosttest.Failing{Tree: h.Tree, Fail: func(name string) error {
		if base := filepath.Base(name); strings.HasPrefix(base, "resource") || base == "vpd" {
			return syscall.EACCES
		}
		return nil
	}}
	facts, err = laptop.Facts(denied, l, find(t, l, "0000:05:00.0"), laptop.FactOptions{Wake: true})
	must(t, err)
	expectFacts(t, "not root", facts, "BARs = unknown: it takes root\nresizable = unknown: it takes root\nproduct data = unknown: it takes root")
}
