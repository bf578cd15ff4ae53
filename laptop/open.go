package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/project-independence/indy/hostfs"
)

// A Holder is a process that has a device node open or mapped.
type Holder struct {
	PID     int
	Program string // from /proc/PID/comm, which it has chosen itself; empty when unknown
	Mapped  bool   // has it mapped into memory without a descriptor, as after a close
}

// String returns the program and the number of the process.
func (h Holder) String() string {
	s := fmt.Sprintf("process %d", h.PID)
	if h.Mapped {
		s = "mapped by " + s
	}
	if h.Program != "" {
		s = h.Program + " (" + s + ")"
	}
	return s
}

// Open is what processes had open when they were looked at. The zero value is of a
// saved machine, which says nothing of processes.
type Open struct {
	// Nodes has who has a device node open, by its name below the root without the
	// slash, as dev/nvme0n1; the name is that which the process knows.
	Nodes map[string][]Holder

	Looked int // processes whose descriptors were read
	Unseen int // processes whose descriptors could not be read, as those of others by one who is not root

	// Hidden is that the processes of others are not even listed (hidepid), or that
	// Looked and Unseen are not all for another reason.
	Hidden bool

	mounts []mountElsewhere
}

// Known reports whether the processes of the machine could be looked at, some of them
// at least.
func (o Open) Known() bool { return o.Looked > 0 }

// Complete reports whether all of them were.
func (o Open) Complete() bool { return o.Looked > 0 && o.Unseen == 0 && !o.Hidden }

// A mountElsewhere is a mount in the namespace of a process that is not the reader's.
type mountElsewhere struct {
	mount
	pid int
}

// Bounds of what is looked at: the kernel has at most 4 million processes, of which a
// host has thousands.
const (
	maxProcesses  = 1 << 16
	maxHolders    = 1 << 16
	maxNamespaces = 1 << 12
	maxMapped     = 1 << 10 // nodes of one process
)

// ReadOpen looks at each process once: its descriptors (/proc/PID/fd), what it has
// mapped (/proc/PID/maps), and what is mounted in its mount namespace if that is not the
// reader's (/proc/PID/mountinfo). Without root those of other users cannot be read:
// Unseen counts them. A descriptor that was passed on and is in no process, as in a
// socket's queue, is not seen, nor is a node by a name outside of /dev.
//
// It reads some files for each process of the host and is for questions about single
// devices. The error joins what could not be read otherwise; a process that ends
// meanwhile is none.
func ReadOpen(fsys fs.FS) (Open, error) {
	o := Open{Nodes: map[string][]Holder{}}
	entries, err := fs.ReadDir(fsys, "proc")
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return o, nil
		}
		return o, fmt.Errorf("processes: %w", err)
	}
	w := newOpenWalk(fsys, &o)
	first := false
	for _, e := range entries {
		pid, ok := processNumber(e.Name())
		if !ok {
			continue
		}
		if o.Looked+o.Unseen == maxProcesses || w.holders >= maxHolders {
			o.Hidden = true
			break
		}
		first = first || pid == 1
		w.process(pid)
	}
	// Whoever is kept from seeing the processes of others does not see the first one.
	o.Hidden = o.Hidden || o.Looked > 0 && !first
	return o, errors.Join(w.errs...)
}

// readElsewhere looks for mounts alone, as ReadOpen does.
func readElsewhere(fsys fs.FS) ([]mountElsewhere, error) {
	entries, err := fs.ReadDir(fsys, "proc")
	if err != nil {
		return nil, unlessMissing(fmt.Errorf("processes: %w", err), 0)
	}
	var o Open
	w := newOpenWalk(fsys, &o)
	for _, e := range entries[:min(len(entries), maxProcesses)] {
		if pid, ok := processNumber(e.Name()); ok {
			w.mounts("proc/"+e.Name(), pid)
		}
	}
	return o.mounts, errors.Join(w.errs...)
}

// processNumber tells the directory of a process from the others in /proc.
func processNumber(name string) (pid int, ok bool) {
	pid, err := strconv.Atoi(name)
	return pid, err == nil && pid > 0 && strconv.Itoa(pid) == name
}

// newOpenWalk begins a pass that leaves out the mounts of the reader's own namespace.
func newOpenWalk(fsys fs.FS, o *Open) openWalk {
	w := openWalk{fsys: fsys, open: o, namespaces: map[string]bool{}, tables: map[string]bool{}}
	if own, err := fs.ReadLink(fsys, "proc/self/ns/mnt"); err == nil {
		w.namespaces[own] = true
	}
	if text, err := fs.ReadFile(fsys, "proc/self/mountinfo"); err == nil {
		w.tables[string(text)] = true
	}
	return w
}

// An openWalk is one pass over /proc.
type openWalk struct {
	fsys       fs.FS
	open       *Open
	namespaces map[string]bool // mount namespaces that were read
	tables     map[string]bool // and tables, for those whose namespace cannot be told
	holders    int
	errs       []error
}

