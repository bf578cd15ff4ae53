package guest

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/pci"
)

func defined(change func(*Definition)) Definition {
	d := Definition{Name: "work", Memory: 1 << 30}
	change(&d)
	return d
}

func TestValidateDefinition(t *testing.T) {
	need := func(n Need) func(*Definition) { return func(d *Definition) { d.Devices = []Need{n} } }
	tests := []struct {
		name   string
		change func(*Definition)
		want   string // the whole error, empty for none
	}{
		{"least", func(*Definition) {}, ""},
		{"name", func(d *Definition) { d.Name = "a\nb" }, `name: guest name "a\nb": expected 1 to 63 of a-z, 0-9 and -, not starting with -`},
		{"cpus", func(d *Definition) { d.CPUs = 256 }, "cpus: 256 is not between 1 and 255"},
		{"memory", func(d *Definition) { d.Memory = 1 }, "memory: 1 is not between 16MiB and 4TiB"},
		{"odd memory", func(d *Definition) { d.Memory++ }, "memory: 1073741825 bytes are not whole MiB"},
		{"secure boot", func(d *Definition) { d.SecureBoot = true }, "secure_boot: only UEFI has it; it goes with firmware: uefi"},
		{"waits for itself", func(d *Definition) { d.Autostart = &Autostart{Needs: []string{"work"}} }, "autostart.needs[0]: the guest would wait for itself"},
		{"waits twice", func(d *Definition) { d.Autostart = &Autostart{Needs: []string{"a", "a"}} }, "autostart.needs[1]: a is named twice"},
		{"delay", func(d *Definition) { d.Autostart = &Autostart{Delay: 2 * time.Hour} }, "autostart.delay: 2h0m0s is not between 0s and 1h0m0s"},
		{"ready by two", func(d *Definition) { d.Autostart = &Autostart{Ready: Ready{Agent: true, After: time.Second}} }, "autostart.ready: 2 ways are given; expected one of serial, agent, tcp and after"},
		{"ready by TCP without a network", func(d *Definition) { d.Autostart = &Autostart{Ready: Ready{TCP: 22}} }, "autostart.ready.tcp: the guest has no network to be reached through; it goes with network: nat or a bridge"},
		{"serial text of two lines", func(d *Definition) { d.Autostart = &Autostart{Ready: Ready{Serial: "a\nb"}} }, `autostart.ready.serial: "a\nb" is not one line of at most 256 bytes of text`},
		{"full screen of nothing", func(d *Definition) { d.Autostart = &Autostart{Fullscreen: true} }, "autostart.fullscreen: there is no display to show; it goes with display kind virtio or virgl"},
		{"power rules that are none", func(d *Definition) { d.Power = Power{StayAwake, "off", LowBattery{96, "hibernate"}} },
			"power.host_sleep: \"stay-awake\" is not known; expected nothing, pause, sleep or shutdown\n" +
				"power.lid_closed: \"off\" is not known; expected nothing, pause, sleep, shutdown or stay-awake\n" +
				"power.low_battery.do: \"hibernate\" is not known; expected nothing, pause, sleep or shutdown\npower.low_battery.at: 96 is not between 1 and 95"},
		{"CD-ROM among disks", func(d *Definition) { d.Disks = []Disk{{File: "a", CDROM: true}} }, "disks[0].file: a CD-ROM is no disk; it goes into cdroms"},
		{"disk and CD-ROM", func(d *Definition) { d.Disks, d.CDROMs = []Disk{{File: "a"}}, []string{"./a"} }, `cdroms[0]: "./a" is given twice; only read-only disks can be shared`},
		{"key to a raw disk", func(d *Definition) { d.Disks = []Disk{{File: "a", Key: Key{Kind: Passphrase}}} }, "disks[0].key: only a qcow2 disk can be encrypted; it goes with format: qcow2"},
		{"key that is none", func(d *Definition) { d.Disks = []Disk{{File: "a", Format: Qcow2, Key: Key{Kind: 3}}} }, "disks[0].key: KeyKind(3) is no key"},
		{"passphrase in a file", func(d *Definition) { d.Disks = []Disk{{File: "a", Format: Qcow2, Key: Key{Passphrase, "b"}}} }, "disks[0].key: a credential, and no other key, is in a file"},
		{"credential without a name", func(d *Definition) { d.Disks = []Disk{{File: "a", Format: Qcow2, Key: Key{Credential, "b/.."}}} },
			`disks[0].key: "b/.." is no name of a credential, which is a file's of at most 255 bytes`},
		{"credential of two lines", func(d *Definition) { d.Disks = []Disk{{File: "a", Format: Qcow2, Key: Key{Credential, "a\nb"}}} },
			`disks[0].key: "a\nb" is not a file name in one line of at most 1024 bytes of text`},
		{"bridge", func(d *Definition) { d.Network = Network{Bridged, "br0,id=x"} }, `network: "br0,id=x" is no name of a bridge; expected bridge:NAME, with 1 to 15 of a-z, A-Z, 0-9, -, _ and .`},
		{"display of no GPU", func(d *Definition) { d.Display.Kind = AssignedDisplay }, "display.kind: no gpu is assigned; it goes with one among devices"},
		{"locked with a folder", func(d *Definition) { d.Locked, d.Folders = true, []Folder{{Path: "/a", Name: "a"}} }, "folders: a locked guest sees no folder of the host"},
		{"folder by dots", func(d *Definition) { d.Folders = []Folder{{Path: "/a/../etc", Name: "a"}} }, `folders[0].path: "/a/../etc" is no absolute path of a folder below /, written without . and ..`},
		{"need without how", need(Need{Want: WantGPU}), "devices[0].how: it is not said how; expected assign or share"},
		{"need of no role", need(Need{Want: "webcm", How: Assign}), `devices[0].want: "webcm" is no role that can be asked for; expected ` +
			"gpu, webcam, audio, wlan, bluetooth, wwan, modem, ethernet, storage, usb-controller, thunderbolt, firewire, input, fingerprint, smartcard, tpm, printer or usb-device; did you mean webcam?"},
		{"need of an integrated webcam", need(Need{Want: WantWebcam, Which: Integrated, How: Assign}), "devices[0].which: integrated is said of a gpu only; expected built-in or external"},
		{"need with every field", need(Need{Want: WantGPU, Which: Discrete, IDs: IDs{pci.NewID(0x10de), pci.ID{}}, Class: "0300", Port: "left-rear", How: Assign,
			ROM: &NeedROM{File: "gpu.rom", SHA256: Digest{1}}}), ""},
		{"ROM of what is shared", need(Need{Want: WantGPU, How: Share, ROM: &NeedROM{File: "a", SHA256: Digest{1}}}), "devices[0].rom: what is shared has no option ROM; it goes with how: assign"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ""
			if err := defined(tt.change).Validate(); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("Validate() = %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestDefinitionNamesEveryReason(t *testing.T) {
	err := Definition{CPUs: -1, Devices: []Need{{}}}.Validate()
	if n := strings.Count(err.Error(), "\n") + 1; n != 5 {
		t.Errorf("%d reasons, want 5:\n%v", n, err)
	}
}

func TestPort(t *testing.T) {
	for in, want := range map[Port]struct{ panel, position, path string }{
		"left": {"left", "", ""}, "left-rear": {"left", "rear", ""}, "rear-upper": {"rear", "upper", ""}, "lid": {"lid", "", ""}, "dock": {"dock", "", ""},
		"1-4.2": {"", "", "1-4.2"},
		"":      {}, "lid-left": {}, "left-": {}, "left-rear-upper": {}, "behind": {}, "1-0": {}, "01-4": {}, "left-1": {},
	} {
		panel, position := in.Place()
		path := ""
		if p := in.Path(); p.IsValid() {
			path = p.String()
		}
		valid := want.panel != "" || want.path != ""
		if in == "01-4" { // a path, but not written as the kernel does
			path = ""
		}
		if panel != want.panel || position != want.position || path != want.path || in.valid() != valid {
			t.Errorf("%q: %q, %q, %q, valid %v; want %+v", in, panel, position, path, in.valid(), want)
		}
	}
}

func TestParseIDs(t *testing.T) {
	for in, want := range map[string]IDs{
		"8086:15f3": {pci.NewID(0x8086), pci.NewID(0x15f3)},
		"8086:*":    {pci.NewID(0x8086), pci.ID{}},
		"0000:0000": {pci.NewID(0), pci.NewID(0)},
	} {
		if got, err := ParseIDs(in); got != want || err != nil || got.String() != in {
			t.Errorf("ParseIDs(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", ":", "8086", "8086:", "*:15f3", "806:15f3", "8086:15f", "8086:15f3:", "0x86:15f3", "8086:0x1f", "g086:15f3"} {
		if got, err := ParseIDs(in); err == nil {
			t.Errorf("ParseIDs(%q) = %v, want an error", in, got)
		}
	}
}

func TestClassHolds(t *testing.T) {
	for c, want := range map[Class]bool{"": true, "04": true, "0403": true, "040300": true, "0401": false, "03": false} {
		if got := c.Holds("040300"); got != want {
			t.Errorf("%q holds 040300: %v", c, got)
		}
	}
}

func TestNeedString(t *testing.T) {
	n := Need{Want: WantUSBDevice, Which: External, Port: "left-rear", IDs: IDs{pci.NewID(0x46d), pci.ID{}}, Class: "03", How: Assign}
	if got, want := n.String(), "external usb-device at left-rear 046d:* of class 03"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestDefinitionGuest(t *testing.T) {
	a, b := pci.NewAddress(0, 1, 0, 0), pci.NewAddress(0, 1, 0, 1)
	d := Definition{
		Name: "work", CPUs: 4, Memory: 8 << 30, Firmware: UEFI,
		Disks: []Disk{{File: "system.qcow2", Format: Qcow2, Bus: NVMe, Key: Key{Credential, "office.cred"}}, {File: "/dev/sdb", ReadOnly: true}}, CDROMs: []string{"a.iso"},
		Devices: []Need{
			{Want: WantGPU, How: Assign, ROM: &NeedROM{"gpu.rom", Digest{1}}},
			{Want: WantWLAN, How: Share},
			{Want: WantEthernet, How: Assign, Optional: true, ROM: &NeedROM{"nic.rom", Digest{2}}},
		},
	}
	secure := Definition{Name: "work", Memory: 1 << 30, Firmware: UEFI, SecureBoot: true}
	if got, err := secure.Guest("/g", nil); err != nil || !got.SecureBoot || got.Variables != "/g/uefi-variables-secure" {
		t.Errorf("%+v, %v", got, err)
	}
	got, err := d.Guest("/g/office", [][]pci.Address{{a, b}, nil, nil})
	want := Guest{
		Name: "work", CPUs: 4, Memory: 8 << 30, Firmware: UEFI, Variables: "/g/office/uefi-variables",
		Disks: []Disk{{File: "/g/office/system.qcow2", Format: Qcow2, Bus: NVMe, Key: Key{Credential, "/g/office/office.cred"}}, {File: "/dev/sdb", ReadOnly: true},
			{File: "/g/office/a.iso", ReadOnly: true, CDROM: true}},
		Devices: []pci.Address{a, b},
		ROMs:    []ROM{{a, "/g/office/gpu.rom", Digest{1}}},
	}
	same := cmp.Comparer(func(a, b pci.Address) bool { return a == b })
	if diff := cmp.Diff(want, got, same); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for _, functions := range [][][]pci.Address{nil, {{a}, {b}, nil}, {{a}, nil, {a}}} {
		if g, err := d.Guest("/g", functions); err == nil {
			t.Errorf("%v: %+v, want an error", functions, g)
		}
	}
}
