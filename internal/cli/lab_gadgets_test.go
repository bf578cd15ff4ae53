package cli_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/lab"
	"github.com/project-independence/indy/internal/lab/labtest"
)

// indyVariable names the indy that TestGadgetsInside looks with.
const indyVariable = "INDY_LAB_INDY"

// A gadget is a USB device that the kernel plays on one port, made by
// testdata/gadgets.sh. Its product id is its place in the list.
type gadget struct {
	name   string
	role   string
	driver string // the host's, "" where no class driver takes what answers nothing
	// dummy_hcd has no isochronous endpoints, without which the kernel binds neither uvc
	// nor uac1 to it. What has such endpoints is plugged in through usbip-vudc.
	isochronous bool
	ffs         []byte // what its interfaces are, for FunctionFS
}

func gadgets() []gadget {
	return []gadget{
		{name: "webcam", role: "webcam", driver: "uvcvideo", isochronous: true},
		{name: "audio", role: "audio", driver: "snd-usb-audio", isochronous: true},
		{name: "modem", role: "modem", driver: "cdc_acm"},
		{name: "ethernet", role: "ethernet", driver: "cdc_ncm"},
		{name: "keyboard", role: "input", driver: "usbhid"},
		{name: "storage", role: "storage", driver: "usb-storage"},
		{name: "bluetooth-ffs", role: "bluetooth", driver: "btusb", ffs: slices.Concat(iface(0, 3, 0xe0, 0x01, 0x01), interruptIn(1), bulkIn(2), bulkOut(3))},
		{name: "smartcard-ffs", role: "smartcard", ffs: slices.Concat(iface(0, 2, 0x0b, 0, 0), bulkIn(1), bulkOut(2))},
		{name: "wwan-ffs", role: "wwan", ffs: slices.Concat(
			iface(0, 1, 0x02, 0x0e, 0), interruptIn(1), iface(1, 2, 0x0a, 0, 0x02), bulkIn(2), bulkOut(3))},
	}
}

// plugged are devices that the laptop has from the start, by id: of QEMU's, only virtio
// disks let themselves be given another class.
var plugged = map[string]string{
	"pci:0000:00:18.0": "firewire",
	"pci:0000:00:19.0": "wlan",
	"usb:1-3":          "smartcard",
	"usb:1-4":          "audio",
}

// virtual are devices on no bus, by the module that makes them.
var virtual = []struct{ module, role string }{
	{"mac80211_hwsim", "wlan"},
	{"snd_aloop", "audio"},
	{"vivid", "webcam"},
	{"hci_vhci", "bluetooth"},
}

// What FunctionFS is told: a class's descriptors as in chapter 9 of the USB 2.0
// specification.
func iface(number, endpoints, class, sub, protocol byte) []byte {
	return []byte{9, 4, number, 0, endpoints, class, sub, protocol, 0}
}
func interruptIn(n byte) []byte { return []byte{7, 5, 0x80 | n, 3, 16, 0, 8} }
func bulkIn(n byte) []byte      { return []byte{7, 5, 0x80 | n, 2, 0, 2, 0} }
func bulkOut(n byte) []byte     { return []byte{7, 5, n, 2, 0, 2, 0} }

