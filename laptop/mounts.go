package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// A mount is one use of a block device: a mounted file system or swap space.
type mount struct {
	device string // MAJOR:MINOR, empty when the table does not state it
	source string // as the table states it, often /dev/NAME
	kind   string // of the file system
	what   string // in words
	table  string // the file that says so
}

// readMounts reads /proc/self/mountinfo, or /proc/self/mounts where a saved machine
// has only that, and /proc/swaps. It reports whether there was a mount table and
// each line of it was understood.
func readMounts(fsys fs.FS) (mounts []mount, known bool, err error) {
	text, err := fs.ReadFile(fsys, "proc/self/mountinfo")
	if err == nil {
		mounts, known = parseMounts(string(text), parseMountinfo)
		in(mounts, "proc/self/mountinfo")
	} else if errors.Is(err, fs.ErrNotExist) {
		if text, err = fs.ReadFile(fsys, "proc/self/mounts"); err == nil {
			mounts, known = parseMounts(string(text), parseMount)
			in(mounts, "proc/self/mounts")
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("mounted file systems: %w", err)
	}
	swaps, err := fs.ReadFile(fsys, "proc/swaps")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return mounts, false, fmt.Errorf("swap space: %w", err)
	}
	for _, s := range parseSwaps(string(swaps)) {
		m := mount{source: s.source, what: "swap"}
		if s.file {
			if m = holding(mounts, s.source); m.what == "" {
				known = false // a root is always mounted
				continue
			}
			m.what = "swap file " + s.source
		}
		m.table = "proc/swaps"
		mounts = append(mounts, m)
	}
	members, err := btrfsMembers(fsys)
	return append(mounts, members...), known, err
}

// maxSwaps is how many lines of /proc/swaps are taken. The kernel has at most 32
// (MAX_SWAPFILES).
const maxSwaps = 128

// A swap is one line of /proc/swaps.
type swap struct {
	source string
	file   bool
}

// parseSwaps reads /proc/swaps: the path, whether that is a partition or a file, and
// numbers. What is neither is no line of the kernel's.
func parseSwaps(text string) []swap {
	var swaps []swap
	for line := range strings.Lines(text) {
		if len(swaps) == maxSwaps {
			break
		}
		if f := strings.Fields(line); len(f) > 1 && (f[1] == "partition" || f[1] == "file") {
			swaps = append(swaps, swap{unescape(f[0]), f[1] == "file"})
		}
	}
	return swaps
}

// holding returns the mount on which the file of a path is: that of the longest mount
// point above it, and of those the last, which hides the others. Its what is empty when
// there is none.
func holding(mounts []mount, file string) mount {
	var found mount
	for _, m := range mounts {
		above := strings.TrimSuffix(m.what, "/") + "/"
		if strings.HasPrefix(m.what, "/") && strings.HasPrefix(file, above) && len(m.what) >= len(found.what) {
			found = m
		}
	}
	return found
}

// in notes which file the mounts are from.
func in(mounts []mount, table string) {
	for i := range mounts {
		mounts[i].table = table
	}
}

// parseMounts reads a table of mounts line by line. It reports false when a line
// could not be read or there is none: a host always has its root mounted.
func parseMounts(text string, parse func(fields []string) (mount, bool)) (mounts []mount, ok bool) {
	ok = true
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		m, understood := parse(f)
		if understood {
			mounts = append(mounts, m)
		}
		ok = ok && understood
	}
	return mounts, ok && len(mounts) > 0
}

// parseMountinfo reads a line as of proc_pid_mountinfo(5):
// 36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw
func parseMountinfo(f []string) (mount, bool) {
	sep := -1
	if len(f) > 6 {
		sep = slices.Index(f[6:], "-") + 6
	}
	if sep < 6 || len(f) < sep+3 {
		return mount{}, false
	}
	return mount{device: f[2], kind: f[sep+1], source: unescape(f[sep+2]), what: unescape(f[4])}, true
}

// parseMount reads a line as of fstab(5).
func parseMount(f []string) (mount, bool) {
	if len(f) < 3 {
		return mount{}, false
	}
	return mount{source: unescape(f[0]), kind: f[2], what: unescape(f[1])}, true
}

// unescape undoes the kernel's octal escapes in mount tables.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\043`, "#", `\134`, `\`).Replace(s)
}

// btrfsMembers returns the disks of mounted btrfs file systems, of which a mount
// table names but one (/sys/fs/btrfs/UUID/devices).
func btrfsMembers(fsys fs.FS) ([]mount, error) {
	entries, err := fs.ReadDir(fsys, "sys/fs/btrfs")
	if err != nil {
		return nil, unlessMissing(fmt.Errorf("btrfs members: %w", err), 0)
	}
	var members []mount
	var errs []error
	for _, e := range entries {
		devices, err := fs.ReadDir(fsys, "sys/fs/btrfs/"+e.Name()+"/devices")
		if err != nil { // features has none, nor has a file system being unmounted
			errs = append(errs, unlessMissing(fmt.Errorf("btrfs members: %w", err), 0))
			continue
		}
		for _, d := range devices {
			members = append(members, mount{source: "/dev/" + strings.ReplaceAll(d.Name(), "!", "/"), what: "btrfs member", table: "sys/fs/btrfs/" + e.Name() + "/devices"})
		}
	}
	return members, errors.Join(errs...)
}
