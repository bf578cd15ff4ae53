package guest

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/project-independence/indy/pci"
)

var compareIDs = cmp.Options{
	cmp.Comparer(func(a, b IDs) bool { return a == b }),
	cmp.Comparer(func(a, b pci.Address) bool { return a == b }),
}

const everything = `# A guest with every field.
name: work
cpus: 4
memory: 8GiB
firmware: uefi
secure_boot: true
tpm: true
locked: false
autostart: {priority: 10, ready: {serial: "login:"}, delay: 1m30s, needs: [network, usb], fullscreen: true}
power: {host_sleep: sleep, lid_closed: stay-awake, low_battery: {at: 10, do: pause}}
disks:
  - {file: system.qcow2, bus: nvme, key: credential:work.cred}
  - file: data          # no extension
    format: raw
    read_only: true
    bus: virtio
cdroms: [debian.iso]
network: bridge:br0
display: {kind: virgl, where: window}
audio: {play: true, record: false}
folders:
  - {path: /srv/shared, name: shared, read_only: true}
devices:
  - {want: gpu, which: discrete, ids: "10de:*", class: 0300, how: assign, need: optional,
     rom: {file: gpu.rom, sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}}
  - {want: webcam, which: built-in, how: assign, need: required}
  - {want: usb-device, port: "left-rear", how: assign}
  - {want: wlan, how: share}
`

