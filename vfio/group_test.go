package vfio

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/project-independence/indy/pci"
)

var (
	seven = pci.NewGroupID(7)
	nvme  = pci.NewAddress(0, 2, 0, 0)
)

// wantError checks what an error is and what it speaks of.
func wantError(t *testing.T, err, is error, texts ...string) {
	t.Helper()
	if is == errAny && err == nil || is != errAny && !errors.Is(err, is) {
		t.Errorf("error %v, want one that is %v", err, is)
		return
	}
	var op *OpError
	if !errors.As(err, &op) {
		t.Errorf("%v is no *OpError", err)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q does not speak of %q", err, text)
		}
	}
}

// open returns a device of an attached group 7.
func open(t *testing.T, k *kernel) (*Group, *Device) {
	t.Helper()
	g, err := openGroup(k.host(), seven)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Close()
		if len(k.open) > 0 {
			t.Errorf("%d files are still open", len(k.open))
		}
	})
	if err := g.Attach(); err != nil {
		t.Fatal(err)
	}
	d, err := g.OpenDevice(nvme)
	if err != nil {
		t.Fatal(err)
	}
	return g, d
}

func TestAvailable(t *testing.T) {
	tests := map[string]struct {
		change func(k *kernel)
		is     error
		text   string
	}{
		"all there":    {func(*kernel) {}, nil, ""},
		"no vfio":      {func(k *kernel) { k.vfio = false }, errors.ErrUnsupported, noVFIO},
		"no type1":     {func(k *kernel) { clear(k.iommus) }, errors.ErrUnsupported, noType1},
		"no vfio-pci":  {func(k *kernel) { k.vfioPCI = false }, errors.ErrUnsupported, noPCI},
		"version":      {func(k *kernel) { k.version = 3 }, errors.ErrUnsupported, "version 3"},
		"old type1":    {func(k *kernel) { delete(k.iommus, type1v2) }, nil, ""},
		"odd answer":   {func(k *kernel) { k.iommus = map[uintptr]int{type1v2: -9} }, errors.ErrUnsupported, noType1},
		"not allowed":  {func(k *kernel) { k.fail = failOn("open", syscall.EACCES) }, fs.ErrPermission, containerNode},
		"static node":  {func(k *kernel) { k.fail = failOn("open", syscall.ENODEV) }, errors.ErrUnsupported, noVFIO},
		"ioctl failed": {func(k *kernel) { k.fail = failOn("VFIO_GET_API_VERSION", syscall.EIO) }, syscall.EIO, "VFIO_GET_API_VERSION"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			k := newKernel()
			test.change(k)
			err := available(k.host())
			if test.is == nil && err != nil {
				t.Errorf("unexpected: %v", err)
			} else if test.is != nil {
				wantError(t, err, test.is, "look for VFIO: ", test.text)
			}
			if len(k.open) > 0 {
				t.Errorf("%d files are still open", len(k.open))
			}
		})
	}
}

func failOn(call string, err error) func(string) error {
	return func(c string) error {
		if c == call {
			return err
		}
		return nil
	}
}

