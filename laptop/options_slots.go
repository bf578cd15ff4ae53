package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
)

// totalVirtual reads how many virtual functions a function can show, from
// sriov_totalvfs: 0 for one that can show none, or does not say.
func totalVirtual(fsys fs.FS, a pci.Address) (int, error) {
	s, err := hostfs.ReadString(fsys, "sys/bus/pci/devices/"+a.String()+"/sriov_totalvfs")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	n := uint64(0)
	if err == nil {
		n, err = strconv.ParseUint(s, 10, 16)
	}
	if err != nil {
		return 0, fmt.Errorf("virtual functions of %s: %w", a, err)
	}
	return int(n), nil
}

// A slotPlace is a slot of the machine with a name of the firmware's or the kernel's.
type slotPlace struct {
	name  string
	place pci.Address // of function 0
}

// readSlots reads /sys/bus/pci/slots: one open a slot. A slot that is a whole bus, or
// whose place is no address, is left out.
func readSlots(fsys fs.FS) ([]slotPlace, error) {
	const dir = "sys/bus/pci/slots"
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("slots: %w", err)
	}
	var errs []error
	var slots []slotPlace
	for _, e := range entries {
		s, err := hostfs.ReadString(fsys, dir+"/"+e.Name()+"/address")
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, fmt.Errorf("slot %s: %w", oneLine(e.Name()), err))
			}
			continue
		}
		if a, err := pci.ParseAddress(s + ".0"); err == nil {
			slots = append(slots, slotPlace{e.Name(), a})
		}
	}
	return slots, errors.Join(errs...)
}

// maxSlots is how many empty slots are offered.
const maxSlots = 4

// slots offers the empty slots for a card that shares its group with what is not on
// it. Only a machine with slots has any; which group a card would be in there shows
// only then.
func (c *choices) slots() {
	g := c.Group(c.d.Group())
	if g == nil {
		return
	}
	strangers := false
	for _, a := range c.Endpoints(g) {
		strangers = strangers || slot(a) != slot(c.d.PCI.Address)
	}
	if !strangers || !c.isolates(c.d) {
		return
	}
	slots, err := readSlots(c.fsys)
	if err != nil {
		c.errs = append(c.errs, err)
	}
	used := map[pci.Address]bool{}
	for i := range c.Devices {
		if f := c.Devices[i].PCI; f != nil {
			used[slot(f.Address)] = true
		}
	}
	own := ""
	for _, s := range slots {
		if s.place == slot(c.d.PCI.Address) {
			own = s.name
		}
	}
	if own == "" {
		return // not in a slot: soldered, as far as is known
	}
	offered := 0
	for _, s := range slots {
		if used[s.place] || offered == maxSlots {
			continue
		}
		offered++
		c.options = append(c.options, Option{
			Kind: OtherSlot, Device: c.d.ID(), Available: true, worth: worth{certainty: unsure},
			Detail: fmt.Sprintf("if it is a card that can be moved from slot %s, try slot %s, which is empty: "+
				"there it may be in another IOMMU group, which indy groups then shows", own, s.name),
			Cost:     "the host loses nothing besides",
			Evidence: "/sys/bus/pci/slots/" + s.name + "/address",
		})
	}
}