func everythingDefined() Definition {
	rom, _ := ParseDigest("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
	return Definition{
		Name: "work", CPUs: 4, Memory: 8 << 30, Firmware: UEFI, SecureBoot: true, TPM: true,
		Autostart: &Autostart{Priority: 10, Ready: Ready{Serial: "login:"}, Delay: 90 * time.Second, Needs: []string{"network", "usb"}, Fullscreen: true},
		Power:     Power{DoSleep, StayAwake, LowBattery{10, DoPause}},
		Disks:     []Disk{{File: "system.qcow2", Format: Qcow2, Bus: NVMe, Key: Key{Credential, "work.cred"}}, {File: "data", ReadOnly: true, Bus: VirtIO}},
		CDROMs:    []string{"debian.iso"},
		Network:   Network{Bridged, "br0"},
		Display:   Display{VirglDisplay, InWindow},
		Audio:     Audio{Play: true},
		Folders:   []Folder{{"/srv/shared", "shared", true}},
		Devices: []Need{
			{Want: WantGPU, Which: Discrete, IDs: IDs{Vendor: pci.NewID(0x10de)}, Class: "0300", How: Assign, Optional: true, ROM: &NeedROM{"gpu.rom", rom}},
			{Want: WantWebcam, Which: BuiltIn, How: Assign},
			{Want: WantUSBDevice, Port: "left-rear", How: Assign},
			{Want: WantWLAN, How: Share},
		},
	}
}

func TestParseDefinition(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want Definition
	}{
		"everything":   {everything, everythingDefined()},
		"least":        {"name: a\nmemory: 16MiB", Definition{Name: "a", Memory: 16 << 20}},
		"marked start": {"---\nname: a\nmemory: 16MiB\n", Definition{Name: "a", Memory: 16 << 20}},
		"JSON":         {`{"name": "a", "memory": 16777216, "disks": [{"file": "a b'c.raw"}]}`, Definition{Name: "a", Memory: 16 << 20, Disks: []Disk{{File: "a b'c.raw"}}}},
		"line ends":    {"name: a\r\nmemory: 16MiB\r\ntpm: true\r\n", Definition{Name: "a", Memory: 16 << 20, TPM: true}},
		"nothing said": {"name: a\nmemory: 16MiB\nfirmware: bios\nnetwork: none\ndisplay: {kind: none}\naudio: {}\ndisks: []\nautostart: {}\n",
			Definition{Name: "a", Memory: 16 << 20, Autostart: &Autostart{}}},
		"quotes": {"name: '7'\nmemory: \"16MiB\"\nautostart: {ready: {serial: 'it''s: \"é\"'}}\n",
			Definition{Name: "7", Memory: 16 << 20, Autostart: &Autostart{Ready: Ready{Serial: `it's: "é"`}}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseDefinition("a.yaml", []byte(tt.text))
			if diff := cmp.Diff(tt.want, got, compareIDs); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

func TestYAML(t *testing.T) {
	const want = `name: work
cpus: 4
memory: 8GiB
firmware: uefi
secure_boot: true
tpm: true
autostart: {priority: 10, ready: {serial: "login:"}, delay: 1m30s, needs: [network, usb], fullscreen: true}
power: {host_sleep: sleep, lid_closed: stay-awake, low_battery: {at: 10, do: pause}}
disks:
  - {file: system.qcow2, bus: nvme, key: credential:work.cred}
  - {file: data, format: raw, read_only: true, bus: virtio}
cdroms:
  - debian.iso
network: bridge:br0
display: {kind: virgl, where: window}
audio: {play: true}
folders:
  - {path: /srv/shared, name: shared, read_only: true}
devices:
  - {want: gpu, which: discrete, ids: "10de:*", class: "0300", how: assign, need: optional, rom: {file: gpu.rom, sha256: "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}}
  - {want: webcam, which: built-in, how: assign}
  - {want: usb-device, port: left-rear, how: assign}
  - {want: wlan, how: share}
`
	if diff := cmp.Diff(want, string(everythingDefined().YAML())); diff != "" {
		t.Error(diff)
	}
}

// definitions draws valid ones.
func definitions() *rapid.Generator[Definition] {
	name := rapid.StringMatching(`[a-z0-9][a-z0-9-]{0,20}`)
	line := rapid.StringMatching(`[ -~äß€𝄞]{1,40}`)
	digest := rapid.Custom(func(t *rapid.T) (d Digest) {
		copy(d[:], rapid.SliceOfN(rapid.Byte(), len(d), len(d)).Draw(t, "digest"))
		d[0] |= 1
		return d
	})
	id := rapid.Custom(func(t *rapid.T) pci.ID { return pci.NewID(rapid.Uint16().Draw(t, "id")) })
	millis := func(t *rapid.T, from int64) time.Duration {
		return time.Duration(rapid.Int64Range(from, MaxDelay.Milliseconds()).Draw(t, "ms")) * time.Millisecond
	}
	need := rapid.Custom(func(t *rapid.T) Need {
		n := Need{Want: rapid.SampledFrom(Wants()).Draw(t, "want"), How: rapid.SampledFrom([]How{Assign, Share}).Draw(t, "how"),
			Which:    rapid.SampledFrom([]Which{"", BuiltIn, External}).Draw(t, "which"),
			Port:     rapid.SampledFrom([]Port{"", "left", "left-rear", "rear-upper", "lid", "1-4", "10-1.2.3"}).Draw(t, "port"),
			Class:    Class(rapid.SampledFrom([]string{"", "02", "0403", "0c0330", "e00101"}).Draw(t, "class")),
			Optional: rapid.Bool().Draw(t, "optional")}
		if n.Want == WantGPU && rapid.Bool().Draw(t, "of its own") {
			n.Which = Discrete
		}
		if rapid.Bool().Draw(t, "has ids") {
			n.IDs.Vendor = id.Draw(t, "vendor")
			if rapid.Bool().Draw(t, "has device") {
				n.IDs.Device = id.Draw(t, "device")
			}
		}
		if n.How == Assign && rapid.Bool().Draw(t, "has ROM") {
			n.ROM = &NeedROM{line.Draw(t, "ROM"), digest.Draw(t, "digest")}
		}
		return n
	})
	return rapid.Custom(func(t *rapid.T) Definition {
		d := Definition{
			Name: name.Draw(t, "name"), CPUs: rapid.IntRange(0, MaxCPUs).Draw(t, "cpus"), Memory: rapid.Int64Range(16, MaxMemory>>20).Draw(t, "memory") << 20,
			Firmware: rapid.SampledFrom([]Firmware{BIOS, UEFI}).Draw(t, "firmware"), TPM: rapid.Bool().Draw(t, "tpm"), Locked: rapid.Bool().Draw(t, "locked"),
			Network: rapid.SampledFrom([]Network{{}, {Kind: NAT}, {Bridged, "br0"}, {Bridged, "true"}, {Bridged, "a.b_c-D"}}).Draw(t, "network"),
			Display: Display{rapid.SampledFrom([]DisplayKind{VirtioDisplay, VirglDisplay}).Draw(t, "display"),
				rapid.SampledFrom([]Where{WhereverSeen, InWindow, OnVNC, OnSPICE, Nowhere}).Draw(t, "where")},
			Audio: Audio{rapid.Bool().Draw(t, "play"), rapid.Bool().Draw(t, "record")},
		}
		d.SecureBoot = d.Firmware == UEFI && rapid.Bool().Draw(t, "secure boot")
		if rapid.Bool().Draw(t, "autostarts") {
			d.Autostart = &Autostart{Priority: rapid.IntRange(0, MaxPriority).Draw(t, "priority"), Delay: millis(t, 0), Fullscreen: rapid.Bool().Draw(t, "fullscreen")}
			for i := range rapid.IntRange(0, 3).Draw(t, "awaits") {
				d.Autostart.Needs = append(d.Autostart.Needs, fmt.Sprintf("%d-%d", i, i)) // text that looks like a number
			}
			switch ready := &d.Autostart.Ready; rapid.IntRange(0, 4).Draw(t, "ready") {
			case 1:
				ready.Serial = line.Draw(t, "serial")
			case 2:
				ready.Agent = true
			case 3:
				ready.After = millis(t, 1)
			case 4:
				if d.Network.Kind != NoNetwork {
					ready.TCP = uint16(rapid.IntRange(1, 65535).Draw(t, "port"))
				}
			}
		}
		d.Power = Power{rapid.SampledFrom([]PowerAction{"", DoPause, DoSleep, DoShutDown}).Draw(t, "host sleep"),
			rapid.SampledFrom(append(lidActions(), "")).Draw(t, "lid closed"),
			LowBattery{rapid.IntRange(0, MaxBattery).Draw(t, "low"), rapid.SampledFrom(append(powerActions(), "")).Draw(t, "low battery")}}
		for i := range rapid.IntRange(0, 4).Draw(t, "disks") {
			k := Disk{File: line.Draw(t, "file") + strconv.Itoa(i) + rapid.SampledFrom([]string{"", ".raw", ".qcow2", ".img", ".iso"}).Draw(t, "extension"),
				Format: rapid.SampledFrom([]Format{Raw, Qcow2}).Draw(t, "format"), Bus: rapid.SampledFrom([]Bus{AutoBus, VirtIO, NVMe, SATA}).Draw(t, "bus")}
			k.ReadOnly = k.Bus != SATA && rapid.Bool().Draw(t, "read-only")
			if k.Format == Qcow2 {
				k.Key = rapid.SampledFrom([]Key{{}, {Kind: Passphrase}, {Credential, line.Draw(t, "credential") + "x"}}).Draw(t, "key")
			}
			d.Disks = append(d.Disks, k)
		}
		for i := range rapid.IntRange(0, 2).Draw(t, "CD-ROMs") {
			d.CDROMs = append(d.CDROMs, "/"+line.Draw(t, "CD-ROM")+"/x"+strconv.Itoa(i))
		}
		if !d.Locked {
			for i := range rapid.IntRange(0, 2).Draw(t, "folders") {
				d.Folders = append(d.Folders, Folder{"/srv/" + rapid.StringMatching(`[a-z #:{},"'ä]{1,10}`).Draw(t, "folder"), strconv.Itoa(i), rapid.Bool().Draw(t, "read-only folder")})
			}
		}
		if n := rapid.IntRange(0, 5).Draw(t, "needs"); n > 0 {
			d.Devices = rapid.SliceOfN(need, n, n).Draw(t, "devices")
		}
		return d
	})
}

func TestYAMLIsReadAgain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := definitions().Draw(t, "definition")
		text := d.YAML()
		again, err := ParseDefinition("again.yaml", text)
		if diff := cmp.Diff(d, again, compareIDs); err != nil || diff != "" {
			t.Fatalf("%v\n%s\n%s", err, text, diff)
		}
	})
}

func FuzzParseDefinition(f *testing.F) {
	f.Add([]byte(everything))
	for _, s := range []string{"", "name: a\nmemory: 1GiB", "a: &x [*x]", "a: |\n b\n", "{a: {b: [c, \"d\"]}}", "? a\n: b", "- - -", "a: 'b\n  c'", "---\n...\n", "%YAML", "name: \"\\u0000\"", "\xef\xbb\xbfname: a", "a:\n  - b\n c: d"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		begin := time.Now()
		d, err := ParseDefinition("fuzz.yaml", text)
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("%v for %d bytes", took, len(text))
		}
		if err != nil {
			for _, err := range err.(interface{ Unwrap() []error }).Unwrap() {
				var e *DefinitionError
				if !errors.As(err, &e) || e.Reason == "" || e.File != "fuzz.yaml" || strings.Count(e.Error(), "\n") > 2 || strings.ContainsFunc(e.Error(), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f }) {
					t.Errorf("%#v", err)
				}
			}
			return
		}
		if err := d.Validate(); err != nil {
			t.Errorf("read and not valid: %v", err)
		}
		again, err := ParseDefinition("again.yaml", d.YAML())
		if diff := cmp.Diff(d, again, compareIDs); err != nil || diff != "" {
			t.Errorf("%v\n%s\n%s", err, d.YAML(), diff)
		}
	})
}

