package vfio_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/vfio"
)

// liveSpaces drives real devices through each interface that the kernel has.
func liveSpaces(t *testing.T) {
	c := vfio.Probe()
	t.Logf("what this kernel has:\n%v", c)
	if !c.Groups.Has || !c.Type1.Has || c.Type1.Version != 2 || !c.VFIOPCI.Has || c.NoIOMMU.Has {
		t.Errorf("groups, type 1 version 2 and vfio-pci are there, noiommu is not:\n%v", c)
	}
	any, err := vfio.NewAddressSpace(vfio.AnyInterface)
	if err != nil {
		t.Fatal(err)
	}
	if any.Interface() != c.Interface() {
		t.Errorf("any interface is %v, by what the kernel has it is %v", any.Interface(), c.Interface())
	}
	if err := any.Close(); err != nil {
		t.Error(err)
	}
	t.Run("groups", func(t *testing.T) { liveSpace(t, vfio.Groups) })
	_, err = vfio.NewAddressSpace(vfio.IOMMUFD)
	if err == nil {
		t.Run("iommufd", func(t *testing.T) { liveSpace(t, vfio.IOMMUFD) })
		return
	}
	t.Log(err)
	if os.Getenv("INDY_VFIO_WANT") == "iommufd" {
		t.Error("this kernel should have iommufd")
	}
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "CONFIG_IOMMUFD") {
		t.Errorf("without iommufd: %v", err)
	}
}

const nvmeAddress, nicAddress, soundAddress = "0000:02:00.0", "0000:04:01.0", "0000:04:02.0"

