package usb

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
)

// seeds adds the descriptors of real devices, if they are there, and small ones.
func seeds(f *testing.F) {
	if _, err := os.Stat(filepath.Join(hosttest.Root(f), "..", "shared")); err == nil {
		files, _ := filepath.Glob(filepath.Join(hosttest.Root(f), "..", "shared", "hwdata", "usb", "*", "*.bin"))
		for _, file := range files {
			if data, err := os.ReadFile(file); err == nil {
				f.Add(data)
			}
		}
	}
	const device = "120100030000000900000000000000000001" + "09020000010100800a"
	for _, text := range []string{
		"", "00", "1201", device,
		device + "090400000103010100" + "092111010001224100" + "07058103080" + "00a",
		device + "080b00020e030000" + "0904000001" + "0e010000" + "0d24010001" + "0000000000000001" + "01",
		device + "0904010000" + "0e020000" + "0b240601010101000000" + "00" + "1e24070100800" + "2e001000077010000ca08006009001516050000151605" + "00",
		device + "0904000000" + "01010000" + "0a24010001" + "0000020102" + "0904010000" + "01020000" + "0e2402010102100280" + "3e00" + "80bb00",
		device + "0904000001" + "02060000" + "0524001001" + "0524060001" + "0c241b00010010" + "2080001024",
		device + "0904000002" + "08065000" + "07058102000400" + "06300f040000" + "0831000000800100",
		device[:36] + "09020000000018800a" + "090400000001230000" + "0a020000000018020102" + "090401000010020000", // two of one value
		device + "0904000000" + "fe010200" + "0921" + "0b00010010" + "1001",
	} {
		data, err := hex.DecodeString(text)
		if err != nil {
			f.Fatalf("%s: %v", text, err)
		}
		f.Add(data)
	}
}

func FuzzDescriptors(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		before := string(data)
		d, err := ParseDescriptors(data)
		if string(data) != before {
			t.Fatal("the bytes were changed")
		}
		checkError(t, err)
		if err == nil && (len(d.Configurations) != d.Device.Configurations || !d.Device.Vendor.Known()) {
			t.Errorf("no error: %+v", d)
		}
		raw := 0
		count := func(list []RawDescriptor) {
			for _, r := range list {
				raw += len(r.Bytes)
				if len(r.Bytes) < 2 || int(r.Bytes[0]) != len(r.Bytes) || string(data[r.Offset:r.Offset+len(r.Bytes)]) != string(r.Bytes) {
					t.Errorf("%+v is not in the bytes", r)
				}
			}
		}
		count(d.Extra)
		values := map[int]int{}
		for _, c := range d.Configurations {
			values[c.Value]++
		}
		for _, c := range d.Configurations {
			count(c.Extra)
			numbers := map[int]bool{}
			for _, in := range c.Interfaces {
				numbers[in.Number] = true
				count(in.Extra)
				for _, e := range in.Endpoints {
					count(e.Extra)
					if e.Transactions < 1 || e.Transactions > 4 || e.MaxPacket > 2047 || e.Burst > 256 || e.Number() > 15 {
						t.Errorf("%+v", e)
					}
					_, _, _ = e.Sync(), e.Usage(), e.Type.String()
				}
			}
			if values[c.Value] > 1 {
				continue // the functions are those of the first with this value
			}
			seen := map[int]bool{}
			for _, fn := range d.Functions(c.Value) {
				for _, n := range fn.Interfaces {
					if seen[n] || !numbers[n] {
						t.Errorf("interface %d is in two functions or none: %+v", n, d.Functions(c.Value))
					}
					seen[n] = true
				}
			}
			if len(seen) != len(numbers) {
				t.Errorf("%d interfaces, %d in functions", len(numbers), len(seen))
			}
			if set := d.InterfaceSet(c.Value); len(numbers) > 0 && strings.Count(set, "+") != len(numbers)-1 {
				t.Errorf("%d interfaces: %s", len(numbers), set)
			}
		}
		if raw > len(data) {
			t.Errorf("%d bytes of %d", raw, len(data))
		}
	})
}

func checkError(t *testing.T, err error) {
	if err != nil && (!utf8.ValidString(err.Error()) || len(err.Error()) > 4096 || strings.Count(err.Error(), "\n") > maxProblems+2) {
		t.Errorf("an error of %d bytes: %q", len(err.Error()), err)
	}
}

