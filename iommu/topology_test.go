package iommu_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// portTypes are the words that made takes for what a PCI Express function is.
func portType(word string) (pci.PortType, bool) {
	t, ok := map[string]pci.PortType{
		"ep": pci.PortEndpoint, "legacy": pci.PortLegacyEndpoint, "root": pci.PortRoot, "up": pci.PortUpstream,
		"down": pci.PortDownstream, "to-pci": pci.PortToConventional, "from-pci": pci.PortFromConventional,
		"rciep": pci.PortIntegratedEndpoint, "collector": pci.PortEventCollector,
	}[word]
	return t, ok
}

// acsBits reads the letters of the reports: S source validation, B translation blocking, R
// and C redirects, U upstream forwarding, E egress control, T direct translated.
func acsBits(t testing.TB, letters string) (bits uint16) {
	t.Helper()
	for _, c := range strings.Trim(letters, "-") {
		i := strings.IndexRune("SBRCUET", c)
		if i < 0 {
			t.Fatalf("no bit of ACS is %c", c)
		}
		bits |= 1 << i
	}
	return bits
}

// made makes a machine of lines such as
//
//	00:1c.0/01:00.0 ep mf acs=SRCU/SR id=8086:1533 group=7
//
// a path of bridges down to the function, then what its configuration space says: one of
// portType or pci for conventional, mf for the bit of several functions, ACS as capability
// and control. 32bit puts the control at 8; len=N cuts it, len=0 leaves it out; class=0604,
// sub=9005:02bb; pf=ADDRESS makes it a virtual function, asleep puts it to sleep.
func made(t testing.TB, lines string) *hostfs.Tree {
	t.Helper()
	tr := new(hostfs.Tree)
	for line := range strings.Lines(lines) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		dir, last, root := "devices/pci0000:00", "", ""
		for elem := range strings.SplitSeq(words[0], "/") {
			if strings.Count(elem, ":") == 1 {
				elem = "0000:" + elem
			}
			if domain, _, _ := strings.Cut(elem, ":"); domain != "0000" && domain != root {
				root = domain
				dir += "/pci" + domain + ":00"
			}
			dir, last = dir+"/"+elem, elem
		}
		must(t, tr.Symlink("../../../"+dir, "sys/bus/pci/devices/"+last))
		dir = "sys/" + dir
		config := make([]byte, 4096)
		length, class, acsAt := 4096, uint32(0x020000), 0x106
		id, sub := [2]uint16{0x1af4, 0x1000}, [2]uint16{}
		express, isPCI := pci.PortEndpoint, false
		var flags byte
		capability, control, hasACS := uint16(0), uint16(0), false
		for _, w := range words[1:] {
			key, value, _ := strings.Cut(w, "=")
			if p, ok := portType(w); ok {
				if express = p; strings.Contains("root up down to-pci from-pci", w) {
					class, flags = 0x060400, flags|1
				}
				continue
			}
			var err error
			switch key {
			case "pci":
				isPCI = true
			case "mf":
				flags |= 0x80
			case "acs":
				have, on, _ := strings.Cut(value, "/")
				capability, control, hasACS = acsBits(t, have), acsBits(t, on), true
			case "32bit":
				acsAt = 0x108
			case "len":
				_, err = fmt.Sscanf(value, "%d", &length)
			case "class":
				_, err = fmt.Sscanf(value, "%x", &class)
				if class <<= 8; class == 0x060400 {
					flags |= 1
				}
			case "id":
				_, err = fmt.Sscanf(value, "%x:%x", &id[0], &id[1])
			case "sub":
				_, err = fmt.Sscanf(value, "%x:%x", &sub[0], &sub[1])
			case "group":
				must(t, tr.Symlink("../../kernel/iommu_groups/"+value, dir+"/iommu_group"))
				must(t, tr.Symlink("../../../../devices/"+last, "sys/kernel/iommu_groups/"+value+"/devices/"+last))
			case "pf":
				must(t, tr.Symlink("../"+value, dir+"/physfn"))
			case "asleep":
				put(t, tr, dir+"/power/runtime_status", "suspended\n")
			case "cold":
				put(t, tr, dir+"/power_state", "D3cold\n")
			default:
				t.Fatalf("%q means nothing", w)
			}
			must(t, err)
		}
		put(t, tr, dir+"/uevent", fmt.Sprintf("PCI_CLASS=%X\nPCI_ID=%04X:%04X\nPCI_SUBSYS_ID=%04X:%04X\n", class, id[0], id[1], sub[0], sub[1]))
		le := binary.LittleEndian
		le.PutUint16(config, id[0])
		le.PutUint16(config[2:], id[1])
		le.PutUint32(config[8:], class<<8)
		config[0x0e] = flags
		if !isPCI {
			config[0x06], config[0x34] = 0x10, 0x40
			config[0x40] = 0x10
			le.PutUint16(config[0x42:], uint16(express)<<4|2)
		}
		if hasACS {
			le.PutUint32(config[0x100:], 0x1000d)
			le.PutUint16(config[0x104:], capability)
			le.PutUint16(config[acsAt:], control)
		}
		if length > 0 {
			put(t, tr, dir+"/config", string(config[:length]))
		}
	}
	return tr
}

