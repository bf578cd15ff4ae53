package fakehost

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// attributeSize is the size of every attribute in sysfs: a page, whatever is in it.
const attributeSize = 4096

// kernelFS shows a simulated kernel. Its nodes are numbered by name for ever, so that
// the kernel may ask for one that has gone and come back.
type kernelFS struct {
	fuse.RawFileSystem
	host *Host

	mu      sync.Mutex
	names   []string // by node, from node 1, the root
	nodes   map[string]uint64
	handles map[uint64]*handle
	last    uint64            // handle
	groups  map[string]uint64 // who has a VFIO group open, by name
}

// A handle is an open file or directory.
type handle struct {
	name    string
	data    []byte // what the first read gave
	read    bool
	entries []fs.DirEntry
}

func newKernelFS(h *Host) *kernelFS {
	return &kernelFS{
		RawFileSystem: fuse.NewDefaultRawFileSystem(), host: h,
		names: []string{"", "."}, nodes: map[string]uint64{".": 1},
		handles: map[uint64]*handle{}, groups: map[string]uint64{},
	}
}

func (k *kernelFS) String() string { return "indy-fakehost" }

func (k *kernelFS) name(node uint64) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.names[node]
}

func (k *kernelFS) node(name string) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := k.nodes[name]
	if n == 0 {
		n = uint64(len(k.names))
		k.names = append(k.names, name)
		k.nodes[name] = n
	}
	return n
}

func (k *kernelFS) open(h *handle) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last++
	k.handles[k.last] = h
	return k.last
}

func (k *kernelFS) handle(fh uint64) *handle {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.handles[fh]
}

func (k *kernelFS) close(fh uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.handles, fh)
}

func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return dir + "/" + name
}

// status is the number in an error of the simulated kernel.
func status(err error) fuse.Status {
	var errno syscall.Errno
	switch {
	case err == nil:
		return fuse.OK
	case errors.As(err, &errno):
		return fuse.Status(errno)
	case errors.Is(err, fs.ErrNotExist):
		return fuse.ENOENT
	}
	return fuse.EIO
}

func (k *kernelFS) attr(name string, out *fuse.Attr) fuse.Status {
	st, err := k.host.Kernel().Lstat(name)
	if err != nil {
		return status(err)
	}
	k.describe(name, st, out)
	return fuse.OK
}

func (k *kernelFS) describe(name string, st fs.FileInfo, out *fuse.Attr) {
	out.Ino = k.node(name)
	out.Nlink = 1
	out.Blksize = attributeSize
	out.Mode = mode(st.Mode())
	switch {
	case st.IsDir():
		out.Nlink = 2
	case strings.HasPrefix(name, "dev/"):
		out.Mode = syscall.S_IFREG | 0o600
	case st.Mode().IsRegular():
		out.Size = attributeSize
	}
}

func mode(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	switch {
	case m.IsDir():
		return bits | syscall.S_IFDIR
	case m&fs.ModeSymlink != 0:
		return bits | syscall.S_IFLNK
	}
	return bits | syscall.S_IFREG
}

func (k *kernelFS) Lookup(_ <-chan struct{}, in *fuse.InHeader, base string, out *fuse.EntryOut) fuse.Status {
	name := join(k.name(in.NodeId), base)
	if s := k.attr(name, &out.Attr); s != fuse.OK {
		return s
	}
	out.NodeId = k.node(name)
	// The kernel need not look for a name again: whatever it does with a node that has
	// gone meanwhile fails as it would have. That halves what a command costs.
	out.SetEntryTimeout(time.Hour)
	return fuse.OK
}

func (k *kernelFS) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return k.attr(k.name(in.NodeId), &out.Attr)
}

// SetAttr is what O_TRUNC asks for. A file of sysfs has nothing to cut.
func (k *kernelFS) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	return k.attr(k.name(in.NodeId), &out.Attr)
}

func (k *kernelFS) Readlink(_ <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	target, err := k.host.Kernel().ReadLink(k.name(in.NodeId))
	return []byte(target), status(err)
}

func (k *kernelFS) Access(_ <-chan struct{}, in *fuse.AccessIn) fuse.Status {
	return k.attr(k.name(in.NodeId), new(fuse.Attr))
}

