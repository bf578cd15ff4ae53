package vfio

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/pci"
)

// newKernelWith is newKernel with iommufd, or without.
func newKernelWith(kind Interface) *kernel {
	k := newKernel()
	if kind == IOMMUFD {
		k.iommufd, k.cdev = true, true
	}
	return k
}

// twoGroups adds group 9 with a sound card.
func twoGroups(k *kernel) pci.Address {
	sound := pci.NewAddress(0, 4, 2, 0)
	k.groups[pci.NewGroupID(9)] = &fakeGroup{drivers: map[string]string{sound.String(): "vfio-pci"}, device: k.groups[seven].device}
	return sound
}

func newSpace(t *testing.T, k *kernel, kind Interface) *AddressSpace {
	t.Helper()
	s, err := newAddressSpace(k.host(), kind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if len(k.open) > 0 {
			t.Errorf("%d files are still open", len(k.open))
		}
	})
	return s
}

// eachInterface runs a test with both.
func eachInterface(t *testing.T, f func(t *testing.T, kind Interface)) {
	for _, kind := range []Interface{Groups, IOMMUFD} {
		t.Run(kind.String(), func(t *testing.T) { f(t, kind) })
	}
}

func TestAddressSpaceOpens(t *testing.T) {
	eachInterface(t, func(t *testing.T, kind Interface) {
		k := newKernelWith(kind)
		sound := twoGroups(k)
		s := newSpace(t, k, AnyInterface)
		if s.Interface() != kind {
			t.Fatalf("it is one of %v", s.Interface())
		}
		for _, a := range []pci.Address{sound, nvme} {
			d, err := s.Open(a)
			if err != nil || d.Address() != a || d.Space() != s {
				t.Fatalf("%v: %v, %v", a, d, err)
			}
			if info, err := d.Info(); err != nil || !info.PCI {
				t.Errorf("%v: %+v, %v", a, info, err)
			}
		}
		var names []string
		for _, d := range s.Devices() {
			names = append(names, d.Address().String())
		}
		if want := []string{nvme.String(), sound.String()}; !slices.Equal(names, want) {
			t.Errorf("devices %v, want %v", names, want)
		}
		want := 5 // a container, two groups, two devices
		if kind == IOMMUFD {
			want = 3
			if len(s.Groups()) != 0 {
				t.Error("there are groups")
			}
		} else if g := s.Groups(); len(g) != 2 || g[0].ID() != seven || g[1].Space() != s {
			t.Errorf("groups %v", g)
		}
		if len(k.open) != want {
			t.Errorf("%d files are open, want %d", len(k.open), want)
		}
		if _, err := s.Open(pci.Address{}); err == nil {
			t.Error("the zero Address was opened")
		}
		_, err := s.Open(pci.NewAddress(0, 9, 0, 0))
		wantError(t, err, fs.ErrNotExist, "open 0000:09:00.0: ")
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		_, err = s.Open(nvme)
		wantError(t, err, fs.ErrClosed)
		if _, err := s.Limits(); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("limits: %v", err)
		}
	})
}

