package hostfs_test

import (
	"bytes"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
)

// personal is a machine full of what must not leave it.
const personal = `-- proc/cmdline --
BOOT_IMAGE=/boot/vmlinuz root=UUID=3f1c2d4e-1111-4222-8333-444455556666 resume=PARTUUID=deadbeef-02 systemd.hostname=annas-laptop intel_iommu=on
-- proc/sys/kernel/hostname --
annas-laptop
-- proc/version --
Linux version 6.12.0 (anna@annas-laptop) (gcc 14) #1 SMP
-- proc/self/mountinfo --
28 1 253:0 / / rw,relatime - ext4 /dev/mapper/luks-3f1c2d4e-1111-4222-8333-444455556666 rw
40 28 0:30 /home/anna/src /mnt/src rw - btrfs /dev/mapper/annas-laptop--vg-home rw
41 28 8:1 / /run/media/anna/Tagebuch rw - vfat /dev/sda1 rw
42 28 0:40 / /mnt/nas rw - nfs4 nas.example.org:/export rw
-- proc/iomem --
00100000-bfffffff : System RAM
  36c00000-37bfffff : Kernel code
  37c00000-3876cfff : Kernel rodata
c0000000-cfffffff : PCI Bus 0000:00
-- proc/modules --
vfio 61440 3 vfio_pci, Live 0xffffffffc0356000
-- proc/net/ipv6_route --
fe800000000000000211 22fffe334455 00
20010db8000100020211223344556677 80 00000000000000000000000000000000 00 fe800000000000000211 eth0
fe800000000000000a1b2cfffe3d4e5f 80 00000000000000000000000000000000 00 00000000000000000000000000000000 wlan0
-- sys/bus/pci/devices/0000:01:00.0 -> ../../../devices/pci0000:00/0000:01:00.0 --
-- sys/devices/pci0000:00/0000:01:00.0/vendor --
0x8086
-- sys/devices/pci0000:00/0000:01:00.0/config (hex) --
8680
-- sys/devices/pci0000:00/0000:01:00.0/net/wlan0/address --
0a:1b:2c:3d:4e:5f
-- sys/class/net/wlan0 -> ../../devices/pci0000:00/0000:01:00.0/net/wlan0 --
-- sys/devices/pci0000:00/0000:02:00.0/usb1/1-4/net/enx0a1b2c3d4e5f/address --
0a:1b:2c:3d:4e:5f
-- sys/devices/pci0000:00/0000:02:00.0/usb1/1-4/net/enx0a1b2c3d4e5f/uevent --
INTERFACE=enx0a1b2c3d4e5f
IFINDEX=4
-- sys/class/net/enx0a1b2c3d4e5f -> ../../devices/pci0000:00/0000:02:00.0/usb1/1-4/net/enx0a1b2c3d4e5f --
-- sys/class/net/lo -> ../../devices/virtual/net/lo --
-- sys/devices/virtual/net/lo/address --
00:00:00:00:00:00
-- sys/bus/usb/devices/usb1 -> ../../../devices/pci0000:00/0000:02:00.0/usb1 --
-- sys/devices/pci0000:00/0000:02:00.0/usb1/serial --
0000:02:00.0
-- sys/bus/usb/devices/1-4 -> ../../../devices/pci0000:00/0000:02:00.0/usb1/1-4 --
-- sys/devices/pci0000:00/0000:02:00.0/usb1/1-4/serial --
XK42-8819-07
-- sys/bus/usb/devices/1-5 -> ../../../devices/pci0000:00/0000:02:00.0/usb1/1-5 --
-- sys/devices/pci0000:00/0000:02:00.0/usb1/1-5/serial --
XK42-8819-07
-- sys/bus/hid/devices/0003:046D:C52B.0001 -> ../../../devices/hid1 --
-- sys/devices/hid1/uevent --
HID_ID=0003:0000046D:0000C52B
HID_UNIQ=XK42-8819-07
-- sys/class/nvme/nvme0 -> ../../devices/pci0000:00/0000:03:00.0/nvme/nvme0 --
-- sys/devices/pci0000:00/0000:03:00.0/nvme/nvme0/serial --
S64DNF0R123456Y     
-- sys/devices/pci0000:00/0000:03:00.0/nvme/nvme0/subsysnqn --
nqn.1994-11.com.samsung:nvme:980:S64DNF0R123456Y
-- sys/devices/pci0000:00/0000:03:00.0/nvme/nvme0/address --
0000:03:00.0
-- sys/class/block/nvme0n1 -> ../../devices/pci0000:00/0000:03:00.0/nvme/nvme0/nvme0n1 --
-- sys/devices/pci0000:00/0000:03:00.0/nvme/nvme0/nvme0n1/wwid --
eui.002538b131b8f6a2
-- sys/class/block/dm-0 -> ../../devices/virtual/block/dm-0 --
-- sys/devices/virtual/block/dm-0/dm/uuid --
CRYPT-LUKS2-3f1c2d4e111142228333444455556666-luks-home
-- sys/devices/virtual/block/dm-0/dm/name --
annas-laptop--vg-home
-- sys/class/block/dm-1 -> ../../devices/virtual/block/dm-1 --
-- sys/devices/virtual/block/dm-1/dm/uuid --
LVM-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKlMnOpQrStUvWxYz01
-- sys/class/block/md0 -> ../../devices/virtual/block/md0 --
-- sys/devices/virtual/block/md0/md/uuid --
a1b2c3d4:11112222:33334444:fedcba98
-- sys/class/dmi/id -> ../../devices/virtual/dmi/id --
-- sys/devices/virtual/dmi/id/product_name --
20Y1CTO1WW
-- sys/devices/virtual/dmi/id/product_serial --
PF3ABCDE
-- sys/devices/virtual/dmi/id/board_serial --
Default string
-- sys/devices/virtual/dmi/id/product_uuid --
aabbccdd-1234-5678-9abc-def012345678
-- sys/class/drm/card0-eDP-1 -> ../../devices/card0-eDP-1 --
-- sys/devices/card0-eDP-1/edid (hex) --
00ffffffffffff0009e5ca0b000000002f200104a51c137803de50a3544c99260f505400000001010101010101010101010101010101115cd01881e02d50302036001dbe1000001aa749d01881e02d50302036001dbe1000001a000000fe00424f452043510a202020202020000000ff004d4f4e53455249414c30310a20004a
`

