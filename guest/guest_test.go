package guest

import (
	"strings"
	"testing"

	"github.com/project-independence/indy/pci"
)

func valid() Guest { return Guest{Name: "work", Memory: 1 << 30} }

func TestValidate(t *testing.T) {
	a := pci.NewAddress(0, 1, 0, 0)
	tests := []struct {
		name   string
		change func(*Guest)
		want   string // part of the error, empty for none
	}{
		{"smallest", func(*Guest) {}, ""},
		{"no name", func(g *Guest) { g.Name = "" }, `guest name ""`},
		{"name starts with a dash", func(g *Guest) { g.Name = "-a" }, `guest name "-a"`},
		{"name with a newline", func(g *Guest) { g.Name = "a\n" }, `guest name "a\n"`},
		{"longest name", func(g *Guest) { g.Name = strings.Repeat("a", 63) }, ""},
		{"name too long", func(g *Guest) { g.Name = strings.Repeat("a", 64) }, "guest name"},
		{"cpus below", func(g *Guest) { g.CPUs = -1 }, "cpus: -1"},
		{"cpus above", func(g *Guest) { g.CPUs = MaxCPUs + 1 }, "cpus: 256"},
		{"no memory", func(g *Guest) { g.Memory = 0 }, "memory: 0 is not between 16MiB and 4TiB"},
		{"odd memory", func(g *Guest) { g.Memory++ }, "not whole MiB"},
		{"unknown firmware", func(g *Guest) { g.Firmware = 7 }, "Firmware(7) is none"},
		{"variables with BIOS", func(g *Guest) { g.Variables = "x" }, "only UEFI"},
		{"variables", func(g *Guest) { g.Variables, g.Firmware = "x", UEFI }, ""},
		{"Secure Boot with BIOS", func(g *Guest) { g.SecureBoot = true }, "secure boot: only UEFI has it"},
		{"no file", func(g *Guest) { g.Disks = []Disk{{}} }, `disk 1 (""): not a file name`},
		{"same file twice", func(g *Guest) { g.Disks = []Disk{{File: "a/b.raw"}, {File: "a/./b.raw", ReadOnly: true}} }, `disk 2 ("a/./b.raw"): given twice`},
		{"same file read-only", func(g *Guest) { g.Disks = []Disk{{File: "a", ReadOnly: true}, {File: "a", ReadOnly: true}} }, ""},
		{"unknown format", func(g *Guest) { g.Disks = []Disk{{File: "a", Format: 9}} }, "Format(9) is no format"},
		{"unknown bus", func(g *Guest) { g.Disks = []Disk{{File: "a", Bus: 9}} }, "Bus(9) is no bus"},
		{"CD-ROM on virtio", func(g *Guest) { g.Disks = []Disk{{File: "a", CDROM: true, Bus: VirtIO}} }, "needs the SATA bus"},
		{"read-only on SATA", func(g *Guest) { g.Disks = []Disk{{File: "a", ReadOnly: true, Bus: SATA}} }, "cannot be read-only"},
		{"too many on SATA", func(g *Guest) {
			for _, c := range "abcdefg" {
				g.Disks = append(g.Disks, Disk{File: string(c)})
			}
		}, "7 on SATA are more than 6"},
		{"device without address", func(g *Guest) { g.Devices = []pci.Address{{}} }, "device 1: no address"},
		{"device twice", func(g *Guest) { g.Devices = []pci.Address{a, a} }, "device 0000:01:00.0: given twice"},
		{"too many devices", func(g *Guest) {
			for i := range MaxDevices + 1 {
				g.Devices = append(g.Devices, pci.NewAddress(0, uint8(i), 0, 0))
			}
		}, "33 are more than 32"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := valid()
			tt.change(&g)
			err := g.Validate()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("Validate() = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestValidateNamesEveryReason(t *testing.T) {
	err := Guest{Name: "A", CPUs: -1}.Validate()
	if n := strings.Count(err.Error(), "\n") + 1; n != 3 {
		t.Errorf("%d reasons, want 3:\n%v", n, err)
	}
}

func TestParseDisk(t *testing.T) {
	tests := []struct {
		in   string
		want Disk
		err  string
	}{
		{"raw:/dev/sda2", Disk{File: "/dev/sda2"}, ""},
		{"qcow2:a.raw", Disk{File: "a.raw", Format: Qcow2}, ""},
		{"a:b.qcow2", Disk{File: "a:b.qcow2", Format: Qcow2}, ""},
		{"disk.img", Disk{File: "disk.img"}, ""},
		{"disk.raw", Disk{File: "disk.raw"}, ""},
		{"d/disk.qcow2", Disk{File: "d/disk.qcow2", Format: Qcow2}, ""},
		{"debian.iso", Disk{File: "debian.iso", ReadOnly: true, CDROM: true}, ""},
		{"iso:x", Disk{File: "x", ReadOnly: true, CDROM: true}, ""},
		{"raw:a,file=/etc/shadow", Disk{File: "a,file=/etc/shadow"}, ""},
		{"/dev/sda", Disk{}, "write raw:/dev/sda or qcow2:/dev/sda"},
		{"a.vmdk", Disk{}, "write raw:a.vmdk"},
		{"d.raw/x", Disk{}, "never guessed"},
		{"", Disk{}, "no file"},
		{"raw:", Disk{}, "no file"},
		{"raw:a\x00b", Disk{}, "not a file name"},
	}
	for _, tt := range tests {
		got, err := ParseDisk(tt.in)
		if got != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("ParseDisk(%q) = %+v, %v; want %+v, %q", tt.in, got, err, tt.want, tt.err)
		}
	}
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"1": 1, "512MiB": 512 << 20, "8GiB": 8 << 30, "4TiB": 4 << 40, "16KiB": 16 << 10,
		"9223372036854775807": 1<<63 - 1, "8388607TiB": 8388607 << 40,
	} {
		if got, err := ParseSize(in); got != want || err != nil {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "GiB", "0", "0GiB", "-1", "+1", "1.5GiB", "1 GiB", "1GB", "1G", "8gib", "8388608TiB", "9223372036854775808", "٣GiB"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", in, got)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"8GiB", "1", "0", "-1MiB", "9223372036854775807", "8388608TiB"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseSize(s)
		if err != nil {
			return
		}
		if again, err := ParseSize(FormatSize(n)); n < 1 || again != n || err != nil {
			t.Errorf("%q is %d, written %q, read %d, %v", s, n, FormatSize(n), again, err)
		}
	})
}

func FuzzParseDisk(f *testing.F) {
	for _, s := range []string{"raw:a", "qcow2:b", "c.iso", "d.img", "e", ":", "raw:", "a\nb.raw"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDisk(s)
		if err != nil {
			if strings.Contains(err.Error(), "\x00") {
				t.Errorf("zero byte in %q", err)
			}
			return
		}
		g := valid()
		g.Disks = []Disk{d}
		if err := g.Validate(); err != nil || !strings.HasSuffix(s, d.File) {
			t.Errorf("ParseDisk(%q) = %+v, which is not valid: %v", s, d, err)
		}
	})
}

func TestParseFirmware(t *testing.T) {
	for _, f := range []Firmware{BIOS, UEFI} {
		if got, err := ParseFirmware(f.String()); got != f || err != nil {
			t.Errorf("ParseFirmware(%q) = %v, %v", f.String(), got, err)
		}
	}
	if _, err := ParseFirmware("UEFI"); err == nil {
		t.Error("UEFI in capitals is accepted")
	}
}
