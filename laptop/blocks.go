package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// A block is one block device: a disk, a partition, or one that the host makes of
// others, with what carries it.
type block struct {
	name      string
	path      string        // below /sys/devices, empty when the link does not lead there
	parent    string        // of a partition the name of its disk
	virtual   bool          // under /sys/devices/virtual
	functions []pci.Address // every PCI function in its path
	port      usb.PortPath  // the USB device that carries it, if one does
}

// node returns the device node, in whose name / stands where sysfs has !.
func (b *block) node() string { return "dev/" + strings.ReplaceAll(b.name, "!", "/") }

// blocks are the block devices of a machine.
type blocks struct {
	fsys   fs.FS
	dir    string // with one link for each
	list   []block
	byName map[string]*block
	mapped map[string]string // kernel's names by those of device mapper, nil before the first question
	labels map[string]string // what a person calls those that were asked for
	errs   []error           // what could not be read on the way from a mount to its disks
}

// readBlocks lists the block devices from the links in /sys/class/block, or in
// /sys/block, which has disks alone, where a saved machine has only that.
func readBlocks(fsys fs.FS) (*blocks, error) {
	b := &blocks{fsys: fsys, dir: "sys/class/block", byName: map[string]*block{}, labels: map[string]string{}}
	entries, err := fs.ReadDir(fsys, b.dir)
	if errors.Is(err, fs.ErrNotExist) {
		b.dir = "sys/block"
		entries, err = fs.ReadDir(fsys, b.dir)
	}
	if err != nil {
		return b, unlessMissing(fmt.Errorf("list block devices: %w", err), 0)
	}
	var errs []error
	for _, e := range entries {
		target, err := fs.ReadLink(fsys, b.dir+"/"+e.Name())
		if err != nil {
			errs = append(errs, fmt.Errorf("block device %s: %w", e.Name(), err))
			continue
		}
		add := func(name, target string) {
			if err := b.add(name, target); err != nil {
				errs = append(errs, fmt.Errorf("block device %s: %w", name, err))
			}
		}
		add(e.Name(), target)
		if b.dir == "sys/block" {
			inside, err := fs.ReadDir(fsys, b.dir+"/"+e.Name())
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, fmt.Errorf("partitions of %s: %w", e.Name(), err))
			}
			for _, part := range inside {
				if strings.HasPrefix(part.Name(), e.Name()) {
					add(part.Name(), target+"/"+part.Name())
				}
			}
		}
	}
	for i := range b.list {
		b.byName[b.list[i].name] = &b.list[i]
	}
	return b, errors.Join(errs...)
}

func (b *blocks) add(name, target string) (err error) {
	if isPath(name) {
		return nil
	}
	d := block{
		name: name, parent: path.Base(path.Dir(target)),
		functions: pci.InPath(target), virtual: strings.Contains(target, "/virtual/"),
	}
	d.port, _ = usb.InPath(target)
	if p, err := pathIn(target); err == nil {
		d.path = p
	}
	if _, rest, ok := strings.Cut(target, "/nvme-subsystem/"); ok {
		d.functions, err = subsystemFunctions(b.fsys, rest)
	}
	b.list = append(b.list, d)
	return err
}

// isPath reports whether a name is that of one path to an NVMe disk with several, as
// nvme0c0n1: it has no node and is the same disk as nvme0n1.
func isPath(name string) bool {
	var subsystem, controller, namespace int
	n, _ := fmt.Sscanf(name, "nvme%dc%dn%d", &subsystem, &controller, &namespace)
	return n == 3
}

// subsystemFunctions returns the functions behind an NVMe disk with several paths:
// it sits under /sys/devices/virtual/nvme-subsystem/NAME, which links to the
// controllers. What is missing is no error.
func subsystemFunctions(fsys fs.FS, rest string) ([]pci.Address, error) {
	name, _, _ := strings.Cut(rest, "/")
	dir := "sys/class/nvme-subsystem/" + name
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, unlessMissing(err, 0)
	}
	var functions []pci.Address
	var errs []error
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "nvme") || e.Type()&fs.ModeSymlink == 0 {
			continue // one of the subsystem's files
		}
		target, err := fs.ReadLink(fsys, dir+"/"+e.Name())
		if err != nil {
			errs = append(errs, unlessMissing(err, 0))
			continue
		}
		functions = append(functions, pci.InPath(target)...)
	}
	return functions, errors.Join(errs...)
}

