package sim

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
)

const (
	devicesDir = "sys/bus/pci/devices/"
	driversDir = "sys/bus/pci/drivers/"
	groupsDir  = "sys/kernel/iommu_groups/"
)

// A device is one PCI function.
type device struct {
	addr, path  string
	home        string // the driver whose table of ids names it, "" if unknown
	driver      *driver
	override    string
	overridden  bool // an override may be any text, also "(null)"
	group       string
	bridge      bool
	methods     []string // the reset methods it has
	enabled     []string // those in use, in their order
	physfn      *device  // of a virtual function
	vfs         []*device
	made        []entry // what its home driver made, while that is not bound
	found       uint64  // how often it was found again after it was removed
	vfioDev     string  // vfio-dev/vfioN while bound to vfio-pci
	vendor, dev string  // ids as hexadecimal digits
}

func (d *device) with(f func(*device, string) error) func(string) error {
	return func(v string) error { return f(d, v) }
}

// complete reads the saved machine and makes what a kernel has and it lacks.
func (k *Kernel) complete() error { return guard(k.fill) }

func (k *Kernel) fill() error {
	if err := k.index("."); err != nil {
		return err
	}
	for _, name := range []string{"sys/bus/pci/drivers_probe", "sys/bus/pci/rescan"} {
		k.ensure(name, "")
	}
	k.ensure("sys/bus/pci/drivers_autoprobe", "1\n")
	must(k.tree.Mkdir(driversDir[:len(driversDir)-1]))
	for _, e := range k.list(driversDir) {
		k.load(e)
	}
	if k.opts.VFIO {
		k.load("vfio-pci")
	}
	for _, addr := range k.list(devicesDir) {
		dir, err := k.resolve(devicesDir + addr)
		if err == nil {
			_, err = k.tree.ReadDir(dir)
		}
		if err != nil {
			return fmt.Errorf("the saved machine has %s%s, which is no directory and no link to one: %w", devicesDir, addr, err)
		}
		k.adopt(addr, dir)
	}
	k.fillUSB()
	k.fillMdev()
	for _, d := range k.dev {
		if k.there(d.path + "/sriov_totalvfs") {
			k.ensure(d.path+"/sriov_drivers_autoprobe", "1\n")
		}
		if pf, err := k.resolve(d.path + "/physfn"); err == nil && k.byPath[pf] != nil {
			d.physfn = k.byPath[pf]
			d.physfn.vfs = append(d.physfn.vfs, d)
		}
	}
	return nil
}

// adopt makes a device of a directory of the saved machine.
func (k *Kernel) adopt(addr, dir string) *device {
	d := &device{addr: addr, path: dir, group: k.linkBase(dir + "/iommu_group")}
	d.vendor, d.dev = hexDigits(k.read(dir+"/vendor")), hexDigits(k.read(dir+"/device"))
	_, err := k.tree.Lstat(dir + "/secondary_bus_number")
	d.bridge = err == nil || strings.HasPrefix(hexDigits(k.read(dir+"/class")), "0604")
	k.dev[addr], k.byPath[dir] = d, d
	k.ensure(dir+"/driver_override", "(null)\n")
	if v := strings.TrimSuffix(k.read(dir+"/driver_override"), "\n"); v != "(null)" {
		d.override, d.overridden = v, true
	}
	for _, attr := range []string{"remove", "rescan"} {
		k.ensure(dir+"/"+attr, "")
	}
	if m, err := k.tree.ReadFile(dir + "/reset_method"); err == nil {
		d.methods = strings.Fields(string(m))
		d.enabled = d.methods
		if len(d.methods) > 0 {
			k.ensure(dir+"/reset", "")
		}
	} else {
		d.methods, d.enabled = []string{"unknown"}, []string{"unknown"} // an old kernel's reset has no list
	}
	name := k.linkBase(dir + "/driver")
	if name == "" {
		return d
	}
	d.driver = k.load(name)
	if !d.driver.stub {
		d.home = name
	}
	k.symlink(driversDir+name+"/"+addr, dir)
	if name == "vfio-pci" {
		k.openVFIO(d, 0)
	}
	return d
}

func hexDigits(v string) string { return strings.TrimPrefix(strings.TrimSpace(v), "0x") }

