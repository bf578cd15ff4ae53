package vfio

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"syscall"
	"testing"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// TestFault39MemlockTooSmall: what a guest's devices lock is computed before it is
// started, and a limit that is too small is an error that says so.
func TestFault39MemlockTooSmall(t *testing.T) {
	for _, test := range []struct {
		name  string
		guest GuestMemory
		want  uint64
	}{
		{"no devices", GuestMemory{RAM: 8 * gib, VIOMMU: true}, 0},
		{"one device", GuestMemory{RAM: 8 * gib, Devices: 1}, 9 * gib},
		{"BARs count too", GuestMemory{RAM: 8 * gib, BARs: 256 * mib, Devices: 1}, 9*gib + 256*mib},
		{"three share an address space", GuestMemory{RAM: 8 * gib, Devices: 3}, 9 * gib},
		{"three, and an IOMMU in the guest", GuestMemory{RAM: 8 * gib, Devices: 3, VIOMMU: true}, 27 * gib},
		{"one, and an IOMMU in the guest", GuestMemory{RAM: 8 * gib, Devices: 1, VIOMMU: true}, 9 * gib},
		{"more than there are numbers", GuestMemory{RAM: math.MaxUint64 - 5, Devices: 1}, Unlimited},
		{"as much, by devices", GuestMemory{RAM: 1 << 62, Devices: 1000, VIOMMU: true}, Unlimited},
		{"less than none", GuestMemory{RAM: gib, Devices: -1, VIOMMU: true}, 0},
	} {
		if got := test.guest.Locked(); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
		if err := test.guest.Check(test.want); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if test.want == 0 {
			continue
		}
		var short *MemlockError
		err := test.guest.Check(8 * mib)
		if !errors.As(err, &short) || short.Need != test.want || short.Limit != 8*mib {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	err := GuestMemory{RAM: 8 * gib, Devices: 1}.Check(8 * mib)
	want := "devices need 9216 MiB of locked memory, and 8 MiB are allowed (RLIMIT_MEMLOCK); raise the limit: ulimit -l 9437184, LimitMEMLOCK=9663676416, or memlock in limits.conf"
	if err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}

// TestFault39Mapping: when the kernel refuses to lock more, the error says how much is
// locked, how much may be and what to do.
func TestFault39Mapping(t *testing.T) {
	const user, root = "0000000000000000", "000001ffffffffff"
	tests := map[string]struct {
		kind        Interface
		limit, caps string
		locked      string
		is          bool // the limit is what it comes to
		texts       []string
	}{
		"too small":     {Groups, "65536", user, "VmLck:\t      12 kB\n", true, []string{"need 128 KiB of locked memory besides 12 KiB, and 64 KiB are allowed", "ulimit -l 140,"}},
		"of iommufd":    {IOMMUFD, "65536", user, "VmLck:\t 4 kB\nVmPin:\t      16 kB\n", true, []string{"besides 16 KiB"}},
		"large enough":  {Groups, "268435456", user, "VmLck:\t      12 kB\n", false, nil},
		"of all others": {IOMMUFD, "268435456", user, "", true, []string{"256 MiB are allowed"}},
		"root":          {Groups, "65536", root, "", false, nil},
		"unlimited":     {Groups, "unlimited", user, "", false, nil},
		"odd limit":     {Groups, "many", user, "", false, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			k := newKernelWith(test.kind)
			s, _ := opened(t, k, test.kind)
			k.files["proc/self/limits"] = newFile("Limit                     Soft Limit           Hard Limit           Units\n" +
				"Max processes             100       100                 processes\n" +
				"Max locked memory         " + test.limit + "              99999999              bytes\n")
			k.files["proc/self/status"] = newFile("Name:\tx\n" + test.locked + "CapEff:\t" + test.caps + "\n")
			m := allocate(t, 128<<10)
			k.fail = func(call string) error {
				if call == "VFIO_IOMMU_MAP_DMA" || call == "IOMMU_IOAS_MAP" {
					return syscall.ENOMEM
				}
				return nil
			}
			_, err := s.Map(0, m, Read)
			wantError(t, err, syscall.ENOMEM, append(test.texts, "map 0x0-0x1ffff for devices")...)
			var short *MemlockError
			if errors.As(err, &short) != test.is {
				t.Errorf("%v", err)
			}
			k.fail = nil
			if len(m.maps) != 0 {
				t.Error("it is taken for mapped")
			}
		})
	}
	k := newKernel()
	err := fmt.Errorf("as it is: %w", syscall.ENOMEM)
	if got := whyNoMemory(k.host().fsys, 1, Groups, err); got != err {
		t.Errorf("without procfs: %v", got)
	}
}

func FuzzMemlockFiles(f *testing.F) {
	f.Add("Max locked memory         65536              99999999              bytes\n", "VmLck:\t 12 kB\nCapEff:\t000001ffffffffff\n")
	f.Add("Max locked memory", "VmLck:\nCapEff:\n")
	f.Add("Max locked memory 99999999999999999999999", "VmPin: 18446744073709551615 kB")
	f.Fuzz(func(t *testing.T, limits, status string) {
		k := newKernel()
		k.files["proc/self/limits"], k.files["proc/self/status"] = newFile(limits), newFile(status)
		for _, kind := range []Interface{Groups, IOMMUFD} {
			err := whyNoMemory(k.host().fsys, 4096, kind, syscall.ENOMEM)
			if !errors.Is(err, syscall.ENOMEM) || len(err.Error()) > 400 || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("%v", err)
			}
		}
	})
}
