package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// A driver is one directory in sys/bus/pci/drivers.
type driver struct {
	name  string
	stub  bool            // takes any function, by override or new_id only
	table map[string]bool // addresses its table of ids names
	ids   [][2]string     // from new_id: vendor and device
}

func (d *driver) with(f func(*driver, string) error) func(string) error {
	return func(v string) error { return f(d, v) }
}

// load gives the driver name, and makes its directory with the doors of one.
func (k *Kernel) load(name string) *driver {
	if d := k.driver[name]; d != nil {
		return d
	}
	d := &driver{name: name, stub: name == "vfio-pci" || name == "pci-stub", table: map[string]bool{}}
	k.driver[name] = d
	k.loaded = append(k.loaded, d)
	for _, attr := range []string{"bind", "unbind", "new_id", "remove_id"} {
		k.ensure(driversDir+name+"/"+attr, "")
	}
	if name == "vfio-pci" {
		must(k.tree.Mkdir("sys/class/vfio-dev"))
		k.ensure("dev/vfio/vfio", "")
	}
	return d
}

// AddDriver loads a driver: it appears in sys/bus/pci/drivers and takes the unbound
// functions among addresses, which are those its table of ids names. One without
// addresses takes any function, but only by driver_override or new_id, as pci-stub
// does.
func (k *Kernel) AddDriver(name string, addresses ...string) error {
	if name == "" || strings.ContainsAny(name, "/\n\x00") {
		return fmt.Errorf("sim: %q is no name for a driver", name)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return guard(func() error {
		d := k.load(name)
		for _, a := range addresses {
			d.table[a] = true
		}
		d.stub = d.stub || len(addresses) == 0
		if !k.manual {
			k.attachDriver(d)
		}
		return nil
	})
}

// attachDriver offers d every unbound function.
func (k *Kernel) attachDriver(d *driver) {
	for _, dev := range k.sorted() {
		if dev.driver == nil && k.matches(d, dev) {
			_ = k.probe(d, dev)
		}
	}
}

func (k *Kernel) sorted() []*device {
	var all []*device
	for _, d := range k.dev {
		all = append(all, d)
	}
	slices.SortFunc(all, func(a, b *device) int { return strings.Compare(a.path, b.path) })
	return all
}

// matches says whether the bus would offer dev to d: with an override the name
// alone decides.
func (k *Kernel) matches(d *driver, dev *device) bool {
	if dev.overridden {
		return dev.override == d.name
	}
	return d.knows(dev)
}

func (d *driver) knows(dev *device) bool {
	return dev.home == d.name || d.table[dev.addr] || slices.Contains(d.ids, [2]string{dev.vendor, dev.dev})
}

// probe binds the unbound dev to d, or says why d does not take it.
func (k *Kernel) probe(d *driver, dev *device) error {
	switch {
	case d.name == "vfio-pci" && (dev.bridge || dev.group == ""):
		return syscall.EINVAL
	case d.name == "vfio-pci" && len(dev.vfs) > 0:
		return syscall.EBUSY
	case !d.stub && !d.knows(dev):
		return syscall.ENODEV // most drivers refuse what is not theirs so
	case dev.physfn != nil && !dev.overridden && strings.TrimSpace(k.read(dev.physfn.path+"/sriov_drivers_autoprobe")) == "0":
		return syscall.ENODEV
	}
	dev.driver = d
	k.symlink(dev.path+"/driver", driversDir+d.name)
	k.symlink(driversDir+d.name+"/"+dev.addr, dev.path)
	k.ueventDriver(dev)
	if d.name == dev.home {
		if made := dev.made; len(made) > 0 {
			if k.opts.RenameNet {
				made = k.renameNet(made)
			}
			k.attach(made)
			dev.made = nil
		}
	}
	if d.name == "vfio-pci" {
		k.openVFIO(dev, k.opts.NodeDelay)
	}
	k.event()
	return nil
}

// leave unbinds dev from the driver it has.
func (k *Kernel) leave(dev *device) {
	d := dev.driver
	if d == nil {
		return
	}
	k.setVFs(dev, 0)
	k.mdevRemoveAll(dev.path)
	if d.name == "vfio-pci" {
		k.closeVFIO(dev)
	}
	if made := k.madeByDriver(dev); d.name == dev.home {
		dev.made = made
	}
	dev.driver = nil
	k.drop(dev.path + "/driver")
	k.drop(driversDir + d.name + "/" + dev.addr)
	k.ueventDriver(dev)
	if d.name == "vfio-pci" {
		k.groupNode(dev.group, 0)
	}
	k.event()
}

// ueventDriver brings the line DRIVER= of dev's uevent file up to date.
func (k *Kernel) ueventDriver(dev *device) {
	name := ""
	if dev.driver != nil {
		name = dev.driver.name
	}
	k.ueventLine(dev.path, name)
}

// event counts one event, by which watchers see that something changed.
func (k *Kernel) event() {
	const seqnum = "sys/kernel/uevent_seqnum"
	if n, err := strconv.ParseUint(strings.TrimSpace(k.read(seqnum)), 10, 64); err == nil {
		k.put(seqnum, strconv.FormatUint(n+1, 10)+"\n")
	}
}

// byName finds the function a value names, which may end in one newline.
func (k *Kernel) byName(value string) *device {
	value, _, _ = strings.Cut(value, "\x00")
	return k.dev[strings.TrimSuffix(value, "\n")]
}

func (k *Kernel) bind(d *driver, value string) error {
	dev := k.byName(value)
	switch {
	case dev == nil || !k.matches(d, dev):
		return syscall.ENODEV
	case dev.driver != nil:
		return syscall.EBUSY
	}
	return k.probe(d, dev)
}

func (k *Kernel) unbind(d *driver, value string) error {
	dev := k.byName(value)
	if dev == nil || dev.driver != d {
		return syscall.ENODEV
	}
	k.leave(dev)
	return nil
}

// driversProbe offers a function to every driver. That none takes it, or that the
// one that would fails, is no error.
func (k *Kernel) driversProbe(value string) error {
	dev := k.byName(value)
	if dev == nil {
		return syscall.ENODEV
	}
	k.offer(dev)
	return nil
}

func (k *Kernel) offer(dev *device) {
	drivers := k.loaded
	if home := k.driver[dev.home]; home != nil {
		drivers = append([]*driver{home}, drivers...) // it was there first
	}
	for _, d := range drivers {
		if dev.driver == nil && k.matches(d, dev) {
			_ = k.probe(d, dev)
		}
	}
}

func (k *Kernel) driversAutoprobe(value string) error {
	k.manual = value[0] == '0'
	k.put("sys/bus/pci/drivers_autoprobe", map[bool]string{true: "0\n", false: "1\n"}[k.manual])
	return nil
}

// parseIDs reads what new_id takes: vendor and device, and up to five more numbers
// that are not looked at here.
func parseIDs(value string) (ids [2]string, ok bool) {
	f := strings.Fields(value)
	for i := range min(len(f), 2) {
		n, err := strconv.ParseUint(strings.TrimPrefix(f[i], "0x"), 16, 32)
		if err != nil {
			return ids, false
		}
		ids[i] = fmt.Sprintf("%04x", n)
	}
	return ids, len(f) >= 2
}

func (k *Kernel) newID(d *driver, value string) error {
	ids, ok := parseIDs(value)
	if !ok {
		return syscall.EINVAL
	}
	if slices.Contains(d.ids, ids) {
		return syscall.EEXIST
	}
	d.ids = append(d.ids, ids)
	k.attachDriver(d)
	return nil
}

func (k *Kernel) removeID(d *driver, value string) error {
	ids, ok := parseIDs(value)
	if !ok {
		return syscall.EINVAL
	}
	at := slices.Index(d.ids, ids)
	if at < 0 {
		return syscall.ENODEV
	}
	d.ids = slices.Delete(d.ids, at, at+1)
	return nil
}
