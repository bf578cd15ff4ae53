package sim

import (
	"maps"
	"slices"
)

// Clone returns a kernel in the same state, without Fail, without the list of writes
// and without nodes that are still to come after [Options].NodeDelay. What is done to one
// of the two is not seen in the other. It costs little, whatever the size of the machine.
func (k *Kernel) Clone() *Kernel {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := &Kernel{
		opts: k.opts, tree: k.tree.Clone(), links: maps.Clone(k.links), usb: maps.Clone(k.usb), kinds: k.kinds.clone(), manual: k.manual,
		dev: make(map[string]*device, len(k.dev)), byPath: make(map[string]*device, len(k.byPath)), driver: make(map[string]*driver, len(k.driver)),
	}
	drivers := map[*driver]*driver{}
	for _, d := range k.loaded {
		d2 := *d
		d2.table, d2.ids = maps.Clone(d.table), slices.Clone(d.ids)
		drivers[d] = &d2
		c.loaded = append(c.loaded, &d2)
		c.driver[d.name] = &d2
	}
	// The lists of methods, and of what was taken out of the tree, are replaced and
	// never changed.
	devices := map[*device]*device{}
	copied := func(d *device) *device {
		if devices[d] == nil {
			d2 := *d
			d2.driver = drivers[d.driver]
			devices[d] = &d2
		}
		return devices[d]
	}
	for addr, d := range k.dev {
		c.dev[addr] = copied(d)
	}
	for dir, d := range k.byPath {
		c.byPath[dir] = copied(d)
	}
	for _, r := range k.gone {
		c.gone = append(c.gone, &removed{copied(r.dev), r.entries})
	}
	for _, d := range devices {
		d.physfn = devices[d.physfn]
		d.vfs = slices.Clone(d.vfs)
		for i, vf := range d.vfs {
			d.vfs[i] = devices[vf]
		}
	}
	return c
}