// TestBombs shows that texts made to keep a parser busy are refused before they do.
func TestBombs(t *testing.T) {
	laughs := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'i'; c++ {
		laughs += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), ","))
	}
	deeper := ""
	for i := range 300 {
		deeper += strings.Repeat(" ", i) + "a:\n"
	}
	for name, tt := range map[string]struct{ text, want string }{
		"laughs":            {laughs, "anchors and aliases are not allowed"},
		"lists":             {strings.Repeat("[", 4000), "more than 8 levels deep"},
		"mappings":          {strings.Repeat("{a: ", 1000), "more than 8 levels deep"},
		"dashes":            {strings.Repeat("- ", 2000), "more than 8 levels deep"},
		"indented":          {deeper, "more than 8 levels deep"},
		"indented dashes":   {strings.ReplaceAll(deeper, "a:", "-"), "more than 8 levels deep"},
		"keys":              {strings.Repeat("? ", 2000), "keys with ? are not allowed"},
		"10 MB line":        {"name: " + strings.Repeat("x", 10<<20), "more than the 65536"},
		"line":              {"name: " + strings.Repeat("x", 60000), "the line has 60006 bytes"},
		"words":             {strings.Repeat("a: 1\n", 12000), "are more than 8192"},
		"short lists":       {strings.Repeat("- [[[[[[[]]]]]]]\n", 400), "expected the fields"},
		"quotes":            {strings.Repeat("\"\" \"\" \"\" \n", 2000), "not YAML"},
		"large number":      {"name: a\nmemory: 1GiB\ncpus: " + strings.Repeat("9", 4000), "expected a number between 1 and 255"},
		"exponent":          {"name: a\nmemory: 1e18", "not a size"},
		"zero bytes":        {strings.Repeat("\x00", 60000), "the line has"},
		"zero bytes, lines": {strings.Repeat("\x00\n", 30000), "U+0000"},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			_, err := ParseDefinition("bomb.yaml", []byte(tt.text))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%.300v, want %q", err, tt.want)
			}
			// Bounds that hold on a machine that is busy with other things, too.
			if took := time.Since(begin); took > 2*time.Second {
				t.Errorf("%v", took)
			}
			if err != nil && len(err.Error()) > 16<<10 {
				t.Errorf("%d bytes of error", len(err.Error()))
			}
		})
	}
}

