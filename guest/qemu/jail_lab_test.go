package qemu

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// inLab skips a test that does not run in the emulated laptop, by TestJailInLab.
func inLab(t *testing.T) {
	t.Helper()
	if os.Getenv("INDY_LAB_INSIDE") != "1" {
		t.Skip("runs only inside the emulated laptop")
	}
}

// TestJailLimitsInside measures the limits of memory and processes at a QEMU that runs.
func TestJailLimitsInside(t *testing.T) {
	inLab(t)
	vm := startTest(t, guestOf(), inJail(Options{PowerdownTimeout: -1}))
	for _, m := range vm.Confinement() {
		if !m.InForce {
			t.Errorf("%s is not in force: %s", m.Name, m.Why)
		}
	}
	group := filepath.Join("/sys/fs/cgroup", strings.TrimSpace(strings.TrimPrefix(proc(t, vm, "cgroup"), "0::")))
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(group, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(b))
	}
	if got, want := read("memory.max"), strconv.FormatInt(memoryOf(guestOf(), TCG), 10); got != want {
		t.Errorf("memory.max %s, want %s", got, want)
	}
	if got := read("pids.max"); got != "256" {
		t.Errorf("pids.max %s", got)
	}
	if got := read("cgroup.procs"); got != strconv.Itoa(vm.PID()) {
		t.Errorf("in the group are %s, want %d", got, vm.PID())
	}
	if err := vm.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if exists(group) {
		t.Errorf("%s is there after QEMU's end", group)
	}
}

// TestJailMemoryInside executes, where QEMU would be, what takes more memory than it may.
func TestJailMemoryInside(t *testing.T) {
	inLab(t)
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	j, err := newCell(Machine{Guest: guestOf(), Layout: Layout{Accelerator: TCG}}, binary, inJail(Options{}).Jail)
	if err != nil {
		t.Fatal(err)
	}
	cred, err := credential(User{})
	if err != nil {
		t.Fatal(err)
	}
	j.limits.memory = 96 << 20
	p, err := launch(command{binary: binary, args: []string{"-nodefaults", "eat"}, cred: cred, jail: j})
	if err != nil {
		t.Fatal(err)
	}
	<-p.done
	err = p.result(strings.TrimSpace)
	if !errors.Is(err, syscall.ENOMEM) || !strings.Contains(err.Error(), "killed for want of memory: QEMU and its guest may use 96 MiB") {
		t.Errorf("%v", err)
	}
}

// TestJailDevicesInside starts a guest with one device, while vfio-pci has another one, too.
func TestJailDevicesInside(t *testing.T) {
	inLab(t)
	user, err := DefaultUser()
	if err != nil {
		t.Fatal(err)
	}
	nvme, sound := take(t, "0000:02:00.0", user), take(t, "0000:00:1b.0", user)
	if nvme == sound {
		t.Fatalf("both are in group %s", nvme)
	}
	g := guestOf()
	g.Memory = 96 << 20
	g.Devices = []pci.Address{pci.NewAddress(0, 2, 0, 0)}
	vm := startTest(t, g, inJail(Options{PowerdownTimeout: -1, User: user}))
	root := fmt.Sprintf("/proc/%d/root", vm.PID())
	var nodes []string
	entries, err := os.ReadDir(root + "/dev/vfio")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		nodes = append(nodes, e.Name())
	}
	if diff := cmp.Diff([]string{nvme, "vfio"}, nodes); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	entries, err = os.ReadDir(root + "/sys/bus/pci/devices")
	if err != nil || len(entries) != 1 || entries[0].Name() != "0000:02:00.0" {
		t.Errorf("%v, %v", entries, err)
	}
	if err := os.WriteFile(root+"/sys/bus/pci/devices/0000:02:00.0/reset", []byte("1"), 0); !errors.Is(err, syscall.EROFS) && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("written to sysfs: %v", err)
	}
	if err := vm.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// take gives a function to vfio-pci and its group's node to user, and returns the group.
func take(t *testing.T, address string, user User) string {
	t.Helper()
	dir := "/sys/bus/pci/devices/" + address
	_ = os.WriteFile(dir+"/driver/unbind", []byte(address), 0) // which has no driver if there is none
	err := errors.Join(os.WriteFile(dir+"/driver_override", []byte("vfio-pci"), 0), os.WriteFile("/sys/bus/pci/drivers_probe", []byte(address), 0))
	if err != nil {
		t.Fatal(err)
	}
	link, err := os.Readlink(dir + "/iommu_group")
	if err != nil {
		t.Fatal(err)
	}
	node := "/dev/vfio/" + filepath.Base(link)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err = os.Chown(node, int(user.UID), int(user.GID)); err == nil {
			return filepath.Base(link)
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// TestJailUSBInside starts a guest with a USB device of the host, by its descriptor: there
// is no node of it in the jail.
func TestJailUSBInside(t *testing.T) {
	inLab(t)
	names, err := filepath.Glob("/sys/bus/usb/devices/[0-9]*-[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	number := func(dir, name string) int {
		b, err := os.ReadFile(filepath.Join(dir, name))
		n, err2 := strconv.Atoi(strings.TrimSpace(string(b)))
		if err := errors.Join(err, err2); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, dir := range names {
		if strings.Contains(dir, ":") { // an interface
			continue
		}
		node, err := os.OpenFile(fmt.Sprintf("/dev/bus/usb/%03d/%03d", number(dir, "busnum"), number(dir, "devnum")), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer node.Close()
		g := guestOf()
		g.USB.Devices = []usb.PortPath{port(t, filepath.Base(dir))}
		vm := startTest(t, g, inJail(Options{PowerdownTimeout: -1, USB: []*os.File{node}}))
		id := usbID(g.USB.Devices[0])
		if list := peripherals(t, vm); !slices.Contains(list, id) {
			t.Errorf("%s is not among %v", id, list)
		}
		var attached bool
		property := map[string]string{"path": "/machine/peripheral/" + id, "property": "attached"}
		if err := vm.QMP().Call(t.Context(), "qom-get", property, &attached); err != nil || !attached {
			t.Errorf("attached: %v, %v", attached, err)
		}
		root := fmt.Sprintf("/proc/%d/root", vm.PID())
		if _, err := os.Stat(root + "/dev/bus"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("nodes of USB devices: %v", err)
		}
		held := false
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", vm.PID()))
		if err != nil {
			t.Fatal(err)
		}
		for _, fd := range fds {
			target, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", vm.PID(), fd.Name()))
			held = held || target == node.Name()
		}
		if !held {
			t.Errorf("QEMU does not have %s open", node.Name())
		}
		return
	}
	t.Fatal("the emulated laptop has no USB device")
}
