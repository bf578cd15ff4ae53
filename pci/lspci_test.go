package pci_test

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/project-independence/indy/pci"
)

// Where our answer is another than lspci's, and why ours is right.
func understood() map[string]string {
	return map[string]string{
		"tree-asus-p6t6 00:10.0 vendor specific": "a capability at 0x50 cannot have 255 bytes; lspci prints the length it states",
		"cap-ide e1:00.0 number of bars":         "lspci takes the upper halves of two 64-bit registers for registers of their own",
		"cap-ide e1:00.0 bar":                    "the same",
	}
}

// TestAgainstLspci decodes every dump of the collection and compares each fact with
// what lspci 3.9.0 made of the same bytes.
func TestAgainstLspci(t *testing.T) {
	functions, facts := 0, 0
	known, used := understood(), map[string]bool{}
	dumps(t, func(t *testing.T, name string, all []dumped, decoded [][]string) {
		if len(all) != len(decoded) {
			t.Fatalf("%d functions, lspci knows %d", len(all), len(decoded))
		}
		byAddress := map[pci.Address]pci.Config{}
		for _, f := range all {
			a, err := pci.ParseAddress(f.address)
			if err != nil {
				t.Fatal(err)
			}
			byAddress[a] = f.config
		}
		for _, lines := range decoded {
			text, _, _ := strings.Cut(lines[0], " ")
			a, err := pci.ParseAddress(text)
			if err != nil {
				t.Fatal(err)
			}
			config, ok := byAddress[a]
			if !ok {
				t.Fatalf("lspci knows %s, the dump does not", a)
			}
			functions++
			c := &comparison{t: t, where: name + " " + text, facts: &facts, known: known, used: used}
			c.function(config, lines)
		}
	})
	t.Logf("functions compared: %d, facts: %d", functions, facts)
	if functions < 135 || facts < 9000 {
		t.Errorf("only %d functions and %d facts were compared", functions, facts)
	}
	for key, why := range known {
		if !used[key] {
			t.Errorf("no difference any more: %s: %s", key, why)
		}
	}
}

var (
	firstLine = regexp.MustCompile(`^\S+ .*? \[([0-9a-f]{4})\]: .*\[([0-9a-f]{4}):([0-9a-f]{4})\](?: \(rev ([0-9a-f]{2})\))?(?: \(prog-if ([0-9a-f]{2})(?: .*)?\))?$`)
	lastIDs   = regexp.MustCompile(`\[([0-9a-f]{4}):([0-9a-f]{4})\]$`)
	regionOf  = regexp.MustCompile(`^Region (\d): (Memory|I/O ports) at (\S+)(?: \((64|32)-bit, (non-)?prefetchable\))?`)
	windowOf  = regexp.MustCompile(`^(I/O|Memory|Prefetchable memory) behind bridge: ([0-9a-f]+)-([0-9a-f]+)( \[disabled\])?.*\[(16|32|64)-bit\]$`)
	busesOf   = regexp.MustCompile(`^Bus: primary=([0-9a-f]+), secondary=([0-9a-f]+), subordinate=([0-9a-f]+),`)
	capOf     = regexp.MustCompile(`^Capabilities: \[([0-9a-f]+)(?: v(\d+))?\] (.*)$`)
	lineOf    = regexp.MustCompile(`^Interrupt: pin ([A-D?]) routed to IRQ (\d+)`)
)

// flag finds NAME+ or NAME-.
func flag(line, name string) bool {
	return strings.Contains(" "+strings.NewReplacer(",", " ", "(", " ", "\t", " ", "\n", " ").Replace(line)+" ", " "+name+"+ ") ||
		strings.Contains(line, name+"+)")
}

func states(line, name string) bool {
	return regexp.MustCompile(`(^|[ \t,(])` + regexp.QuoteMeta(name) + `[+-]`).MatchString(line)
}