func (w *openWalk) process(pid int) {
	dir := fmt.Sprintf("proc/%d", pid)
	nodes, err := w.nodes(dir)
	switch {
	case err == nil:
		w.open.Looked++
	case unlessEnded(err) == nil:
		return
	case w.isKernel(dir):
	default:
		w.open.Unseen++
		if !errors.Is(err, fs.ErrPermission) {
			w.note(err)
		}
	}
	if len(nodes) > 0 {
		h := Holder{PID: pid}
		if s, err := hostfs.ReadString(w.fsys, dir+"/comm"); err == nil {
			h.Program = line(s)
		}
		for _, node := range slices.Sorted(maps.Keys(nodes)) {
			h.Mapped = nodes[node]
			w.open.Nodes[node] = append(w.open.Nodes[node], h)
			w.holders++
		}
	}
	w.mounts(dir, pid)
}

// nodes returns the device nodes that a process has open, and whether it has them only
// mapped. The error says that these may not be all; it is fs.ErrNotExist or its like when
// the process has ended.
func (w *openWalk) nodes(dir string) (nodes map[string]bool, err error) {
	entries, err := fs.ReadDir(w.fsys, dir+"/fd")
	if err != nil {
		return nil, err
	}
	nodes = map[string]bool{}
	near, prefix, done := hostfs.Near(w.fsys, dir+"/fd")
	defer done()
	for _, e := range entries {
		target, err := fs.ReadLink(near, prefix+e.Name())
		if unlessEnded(err) != nil {
			return nodes, err // nor can the others be read
		}
		if node, ok := deviceNode(target); ok && err == nil { // else it was closed meanwhile
			nodes[node] = false
		}
	}
	text, err := fs.ReadFile(w.fsys, dir+"/maps")
	if err != nil {
		return nodes, unlessEnded(err)
	}
	for _, node := range parseMaps(string(text)) {
		if _, open := nodes[node]; !open {
			nodes[node] = true
		}
	}
	return nodes, nil
}

// parseMaps returns the device nodes in a table of what a process has mapped, as of
// proc_pid_maps(5): address, permissions, offset, device, inode and path.
func parseMaps(text string) []string {
	var nodes []string
	for line := range strings.Lines(text) {
		at := strings.Index(line, " /dev/")
		if at < 0 || len(nodes) == maxMapped || len(strings.Fields(line[:at])) != 5 {
			continue
		}
		if node, ok := deviceNode(strings.TrimSuffix(line[at+1:], "\n")); ok && !slices.Contains(nodes, node) {
			nodes = append(nodes, node)
		}
	}
	return nodes
}

// deviceNode returns the name of the node that a link of /proc/PID/fd leads to, without
// the slash before, unless it is none of hardware, as /dev/null and shared memory.
func deviceNode(target string) (string, bool) {
	target = strings.TrimSuffix(target, " (deleted)")
	below, ok := strings.CutPrefix(target, "/dev/")
	if !ok || len(target) > maxLink || !fs.ValidPath(target[1:]) || !printable(target) {
		return "", false
	}
	first, _, _ := strings.Cut(below, "/")
	switch first {
	case "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "mqueue", "hugepages", "fuse", "log":
		return "", false
	}
	return target[1:], true
}

// isKernel reports whether a process is a thread of the kernel, which has no
// descriptors: PF_KTHREAD in the flags of /proc/PID/stat.
func (w *openWalk) isKernel(dir string) bool {
	text, err := fs.ReadFile(w.fsys, dir+"/stat")
	return err == nil && kernelThread(string(text))
}

// kernelThread reads /proc/PID/stat: the name in parentheses, which may hold any
// character, state, five numbers, and the flags.
func kernelThread(stat string) bool {
	const pfKthread = 0x00200000
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(f) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(f[6], 10, 32)
	return err == nil && flags&pfKthread != 0
}

// mounts notes what is mounted where a process sees it, once for each namespace.
func (w *openWalk) mounts(dir string, pid int) {
	if len(w.namespaces) >= maxNamespaces || len(w.tables) >= maxNamespaces {
		w.open.Hidden = true
		return
	}
	if ns, err := fs.ReadLink(w.fsys, dir+"/ns/mnt"); err == nil {
		if w.namespaces[ns] {
			return
		}
		w.namespaces[ns] = true
	} else if !errors.Is(err, fs.ErrPermission) {
		w.note(unlessEnded(err))
	}
	text, err := fs.ReadFile(w.fsys, dir+"/mountinfo")
	if err != nil {
		if w.note(unlessEnded(err)); errors.Is(err, fs.ErrPermission) {
			w.open.Hidden = true
		}
		return
	}
	if w.tables[string(text)] {
		return
	}
	w.tables[string(text)] = true
	mounts, _ := parseMounts(string(text), parseMountinfo)
	for _, m := range mounts {
		if strings.HasPrefix(m.source, "/dev/") || m.kind == "zfs" {
			m.table = dir + "/mountinfo"
			w.open.mounts = append(w.open.mounts, mountElsewhere{m, pid})
		}
	}
}

// maxErrors is how many errors of one pass are kept: with one process something is
// wrong, with all of them it is the same.
const maxErrors = 16

func (w *openWalk) note(err error) {
	if err != nil && len(w.errs) < maxErrors {
		w.errs = append(w.errs, fmt.Errorf("processes: %w", err))
	}
}

// unlessEnded drops the error that a process has ended, or that it is about to and has
// let go of all.
func unlessEnded(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) || errors.Is(err, syscall.EINVAL) {
		return nil
	}
	return err
}
