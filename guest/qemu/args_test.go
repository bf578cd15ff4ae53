package qemu

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/pci"
)

func address(t testing.TB, s string) pci.Address {
	t.Helper()
	a, err := pci.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// shared is what every command line has, with three places to differ.
func commandLine(name, machine, run string, rest ...string) []string {
	return slices.Concat([]string{
		"-nodefaults", "-no-user-config",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-name", "guest=" + name, "-S", "-display", "none",
	}, strings.Fields(machine), strings.Fields(run), []string{
		"-boot", "strict=on",
		"-chardev", "socket,id=qmp,fd=3", "-mon", "chardev=qmp,mode=control",
		"-chardev", "socket,id=serial0,fd=4",
		"-device", `{"chardev":"serial0","driver":"isa-serial","id":"serial0"}`,
	}, rest)
}

func TestArgs(t *testing.T) {
	tests := []struct {
		name   string
		guest  guest.Guest
		layout Layout
		want   []string
	}{
		{
			"nothing but memory",
			guest.Guest{Name: "bare", Memory: 128 << 20},
			Layout{Accelerator: TCG, QMP: 3, Serial: 4},
			commandLine("bare", "-machine q35,dump-guest-core=off -accel tcg -cpu max",
				"-smp cpus=1,sockets=1,cores=1,threads=1 -m size=128M"),
		},
		{
			"disks on KVM",
			guest.Guest{Name: "work", CPUs: 4, Memory: 8 << 30, Disks: []guest.Disk{
				{File: "system,1.qcow2", Format: guest.Qcow2},
				{File: "tools.iso", CDROM: true},
				{File: "/dev/sdb", ReadOnly: true},
			}},
			Layout{Accelerator: KVM, QMP: 3, Serial: 4, KVM: 8, NoReboot: true, Disks: []DiskFile{{FD: 5}, {FD: 6}, {FD: 7, Device: true}}},
			commandLine("work", "-no-reboot -machine q35,dump-guest-core=off -add-fd fd=8,set=8,opaque=kvm -accel kvm,device=/dev/fdset/8 -cpu host",
				"-smp cpus=4,sockets=1,cores=4,threads=1 -m size=8192M",
				"-add-fd", "fd=5,set=5,opaque=system,,1.qcow2",
				"-blockdev", `{"discard":"unmap","driver":"file","filename":"/dev/fdset/5","locking":"on","node-name":"file0","read-only":false}`,
				"-blockdev", `{"backing":null,"discard":"unmap","driver":"qcow2","file":"file0","node-name":"node0","read-only":false}`,
				"-device", `{"bootindex":1,"bus":"ide.0","drive":"node0","driver":"ide-hd","id":"disk0"}`,
				"-add-fd", "fd=6,set=6,opaque=tools.iso",
				"-blockdev", `{"discard":"unmap","driver":"file","filename":"/dev/fdset/6","locking":"on","node-name":"file1","read-only":true}`,
				"-blockdev", `{"discard":"unmap","driver":"raw","file":"file1","node-name":"node1","read-only":true}`,
				"-device", `{"bootindex":2,"bus":"ide.1","drive":"node1","driver":"ide-cd","id":"disk1"}`,
				"-add-fd", "fd=7,set=7,opaque=/dev/sdb",
				"-blockdev", `{"discard":"unmap","driver":"host_device","filename":"/dev/fdset/7","locking":"on","node-name":"file2","read-only":true}`,
				"-blockdev", `{"discard":"unmap","driver":"raw","file":"file2","node-name":"node2","read-only":true}`,
				"-device", `{"addr":"0x2.0","bus":"pcie.0","chassis":1,"driver":"pcie-root-port","id":"port0","multifunction":true,"slot":1}`,
				"-device", `{"bootindex":3,"bus":"port0","drive":"node2","driver":"virtio-blk-pci","id":"disk2"}`,
			),
		},
		{
			"devices",
			guest.Guest{Name: "play", Memory: 1 << 30, Devices: []pci.Address{
				address(t, "0000:02:00.0"), address(t, "0000:01:00.1"), address(t, "0000:01:00.0"), address(t, "10000:00:14.3"),
			}},
			Layout{Accelerator: KVM, QMP: 3, Serial: 4},
			commandLine("play", "-machine q35,dump-guest-core=off -accel kvm -cpu host",
				"-smp cpus=1,sockets=1,cores=1,threads=1 -m size=1024M",
				"-device", `{"addr":"0x2.0","bus":"pcie.0","chassis":1,"driver":"pcie-root-port","id":"port0","multifunction":true,"slot":1}`,
				"-device", `{"bootindex":1,"bus":"port0","driver":"vfio-pci","host":"0000:02:00.0","id":"device0","rombar":0}`,
				"-device", `{"addr":"0x2.1","bus":"pcie.0","chassis":2,"driver":"pcie-root-port","id":"port1","slot":2}`,
				"-device", `{"addr":"0x0.1","bootindex":2,"bus":"port1","driver":"vfio-pci","host":"0000:01:00.1","id":"device1","rombar":0}`,
				"-device", `{"addr":"0x0.0","bootindex":3,"bus":"port1","driver":"vfio-pci","host":"0000:01:00.0","id":"device2","multifunction":true,"rombar":0}`,
				"-device", `{"addr":"0x2.2","bus":"pcie.0","chassis":3,"driver":"pcie-root-port","id":"port2","slot":3}`,
				"-device", `{"bootindex":4,"bus":"port2","driver":"vfio-pci","host":"10000:00:14.3","id":"device3","rombar":0}`,
			),
		},
		{
			"UEFI",
			guest.Guest{Name: "efi", Memory: 1 << 30, Firmware: guest.UEFI},
			Layout{Accelerator: TCG, QMP: 3, Serial: 4, Code: 5, Variables: 6},
			commandLine("efi", "", "", ""),
		},
	}
	uefi := &tests[3]
	uefi.want = slices.Concat(commandLine("efi", "", "")[:9], []string{
		"-add-fd", "fd=5,set=5,opaque=uefi code",
		"-blockdev", `{"driver":"file","filename":"/dev/fdset/5","locking":"on","node-name":"code-file","read-only":true}`,
		"-blockdev", `{"driver":"raw","file":"code-file","node-name":"code","read-only":true}`,
		"-add-fd", "fd=6,set=6,opaque=uefi variables",
		"-blockdev", `{"driver":"file","filename":"/dev/fdset/6","locking":"on","node-name":"variables-file","read-only":false}`,
		"-blockdev", `{"driver":"raw","file":"variables-file","node-name":"variables","read-only":false}`,
		"-machine", "q35,dump-guest-core=off,pflash0=code,pflash1=variables", "-accel", "tcg", "-cpu", "max",
		"-smp", "cpus=1,sockets=1,cores=1,threads=1", "-m", "size=1024M",
	}, commandLine("efi", "", "")[9:])
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Args(tt.guest, tt.layout)
			if err != nil {
				t.Fatal(err)
			}
			for i := range max(len(got), len(tt.want)) {
				if i >= len(got) || i >= len(tt.want) || got[i] != tt.want[i] {
					t.Fatalf("argument %d differs\n got %q\nwant %q", i, got[min(i, len(got)):], tt.want[min(i, len(tt.want)):])
				}
			}
		})
	}
}