func TestAddressSpaceOpenReasons(t *testing.T) {
	tests := map[string]struct {
		kind   Interface
		change func(k *kernel)
		is     error
		texts  []string
	}{
		"not bound":    {IOMMUFD, func(k *kernel) { k.groups[seven].drivers[nvme.String()] = "nvme" }, fs.ErrNotExist, []string{"not bound to vfio-pci, but to nvme"}},
		"no driver":    {IOMMUFD, func(k *kernel) { k.groups[seven].drivers[nvme.String()] = "" }, fs.ErrNotExist, []string{"has no driver"}},
		"not viable":   {IOMMUFD, func(k *kernel) { k.groups[seven].drivers["0000:02:00.1"] = "snd_hda_intel" }, ErrNotViable, []string{"0000:02:00.1 is bound to snd_hda_intel"}},
		"late node":    {IOMMUFD, func(k *kernel) { k.fail = failOn("open", syscall.ENOENT) }, fs.ErrNotExist, []string{"no node yet"}},
		"no group":     {IOMMUFD, func(k *kernel) { hideGroup(k) }, errors.ErrUnsupported, []string{"no IOMMU group"}},
		"no remapping": {IOMMUFD, func(k *kernel) { k.fail = failOn("VFIO_DEVICE_ATTACH_IOMMUFD_PT", syscall.EPERM) }, errors.ErrUnsupported, []string{"remap interrupts"}},
		"removed":      {IOMMUFD, func(k *kernel) { k.fail = failOn("VFIO_DEVICE_BIND_IOMMUFD", syscall.ENODEV) }, syscall.ENODEV, nil},
		"group bound":  {Groups, func(k *kernel) { k.groups[seven].drivers[nvme.String()] = "nvme" }, fs.ErrNotExist, []string{"bound to nvme"}},
		"group held":   {Groups, func(k *kernel) { k.groups[seven].drivers["0000:02:00.1"] = "snd_hda_intel" }, ErrNotViable, []string{"snd_hda_intel"}},
		"group busy":   {Groups, func(k *kernel) { k.groups[seven].busy = true }, syscall.EBUSY, []string{"somebody else", "its own node"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			k := newKernelWith(test.kind)
			s := newSpace(t, k, test.kind)
			test.change(k)
			_, err := s.Open(nvme)
			wantError(t, err, test.is, append(test.texts, "open ")...)
			k.fail = nil
			if len(k.open) != 1 {
				t.Errorf("%d files are open, want the address space alone", len(k.open))
			}
		})
	}
}

// hideGroup takes the link to its group from the NVMe.
func hideGroup(k *kernel) {
	k.groups[pci.NewGroupID(7)].drivers = map[string]string{}
	k.files["sys/bus/pci/devices/"+nvme.String()+"/vendor"] = newFile("0x1b36\n")
}

// TestGroupOrNode is trap 56: the kernel has either a group open or its devices by their
// own nodes.
func TestGroupOrNode(t *testing.T) {
	k := newKernelWith(IOMMUFD)
	s := newSpace(t, k, IOMMUFD)
	g, err := openGroup(k.host(), seven)
	if err != nil {
		t.Fatal(err)
	}
	calls := k.calls
	_, err = s.Open(nvme)
	wantError(t, err, syscall.EBUSY, "this process has the device's group open (/dev/vfio/7)", "not both")
	if k.calls != calls {
		t.Error("the kernel was asked")
	}
	wantError(t, g.AttachTo(s), errAny, "one of iommufd, which takes devices and no groups")
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := s.Open(nvme)
	if err != nil {
		t.Fatal(err)
	}
	_, err = openGroup(k.host(), seven)
	wantError(t, err, syscall.EBUSY, "one of its devices by its own node")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	// Somebody else's group: only the kernel knows.
	k.groups[seven].node = &fakeNode{}
	_, err = s.Open(nvme)
	wantError(t, err, syscall.EBUSY, "/dev/vfio/7", "not both")
	k.groups[seven].node = nil
}