// TestGadgets plugs a device of each class into the emulated laptop.
func TestGadgets(t *testing.T) {
	t.Parallel()
	labtest.Open(t)
	out := t.TempDir()
	disk := func(node, address, class string) []string {
		return []string{
			"-blockdev", `{"driver":"null-co","node-name":"` + node + `","size":1048576}`,
			"-device", `{"driver":"virtio-blk-pci","bus":"pcie.0","addr":"` + address + `","class":` + class + `,"drive":"` + node + `"}`,
		}
	}
	labtest.RunTestOn(t, lab.Machine{
		Out: out,
		Env: []string{indyVariable + "=" + labtest.BuildIndy(t)},
		Extra: slices.Concat(disk("firewire", "18.0", "3072"), disk("wlan", "19.0", "640"),
			[]string{
				"-device", `{"driver":"usb-ccid","bus":"xhci.0","port":"3"}`,
				"-device", `{"driver":"usb-audio","bus":"xhci.0","port":"4","audiodev":"silent"}`,
			}),
	}, "./internal/cli", "^TestGadgetsInside$")

	booted := filepath.Join(out, "lab-gadgets.txtar")
	kept := filepath.Join(hosttest.Root(t), "testdata", "hosts", "lab-gadgets.txtar")
	if *update {
		data, err := os.ReadFile(booted)
		if err == nil {
			err = os.WriteFile(kept, data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if d := cmp.Diff(rolesOf(t, kept), rolesOf(t, booted)); d != "" {
		t.Errorf("the saved machine and the one that booted (-saved +booted), see -update:\n%s", d)
	}
}

func rolesOf(t *testing.T, file string) []string {
	t.Helper()
	c := newConsole(t)
	stdout, stderr, code := c.run("devices", "--json", "--from", file)
	if code != 0 {
		t.Fatalf("indy devices --from %s: exit %d, %s", file, code, stderr)
	}
	var all []string
	for _, d := range parseDevices(t, []byte(stdout)) {
		all = append(all, fmt.Sprint(d.ID, " ", d.Roles, " ", d.Driver))
	}
	return all
}

type shown struct {
	ID        string   `json:"id"`
	Roles     []string `json:"roles"`
	VendorID  string   `json:"vendor_id"`
	ProductID string   `json:"device_id"`
	Device    string   `json:"device"`
	Driver    string   `json:"driver"`
}

func parseDevices(t *testing.T, data []byte) []shown {
	t.Helper()
	var doc struct{ Devices []shown }
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	return doc.Devices
}

func devices(t *testing.T) []shown {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), os.Getenv(indyVariable), "devices", "--json").Output()
	if err != nil {
		t.Fatalf("indy devices: %v", err)
	}
	return parseDevices(t, out)
}

// TestGadgetsInside plugs in one gadget after the other, and looks for each.
func TestGadgetsInside(t *testing.T) {
	labtest.Inside(t)
	if os.Getenv(indyVariable) == "" {
		t.Fatalf("no %s", indyVariable)
	}
	all := gadgets()
	script(t, "load", fmt.Sprint(len(all)))
	seen := watchGadgets(t)
	for i, g := range all {
		t.Run(g.name, func(t *testing.T) { g.inside(t, i, seen) })
	}
	t.Run("plugged", func(t *testing.T) {
		for id, role := range plugged {
			await(t, func(d shown) bool { return d.ID == id && slices.Contains(d.Roles, role) })
		}
	})
	t.Run("virtual", virtualInside)
	save(t)
}

// inside plugs the gadget into port n, and expects indy watch to tell of it within a
// second. Emulation on a busy machine may take longer: then it is plugged in once more.
func (g gadget) inside(t *testing.T, n int, seen *sightings) {
	id := fmt.Sprintf("%04x", n+1)
	files := script(t, "make", g.name, "0x"+id)
	if g.ffs != nil {
		functionFS(t, files[0], g.ffs)
	}
	udc := files[len(files)-1]
	plug := func() { kernelFile(t, udc, fmt.Sprint("dummy_udc.", n)) }
	unplug := func() { kernelFile(t, udc, "") }
	if g.isochronous {
		controller := fmt.Sprint("usbip-vudc.", n)
		kernelFile(t, udc, controller)
		if g.role == "webcam" {
			answerUVC(t, controller)
		}
		plug = func() { attach(t, n) }
		unplug = func() { detach(t, n) }
	}
	for tries := 1; ; tries++ {
		begun := time.Now()
		plug()
		// It is listed without a role for as long as its interfaces are not there.
		d := await(t, func(d shown) bool {
			return d.VendorID == "1209" && d.ProductID == id && slices.Contains(d.Roles, g.role) && d.Driver == g.driver
		})
		t.Logf("indy devices lists it %v after it was plugged in: %+v", time.Since(begun).Round(time.Millisecond), d)
		took := seen.await(t, "added", id, g.role).Sub(begun)
		t.Logf("indy watch told of it %v after it was plugged in", took.Round(time.Millisecond))
		if took <= time.Second {
			return
		}
		if tries == 5 {
			t.Fatalf("indy watch never told of it within a second, the last time after %v", took)
		}
		unplug()
		seen.await(t, "removed", id, g.role)
		seen.forget(id)
	}
}

// script runs gadgets.sh and returns the lines it prints.
func script(t *testing.T, args ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/bash", append([]string{"testdata/gadgets.sh"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("gadgets.sh %q: %v\n%s", args, err, &stderr)
	}
	return strings.Fields(string(out))
}

// await asks indy devices until one is as wanted.
func await(t *testing.T, want func(shown) bool) shown {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		all := devices(t)
		if i := slices.IndexFunc(all, want); i >= 0 {
			return all[i]
		}
		if time.Now().After(end) {
			t.Fatalf("indy devices does not list it with its role: %+v", all)
		}
	}
}

