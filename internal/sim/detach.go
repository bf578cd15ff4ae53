package sim

import (
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// An entry is one file, link or directory that was taken out of the tree.
type entry struct {
	name   string
	target string // of a link
	data   []byte // of a file
	dir    bool
}

// detach takes the directory dir out of the tree, with every link that leads into
// it and every node in dev that belongs to it, and returns all of it.
func (k *Kernel) detach(dir string) []entry {
	var out []entry
	var nodes []string
	_ = fs.WalkDir(k.tree, dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		at := entry{name: name, dir: e.IsDir()}
		switch {
		case e.IsDir():
		case e.Type()&fs.ModeSymlink != 0:
			at.target, _ = k.tree.ReadLink(name)
		default:
			at.data, _ = k.tree.ReadFile(name)
			if base(name) == "uevent" {
				for line := range strings.Lines(string(at.data)) {
					if node, ok := strings.CutPrefix(strings.TrimSpace(line), "DEVNAME="); ok && fs.ValidPath("dev/"+node) {
						nodes = append(nodes, "dev/"+node)
					}
				}
			}
		}
		out = append(out, at)
		return nil
	})
	k.drop(dir)
	for _, node := range nodes {
		if st, err := k.tree.Lstat(node); err == nil && !st.IsDir() {
			out = append(out, entry{name: node})
			k.drop(node)
		}
	}
	var subsystems []string
	for _, l := range k.linksInto(dir) {
		target, _ := k.tree.ReadLink(l)
		out = append(out, entry{name: l, target: target})
		k.drop(l)
		if sub := nvmeSubsystem().FindStringSubmatch(l); sub != nil {
			subsystems = append(subsystems, sub[1])
		}
	}
	for _, s := range subsystems {
		if !slices.ContainsFunc(k.list(s), nvmeController().MatchString) {
			out = append(out, k.detach(s)...) // the last controller's disks go with it
		}
	}
	return out
}

var (
	nvmeSubsystem = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`^(sys/devices/virtual/nvme-subsystem/[^/]+)/nvme[0-9]+$`)
	})
	nvmeController = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^nvme[0-9]+$`) })
)

// linksInto lists the links outside dir that lead to it or into it.
func (k *Kernel) linksInto(dir string) []string {
	var names []string
	for l, to := range k.links {
		if below(to, dir) && !below(l, dir) {
			names = append(names, l)
		}
	}
	slices.Sort(names)
	return names
}

// attach puts back what detach took.
func (k *Kernel) attach(entries []entry) {
	for _, e := range entries {
		switch {
		case e.dir:
			must(k.tree.Mkdir(e.name))
		case e.target != "":
			k.link(e.name, e.target)
		default:
			must(k.tree.Put(e.name, e.data))
		}
	}
}

// Directories of a function that are the bus's and not its driver's.
var busDirs = map[string]bool{"power": true, "link": true, "wakeup": true, "pci_bus": true, "firmware_node": true, "acpi": true, "msi_irqs": true}

var addressName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$`)
})

// madeByDriver takes out what the driver of d has made below it.
func (k *Kernel) madeByDriver(d *device) []entry {
	var out []entry
	entries, _ := k.tree.ReadDir(d.path)
	for _, e := range entries {
		if e.IsDir() && !busDirs[e.Name()] && !addressName().MatchString(e.Name()) {
			out = append(out, k.detach(d.path+"/"+e.Name())...)
		}
	}
	return out
}

var netDir = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`/net/([^/]+)$`) })

// renameNet gives the network interfaces among entries the next free names.
func (k *Kernel) renameNet(entries []entry) []entry {
	for _, e := range entries {
		m := netDir().FindStringSubmatch(e.name)
		if m == nil || !e.dir {
			continue
		}
		stem := strings.TrimRight(m[1], "0123456789")
		number, _ := strconv.Atoi(m[1][len(stem):])
		name := m[1]
		for taken := true; taken; {
			number++
			name = stem + strconv.Itoa(number)
			_, err := k.tree.Lstat("sys/class/net/" + name)
			taken = err == nil
		}
		word := regexp.MustCompile(`(^|/net/|INTERFACE=)` + regexp.QuoteMeta(m[1]) + `(/|\n|$)`)
		swap := func(s string) string { return word.ReplaceAllString(s, "${1}"+name+"${2}") }
		renamed := make([]entry, len(entries))
		for i, e := range entries {
			e.name, e.target = swap(e.name), swap(e.target)
			if base(e.name) == "uevent" {
				e.data = []byte(swap(string(e.data)))
			}
			renamed[i] = e
		}
		entries = renamed
	}
	return entries
}