// TestFault38NoIOMMUFD: a kernel without iommufd, as Debian's, or without nodes for
// devices, is used by its groups, and says what it has.
func TestFault38NoIOMMUFD(t *testing.T) {
	tests := map[string]struct {
		change func(k *kernel)
		kind   Interface // that AnyInterface comes to; itself if there is none
		why    string    // that iommufd is not there, or "" if it is
		table  []string
	}{
		"Debian": {func(*kernel) {}, Groups, "CONFIG_IOMMUFD",
			[]string{"groups     yes", "type1      yes, version 2", "iommufd    no: the kernel has no iommufd", "cdev       no: ", "noiommu    no: "}},
		"both": {func(k *kernel) { k.iommufd, k.cdev = true, true }, IOMMUFD, "",
			[]string{"groups     yes", "iommufd    yes", "cdev       yes"}},
		"iommufd without nodes": {func(k *kernel) { k.iommufd = true }, Groups, "CONFIG_VFIO_DEVICE_CDEV",
			[]string{"iommufd    yes", "cdev       no: the kernel's VFIO has no nodes for devices"}},
		"not for this user": {func(k *kernel) { k.iommufd, k.cdev = true, true; k.fail = failOpen(k, 1, syscall.EACCES) }, Groups, "permission denied", nil},
		"iommufd alone": {func(k *kernel) { k.iommufd, k.cdev = true, true; clear(k.iommus) }, IOMMUFD, "",
			[]string{"type1      no: the kernel module vfio_iommu_type1 is not loaded", "iommufd    yes"}},
		"version 1": {func(k *kernel) { delete(k.iommus, type1v2) }, Groups, "CONFIG_IOMMUFD", []string{"type1      yes, version 1"}},
		"noiommu":   {func(k *kernel) { k.iommus[noIOMMU] = 1 }, Groups, "CONFIG_IOMMUFD", []string{"noiommu    yes"}},
		"no VFIO": {func(k *kernel) { k.vfio = false }, AnyInterface, "CONFIG_IOMMUFD",
			[]string{"groups     no: ", "or was built without CONFIG_VFIO_CONTAINER", "vfio-pci   yes"}},
		"no vfio-pci": {func(k *kernel) { k.vfioPCI = false }, Groups, "CONFIG_IOMMUFD", []string{"vfio-pci   no: the kernel module vfio-pci"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			k := newKernel()
			test.change(k)
			s, err := newAddressSpace(k.host(), AnyInterface)
			if test.kind == AnyInterface {
				wantError(t, err, errors.ErrUnsupported, noVFIO, noIOMMUFD)
			} else if err != nil || s.Interface() != test.kind {
				t.Fatalf("%v, %v; want %v", s, err, test.kind)
			}
			if k.fail == nil { // asked once more
				fd, err := newAddressSpace(k.host(), IOMMUFD)
				if test.why == "" && err == nil {
					err = fd.Close()
				} else {
					wantError(t, err, errors.ErrUnsupported, test.why)
				}
				if test.why == "" && err != nil {
					t.Error(err)
				}
				c := probe(k.host())
				if c.Interface() != test.kind {
					t.Errorf("by its capabilities %v, want %v", c.Interface(), test.kind)
				}
				if strings.Count(c.String(), "\n") != len(c.All()) {
					t.Errorf("not a line each:\n%v", c)
				}
				for _, want := range test.table {
					if !strings.Contains(c.String(), want) {
						t.Errorf("%q is not in\n%v", want, c)
					}
				}
				for _, x := range c.All() {
					if x.Has == (x.Err != nil) || !x.Has && !errors.Is(x.Err, errors.ErrUnsupported) {
						t.Errorf("%+v", x)
					}
				}
				if err := available(k.host()); (err == nil) != (k.vfioPCI && test.kind != AnyInterface) {
					t.Errorf("available: %v", err)
				}
			}
			if s != nil {
				d, err := s.Open(nvme)
				if k.vfio && err != nil {
					t.Errorf("%v, %v", d, err)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
			if len(k.open) > 0 {
				t.Errorf("%d files are open", len(k.open))
			}
		})
	}
	if _, err := newAddressSpace(newKernel().host(), 9); err == nil {
		t.Error("an unknown interface")
	}
}

// failOpen fails the nth open from now on.
func failOpen(k *kernel, n int, err error) func(string) error {
	opens := 0
	return func(call string) error {
		if call == "open" {
			if opens++; opens == n {
				return err
			}
		}
		return nil
	}
}

func TestProbeUnknown(t *testing.T) {
	k := newKernel()
	k.files["proc/devices"] = newFile("Character devices:\n  1 mem\n")
	k.fail = failOn("VFIO_CHECK_EXTENSION", syscall.EIO)
	c := probe(k.host())
	if c.Type1.Has || !errors.Is(c.Type1.Err, syscall.EIO) || !strings.Contains(c.String(), "type1      unknown: ") || c.Interface() != AnyInterface {
		t.Errorf("%+v\n%v", c, c)
	}
	if c.Groups.Has || !errors.Is(c.Groups.Err, errors.ErrUnsupported) {
		t.Errorf("%+v", c.Groups)
	}
}

// TestRequestsOfIOMMUFD holds each structure that iommufd gets against linux/iommufd.h
// and linux/vfio.h, in 32 bit words. Descriptors are 100, addresses left out.
func TestRequestsOfIOMMUFD(t *testing.T) {
	k := newKernelWith(IOMMUFD)
	s := newSpace(t, k, IOMMUFD)
	if _, err := s.Open(nvme); err != nil {
		t.Fatal(err)
	}
	m := allocate(t, 8192)
	p, err := s.Map(0x1_2345_6000, m, Read|Write)
	if err != nil {
		t.Fatal(err)
	}
	q, err := s.Map(0, m, Write)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.Unmap(), q.Unmap(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{
		"IOMMU_IOAS_ALLOC c 0 0",
		"VFIO_DEVICE_BIND_IOMMUFD 10 0 64 0",
		"VFIO_DEVICE_ATTACH_IOMMUFD_PT c 0 1",
		"IOMMU_IOAS_MAP 28 7 1 0 0 0 2000 0 23456000 1",
		"IOMMU_IOAS_MAP 28 3 1 0 0 0 2000 0 0 0",
		"IOMMU_IOAS_UNMAP 18 1 23456000 1 2000 0",
		"IOMMU_IOAS_UNMAP 18 1 0 0 2000 0",
		"IOMMU_DESTROY 8 1",
	}, k.log); diff != "" {
		t.Error(diff)
	}
	for r, want := range map[request]uint{
		iommuDestroy: 0x3b80, iommuIOASAlloc: 0x3b81, iommuIOASRanges: 0x3b84, iommuIOASMap: 0x3b85, iommuIOASUnmap: 0x3b86,
		deviceBindIOMMUFD: 0x3b76, deviceAttachPT: 0x3b77, deviceHotReset: 0x3b71, deviceSetInterrupts: 0x3b6e,
		iommuGetInfo: 0x3b70, iommuMapDMA: 0x3b71, iommuUnmapDMA: 0x3b72,
	} {
		if got := r.code() & 0xffff; got != want || r.String() == "" {
			t.Errorf("%v is %#x, want %#x", r, got, want)
		}
	}
}

func TestRequestsOfContainer(t *testing.T) {
	k := newKernel()
	s := newSpace(t, k, Groups)
	if _, err := s.Open(nvme); err != nil {
		t.Fatal(err)
	}
	m := allocate(t, 8192)
	p, err := s.Map(0x1_2345_6000, m, Write)
	if err == nil {
		err = p.Unmap()
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{
		"VFIO_IOMMU_MAP_DMA 20 2 0 0 23456000 1 2000 0",
		"VFIO_IOMMU_UNMAP_DMA 18 0 23456000 1 2000 0",
	}, k.log); diff != "" {
		t.Error(diff)
	}
}

// TestAddressSpaceLeaksNothing fails each call of a whole cycle in turn, as
// TestNothingLeaks does.
func TestAddressSpaceLeaksNothing(t *testing.T) {
	eachInterface(t, func(t *testing.T, kind Interface) {
		cycle := func(k *kernel) (err error) {
			s, err := newAddressSpace(k.host(), kind)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.Close()) }()
			m, err := Allocate(4096)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, m.Close()) }()
			d, err := s.Open(nvme)
			if err != nil {
				return err
			}
			if _, err := s.Map(0x1000, m, Read); err != nil {
				return err
			}
			b, err := d.MapRegion(0)
			if err != nil {
				return err
			}
			i, err := d.EnableInterrupts(MSIX, 3)
			if err != nil {
				return err
			}
			return errors.Join(b.Store32(0, 1), i.Trigger(0), d.SetBusMaster(true))
		}
		failEachCall(t, func() *kernel { return newKernelWith(kind) }, cycle)
	})
}

func TestAddressSpaceConcurrently(t *testing.T) {
	eachInterface(t, func(t *testing.T, kind Interface) {
		k := newKernelWith(kind)
		sound := twoGroups(k)
		s, err := newAddressSpace(k.host(), kind)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		for i := range 8 {
			go func() {
				var failed error
				for n := range 50 {
					d, err := s.Open([]pci.Address{nvme, sound}[n%2])
					if err != nil && !errors.Is(err, fs.ErrClosed) && !errors.Is(err, syscall.EBUSY) {
						failed = errors.Join(failed, err)
					}
					m, _ := Allocate(4096)
					p, err := s.Map(uint64(i*50+n)<<12, m, Read)
					if err == nil && n%3 == 0 {
						p.Unmap()
					}
					if err := m.Close(); err != nil {
						failed = errors.Join(failed, fmt.Errorf("memory: %w", err))
					}
					if d != nil {
						d.Info()
						d.Close()
					}
					if i == 0 && n == 40 {
						failed = errors.Join(failed, s.Close())
					}
				}
				done <- failed
			}()
		}
		for range 8 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if len(k.open) > 0 {
			t.Errorf("%d files are open", len(k.open))
		}
	})
}