func TestOpenGroupReasons(t *testing.T) {
	bind := func(driver string) func(*kernel) {
		return func(k *kernel) { k.groups[seven].drivers["0000:02:00.0"] = driver }
	}
	tests := map[string]struct {
		change func(k *kernel)
		is     []error
		texts  []string
	}{
		"busy":      {func(k *kernel) { k.groups[seven].busy = true }, []error{syscall.EBUSY}, []string{"somebody else", "/dev/vfio/7"}},
		"forbidden": {func(k *kernel) { k.fail = failOn("open", syscall.EACCES) }, []error{fs.ErrPermission}, []string{"/dev/vfio/7"}},
		"on nvme": {bind("nvme"), []error{fs.ErrNotExist},
			[]string{"no device of the group is bound to vfio-pci", "0000:02:00.0 is bound to nvme", "0000:00:1c.0 is bound to pcieport"}},
		"no driver": {bind(""), []error{fs.ErrNotExist}, []string{"0000:02:00.0 has no driver"}},
		"no module": {func(k *kernel) { bind("")(k); k.vfioPCI = false }, []error{fs.ErrNotExist, errors.ErrUnsupported}, []string{noPCI}},
		"node late": {func(k *kernel) { k.fail = failOn("open", syscall.ENOENT) }, []error{fs.ErrNotExist},
			[]string{"0000:02:00.0 is bound to vfio-pci, but the group has no node"}},
		"noiommu": {func(k *kernel) { bind("nvme")(k); k.files["dev/vfio/noiommu-7"] = &fstest.MapFile{} },
			[]error{errors.ErrUnsupported}, []string{"noiommu-7", "no IOMMU"}},
		"no such group": {func(k *kernel) { k.groups[pci.NewGroupID(0)] = k.groups[seven]; delete(k.groups, seven) },
			[]error{fs.ErrNotExist}, []string{"no such IOMMU group"}},
		"no groups": {func(k *kernel) { clear(k.groups) }, []error{errors.ErrUnsupported}, []string{"no IOMMU groups"}},
		"empty":     {func(k *kernel) { clear(k.groups[seven].drivers) }, []error{fs.ErrNotExist}, []string{"the group is empty"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			k := newKernel()
			test.change(k)
			_, err := openGroup(k.host(), seven)
			for _, is := range test.is {
				wantError(t, err, is, append(test.texts, "open group 7: ")...)
			}
			var path *fs.PathError
			if !errors.As(err, &path) {
				t.Errorf("%v holds no *fs.PathError", err)
			}
		})
	}
	_, err := openGroup(newKernel().host(), pci.GroupID{})
	if err == nil || !strings.Contains(err.Error(), "no IOMMU group was given") {
		t.Errorf("the zero GroupID: %v", err)
	}
}

func TestGroupZeroIsAGroup(t *testing.T) {
	k := newKernel()
	k.groups[pci.NewGroupID(0)] = k.groups[seven]
	g, err := openGroup(k.host(), pci.NewGroupID(0))
	if err != nil || g.ID() != pci.NewGroupID(0) {
		t.Fatalf("open group 0: %v, %v", g, err)
	}
	g.Close()
}

func TestMembersListIsShort(t *testing.T) {
	k := newKernel()
	for i := range 20 {
		k.groups[seven].drivers[pci.NewAddress(0, 3, uint8(i), 0).String()] = "nvme"
	}
	err := whyNotViable(k.host().fsys, seven)
	if n := strings.Count(err.Error(), "is bound to nvme"); n != 8 || !strings.HasSuffix(err.Error(), "and more") {
		t.Errorf("%d members in %q", n, err)
	}
}

func TestStatusIsABitMask(t *testing.T) {
	k := newKernel()
	g, err := openGroup(k.host(), seven)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	check := func(want Status) {
		t.Helper()
		if got, err := g.Status(); got != want || err != nil {
			t.Errorf("status %+v, %v; want %+v", got, err, want)
		}
	}
	check(Status{Viable: true})
	k.groups[seven].drivers["0000:02:00.1"] = "snd_hda_intel"
	check(Status{})
	wantError(t, g.Attach(), ErrNotViable, "attach group 7: ", "0000:02:00.1 is bound to snd_hda_intel")
	delete(k.groups[seven].drivers, "0000:02:00.1")
	if err := g.Attach(); err != nil {
		t.Fatal(err)
	}
	check(Status{Viable: true, ContainerSet: true})
	if err := g.Attach(); err != nil {
		t.Errorf("attach again: %v", err)
	}
	if n := len(k.open); n != 2 {
		t.Errorf("%d files are open, want the group and its container", n)
	}
}

func TestAttachPrefersVersion2(t *testing.T) {
	for _, only := range []uintptr{0, type1, type1v2} {
		k := newKernel()
		if only > 0 {
			k.iommus = map[uintptr]int{only: 1}
		}
		open(t, k)
		want := uintptr(type1v2)
		if only == type1 {
			want = type1
		}
		if got := k.groups[seven].node.container.iommu; got != want {
			t.Errorf("with only %d the container has type %d, want %d", only, got, want)
		}
	}
}

func TestAttachRefused(t *testing.T) {
	k := newKernel()
	g, err := openGroup(k.host(), seven)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	k.fail = failOn("VFIO_SET_IOMMU", syscall.EPERM)
	wantError(t, g.Attach(), errors.ErrUnsupported, "remap interrupts", "operation not permitted")
	if n := len(k.open); n != 1 {
		t.Errorf("%d files are open, want the group alone", n)
	}
	k.fail = nil
	if err := g.Attach(); err != nil { // the group was let go of
		t.Errorf("attach after a refusal: %v", err)
	}
}