func TestArgsRefuses(t *testing.T) {
	good := guest.Guest{Name: "a", Memory: 1 << 30}
	layout := Layout{Accelerator: TCG, QMP: 3, Serial: 4}
	tests := []struct {
		name   string
		change func(*guest.Guest, *Layout)
		want   string
	}{
		{"a guest that is not valid", func(g *guest.Guest, _ *Layout) { g.Name = "a,b" }, "guest name"},
		{"no accelerator", func(_ *guest.Guest, l *Layout) { l.Accelerator = Auto }, "auto, neither kvm nor tcg"},
		{"standard input", func(_ *guest.Guest, l *Layout) { l.QMP = 0 }, "descriptor 0"},
		{"one descriptor twice", func(_ *guest.Guest, l *Layout) { l.Serial = 3 }, "descriptor 3"},
		{"no descriptor for a disk", func(g *guest.Guest, _ *Layout) { g.Disks = []guest.Disk{{File: "x"}} }, "0 descriptors for 1 disks"},
		{"UEFI without firmware", func(g *guest.Guest, _ *Layout) { g.Firmware = guest.UEFI }, "descriptor 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, l := good, layout
			tt.change(&g, &l)
			if _, err := Args(g, l); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

// unescape reads a value as QEMU's get_opt_value does: up to the first comma that
// is not doubled.
func unescape(s string) (value, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == ',' {
			if i+1 == len(s) || s[i+1] != ',' {
				return b.String(), s[i:]
			}
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", ",", "a,b", ",,", ",file=/etc/shadow", "a\nb", "=on", "a=b,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, rest := unescape(escape(s)); got != s || rest != "" {
			t.Errorf("%q is read as %q and %q", s, got, rest)
		}
		text, ok := strings.CutPrefix(option("socket", "id", s, "fd", "3"), "socket,id=")
		if got, rest := unescape(text); !ok || got != s || rest != ",fd=3" {
			t.Errorf("%q among others is read as %q and %q", s, got, rest)
		}
	})
}

// FuzzArgs checks that no text in a guest changes the shape of the command line:
// where an argument ends, which options there are, which keys they have.
func FuzzArgs(f *testing.F) {
	for _, s := range []string{"a.qcow2", "a,file=/etc/shadow", "a\n-device x", `a","x":"b`, "=on,", "\xff", "-drive", "/dev/fdset/3"} {
		f.Add("work", s)
	}
	f.Add("a,b", "x")
	f.Add("a\n", "x")
	layout := Layout{Accelerator: TCG, QMP: 3, Serial: 4, Disks: []DiskFile{{FD: 5}}}
	shape := func(t *testing.T, g guest.Guest) string {
		args, err := Args(g, layout)
		if err != nil {
			return ""
		}
		for i, a := range args {
			switch {
			case strings.HasPrefix(a, "{"):
				var v map[string]any
				if err := json.Unmarshal([]byte(a), &v); err != nil {
					t.Fatalf("%q: %v", a, err)
				}
			case strings.HasPrefix(a, "fd=5,set=5,opaque="):
				if got, rest := unescape(a[len("fd=5,set=5,opaque="):]); got != g.Disks[0].File || rest != "" {
					t.Fatalf("%q holds %q and %q", a, got, rest)
				}
				args[i] = "opaque"
			case strings.HasPrefix(a, "guest="):
				args[i] = "guest"
			}
		}
		return strings.Join(args, "\x00")
	}
	f.Fuzz(func(t *testing.T, name, file string) {
		plain := shape(t, guest.Guest{Name: "a", Memory: 1 << 30, Disks: []guest.Disk{{File: "a"}}})
		g := guest.Guest{Name: name, Memory: 1 << 30, Disks: []guest.Disk{{File: file}}}
		if got := shape(t, g); got != plain && g.Validate() == nil {
			t.Errorf("%q and %q give\n%q\nin place of\n%q", name, file, got, plain)
		}
	})
}
