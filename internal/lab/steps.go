package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Functions of the laptop that the self-test works with.
const (
	nvme   = "0000:02:00.0"
	bridge = "0000:03:00.0"
	nic    = "0000:04:01.0"
	sound  = "0000:04:02.0"

	noOverride = "(null)" // how the kernel prints an empty driver_override
)

func atHome(driver string) binding { return binding{driver, noOverride} }

func assigned() binding { return binding{"vfio-pci", "vfio-pci"} }

func (in *inside) steps() []step {
	return []step{
		{"indy devices", in.devices},
		{"indy groups", in.groups},
		{"indy plan changes nothing", in.plan},
		{"indy assign", in.assign},
		{"indy leases", in.leaseHeld},
		{"indy run boots a guest from the assigned disk", in.runLeased},
		{"the lease outlives the guest", in.leaseHeld},
		{"indy release", in.release},
		{"half a group is refused", in.refuseHalf},
		{"a whole group is assigned", in.assignGroup},
		{"a whole group is released", in.releaseGroup},
		{"indy run assigns and gives back by itself", in.runOnce},
	}
}

type deviceList struct {
	Devices []struct {
		ID         string
		Bus        string
		Address    string
		Role       string
		VendorID   string `json:"vendor_id"`
		DeviceID   string `json:"device_id"`
		Driver     string
		IOMMUGroup *int `json:"iommu_group"`
		Verdict    string
	}
}

func (in *inside) devices(ctx context.Context) (string, error) {
	var list deviceList
	if err := in.read(ctx, &list, "devices"); err != nil {
		return "", err
	}
	return list.check()
}

// check compares the list with what the laptop is made of.
func (list *deviceList) check() (string, error) {
	want := []struct{ address, role, ids, driver, verdict string }{
		{nvme, "storage", "1b36:0010", "nvme", "assignable"},
		{"0000:01:00.0", "ethernet", "8086:10d3", "e1000e", ""},
		{"0000:05:00.0", "ethernet", "8086:10c9", "igb", ""},
		{"0000:00:10.0", "gpu", "1af4:1050", "virtio-pci", ""},
		{"0000:00:14.0", "usb-controller", "1b36:000d", "xhci_hcd", ""},
		{"0000:00:1b.0", "audio", "8086:2668", "snd_hda_intel", ""},
		{nic, "ethernet", "8086:100e", "e1000", "with-companions"},
		{sound, "audio", "8086:293e", "snd_hda_intel", "with-companions"},
	}
	var errs []error
	for _, w := range want {
		found := false
		for _, d := range list.Devices {
			if d.Bus != "pci" || d.Address != w.address {
				continue
			}
			found = true
			ids := d.VendorID + ":" + d.DeviceID
			if d.ID != "pci:"+w.address || d.Role != w.role || ids != w.ids || d.Driver != w.driver ||
				d.IOMMUGroup == nil || w.verdict != "" && d.Verdict != w.verdict {
				errs = append(errs, fmt.Errorf("%s is listed as %+v, wanted %+v", w.address, d, w))
			}
		}
		if !found {
			errs = append(errs, fmt.Errorf("%s, role %s, is not listed", w.address, w.role))
		}
	}
	return fmt.Sprintf("%d devices, among them %s (storage, nvme, assignable)", len(list.Devices), nvme), errors.Join(errs...)
}

type groupList struct {
	IOMMU struct {
		Enabled            bool
		Kind               string
		InterruptRemapping bool `json:"interrupt_remapping"`
	}
	Groups []struct {
		ID      int
		Devices []string
	}
}

func (in *inside) groups(ctx context.Context) (string, error) {
	var list groupList
	if err := in.read(ctx, &list, "groups"); err != nil {
		return "", err
	}
	return list.check()
}

func (list *groupList) check() (string, error) {
	if i := list.IOMMU; !i.Enabled || i.Kind != "intel" || !i.InterruptRemapping {
		return "", fmt.Errorf("the IOMMU is described as %+v, wanted an enabled intel one with interrupt remapping", i)
	}
	for _, g := range list.Groups {
		if !slices.Contains(g.Devices, nic) {
			continue
		}
		if got := slices.Sorted(slices.Values(g.Devices)); !slices.Equal(got, []string{bridge, nic, sound}) {
			return "", fmt.Errorf("group %d holds %v", g.ID, got)
		}
		return fmt.Sprintf("%d groups, Intel IOMMU with interrupt remapping; %s, %s and %s are one group",
			len(list.Groups), bridge, nic, sound), nil
	}
	return "", fmt.Errorf("no group holds %s", nic)
}

func (in *inside) plan(ctx context.Context) (string, error) {
	r, err := in.want(ctx, 0, "plan", nvme)
	if err != nil {
		return "", err
	}
	for _, word := range []string{nvme, "driver_override", "vfio-pci"} {
		if !strings.Contains(r.stdout, word) {
			return "", fmt.Errorf("%w\nwanted a plan with %q in it", r, word)
		}
	}
	return nvme + " is still with nvme", in.expect(ctx, map[string]binding{nvme: atHome("nvme")})
}

func (in *inside) assign(ctx context.Context) (string, error) {
	if _, err := in.want(ctx, 0, "assign", nvme, "--guest", "selftest"); err != nil {
		return "", err
	}
	if err := in.expect(ctx, map[string]binding{nvme: assigned()}); err != nil {
		return "", err
	}
	_, node, err := in.vfioNode(nvme)
	return fmt.Sprintf("%s (nvme -> vfio-pci), %s is there", nvme, node), err
}

type leaseList struct {
	Leases []struct {
		Guest   string
		Devices []string
		Groups  []int
		State   string
	}
}

// leaseHeld expects one lease: the NVMe, for the guest selftest.
func (in *inside) leaseHeld(ctx context.Context) (string, error) {
	group, _, err := in.vfioNode(nvme)
	if err != nil {
		return "", err
	}
	var list leaseList
	if err := in.read(ctx, &list, "leases"); err != nil {
		return "", err
	}
	if len(list.Leases) != 1 {
		return "", fmt.Errorf("there are %d leases, wanted one: %+v", len(list.Leases), list.Leases)
	}
	l := list.Leases[0]
	if l.Guest != "selftest" || !slices.Equal(l.Devices, []string{nvme}) ||
		!slices.Equal(l.Groups, []int{group}) || l.State != "assigned" {
		return "", fmt.Errorf("the lease is %+v, wanted guest selftest with %s of group %d, assigned", l, nvme, group)
	}
	return fmt.Sprintf("guest %s holds %s, group %d", l.Guest, nvme, group),
		in.expect(ctx, map[string]binding{nvme: assigned()})
}

func (in *inside) noLease(ctx context.Context) error {
	var list leaseList
	if err := in.read(ctx, &list, "leases"); err != nil {
		return err
	}
	if len(list.Leases) != 0 {
		return fmt.Errorf("there are still leases: %+v", list.Leases)
	}
	return nil
}

// diskBack expects the NVMe to be the laptop's own again.
func (in *inside) diskBack(ctx context.Context) (string, error) {
	if err := in.expect(ctx, map[string]binding{nvme: atHome("nvme")}); err != nil {
		return "", err
	}
	if err := in.isLab(ctx); err != nil { // reads the disk's serial number
		return "", err
	}
	return nvme + " (vfio-pci -> nvme), nvme0n1 is back, no lease is left", in.noLease(ctx)
}

func (in *inside) release(ctx context.Context) (string, error) {
	if _, err := in.want(ctx, 0, "release", nvme); err != nil {
		return "", err
	}
	return in.diskBack(ctx)
}