// disksInUse adds to h what the host has mounted or swaps to, and where it would put
// its hibernation image, and says whether that is known: it is not when a mount table is
// missing or a device in it cannot be followed to the disks below.
func (h *hostUses) disksInUse(b *blocks) error {
	mounts, known, err := readMounts(b.fsys)
	h.disksKnown = known && err == nil
	// One disk is often mounted at many places, by bind mounts and snapshots.
	var names []string
	places := map[string][]mount{}
	for _, m := range mounts {
		name, known := b.below(m)
		if !known {
			h.disksKnown = false
			h.disksWhy = b.why(m)
		}
		if name == "" {
			continue
		}
		if places[name] == nil {
			names = append(names, name)
		}
		if !slices.ContainsFunc(places[name][:min(maxPlaces, len(places[name]))], func(p mount) bool { return p.what == m.what }) {
			places[name] = append(places[name], m)
		}
	}
	visited := map[string]bool{}
	for _, name := range names {
		seen := map[string]bool{}
		use := Use{Code: HostDisk, Via: []string{placesOf(places[name])}, Evidence: evidenceOf(places[name])}
		if !h.follow(b, name, use, seen) {
			h.disksKnown = false
		}
		maps.Copy(visited, seen)
	}
	// An open LUKS volume, a logical volume, a RAID or a cache holds its disks, mounted or not.
	for _, d := range b.list {
		if isMade(d.name) && !visited[d.name] && d.virtual {
			if !h.follow(b, d.name, Use{Code: HostDisk, Evidence: "sys/class/block/" + d.name}, visited) {
				h.disksKnown = false
			}
		}
	}
	h.mounted = visited
	imageErr := h.hibernation(b)
	return errors.Join(append(b.errs, err, imageErr)...)
}

// isMade reports whether a block device is one that the host makes of others and that
// holds them as long as it is there.
func isMade(name string) bool {
	return strings.HasPrefix(name, "dm-") || strings.HasPrefix(name, "md") || strings.HasPrefix(name, "bcache")
}

// maxPlaces is how many of the places where a disk is mounted are named.
const maxPlaces = 3

// placesOf names where one block device is mounted.
func placesOf(mounts []mount) string {
	var names []string
	for _, m := range mounts[:min(maxPlaces, len(mounts))] {
		names = append(names, m.what)
	}
	s := strings.Join(names, ", ")
	if more := len(mounts) - maxPlaces; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// evidenceOf names the tables that say so.
func evidenceOf(mounts []mount) string {
	var files []string
	for _, m := range mounts {
		if !slices.Contains(files, m.table) {
			files = append(files, m.table)
		}
	}
	return strings.Join(files, ", ")
}

// unread notes an error, unless it is that something is not there.
func (b *blocks) unread(what string, err error) {
	if !errors.Is(err, fs.ErrNotExist) {
		b.errs = append(b.errs, fmt.Errorf("%s: %w", what, err))
	}
}

// below returns the block device of a mount, empty when it has none, and whether
// that is known.
func (b *blocks) below(m mount) (name string, known bool) {
	if m.device != "" && !strings.HasPrefix(m.device, "0:") {
		if base, ok := b.numbered(m.device); ok {
			return base, true
		}
	}
	source, ok := strings.CutPrefix(m.source, "/dev/")
	switch {
	case m.kind == "zfs":
		return "", false // nothing in sysfs tells the disks of a pool
	case !ok, source == "fuse":
		return "", true
	}
	if mapped, ok := strings.CutPrefix(source, "mapper/"); ok {
		if name = b.byMapperName(mapped); name != "" {
			return name, true
		}
	}
	name = strings.ReplaceAll(source, "/", "!")
	if b.byName[name] == nil {
		return b.linked(source)
	}
	return name, true
}

// numbered returns the block device of a number, MAJOR:MINOR.
func (b *blocks) numbered(number string) (name string, ok bool) {
	base, err := hostfs.ReadLinkBase(b.fsys, "sys/dev/block/"+number)
	if err != nil {
		b.unread("block device "+line(number), err)
	}
	return base, err == nil
}

// linked returns the block device that a link below /dev leads to, as the names that
// udev gives: disk/by-uuid/..., VOLUMEGROUP/VOLUME.
func (b *blocks) linked(source string) (name string, known bool) {
	if !fs.ValidPath("dev/" + source) {
		return "", false
	}
	base, err := hostfs.ReadLinkBase(b.fsys, "dev/"+source)
	if err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, fs.ErrInvalid) { // a node, by a name of its own
		b.unread("link to a block device", err)
	}
	return base, err == nil && b.byName[base] != nil
}

