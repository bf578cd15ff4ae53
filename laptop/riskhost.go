package laptop

import (
	"errors"
	"fmt"
	"slices"

	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/pci"
)

// host adds what the host loses and a listing cannot say: what is lost only because
// several groups change hands together, and what is mounted where the reader does not
// see it.
func (r *risks) host(devices []*Device) {
	n := newNeeds(r.l, r.l.host)
	r.keyboards(n, devices)
	i := slices.IndexFunc(devices, func(d *Device) bool { return n.plays(d, Storage) })
	if i < 0 {
		return
	}
	mounts, err := readElsewhere(r.fsys)
	r.note(err)
	if len(mounts) == 0 {
		return
	}
	b, err := readBlocks(r.fsys)
	r.note(err)
	found := b.elsewhere(n.mounted, mounts)
	r.note(errors.Join(found.errs...))
	for _, u := range found.uses {
		for _, a := range u.Functions {
			if slices.Contains(r.handed, a) {
				r.found = append(r.found, Finding{
					Code: HostDisk, Severity: Block, Device: "pci:" + a.String(), Remedy: u.remedy(), Evidence: "/" + u.Evidence,
					Detail: fmt.Sprintf("%s carries a disk the host is using: %s", a, u.What),
				})
			}
		}
	}
	for _, u := range found.unknown {
		r.found = append(r.found, Finding{
			Code: HostDiskUnknown, Severity: Gap, Device: devices[i].ID(), Remedy: lookAgain, Evidence: "/" + u.table, Detail: u.what,
		})
	}
}

// keyboards says that the host is left without a keyboard when all the devices go. What
// a listing says of one of them is not said again.
func (r *risks) keyboards(n *needs, devices []*Device) {
	set := slices.Clone(devices)
	for _, d := range devices {
		if slices.ContainsFunc(d.Findings, func(f Finding) bool { return f.Code == OnlyKeyboard }) {
			return
		}
	}
	gone, going, staying := n.seat.lost(func(kind string) bool { return kind == "keyboard" }, n.goesWith(set))
	if going == iommu.No || staying == iommu.Yes || len(gone) == 0 {
		return
	}
	f := Finding{
		Code: OnlyKeyboard, Severity: Block, Evidence: "/sys/class/input", Remedy: anotherKeyboard,
		Detail: "together they take the host's only keyboards along: " + namesOf(gone),
	}
	if going == iommu.Unknown || staying == iommu.Unknown {
		f.Severity, f.Remedy = Gap, lookAgain
		f.Detail = "whether together they take the host's only keyboards along is not known: " + namesOf(gone)
	}
	var on pci.Address
	for _, in := range gone {
		if c := in.device.Controller(); slices.Contains(r.handed, c) {
			on = c
			break
		}
	}
	if !on.IsValid() && len(r.handed) > 0 {
		on = r.handed[0]
	}
	f.Device = "pci:" + on.String()
	r.found = append(r.found, f)
}