// ensure makes the file name unless it is there.
func (k *Kernel) ensure(name, content string) {
	if _, err := k.tree.Lstat(name); err != nil {
		k.put(name, content)
	}
}

func (k *Kernel) put(name, content string) { must(k.tree.Put(name, []byte(content))) }

// A treeError is a change that the tree refuses, because the saved machine has a
// file where every kernel has a directory, or the like.
type treeError struct{ error }

// must ends what is being done if the tree refuses a change; guard reports it.
func must(err error) {
	if err != nil {
		panic(treeError{err})
	}
}

func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			refused, ok := r.(treeError)
			if !ok {
				panic(r)
			}
			err = fmt.Errorf("the saved machine is none that a kernel could have: %w", refused.error)
		}
	}()
	return f()
}

// set replaces the content of the file name if it is there.
func (k *Kernel) set(name, content string) {
	if _, err := k.tree.Lstat(name); err == nil {
		k.put(name, content)
	}
}

func (k *Kernel) read(name string) string {
	data, _ := k.tree.ReadFile(name)
	return string(data)
}

func (k *Kernel) list(dir string) []string {
	entries, _ := k.tree.ReadDir(strings.TrimSuffix(dir, "/"))
	var names []string
	for _, e := range entries {
		if e.IsDir() || e.Type()&fs.ModeSymlink != 0 {
			names = append(names, e.Name())
		}
	}
	return names
}

func (k *Kernel) linkBase(name string) string {
	target, err := k.tree.ReadLink(name)
	if err != nil {
		return ""
	}
	return base(target)
}

// symlink makes the link name to the path to, relative as in sysfs.
func (k *Kernel) symlink(name, to string) {
	from := strings.Split(path.Dir(name), "/")
	goal := strings.Split(to, "/")
	same := 0
	for same < len(from) && same < len(goal) && from[same] == goal[same] {
		same++
	}
	k.link(name, strings.Repeat("../", len(from)-same)+strings.Join(goal[same:], "/"))
}

func (k *Kernel) link(name, target string) {
	must(k.tree.Symlink(target, name))
	k.links[name] = follow(name, target)
}

// follow says where the link name to target leads, by the letter.
func follow(name, target string) string {
	if strings.HasPrefix(target, "/") {
		return strings.TrimPrefix(path.Clean(target), "/")
	}
	return strings.TrimPrefix(path.Join("/", path.Dir(name), target), "/")
}

// drop removes name with all that is in it.
func (k *Kernel) drop(name string) {
	if k.tree.Remove(name) != nil {
		return // it was not there
	}
	for l := range k.links {
		if below(l, name) {
			delete(k.links, l)
		}
	}
}

func below(name, dir string) bool {
	return name == dir || len(name) > len(dir) && name[len(dir)] == '/' && name[:len(dir)] == dir
}

// index notes the links at and below dir.
func (k *Kernel) index(dir string) error {
	return fs.WalkDir(k.tree, dir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.Type()&fs.ModeSymlink != 0 {
			var target string
			if target, err = k.tree.ReadLink(name); err == nil {
				k.links[name] = follow(name, target)
			}
		}
		return err
	})
}

// resolve gives the path without links of name, whose last element need not be.
func (k *Kernel) resolve(name string) (string, error) {
	var at []string
	rest := strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		elem := rest[0]
		rest = rest[1:]
		switch elem {
		case "", ".":
			continue
		case "..":
			at = at[:max(len(at)-1, 0)]
			continue
		}
		here := strings.Join(append(slices.Clip(at), elem), "/")
		st, err := k.tree.Lstat(here)
		switch {
		case err != nil:
			return "", syscall.ENOENT
		case st.Mode()&fs.ModeSymlink != 0:
			if links++; links > 40 {
				return "", syscall.ELOOP
			}
			target, err := k.tree.ReadLink(here)
			if err != nil {
				return "", syscall.ENOENT
			}
			if strings.HasPrefix(target, "/") {
				at = nil
			}
			rest = append(strings.Split(target, "/"), rest...)
		case !st.IsDir() && len(rest) > 0:
			return "", syscall.ENOTDIR
		default:
			at = append(at, elem)
		}
	}
	return strings.Join(at, "/"), nil
}