func FuzzBOS(f *testing.F) {
	for _, text := range []string{
		"", "050f050000", "050f160002" + "07100202000000" + "0a1003000e00010aff07",
		"050f2a0003" + "0710020200" + "0000" + "0a1003000e00010a0a00" + "1410040000000000000000000000000000000000",
		"050f2100" + "01" + "1c100a0003000000" + "01110000" + "30400a00" + "b0400a00" + "31401400" + "b1401400",
		"050f1d0001" + "18100500df60ddd88945c74c9cd2659d9e648a9f" + "00000306",
	} {
		data, err := hex.DecodeString(text)
		if err != nil {
			f.Fatalf("%s: %v", text, err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := ParseBOS(data)
		checkError(t, err)
		if len(b.SuperSpeedPlus.Sublinks) > 32 || len(b.Platform)*20 > len(data) || len(b.ContainerID) != 0 && len(b.ContainerID) != 36 {
			t.Errorf("%+v", b)
		}
	})
}

// FuzzPort feeds names of ports, links and what firmware says of where they are.
func FuzzPort(f *testing.F) {
	for _, s := range []string{
		"usb1-port3", "1-4-port2", "port7", "2-1.2.3.4.5.6.7-port1", "usb255-port255", "-port1", "usb1-port0", "0000:00:14.0/4.2", "0000:00:14.0/usb3-1",
		"right", "0x80000001", "not used", "\x00\xff",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, ok := parsePort(s); ok {
			hub := Hub{Path: p.Parent(), Bus: p.Bus()}
			if got := hub.Name() + "-port" + portDigits(p); got != s && "port"+portDigits(p) != s[strings.LastIndexByte(s, '-')+1:] {
				t.Errorf("%q is read as %v, which is %s", s, p, got)
			}
		}
		if p, err := ParsePhysicalPort(s); err == nil && p.String() != s {
			t.Errorf("%q is read as %v", s, p)
		} else if err != nil && len(err.Error()) > 400 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
		tr := new(hostfs.Tree)
		const dir = "sys/bus/usb/devices/1-0:1.0/usb1-port3"
		for _, name := range []string{"connect_type", "state", "location", "over_current_count", "physical_location/panel", "physical_location/vertical_position",
			"physical_location/horizontal_position", "physical_location/dock", "physical_location/lid"} {
			if err := tr.Put(dir+"/"+name, []byte(s)); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{"peer", "device"} {
			_ = tr.Symlink(s, dir+"/"+name) // not all are targets
		}
		p := Port{Path: PortPath{1<<56 | 3<<48}}
		if err := p.read(tr, dir); err != nil && len(err.Error()) > 4096 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
		for _, word := range []string{p.Connect, p.State, p.Location.Panel, p.Location.Vertical, p.Location.Horizontal} {
			if len(word) > 20 {
				t.Errorf("%q was taken", word)
			}
		}
	})
}

func portDigits(p PortPath) string {
	s := p.String()
	return s[strings.LastIndexAny(s, ".-")+1:]
}

// Devices link to their port: both name the same place.
func TestPortLinks(t *testing.T) {
	n := 0
	for _, of := range []string{"umockdev", "libfprint"} {
		files, _ := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "usb", of), "*.umockdev"))
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			device := ""
			for line := range strings.Lines(string(text)) {
				line = strings.TrimSpace(line)
				if p, ok := strings.CutPrefix(line, "P: "); ok {
					device = p[strings.LastIndexByte(p, '/')+1:]
				}
				target, ok := strings.CutPrefix(line, "L: port=")
				if !ok {
					continue
				}
				n++
				hub, _, _ := strings.Cut(target[strings.LastIndexByte(target[:strings.LastIndexByte(target, '/')], '/')+1:], ":")
				if bus, ok := strings.CutSuffix(hub, "-0"); ok {
					hub = "usb" + bus
				}
				name := target[strings.LastIndexByte(target, '/')+1:]
				p, ok := parsePort(name)
				if strings.HasPrefix(name, "port") { // of an old kernel
					p, ok = parsePort(hub + "-" + name)
				}
				if !ok || p.String() != device {
					t.Errorf("%s: %s is at %s, which is %v", filepath.Base(file), device, target, p)
				}
			}
		}
	}
	if n < 15 {
		t.Errorf("%d links", n)
	}
}