func address(t *testing.T, s string) pci.Address {
	t.Helper()
	a, err := pci.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// openIn opens a device once its node is there, which is a little after its driver.
func openIn(t *testing.T, s *vfio.AddressSpace, a string) *vfio.Device {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		d, err := s.Open(address(t, a))
		if err == nil {
			return d
		}
		if !errors.Is(err, os.ErrNotExist) || time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func liveSpace(t *testing.T, kind vfio.Interface) {
	s, err := vfio.NewAddressSpace(kind)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, err = s.Open(address(t, nvmeAddress))
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("open before bind: %v", err)
	}
	t.Log(err)
	hand(t, nvmeAddress, "nvme")
	d := openIn(t, s, nvmeAddress)
	liveBesides(t, s, kind)
	liveMemory(t, s)
	liveRegisters(t, d)
	liveSignals(t, d)
	livePassed(t, s)

	// A second group reaches the same memory. Its bus can be reset: that of an emulated
	// root port does not come back, says the kernel (ENOTTY).
	hand(t, nicAddress, link(sysfs(nicAddress)+"/driver"))
	_, err = s.Open(address(t, nicAddress))
	if !errors.Is(err, vfio.ErrNotViable) || !strings.Contains(err.Error(), soundAddress) {
		t.Errorf("half a group: %v", err)
	}
	t.Log(err)
	hand(t, soundAddress, "snd_hda_intel")
	nic := openIn(t, s, nicAddress)
	if len(s.Devices()) != 2 {
		t.Errorf("%d devices", len(s.Devices()))
	}
	if err := nic.ResetBus(); err != nil {
		t.Error(err)
	}
	var b [2]byte
	if _, err := nic.ReadConfig(b[:], 0); err != nil || binary.LittleEndian.Uint16(b[:]) != 0x8086 {
		t.Errorf("after a hot reset the vendor is % x, %v", b, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// liveBesides tries the other interface on a device that is open by one.
func liveBesides(t *testing.T, s *vfio.AddressSpace, kind vfio.Interface) {
	if kind == vfio.IOMMUFD {
		_, err := vfio.OpenGroup(group(t, nvmeAddress))
		if !errors.Is(err, syscall.EBUSY) {
			t.Errorf("the group of a device that is open by its node: %v", err)
		}
		t.Log(err)
		return
	}
	fd, err := vfio.NewAddressSpace(vfio.IOMMUFD)
	if err != nil {
		return
	}
	defer fd.Close()
	_, err = fd.Open(address(t, nvmeAddress))
	if !errors.Is(err, syscall.EBUSY) || !strings.Contains(err.Error(), "this process has the device's group open") {
		t.Errorf("the node of a device whose group is open: %v", err)
	}
	t.Log(err)
}

func liveMemory(t *testing.T, s *vfio.AddressSpace) {
	t.Helper()
	l, err := s.Limits()
	if err != nil || l.Alignment() != 4096 || len(l.Ranges) < 2 {
		t.Errorf("limits %+v, %v", l, err)
	}
	t.Logf("%+v", l)
	m, err := vfio.Allocate(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	p, err := s.Map(1<<20, m, vfio.Read|vfio.Write)
	if err != nil {
		t.Fatal(err)
	}
	q, err := s.Map(4<<20, m, vfio.Read) // the same memory at another place
	if err != nil {
		t.Error(err)
	}
	after, err := s.Limits()
	if err != nil || l.MappingsKnown && after.Mappings != l.Mappings-2 {
		t.Errorf("%+v, %v", after, err)
	}
	for iova, want := range map[uint64]error{1<<20 + 512<<10: syscall.EEXIST, 0xfee00000: syscall.EINVAL, 1 << 62: syscall.EINVAL, 7: syscall.EINVAL} {
		if _, err := s.Map(iova, m, vfio.Read); !errors.Is(err, want) {
			t.Errorf("at %#x: %v, want %v", iova, err, want)
		}
	}
	if err := errors.Join(p.Unmap(), p.Unmap(), q.Unmap()); err != nil {
		t.Error(err)
	}
	if _, err := s.Map(1<<20, m, vfio.Write); err != nil {
		t.Error(err)
	}
	if err := m.Close(); err != nil { // and takes it from the device
		t.Error(err)
	}
	if after, err := s.Limits(); err != nil || after.Mappings != l.Mappings {
		t.Errorf("%+v, %v", after, err)
	}
}

// liveRegisters reads the NVMe's version both ways, and switches it on and off.
func liveRegisters(t *testing.T, d *vfio.Device) {
	t.Helper()
	const version, configuration, status = 0x8, 0x14, 0x1c
	f, err := d.OpenRegion(0)
	if err != nil {
		t.Fatal(err)
	}
	m, err := d.MapRegion(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("BAR0 is mapped: %+v", m.Areas())
	var b [4]byte
	if _, err := f.ReadAt(b[:], version); err != nil {
		t.Error(err)
	}
	v, err := m.Load32(version)
	if err != nil || v != binary.LittleEndian.Uint32(b[:]) || v>>16 != 1 {
		t.Errorf("version %#x by the mapping, % x by the file, %v", v, b, err)
	}
	if err := m.Store32(configuration, 0x460000); err != nil { // sizes of entries, not enabled
		t.Error(err)
	}
	if _, err := f.ReadAt(b[:], configuration); err != nil || binary.LittleEndian.Uint32(b[:]) != 0x460000 {
		t.Errorf("written by the mapping, read by the file: % x, %v", b, err)
	}
	if _, err := f.WriteAt([]byte{0, 0, 0, 0}, configuration); err != nil {
		t.Error(err)
	}
	if v, err := m.Load32(configuration); err != nil || v != 0 {
		t.Errorf("written by the file, read by the mapping: %#x, %v", v, err)
	}
	if v, err := m.Load32(status); err != nil || v&1 != 0 {
		t.Errorf("status %#x, %v", v, err)
	}
	if err := errors.Join(d.SetBusMaster(true), d.SetBusMaster(false)); err != nil {
		t.Error(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

// liveSignals has the kernel deliver each kind of interrupt.
func liveSignals(t *testing.T, d *vfio.Device) {
	t.Helper()
	for _, kind := range []uint32{vfio.MSIX, vfio.INTx, vfio.RequestInterrupt} {
		count := 1
		if kind == vfio.MSIX {
			count = 8
		}
		s, err := d.EnableInterrupts(kind, count)
		if err != nil {
			t.Error(err)
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if n, err := s.Wait(ctx, 0); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v: %d, %v", s.Kind().Name, n, err)
		}
		cancel()
		ctx, cancel = context.WithTimeout(t.Context(), 10*time.Second)
		if err := s.Trigger(count - 1); err != nil {
			t.Error(err)
		}
		if n, err := s.Wait(ctx, count-1); n != 1 || err != nil {
			t.Errorf("%v: %d, %v", s.Kind().Name, n, err)
		}
		cancel()
		if s.Kind().Maskable {
			if err := errors.Join(s.Mask(0), s.Unmask(0)); err != nil {
				t.Error(err)
			}
		} else if err := s.Mask(0); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%v: %v", s.Kind().Name, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

const liveChild = "INDY_VFIO_LIVE_CHILD"

// livePassed gives the device to a process that is not root and may lock 64 KiB.
func livePassed(t *testing.T, s *vfio.AddressSpace) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	there := os.NewFile(uintptr(fds[1]), "there")
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLiveChild$", "-test.v")
	child.Env = append(os.Environ(), liveChild+"=1")
	child.ExtraFiles = []*os.File{there}
	var said strings.Builder
	child.Stdout, child.Stderr = &said, &said
	err = child.Start()
	there.Close()
	here := socket(t, os.NewFile(uintptr(fds[0]), "here"))
	defer here.Close()
	if err != nil {
		t.Fatal(err)
	}
	handles, err := s.Handles()
	if err == nil {
		err = vfio.Send(here, handles)
	}
	for _, h := range handles {
		h.File.Close()
	}
	if err != nil {
		t.Error(err)
	}
	answer, err := io.ReadAll(here)
	if werr := child.Wait(); werr != nil || err != nil || !strings.HasPrefix(string(answer), "1b36, 64 KiB") {
		t.Errorf("the child answered %q, %v, and ended with %v:\n%s", answer, err, werr, &said)
	}
	t.Logf("the child: %s", answer)
}

func socket(t *testing.T, f *os.File) *net.UnixConn {
	t.Helper()
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(time.Minute))
	return c.(*net.UnixConn)
}

// TestLiveChild is the process that the device is given to.
func TestLiveChild(t *testing.T) {
	if os.Getenv(liveChild) != "1" {
		t.Skip("runs only as a child of TestLive")
	}
	low := unix.Rlimit{Cur: 64 << 10, Max: 64 << 10}
	err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &low)
	if err == nil {
		err = errors.Join(syscall.Setgroups(nil), syscall.Setgid(65534), syscall.Setuid(65534))
	}
	if err != nil {
		t.Fatal(err)
	}
	conn := socket(t, os.NewFile(3, "there"))
	defer conn.Close()
	handles, err := vfio.Receive(conn)
	if err != nil {
		t.Fatal(err)
	}
	s, err := vfio.Rebuild(handles)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	devices := s.Devices()
	if len(devices) != 1 {
		t.Fatalf("%d devices", len(devices))
	}
	var b [2]byte
	if _, err := devices[0].ReadConfig(b[:], 0); err != nil {
		t.Fatal(err)
	}
	m, err := vfio.Allocate(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	_, err = s.Map(0, m, vfio.Read|vfio.Write)
	var short *vfio.MemlockError
	if !errors.As(err, &short) || !errors.Is(err, syscall.ENOMEM) || short.Limit != 64<<10 || short.Need != 1<<20 {
		t.Errorf("1 MiB: %v", err)
	}
	small, allocErr := vfio.Allocate(32 << 10)
	if allocErr != nil {
		t.Fatal(allocErr)
	}
	defer small.Close()
	if _, err := s.Map(0, small, vfio.Read|vfio.Write); err != nil {
		t.Errorf("32 KiB: %v", err)
	}
	if g := s.Groups(); s.Interface() == vfio.Groups && !slices.ContainsFunc(g, func(g *vfio.Group) bool { return g.ID().IsValid() }) {
		t.Error("no group")
	}
	if !t.Failed() {
		fmt.Fprintf(conn, "%04x, 64 KiB: %v", binary.LittleEndian.Uint16(b[:]), err)
	}
}