func TestDefinitionErrorShowsWhere(t *testing.T) {
	_, err := ParseDefinition("work.yaml", []byte("name: work\nmemory: 8GiB\ndevices:\n  - {want: gpu, how: asign}\n"))
	const want = `work.yaml:4:22: devices[0].how: expected assign or share, found "asign"; did you mean assign?
  4 |   - {want: gpu, how: asign}
    |                      ^`
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	_, err = ParseDefinition("long.yaml", []byte("{"+strings.Repeat(" ", 200)+"nam: x"+strings.Repeat(" ", 100)+"}"))
	lines := strings.Split(err.Error(), "\n")
	if len(lines) < 3 || strings.Index(lines[1], "nam: x") != strings.Index(lines[2], "^") || len(lines[1]) > 140 {
		t.Errorf("%v", err)
	}
}

// badDefinitions reads testdata/bad.txt: a line "# title", lines of the definition after "| " (or as
// a Go string after "|q "), and lines "= LINE:COLUMN field: reason", one for each error.
func badDefinitions(t *testing.T) (all []badDefinition) {
	text, err := os.ReadFile("testdata/bad.txt")
	if err != nil {
		t.Fatal(err)
	}
	for n, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
		var last *badDefinition
		if len(all) > 0 {
			last = &all[len(all)-1]
		}
		switch {
		case strings.HasPrefix(line, "# "):
			all = append(all, badDefinition{title: line[2:]})
		case line == "", strings.HasPrefix(line, "//"):
		case strings.HasPrefix(line, "| "):
			last.text += line[2:] + "\n"
		case strings.HasPrefix(line, "|q "):
			s, err := strconv.Unquote(line[3:])
			if err != nil {
				t.Fatalf("bad.txt:%d: %v", n+1, err)
			}
			last.text += s + "\n"
		case strings.HasPrefix(line, "= "):
			last.want = append(last.want, line[2:])
		default:
			t.Fatalf("bad.txt:%d: %q", n+1, line)
		}
	}
	return all
}

