package assign

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// waitingClasses are those whose drivers wait, when a device is taken from them, until the
// last program has closed it (snd_card_free, vfio_unregister_group_dev, and others that
// ask their users to go).
var waitingClasses = []string{"sound", "drm", "video4linux", "dvb", "vfio-dev"}

// Bounds of what is looked at below one device.
const (
	maxNodes     = 256
	maxNodeDepth = 3
)

// Nodes returns the nodes below /dev by which programs use a device and for which its
// driver waits when it shall let go, as dev/snd/controlC0, sorted: those of sound cards,
// graphics, cameras and VFIO. Others, as those of disks, are not waited for. The device
// is named as in /sys/bus/BUS/devices. It reads some directories of sysfs; a device that
// is not there has none.
func Nodes(fsys fs.FS, bus, device string) ([]string, error) {
	dir := "sys/bus/" + bus + "/devices/" + device
	if !fs.ValidPath(dir) {
		return nil, fmt.Errorf("nodes of %s: %w", device, fs.ErrInvalid)
	}
	entries, err := fs.ReadDir(fsys, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var nodes []string
	var errs []error
	if err != nil {
		errs = append(errs, err)
	}
	for _, e := range entries {
		if slices.Contains(waitingClasses, e.Name()) && e.IsDir() {
			errs = append(errs, below(fsys, dir+"/"+e.Name(), maxNodeDepth, &nodes))
		}
		// The group has its node as long as VFIO has the function.
		if e.Name() == "vfio-dev" {
			if group, err := hostfs.ReadLinkBase(fsys, dir+"/iommu_group"); err == nil {
				nodes = append(nodes, "dev/vfio/"+group)
			}
		}
	}
	// NVIDIA's driver makes its nodes without sysfs.
	if driver, err := hostfs.ReadLinkBase(fsys, dir+"/driver"); err == nil && driver == "nvidia" {
		all, err := fs.ReadDir(fsys, "dev")
		errs = append(errs, err)
		for _, e := range all {
			if strings.HasPrefix(e.Name(), "nvidia") && !e.IsDir() && len(nodes) < maxNodes {
				nodes = append(nodes, "dev/"+e.Name())
			}
		}
	}
	slices.Sort(nodes)
	return slices.Compact(nodes), errors.Join(errs...)
}

// below adds the nodes of what is in a directory: each directory there that has a number
// (dev) says the node's name in its uevent.
func below(fsys fs.FS, dir string, depth int, nodes *[]string) error {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	var errs []error
	for _, e := range entries {
		if !e.IsDir() || e.Name() == "power" || len(*nodes) >= maxNodes {
			continue
		}
		at := dir + "/" + e.Name()
		text, err := fs.ReadFile(fsys, at+"/uevent")
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			node, ok := strings.CutPrefix(strings.TrimSpace(line), "DEVNAME=")
			if !ok {
				continue
			}
			if strings.HasPrefix(at[strings.LastIndexByte(at[:len(at)-len(e.Name())-1], '/')+1:], "vfio-dev/") {
				node = "vfio/devices/" + e.Name() // where devtmpfs puts it, whatever the kernel names it
			}
			if node = "dev/" + strings.TrimPrefix(node, "/dev/"); fs.ValidPath(node) {
				*nodes = append(*nodes, node)
			}
		}
		if depth > 1 {
			errs = append(errs, below(fsys, at, depth-1, nodes))
		}
	}
	return errors.Join(errs...)
}

// Holders returns who has one of the nodes open or mapped, by the number of the process.
// It looks at all processes of the host, and names the first of many; without nodes at none. Without root those of
// others are not seen, and a descriptor on its way between two processes is in none.
func Holders(fsys fs.FS, nodes []string) ([]Holder, error) {
	if len(nodes) == 0 {
		return nil, nil
	}
	open, err := laptop.ReadOpen(fsys)
	var holders []Holder
	for _, node := range nodes {
		for _, h := range open.Nodes[node] {
			guest, _ := guestOf(fsys, h.PID)
			holders = append(holders, Holder{PID: h.PID, Name: h.Program, Node: node, Guest: guest})
		}
	}
	// Who has closed the group and kept the device has no node open.
	if len(holders) == 0 && slices.ContainsFunc(nodes, func(n string) bool { return strings.HasPrefix(n, "dev/vfio/") }) {
		holders = deviceHolders(fsys)
	}
	slices.SortFunc(holders, func(a, b Holder) int {
		return cmp.Or(cmp.Compare(a.PID, b.PID), strings.Compare(a.Node, b.Node))
	})
	return holders[:min(len(holders), maxHolders)], err
}

// vfioDevice is what a descriptor of a VFIO device leads to, whichever device it is.
const vfioDevice = "anon_inode:[vfio-device]"

// maxHolders bounds how many holders are told: a lease has to have space for them, also on a
// full disk.
const maxHolders = 16

// deviceHolders returns the processes that have any VFIO device open.
func deviceHolders(fsys fs.FS) []Holder {
	processes, err := fs.ReadDir(fsys, "proc")
	if err != nil {
		return nil
	}
	var holders []Holder
	for _, p := range processes {
		pid, err := strconv.Atoi(p.Name())
		if err != nil || len(holders) == maxHolders {
			continue
		}
		dir := "proc/" + p.Name() + "/fd"
		fds, err := fs.ReadDir(fsys, dir)
		if err != nil {
			continue // it has ended, or is not ours to look at
		}
		if slices.ContainsFunc(fds, func(e fs.DirEntry) bool {
			target, err := fs.ReadLink(fsys, dir+"/"+e.Name())
			return err == nil && target == vfioDevice
		}) {
			comm, err := hostfs.ReadString(fsys, "proc/"+p.Name()+"/comm")
			if err != nil {
				comm = ""
			}
			guest, _ := guestOf(fsys, pid)
			holders = append(holders, Holder{PID: pid, Name: plain.Short(comm), Guest: guest})
		}
	}
	return holders
}

// OpenNodes says which functions of a plan programs have open that their drivers wait for
// when they shall let go; see [Nodes].
func OpenNodes(fsys fs.FS, p *Plan) ([]laptop.Finding, error) {
	var findings []laptop.Finding
	var errs []error
	for _, a := range p.Devices {
		driver, err := pci.Driver(fsys, a)
		if err != nil || driver == VFIODriver {
			continue // a guest's own use is for the kernel to say
		}
		nodes, err := Nodes(fsys, "pci", a.String())
		errs = append(errs, err)
		holders, err := Holders(fsys, nodes)
		errs = append(errs, err)
		for _, h := range holders {
			findings = append(findings, laptop.Finding{
				Code: laptop.NodeOpen, Severity: laptop.Warning, Device: "pci:" + a.String(),
				Detail:   fmt.Sprintf("%s has /%s open, and %s may wait until that is closed", h, h.Node, driver),
				Evidence: fmt.Sprintf("/proc/%d/fd", h.PID),
				Remedy:   "end that program, or have it close the device",
			})
		}
	}
	return findings, errors.Join(errs...)
}