// derived lists all groups of a machine: a line each, a question mark where more may be.
func derived(groups []iommu.DerivedGroup) string {
	var b strings.Builder
	for _, g := range groups {
		for i, a := range g.Devices {
			if i > 0 {
				b.WriteString(" ")
			}
			b.WriteString(short(a))
		}
		for _, u := range g.Unknown {
			if u.With.IsValid() {
				fmt.Fprintf(&b, " ?%s+%s", short(u.Device), short(u.With))
			} else {
				fmt.Fprintf(&b, " ?%s+any", short(u.Device))
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// reads counts what is opened for its configuration space.
type reads struct {
	*hostfs.Tree
	config map[string]int
}

func (r reads) ReadFile(name string) ([]byte, error) {
	if dir, ok := strings.CutSuffix(name, "/config"); ok {
		r.config[dir[strings.LastIndexByte(dir, '/')+1:]]++
	}
	return r.Tree.ReadFile(name)
}

// Configuration space is read of what decides, once, and of nothing else; of what sleeps
// only when it may wake.
func TestReadTopology(t *testing.T) {
	tr := made(t, `00:00.0 pci class=0600
		00:02.0 root acs=SRCU/SRCU
		00:02.0/01:00.0 ep
		00:03.0 root asleep
		00:03.0/02:00.0 ep mf
		00:03.0/02:00.1 ep
		00:04.0 root cold
		00:04.0/03:00.0 ep mf asleep
		00:04.0/03:00.1 ep
		00:05.0 root
		00:06.0 ep mf acs=/
		00:06.1 pf=0000:00:06.0`)
	fns, err := pci.Functions(tr)
	must(t, err)
	for _, tt := range []struct {
		name   string
		o      iommu.TopologyOptions
		config string
		groups string
	}{
		{
			"all", iommu.TopologyOptions{}, "00:02.0 00:06.0 02:00.0 02:00.1 03:00.1",
			`00:00.0
00:02.0
00:03.0 ?02:00.0+00:03.0 ?02:00.1+00:03.0
00:04.0 ?03:00.0+00:04.0 ?03:00.1+00:04.0
00:05.0
00:06.0
00:06.1
01:00.0
02:00.0 02:00.1 ?02:00.0+00:03.0 ?02:00.1+00:03.0
03:00.0 ?03:00.0+00:04.0 ?03:00.1+03:00.0
03:00.1 ?03:00.1+00:04.0 ?03:00.1+03:00.0
`,
		},
		{
			"awake", iommu.TopologyOptions{Wake: true}, "00:02.0 00:03.0 00:04.0 00:06.0 02:00.0 02:00.1 03:00.0 03:00.1",
			"00:00.0\n00:02.0\n00:03.0 02:00.0 02:00.1\n00:04.0 03:00.0 03:00.1\n00:05.0\n00:06.0\n00:06.1\n01:00.0\n",
		},
		{
			"one", iommu.TopologyOptions{Wake: true, Of: []pci.Address{addr(t, "01:00.0"), addr(t, "09:00.0")}}, "00:02.0",
			`00:00.0 ?00:00.0+any
00:02.0
00:03.0 ?00:03.0+any
00:04.0 ?00:04.0+any
00:05.0 ?00:05.0+any
00:06.0 ?00:06.0+any ?00:06.1+00:06.0
00:06.1 ?00:06.1+any ?00:06.1+00:06.0
01:00.0
02:00.0 ?02:00.0+any ?02:00.1+02:00.0
02:00.1 ?02:00.1+any ?02:00.1+02:00.0
03:00.0 ?03:00.0+any ?03:00.1+03:00.0
03:00.1 ?03:00.1+any ?03:00.1+03:00.0
`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			counted := reads{tr, map[string]int{}}
			topology, err := iommu.ReadTopology(counted, fns, tt.o)
			must(t, err)
			var read []string
			for _, f := range fns {
				if n := counted.config[f.Address.String()]; n > 0 {
					read = append(read, short(f.Address))
					if n > 1 {
						t.Errorf("%v was read %d times", f.Address, n)
					}
				}
			}
			if got := strings.Join(read, " "); got != tt.config {
				t.Errorf("read %s\nwant %s", got, tt.config)
			}
			if got := derived(topology.Derive()); got != tt.groups {
				t.Errorf("got\n%swant\n%s", got, tt.groups)
			}
		})
	}
}

// A function of conventional PCI is known by the file that the kernel has for those of PCI
// Express alone, where its configuration space may not be read, or not without waking it.
func TestReadTopologyWithoutLink(t *testing.T) {
	const lines = `00:02.0 root
		00:1f.0 pci mf len=64
		00:1f.2 pci asleep
		00:1f.3 asleep
		00:1f.4 pci asleep`
	build := func(link ...string) string {
		tr := made(t, lines)
		for _, f := range link {
			put(t, tr, "sys/devices/pci0000:00/0000:"+f+"/max_link_speed", "8.0 GT/s PCIe\n")
		}
		must(t, tr.Remove("sys/devices/pci0000:00/0000:00:1f.4/config")) // as of a saved machine
		fns, err := pci.Functions(tr)
		must(t, err)
		counted := reads{tr, map[string]int{}}
		topology, err := iommu.ReadTopology(counted, fns, iommu.TopologyOptions{})
		must(t, err)
		if counted.config["0000:00:1f.2"]+counted.config["0000:00:1f.3"] > 0 {
			t.Error("what sleeps was woken")
		}
		return derived(topology.Derive())
	}
	if got := build(); strings.Contains(got, "00:1f.0 00:1f.2") || !strings.Contains(got, "?00:1f.2+00:1f.0") {
		t.Errorf("no function has a link, which tells nothing: got\n%s", got)
	}
	want := `00:02.0
00:1f.0 00:1f.2 ?00:1f.3+00:1f.0 ?00:1f.3+00:1f.2 ?00:1f.4+00:1f.0 ?00:1f.4+00:1f.2
00:1f.3 ?00:1f.3+00:1f.0 ?00:1f.3+00:1f.2 ?00:1f.4+00:1f.3
00:1f.4 ?00:1f.4+00:1f.0 ?00:1f.4+00:1f.2 ?00:1f.4+00:1f.3
`
	if got := build("00:02.0", "00:1f.3"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// Of what is carried by another function, that one is asked, and those beside it.
func TestReadTopologyCarried(t *testing.T) {
	tr := made(t, `00:0e.0 pci mf
		00:0e.0/10000:e0:06.0 root
		00:0e.0/10000:e0:06.0/10000:e1:00.0 ep
		00:0e.1 pci
		00:0f.0 pci mf
		00:0f.1 pci`)
	fns, err := pci.Functions(tr)
	must(t, err)
	topology, err := iommu.ReadTopology(tr, fns, iommu.TopologyOptions{Of: []pci.Address{addr(t, "10000:e1:00.0")}})
	must(t, err)
	if got, want := derived(topology.Derive()[:1]), "00:0e.0 00:0e.1 10000:e0:06.0 10000:e1:00.0\n"; got != want {
		t.Errorf("got %swant %s", got, want)
	}
}

// What fails is unknown and hides nothing else; links that cannot be are errors.
func TestReadTopologyFails(t *testing.T) {
	tr := made(t, `00:02.0 root
		00:02.0/01:00.0 ep
		00:03.0 root
		00:03.0/02:00.0 ep
		00:1f.0 pci mf
		00:1f.2 pci`)
	fns, err := pci.Functions(tr)
	must(t, err)
	failing := hosttest.Failing{Tree: tr, Fail: func(name string) error {
		switch name {
		case "sys/bus/pci/devices/0000:00:02.0/config", "sys/bus/pci/devices/0000:00:1f.2/config":
			return syscall.EIO
		case "sys/bus/pci/devices/0000:02:00.0", "sys/bus/pci/devices/0000:00:1f.2/physfn":
			return syscall.EACCES
		}
		return nil
	}}
	topology, err := iommu.ReadTopology(failing, append(fns, fns[0], pci.Function{}), iommu.TopologyOptions{})
	var op *pci.OpError
	if !errors.As(err, &op) || !errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	groups := topology.Derive()
	want := `00:02.0 ?01:00.0+00:02.0
00:03.0
00:1f.0 ?00:1f.2+00:1f.0
00:1f.2 ?00:1f.2+any ?00:1f.2+00:1f.0
01:00.0 ?01:00.0+00:02.0
02:00.0 ?02:00.0+any
`
	if got := derived(groups); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if u := groups[0].Unknown[0]; !errors.Is(u.Err, syscall.EIO) || u.At != addr(t, "00:02.0") || !strings.Contains(u.String(), "01:00.0 may share the group of 0000:00:02.0") {
		t.Error(u)
	}
	if u := groups[5].Unknown[0]; !errors.Is(u.Err, syscall.EACCES) || !strings.Contains(u.String(), "may share the group of others") {
		t.Error(u)
	}
	// Without the links nothing is known of who is where, and that is said of each.
	bare := new(hostfs.Tree)
	put(t, bare, "sys/bus/pci/devices/0000:00:02.0/class", "0x060400\n")
	topology, err = iommu.ReadTopology(bare, fns, iommu.TopologyOptions{})
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid) {
		t.Error(err)
	}
	for _, g := range topology.Derive() {
		if len(g.Devices) != 1 || len(g.Unknown) == 0 {
			t.Errorf("%+v", g)
		}
	}
}