func (c *comparison) function(config pci.Config, lines []string) {
	h, err := config.Header()
	if err != nil {
		c.t.Errorf("%s: %v", c.where, err)
		return
	}
	m := firstLine.FindStringSubmatch(lines[0])
	if m == nil {
		c.t.Errorf("%s: what is %q?", c.where, lines[0])
		return
	}
	c.same("class", fmt.Sprintf("%04x", h.Class.Sub()), m[1])
	c.same("vendor", h.Vendor, m[2])
	c.same("device", h.Device, m[3])
	c.same("revision", fmt.Sprintf("%02x", h.Revision), orZero(m[4]))
	if m[5] != "" {
		c.same("interface", fmt.Sprintf("%02x", h.Class.Interface()), m[5])
	} else {
		c.same("interface", h.Class.Interface(), 0)
	}
	var regions, windows []string
	rom, subsystem := "", ""
	var caps []string
	body := map[string][]string{} // of capabilities, by their first line
	current := ""
	for _, line := range lines[1:] {
		if strings.HasPrefix(line, "\t\t") {
			if current != "" {
				body[current] = append(body[current], strings.TrimSpace(line))
			}
			continue
		}
		line = strings.TrimSpace(line)
		current = ""
		switch key, rest, _ := strings.Cut(line, ": "); {
		case key == "Subsystem":
			subsystem = lastIDs.FindString(rest)
		case key == "Control":
			c.flags("Control", rest, h.Command.String(), "IO I/O", "Mem", "BusMaster", "ParErr", "SERR", "DisINTx")
		case key == "Status":
			c.flags("Status", rest, h.Status.String(), "Cap", "INTx", ">TAbort", "<TAbort", "<MAbort", ">SERR", "<PERR")
		case key == "Interrupt":
			m := lineOf.FindStringSubmatch(line)
			pin := "?ABCD"[h.InterruptPin]
			c.same("interrupt", fmt.Sprintf("%c %d", pin, h.InterruptLine), m[1]+" "+m[2])
		case key == "Latency":
			c.same("latency", fmt.Sprint(h.Latency), strings.Fields(strings.ReplaceAll(rest, ",", " "))[0])
			if _, size, ok := strings.Cut(rest, "Cache Line Size: "); ok {
				c.same("cache line", fmt.Sprintf("%d bytes", h.CacheLine), size)
			}
		case key == "Bus":
			m := busesOf.FindStringSubmatch(line)
			c.same("buses", fmt.Sprintf("%02x %02x %02x", h.Primary, h.Secondary, h.Subordinate), strings.Join(m[1:], " "))
		case strings.HasPrefix(key, "Region "):
			regions = append(regions, line)
		case strings.HasPrefix(key, "Expansion ROM"):
			rom = line
		case strings.HasSuffix(key, "behind bridge"):
			windows = append(windows, line)
		case key == "Capabilities":
			current = line
			caps = append(caps, line)
		}
	}
	c.subsystem(config, subsystem)
	c.regions(config, regions, rom)
	c.windows(config, h, windows)
	c.capabilities(config, caps)
	for _, line := range caps {
		c.capability(config, line, strings.Join(body[line], "\n"))
	}
}

func orZero(s string) string {
	if s == "" {
		return "00"
	}
	return s
}

// flags compares the flags of line with ours, a list of those that are set. A name
// may have lspci's spelling after ours.
func (c *comparison) flags(what, line, ours string, names ...string) {
	c.t.Helper()
	for _, name := range names {
		own, theirs, ok := strings.Cut(name, " ")
		if !ok {
			theirs = own
		}
		if !states(line, theirs) {
			c.t.Errorf("%s: %s: no word of %s in %q", c.where, what, theirs, line)
			continue
		}
		c.same(what+" "+own, strings.Contains(" "+ours+" ", " "+own+" "), flag(line, theirs))
	}
}

func (c *comparison) subsystem(config pci.Config, want string) {
	vendor, device, err := config.Subsystem()
	got := ""
	if err == nil && vendor.Uint16() != 0 && vendor.Uint16() != 0xffff {
		got = fmt.Sprintf("[%s:%s]", vendor, device)
	}
	c.same("subsystem", got, want)
}

func (c *comparison) regions(config pci.Config, regions []string, rom string) {
	bars, err := config.BARs()
	c.none("bars", err)
	var got, want []string
	for _, b := range bars {
		at := fmt.Sprintf("%x", b.Start)
		if b.Unassigned {
			at = "<unassigned>"
		}
		switch {
		case b.Kind == pci.KindROM:
			c.same("rom", fmt.Sprint(at, b.Disabled), fmt.Sprint(strings.Fields(orNone(rom))[3], strings.Contains(rom, "[disabled]")))
			rom = ""
		case b.Space == pci.SpaceIO:
			got = append(got, fmt.Sprint(b.Index, " I/O ", at))
		default:
			got = append(got, fmt.Sprint(b.Index, " Memory ", at, " ", b.Is64, b.Prefetchable))
		}
	}
	if rom != "" {
		c.same("rom", "none", rom)
	}
	for _, line := range regions {
		m := regionOf.FindStringSubmatch(line)
		if m == nil {
			c.t.Errorf("%s: what is %q?", c.where, line)
			continue
		}
		at := strings.TrimLeft(m[3], "0")
		if at == "" { // I/O that is enabled: legacy ports, whose address is not in the register
			at = "<unassigned>"
		}
		if m[2] == "Memory" {
			want = append(want, fmt.Sprint(m[1], " Memory ", at, " ", m[4] == "64", m[5] == ""))
		} else {
			want = append(want, fmt.Sprint(m[1], " I/O ", at))
		}
	}
	c.same("number of bars", len(got), len(want))
	for i := range min(len(got), len(want)) {
		c.same("bar", got[i], want[i])
	}
}