// functionFS writes a gadget's interfaces, the same for full and for high speed, as
// linux/usb/functionfs.h has it, and holds its control pipe until the test ends.
func functionFS(t *testing.T, ep0 string, descriptors []byte) {
	t.Helper()
	count := 0
	for rest := descriptors; len(rest) > 0; rest = rest[rest[0]:] {
		count++
	}
	full := slices.Clone(descriptors) // at full speed a bulk packet has 64 bytes
	for rest := full; len(rest) > 0; rest = rest[rest[0]:] {
		if rest[1] == 5 && rest[3] == 2 {
			binary.LittleEndian.PutUint16(rest[4:], 64)
		}
	}
	words := func(n ...int) (b []byte) {
		for _, v := range n {
			b = binary.LittleEndian.AppendUint32(b, uint32(v))
		}
		return b
	}
	const magic, strings, fullSpeed, highSpeed = 3, 2, 1, 2
	size := 5*4 + 2*len(descriptors)
	f, err := os.OpenFile(ep0, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{
		slices.Concat(words(magic, size, fullSpeed|highSpeed, count, count), full, descriptors),
		words(strings, 4*4, 0, 0),
	} {
		if _, err := f.Write(b); err != nil {
			t.Fatalf("%s: %v", ep0, err)
		}
	}
	keep(f)
}

// keep leaves f open until the machine ends: with its control pipe a gadget goes.
func keep(f *os.File) { go func() { time.Sleep(time.Hour); f.Close() }() }

// sightings are what indy watch told of the gadgets.
type sightings struct {
	mu   sync.Mutex
	of   map[string]sighting // by what happened and the product id
	said []string
}

type sighting struct {
	at   time.Time
	what shown
}

// watchGadgets runs indy watch until the test ends.
func watchGadgets(t *testing.T) *sightings {
	t.Helper()
	s := &sightings{of: map[string]sighting{}}
	indy := os.Getenv(indyVariable)
	cmd := exec.CommandContext(t.Context(), indy, "watch", "--json")
	cmd.Stderr = os.Stderr
	r, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go s.read(r)
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	time.Sleep(2 * time.Second) // it reads the machine first
	return s
}

func (s *sightings) read(r io.Reader) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		now := time.Now()
		var line struct {
			Event  string
			Device shown
		}
		err := json.Unmarshal(lines.Bytes(), &line)
		s.mu.Lock()
		s.said = append(s.said, lines.Text())
		key := line.Event + " " + line.Device.ProductID
		if _, ok := s.of[key]; err == nil && !ok && line.Device.VendorID == "1209" {
			s.of[key] = sighting{now, line.Device}
		}
		s.mu.Unlock()
	}
}

// await returns when the watch told of the event, which must be of a device that plays
// the role.
func (s *sightings) await(t *testing.T, event, id, role string) time.Time {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		s.mu.Lock()
		got, ok := s.of[event+" "+id]
		said := s.said
		s.mu.Unlock()
		switch {
		case ok && !slices.Contains(got.what.Roles, role):
			t.Fatalf("indy watch says that what was %s plays %q, wanted %s", event, got.what.Roles, role)
		case ok:
			return got.at
		case time.Now().After(end):
			t.Fatalf("indy watch told of no device %s that was %s, but\n%s", id, event, strings.Join(said, "\n"))
		}
	}
}

func (s *sightings) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.of, "added "+id)
	delete(s.of, "removed "+id)
}

// virtualInside makes devices that are on no bus, and looks for them.
func virtualInside(t *testing.T) {
	before := devices(t)
	for _, v := range virtual {
		if out, err := exec.CommandContext(t.Context(), "modprobe", v.module).CombinedOutput(); err != nil {
			t.Errorf("modprobe %s: %v\n%s", v.module, err, out)
		}
	}
	// An adapter is there for as long as its other end is open. 0xff asks for one, 0 is
	// what kind: the usual.
	f, err := os.OpenFile("/dev/vhci", os.O_RDWR, 0)
	if err == nil {
		_, err = f.Write([]byte{0xff, 0})
	}
	if err != nil {
		t.Fatal(err)
	}
	keep(f)
	for _, v := range virtual {
		d := await(t, func(d shown) bool {
			return slices.Contains(d.Roles, v.role) && !slices.ContainsFunc(before, func(b shown) bool { return b.ID == d.ID })
		})
		t.Logf("%s: %+v", v.module, d)
	}
}

// save saves the machine with all that is plugged in.
func save(t *testing.T) {
	t.Helper()
	// What the drivers do with devices that answer nothing ends some time.
	last := ""
	for same, end := 0, time.Now().Add(30*time.Second); same < 20 && time.Now().Before(end); same++ {
		now, err := hostfs.ReadString(hostfs.Live(), "sys/kernel/uevent_seqnum")
		if err != nil {
			t.Fatal(err)
		}
		if now != last {
			last, same = now, 0
		}
		time.Sleep(100 * time.Millisecond)
	}
	// The mount of the kernel's modules names the directory this repository is in.
	modules, err := filepath.Glob("/lib/modules/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range modules {
		if err := syscall.Unmount(m, 0); err != nil && !errors.Is(err, syscall.EINVAL) {
			t.Error(err)
		}
	}
	opts := hostfs.CaptureOptions{Salt: []byte("the emulated laptop")}
	m, err := hostfs.Capture(hostfs.Live(), opts)
	if err != nil {
		t.Error(err)
	}
	comment := `The emulated laptop with USB gadgets: webcam and sound on vhci_hcd; modem, network, keyboard,
storage, Bluetooth, smart card and WWAN on dummy_hcd; with PCI functions that announce FireWire and
WLAN; and with a WLAN, a sound card, a camera and a Bluetooth adapter that are on no bus.
`
	if err := hostfs.Save(filepath.Join(lab.OutDir, "lab-gadgets.txtar"), m, comment+opts.Comment()+"\n"); err != nil {
		t.Error(err)
	}
}
