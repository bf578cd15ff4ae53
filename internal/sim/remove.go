package sim

import (
	"slices"
	"strings"
)

// removed is a function that was taken away and what it left with.
type removed struct {
	dev     *device
	entries []entry
}

// remove takes the function away, those behind it first.
func (k *Kernel) remove(dev *device, value string) error {
	if n, err := number(value); err != nil || n == 0 {
		return err
	}
	behind := k.sorted()
	slices.Reverse(behind)
	for _, d := range behind {
		if below(d.path, dev.path) && k.dev[d.addr] == d {
			if entries := k.take(d); d.physfn == nil { // a virtual function is not found again
				k.gone = append(k.gone, &removed{d, entries})
			}
		}
	}
	return nil
}

// take takes the function dev out of the machine.
func (k *Kernel) take(dev *device) []entry {
	k.leave(dev)
	entries := k.detach(dev.path)
	if dev.group != "" && len(k.list(groupsDir+dev.group+"/devices")) == 0 {
		entries = append(entries, k.detach(groupsDir+dev.group)...)
	}
	delete(k.dev, dev.addr)
	delete(k.byPath, dev.path)
	if pf := dev.physfn; pf != nil {
		pf.vfs = slices.DeleteFunc(pf.vfs, func(d *device) bool { return d == dev })
	}
	k.event()
	return entries
}

// rescan finds the functions that were removed: without their override, and with
// the driver that takes them.
func (k *Kernel) rescan(value string) error {
	if n, err := number(value); err != nil || n == 0 {
		return err
	}
	slices.SortFunc(k.gone, func(a, b *removed) int { return strings.Compare(a.dev.path, b.dev.path) })
	found := k.gone
	k.gone = nil
	for _, r := range found {
		d := r.dev
		k.attach(r.entries)
		k.dev[d.addr], k.byPath[d.path] = d, d
		d.override, d.overridden = "", false
		d.enabled = d.methods
		d.found++
		k.showOverride(d)
		if _, err := k.tree.Lstat(d.path + "/reset_method"); err == nil {
			_ = k.resetMethod(d, "default")
		}
		k.event()
	}
	for _, r := range found {
		k.offer(r.dev) // also with drivers_autoprobe 0, which PCI does not ask here
	}
	return nil
}