type badDefinition struct {
	title, text string
	want        []string
}

func TestBadDefinitions(t *testing.T) {
	all := badDefinitions(t)
	seen := map[string]bool{}
	for _, tt := range all {
		if seen[tt.title] || seen[tt.text] {
			t.Errorf("%s: is there twice", tt.title)
		}
		seen[tt.title], seen[tt.text] = true, true
		d, err := ParseDefinition("bad.yaml", []byte(tt.text))
		if err == nil {
			t.Errorf("%s: read as %+v", tt.title, d)
			continue
		}
		lines := strings.Split(strings.ReplaceAll(tt.text, "\r\n", "\n"), "\n")
		var got []string
		for _, err := range err.(interface{ Unwrap() []error }).Unwrap() {
			var e *DefinitionError
			if !errors.As(err, &e) {
				t.Errorf("%s: %T", tt.title, err)
				continue
			}
			first, shown, _ := strings.Cut(e.Error(), "\n")
			where, ok := strings.CutPrefix(first, "bad.yaml:")
			where = strings.Replace(where, ": ", " ", 1)
			if !ok || e.Line < 1 || e.Line > len(lines) || e.Column < 1 || e.Source != lines[e.Line-1] || !strings.HasSuffix(shown, "^") {
				t.Errorf("%s: %v", tt.title, err)
			}
			got = append(got, where)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s:\n%s%s", tt.title, tt.text, diff)
		}
	}
	if len(all) < 300 {
		t.Errorf("%d bad definitions, want 300", len(all))
	}
	t.Logf("%d bad definitions, each with the expected errors", len(all))
}