func (k *kernelFS) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	out.Bsize, out.NameLen = attributeSize, 255
	return fuse.OK
}

// Open asks for permission as sysfs does, which refuses also root what the mode of a
// file does not allow.
func (k *kernelFS) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	name := k.name(in.NodeId)
	st, err := k.host.Kernel().Lstat(name)
	if err != nil {
		return status(err)
	}
	h := &handle{name: name}
	if group, ok := strings.CutPrefix(name, "dev/vfio/"); ok && group != "vfio" {
		errno := k.host.op(Op{Kind: "open", Name: name, TID: int(in.Pid)}).run(func(int) syscall.Errno {
			return k.openGroup(name, h, out)
		})
		return fuse.Status(errno)
	}
	if !strings.HasPrefix(name, "dev/") {
		access := in.Flags & syscall.O_ACCMODE
		if access != syscall.O_WRONLY && st.Mode()&0o444 == 0 || access != syscall.O_RDONLY && st.Mode()&0o222 == 0 {
			return fuse.EACCES
		}
	}
	out.Fh = k.open(h)
	out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH
	return fuse.OK
}

// openGroup opens a VFIO group, which only one may have open.
func (k *kernelFS) openGroup(name string, h *handle, out *fuse.OpenOut) syscall.Errno {
	fh := k.open(h)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.groups[name] != 0 {
		delete(k.handles, fh)
		return syscall.EBUSY
	}
	k.groups[name] = fh
	out.Fh, out.OpenFlags = fh, fuse.FOPEN_DIRECT_IO
	return 0
}

// closeGroup is called by Flush, for which close(2) waits, and by Release, for which
// it does not.
func (k *kernelFS) closeGroup(fh uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if h := k.handles[fh]; h != nil && k.groups[h.name] == fh {
		delete(k.groups, h.name)
	}
}

func (k *kernelFS) Flush(_ <-chan struct{}, in *fuse.FlushIn) fuse.Status {
	k.closeGroup(in.Fh)
	return fuse.OK
}

func (k *kernelFS) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	k.closeGroup(in.Fh)
	k.close(in.Fh)
}

func (k *kernelFS) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	h := k.handle(in.Fh)
	k.mu.Lock()
	data, read := h.data, h.read
	k.mu.Unlock()
	if !read || in.Offset == 0 {
		var err error
		if data, err = k.host.Kernel().ReadFile(h.name); err != nil {
			return nil, status(err)
		}
		k.mu.Lock()
		h.data, h.read = data, true
		k.mu.Unlock()
	}
	data = data[min(in.Offset, uint64(len(data))):]
	return fuse.ReadResultData(data[:min(len(data), len(buf))]), fuse.OK
}

// Write stores a value: one write is one store, wherever the file is at.
func (k *kernelFS) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	name := k.handle(in.Fh).name
	written := len(data)
	errno := k.host.op(Op{Kind: "write", Name: name, Data: data, TID: int(in.Pid)}).run(func(take int) syscall.Errno {
		if take >= 0 {
			// What a driver does with a part of a value is its affair; this one does nothing.
			written = min(take, len(data))
			return 0
		}
		err := k.host.Kernel().WriteFile(name, data)
		if errors.Is(err, io.ErrShortWrite) {
			written = attributeSize
			return 0
		}
		return syscall.Errno(status(err))
	})
	if errno != 0 {
		return 0, fuse.Status(errno)
	}
	return uint32(written), fuse.OK
}

func (k *kernelFS) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	name := k.name(in.NodeId)
	entries, err := k.host.Kernel().ReadDir(name)
	if err != nil {
		return status(err)
	}
	out.Fh = k.open(&handle{name: name, entries: entries})
	return fuse.OK
}

func (k *kernelFS) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	h := k.handle(in.Fh)
	for i := int(min(in.Offset, uint64(len(h.entries)))); i < len(h.entries); i++ {
		e := h.entries[i]
		if !out.AddDirEntry(fuse.DirEntry{Name: e.Name(), Mode: mode(e.Type()), Ino: k.node(join(h.name, e.Name()))}) {
			break
		}
	}
	return fuse.OK
}

func (k *kernelFS) ReleaseDir(in *fuse.ReleaseIn) { k.close(in.Fh) }