var secrets = []string{
	"3f1c2d4e", "deadbeef", "annas", "anna", "Tagebuch", "example", "0a1b2c", "0a:1b", "2cfffe3d4e5f", "20010db8", "XK42", "S64DNF", "002538b131",
	"AbCdEfGh", "PF3ABCDE", "aabbccdd", "def012345678", "36c00000", "Kernel rodata", "c0356000", "fedcba98", "4d4f4e534552",
}

func machine(t testing.TB, text string) *hostfs.Tree {
	t.Helper()
	m, _, err := hostfs.ParseTxtar([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func capture(t testing.TB, fsys fs.FS, opts hostfs.CaptureOptions) string {
	t.Helper()
	m, err := hostfs.Capture(fsys, opts)
	if err != nil {
		t.Error(err)
	}
	text, err := hostfs.FormatTxtar(m, "")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestCaptureScrubs(t *testing.T) {
	m := machine(t, personal)
	text := capture(t, m, hostfs.CaptureOptions{})
	for _, s := range secrets {
		if i := strings.Index(text, s); i >= 0 {
			t.Errorf("%q is in the capture: ...%q", s, text[max(0, i-60):min(len(text), i+60)])
		}
	}
	if strings.Contains(text, "config") {
		t.Error("config space was captured")
	}
	for _, kept := range []string{"20Y1CTO1WW", "Default string", "intel_iommu=on", "0000:02:00.0", "00:00:00:00:00:00", "0000:03:00.0", "253:0", "luks-", "PCI Bus 0000:00", "vfio 61440", "CRYPT-LUKS2-", "LVM-", "Linux version 6.12.0", "00fffffffffff"} {
		if !strings.Contains(text, kept) {
			t.Errorf("%q was lost", kept)
		}
	}
	if text == capture(t, m, hostfs.CaptureOptions{}) {
		t.Error("two captures without a salt have the same replacements")
	}
	salt := hostfs.CaptureOptions{Salt: []byte("s")}
	if first := capture(t, m, salt); capture(t, m, salt) != first {
		t.Error("two captures with one salt differ")
	}
}

func TestCaptureKeepsEquality(t *testing.T) {
	m, err := hostfs.Capture(machine(t, personal), hostfs.CaptureOptions{})
	if err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		s, err := hostfs.ReadString(m, name)
		if err != nil {
			t.Error(err)
		}
		return s
	}
	usb := "sys/bus/usb/devices/"
	serial := read(usb + "1-4/serial")
	if serial != read(usb+"1-5/serial") || !strings.Contains(read("sys/devices/hid1/uevent"), "HID_UNIQ="+serial) {
		t.Error("one serial number became several")
	}
	mac := read("sys/class/net/wlan0/address")
	enx := "enx" + strings.ReplaceAll(mac, ":", "")
	if read("sys/class/net/"+enx+"/address") != mac || !strings.HasPrefix(read("sys/class/net/"+enx+"/uevent"), "INTERFACE="+enx) {
		t.Errorf("the interface named after its address %s is not %s", mac, enx)
	}
	host := read("proc/sys/kernel/hostname")
	for _, name := range []string{"proc/cmdline", "sys/devices/virtual/block/dm-0/dm/name", "proc/self/mountinfo"} {
		if !strings.Contains(read(name), host) {
			t.Errorf("%s does not hold the host name %s", name, host)
		}
	}
	uuid, _, _ := strings.Cut(strings.TrimPrefix(read("proc/cmdline"), "BOOT_IMAGE=/boot/vmlinuz root=UUID="), " ")
	if !strings.Contains(read("proc/self/mountinfo"), "luks-"+uuid) {
		t.Errorf("mountinfo does not hold the UUID %s of the root", uuid)
	}
	if got := read(usb + "usb1/serial"); got != "0000:02:00.0" {
		t.Errorf("the root hub's serial number, an address, became %s", got)
	}
	edid, err := m.ReadFile("sys/class/drm/card0-eDP-1/edid")
	sum := byte(0)
	for _, b := range edid {
		sum += b
	}
	if err != nil || len(edid) != 128 || sum != 0 {
		t.Errorf("EDID of %d bytes, checksum %d, %v", len(edid), sum, err)
	}
}

func TestCaptureRaw(t *testing.T) {
	text := capture(t, machine(t, personal), hostfs.CaptureOptions{Raw: true, Config: true})
	for _, want := range []string{"annas-laptop", "PF3ABCDE", "0a:1b:2c:3d:4e:5f", "/config (hex)"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
}

// TestCaptureOfACapture: nothing of what a capture holds is beyond a capture.
func TestCaptureOfACapture(t *testing.T) {
	s, err := hostfs.Open(filepath.Join(hosttest.Root(t), "testdata/hosts/lab-intel.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := hostfs.Capture(s, hostfs.CaptureOptions{Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(tarOf(t, s.(*hostfs.Tree)), tarOf(t, again)) {
		t.Error("the capture of a captured machine is another machine")
	}
}

// grudging is a machine that refuses some files and notes what is opened.
type grudging struct {
	*hostfs.Tree
	refuse map[string]error
	opened map[string]bool
}

func (g grudging) ReadFile(name string) ([]byte, error) {
	g.opened[name] = true
	if err := g.refuse[name]; err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return g.Tree.ReadFile(name)
}

func TestCaptureErrors(t *testing.T) {
	const dev = "sys/devices/pci0000:00/0000:01:00.0/"
	g := grudging{machine(t, personal), map[string]error{
		dev + "vendor":        syscall.EIO,
		"proc/cmdline":        syscall.EACCES,
		dev + "reset_method":  syscall.ENOENT,
		dev + "numa_node":     syscall.EINVAL,
		"proc/self/mountinfo": syscall.ENODEV,
	}, map[string]bool{}}
	m, err := hostfs.Capture(g, hostfs.CaptureOptions{})
	if !errors.Is(err, syscall.EIO) || !errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENODEV) {
		t.Errorf("errors: %v", err)
	}
	if _, err := fs.Stat(m, "sys/class/net/wlan0/address"); err != nil {
		t.Errorf("one refusal hid the rest: %v", err)
	}
	for name := range g.opened {
		if strings.HasSuffix(name, "/config") || strings.HasSuffix(name, "/rom") || strings.HasSuffix(name, "/vpd") {
			t.Errorf("opened %s", name)
		}
	}
	if len(g.opened) == 0 {
		t.Error("nothing was opened")
	}
}

// endless is a machine whose every file is large.
type endless struct{ *hostfs.Tree }

func (endless) ReadFile(string) ([]byte, error) { return make([]byte, hostfs.MaxFile), nil }

func TestCaptureBounds(t *testing.T) {
	if m, err := hostfs.Capture(endless{machine(t, personal)}, hostfs.CaptureOptions{}); m != nil || !errors.Is(err, hostfs.ErrTooLarge) {
		t.Errorf("%v, %v", m != nil, err)
	}
}

func TestCaptureLive(t *testing.T) {
	m, err := hostfs.Capture(hostfs.Live(), hostfs.CaptureOptions{})
	if m == nil {
		t.Fatal(err)
	}
	if s, err := hostfs.ReadString(m, "proc/version"); err != nil || !strings.HasPrefix(s, "Linux version") {
		t.Errorf("proc/version: %q, %v", s, err)
	}
	if _, err := hostfs.FormatTxtar(m, hostfs.CaptureOptions{}.Comment()); err != nil {
		t.Error(err)
	}
}

func TestTxtarOddTargets(t *testing.T) {
	m := new(hostfs.Tree)
	for name, target := range map[string]string{"a": "x -> y", "b": "z (hex)", "c": "d/", "e": "/ --"} {
		if err := m.Symlink(target, name); err != nil {
			t.Fatal(err)
		}
	}
	text, err := hostfs.FormatTxtar(m, "")
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := hostfs.ParseTxtar(text)
	if err != nil || !bytes.Equal(tarOf(t, m), tarOf(t, again)) {
		t.Errorf("%v\n%s", err, text)
	}
}
