package assign

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
)

// comeBack is how long a driver may take to make its interfaces and disks again, which
// many do after they have bound a device.
const comeBack = 3 * time.Second

// verify looks at the devices of a lease that has been given back. What is not as before is
// told; a device that does not answer is an error.
func (s *Store) verify(ctx context.Context, h *Host, l *Lease, r *Recovered) {
	if l.Plan == nil {
		return
	}
	var errs []error
	for _, id := range l.Plan.Identities {
		if id.check(h.FS) != nil {
			continue // it has gone, which has been told
		}
		if id.Bus == "" {
			if err := answers(h.FS, id); err != nil {
				errs = append(errs, &OpError{"give back", id.Device, err})
			}
		}
		h.awaitParts(ctx, id)
		for _, name := range id.Interfaces {
			if within(h.FS, "sys/class/net/"+name, id.Device) {
				continue
			}
			if others := partsOf(h.FS, "sys/class/net", id); len(others) > 0 {
				r.tell("%s: its network interface %s is called %s now", id.Device, name, strings.Join(others, ", "))
			} else {
				r.tell("%s: its network interface %s has not come back", id.Device, name)
			}
		}
		for _, name := range id.Disks {
			if !diskOf(h.FS, name, id.Device) {
				r.tell("%s: its disk %s has not come back", id.Device, name)
			}
		}
		for _, m := range mounted(h.FS, id.Disks) {
			r.tell("%s: %s; it was mounted before the disk came back: unmount it and mount it again", id.Device, m)
		}
	}
	r.Err = errors.Join(append([]error{r.Err}, errs...)...)
}

// answers reads the vendor id of a function from its configuration space. One that sleeps
// is not woken.
func answers(fsys fs.FS, id Identity) error {
	a, err := pci.ParseAddress(id.Device)
	if err != nil {
		return err
	}
	if status, err := pci.RuntimeStatus(fsys, a); err == nil && status != "active" && status != "unsupported" {
		return nil
	}
	if power, err := pci.PowerState(fsys, a); err == nil && power == "D3cold" {
		return nil
	}
	_, err = pci.ReadConfig(fsys, a)
	if errors.Is(err, pci.ErrNoAnswer) {
		return fmt.Errorf("it is with its driver, and does not answer: %w; switch the machine off and on again", err)
	}
	return nil // what cannot be read says nothing
}

// awaitParts waits for the interfaces and disks that a device had.
func (h *Host) awaitParts(ctx context.Context, id Identity) {
	ctx, cancel := context.WithTimeout(ctx, comeBack)
	defer cancel()
	for wait := time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 50*time.Millisecond) {
		missing := slices.ContainsFunc(id.Interfaces, func(name string) bool { return !within(h.FS, "sys/class/net/"+name, id.Device) }) &&
			len(partsOf(h.FS, "sys/class/net", id)) < len(id.Interfaces) ||
			slices.ContainsFunc(id.Disks, func(name string) bool { return !diskOf(h.FS, name, id.Device) })
		if !missing {
			return
		}
		h.pause(ctx, wait)
	}
}

// within reports whether a link of a class leads to below a device.
func within(fsys fs.FS, link, device string) bool {
	target, err := fs.ReadLink(fsys, link)
	return err == nil && strings.Contains(target, "/"+device+"/")
}

// diskOf reports whether a disk is that of a device. One that could be reached in several
// ways, as every NVMe disk could, is a device of its own beside links to its controllers.
func diskOf(fsys fs.FS, name, device string) bool {
	const class = "sys/class/block"
	if within(fsys, class+"/"+name, device) {
		return true
	}
	target, err := fs.ReadLink(fsys, class+"/"+name)
	if err != nil {
		return false
	}
	dir := path.Dir(path.Join(class, target))
	entries, _ := fs.ReadDir(fsys, dir)
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return e.Type()&fs.ModeSymlink != 0 && within(fsys, dir+"/"+e.Name(), device)
	})
}

// partsOf lists what a device has of a class and had not when it was planned.
func partsOf(fsys fs.FS, class string, id Identity) []string {
	entries, _ := fs.ReadDir(fsys, class)
	var names []string
	for _, e := range entries {
		if within(fsys, class+"/"+e.Name(), id.Device) && !slices.Contains(id.Interfaces, e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names
}

// mounted says what the table of mounts has from disks, or parts of them.
func mounted(fsys fs.FS, disks []string) []string {
	if len(disks) == 0 {
		return nil
	}
	table, err := hostfs.ReadString(fsys, "proc/self/mountinfo")
	if err != nil {
		return nil
	}
	var found []string
	for line := range strings.Lines(table) {
		mount, source, ok := strings.Cut(line, " - ")
		at, from := strings.Fields(mount), strings.Fields(source)
		if !ok || len(at) < 5 || len(from) < 2 {
			continue
		}
		name, ok := strings.CutPrefix(from[1], "/dev/")
		if ok && slices.ContainsFunc(disks, func(d string) bool { return strings.HasPrefix(name, d) }) {
			found = append(found, name+" is mounted on "+at[4])
		}
	}
	return found
}