func orNone(rom string) string {
	if rom == "" {
		return "no expansion ROM none"
	}
	return rom
}

func (c *comparison) windows(config pci.Config, h pci.Header, lines []string) {
	windows, err := config.Windows()
	c.none("windows", err)
	if h.Type != pci.HeaderBridge {
		c.same("windows", len(windows), 0)
		return
	}
	for _, line := range lines {
		m := windowOf.FindStringSubmatch(line)
		if m == nil {
			c.t.Errorf("%s: what is %q?", c.where, line)
			continue
		}
		w := windows[map[string]int{"I/O": 0, "Memory": 1, "Prefetchable memory": 2}[m[1]]]
		first, _ := strconv.ParseUint(m[2], 16, 64)
		last, _ := strconv.ParseUint(m[3], 16, 64)
		if first > last {
			c.same(m[1]+" window", fmt.Sprint(w.Unassigned, w.Size), fmt.Sprint(true, 0))
			continue
		}
		c.same(m[1]+" window", fmt.Sprintf("%x %x %v", w.Start, w.Start+w.Size-1, w.Is64), fmt.Sprintf("%x %x %v", first, last, m[5] == "64"))
	}
}

func (c *comparison) capabilities(config pci.Config, lines []string) {
	base, err := config.Capabilities()
	c.chain("chain", err)
	extended, err := config.ExtendedCapabilities()
	c.chain("extended chain", err)
	var got, want []string
	for _, f := range base {
		got = append(got, fmt.Sprintf("%02x %s", f.Offset, f.ID))
	}
	for _, f := range extended {
		got = append(got, fmt.Sprintf("%x v%d %s", f.Offset, f.Version, f.ID))
	}
	for _, line := range lines {
		m := capOf.FindStringSubmatch(line)
		if m == nil {
			c.t.Errorf("%s: what is %q?", c.where, line)
			continue
		}
		if m[2] == "" {
			want = append(want, m[1]+" "+baseTitle(m[3]))
		} else {
			want = append(want, m[1]+" v"+m[2]+" "+extendedTitle(m[3]))
		}
	}
	c.same("number of capabilities", len(got), len(want))
	for i := range min(len(got), len(want)) {
		c.same("capability", got[i], want[i])
	}
}

// chain takes a chain that ends where the dump does for a whole one, as lspci does.
func (c *comparison) chain(what string, err error) {
	if !errors.Is(err, pci.ErrUnread) {
		c.none(what, err)
	}
}

// baseTitle returns our name for what lspci writes.
func baseTitle(s string) string {
	for _, t := range [][2]string{
		{"Express (v", "PCI Express"}, {"MSI: ", "MSI"}, {"MSI-X: ", "MSI-X"}, {"Subsystem: ", "Bridge Subsystem"},
		{"Power Management version", "Power Management"}, {"PCI-X ", "PCI-X"}, {"Hot-plug capable", "Hot-Plug"},
		{"PCI Advanced Features", "Advanced Features"}, {"Vital Product Data", "Vital Product Data"},
		{"HyperTransport: ", "HyperTransport"}, {"Debug port: ", "Debug Port"}, {"Vendor Specific Information", "Vendor Specific"},
		{"SATA HBA", "SATA Data/Index"}, {"Enhanced Allocation (EA)", "Enhanced Allocation"}, {"AGP version", "AGP"},
		{"CompactPCI hot-swap", "CompactPCI Hot Swap"}, {"Slot ID", "Slot Identification"},
	} {
		if strings.HasPrefix(s, t[0]) {
			return t[1]
		}
	}
	return "not in the table: " + s
}

func extendedTitle(s string) string {
	if n, ok := strings.CutPrefix(s, "Extended Capability ID 0x"); ok {
		id, _ := strconv.ParseUint(n, 16, 16)
		return pci.ExtendedCapabilityID(id).String()
	}
	for _, t := range [][2]string{
		{"Root Complex Link", "Root Complex Link Declaration"}, {"Vendor Specific Information", "Vendor Specific"},
		{"Physical Resizable BAR", "Resizable BAR"}, {"Device Serial Number", "Device Serial Number"},
		{"Root Complex Event Collector Endpoint Association", "Root Complex Event Collector Endpoint Association"},
		{"Single Root I/O Virtualization (SR-IOV)", "Single Root I/O Virtualization"},
		{"Process Address Space ID (PASID)", "Process Address Space ID"}, {"Page Request Interface (PRI)", "Page Request Interface"},
		{"Address Translation Service (ATS)", "Address Translation Services"},
		{"Alternative Routing-ID Interpretation (ARI)", "Alternative Routing-ID Interpretation"},
	} {
		if strings.HasPrefix(s, t[0]) {
			return t[1]
		}
	}
	return strings.TrimSuffix(s, " <?>")
}