// why says why the disks below a mount are not known.
func (b *blocks) why(m mount) string {
	if m.kind == "zfs" {
		return "the kernel does not say on which disks the ZFS pool is that is mounted at " + m.what
	}
	return "nothing says on which disk " + m.what + " is"
}

func (b *blocks) byMapperName(mapped string) string {
	if b.mapped == nil {
		b.mapped = map[string]string{}
		for _, d := range b.list {
			if !strings.HasPrefix(d.name, "dm-") {
				continue
			}
			s, err := hostfs.ReadString(b.fsys, b.dir+"/"+d.name+"/dm/name")
			if err != nil {
				b.unread("name of "+d.name, err)
				continue
			}
			b.mapped[s] = d.name
		}
	}
	return b.mapped[mapped]
}

// follow walks from a block device down to the disks it is made of (slaves, as of
// device mapper and MD) and adds them as used, for the use whose Via has led there. It
// reports whether each was found.
func (h *hostUses) follow(b *blocks, name string, use Use, seen map[string]bool) bool {
	d := b.byName[name]
	switch {
	case seen[name]:
		return true
	case d == nil, h.tooFar(len(seen)):
		return false
	}
	seen[name] = true
	first := b.label(name)
	if len(use.Via) == 0 {
		first = "open as " + first
	}
	use.Via = append(slices.Clip(use.Via), first)
	if len(d.functions) > 0 || d.port.IsValid() {
		use.What, use.Functions, use.Port, use.Node = strings.Join(use.Via, " on "), d.functions, d.port, name
		h.uses = append(h.uses, use)
		return true
	}
	slaves, err := fs.ReadDir(b.fsys, b.dir+"/"+name+"/slaves")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.unread("disks below "+name, err)
		return false
	}
	found := true
	for _, s := range slaves {
		found = h.follow(b, s.Name(), use, seen) && found
	}
	switch {
	case len(slaves) > 0 || !d.virtual:
		return found
	case b.byName[d.parent] != nil: // a partition, as md0p1
		return h.follow(b, d.parent, use, seen)
	case strings.HasPrefix(name, "loop"):
		return h.behind(b, name, "loop/backing_file", use, seen)
	case strings.HasPrefix(name, "zram"):
		return h.behind(b, name, "backing_dev", use, seen)
	}
	// What else the kernel makes of disks has slaves: without them the saved machine
	// does not say what is below.
	return strings.HasPrefix(name, "ram") || strings.HasPrefix(name, "nbd")
}

// behind follows a block device to the file or device that its attribute names. A file
// is on a file system that is mounted itself, a device is not.
func (h *hostUses) behind(b *blocks, name, attribute string, use Use, seen map[string]bool) bool {
	backing, err := hostfs.ReadString(b.fsys, b.dir+"/"+name+"/"+attribute)
	if err != nil {
		b.unread("what is behind "+name, err)
		// zram is memory, and only kernels that can write it out say where to.
		return attribute == "backing_dev" && errors.Is(err, fs.ErrNotExist)
	}
	below, known := b.below(mount{source: backing})
	return known && (below == "" || h.follow(b, below, use, seen))
}
