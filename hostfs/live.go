package hostfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Host is the running host, or a directory that holds a saved machine. It
// implements [fs.ReadFileFS], [fs.ReadDirFS] and [fs.ReadLinkFS]. Use [Live] or
// [OpenDir] to get one. It may be used by many goroutines at once.
//
// ReadFile costs one open, one or two reads and one close, ReadDir an open, its
// reads and a close, ReadLink one readlink: nothing is looked at twice.
type Host struct {
	root  int    // directory that names are opened below, or AT_FDCWD
	pre   string // "/" for the running host, "" below a directory
	path  string // how errors begin
	how   uint64 // openat2 resolve flags; 0 for the running host
	sysfs bool   // all names are below /sys

	// One buffer per call would be garbage at once, so they are kept.
	buffers sync.Pool
}

// A buffer holds any attribute, and many entries of a directory.
type buffer = [32 << 10]byte

func (h *Host) buffer() *buffer {
	if b, ok := h.buffers.Get().(*buffer); ok {
		return b
	}
	return new(buffer)
}

// Live returns the running host. It also implements [FS]: WriteFile changes the
// machine. Reading and writing may block as long as the kernel's attribute does.
func Live() *LiveHost { return LiveWith(nil) }

// LiveWith returns the running host, of which a makes the calls that may not return.
func LiveWith(a Aside) *LiveHost {
	return &LiveHost{Host: Host{root: unix.AT_FDCWD, pre: "/", path: "/"}, aside: a}
}

// An Aside makes calls on the running host in a place where it does no harm if they never
// return, and gives them up then. Names and errors are those of [LiveHost].
type Aside interface {
	Waits(name string) bool // whether reading the file name may not return
	ReadFile(name string) ([]byte, error)
	WriteFile(name string, data []byte) error
}

// LiveHost is the running host, which can be changed.
type LiveHost struct {
	Host
	aside Aside // nil when all calls are made by who asks for them
}

// ReadFile returns the content of name, at most [MaxFile] bytes: a larger file is
// [ErrTooLarge].
func (h *LiveHost) ReadFile(name string) ([]byte, error) {
	if h.aside != nil && h.aside.Waits(name) {
		return h.aside.ReadFile(name)
	}
	return h.Host.ReadFile(name)
}

// WriteFile writes data to the existing file name with one write(2). It neither
// creates nor truncates: a file that is not there is [fs.ErrNotExist]. A short
// write is [io.ErrShortWrite]. All errors are [*fs.PathError].
func (h *LiveHost) WriteFile(name string, data []byte) error {
	if h.aside != nil {
		return h.aside.WriteFile(name, data)
	}
	if !fs.ValidPath(name) {
		return &fs.PathError{Op: "write", Path: name, Err: fs.ErrInvalid}
	}
	fail := func(err error) error { return &fs.PathError{Op: "write", Path: h.path + name, Err: err} }
	fd, err := ignoringEINTR(func() (int, error) { return unix.Open(h.pre+name, unix.O_WRONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return fail(err)
	}
	// No retry: the kernel parses one write as one value, and a second one would
	// be a second command.
	n, err := unix.Write(fd, data)
	if cerr := unix.Close(fd); err == nil {
		err = cerr
	}
	if err == nil && n != len(data) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// OpenFile opens the regular file name, such as a list of names, of which only parts
// are to be read. Attributes are read with ReadFile. The caller closes it.
func (h *LiveHost) OpenFile(name string) (*os.File, error) {
	fd, err := h.open("open", name, readFlags)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		_ = unix.Close(fd)
		if err == nil {
			err = fs.ErrInvalid
		}
		return nil, h.fail("open", name, err)
	}
	// Blocking, so that the runtime does not set up its poller for it.
	if err := unix.SetNonblock(fd, false); err != nil {
		_ = unix.Close(fd)
		return nil, h.fail("open", name, err)
	}
	return os.NewFile(uintptr(fd), h.path+name), nil
}

// Exclusive opens the block device name for this process alone and closes it again.
// The kernel refuses that with EBUSY while the device or a part of it is mounted in
// any mount namespace, swapped to, or held by a mapper, a RAID or another process
// that opened it so. A device that is not there or has no medium is free.
func (h *LiveHost) Exclusive(name string) error {
	fd, err := h.open("open", name, readFlags|unix.O_EXCL)
	switch {
	case err == nil:
		return unix.Close(fd)
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOMEDIUM) || errors.Is(err, unix.ENXIO):
		return nil
	}
	return err
}

// Close does nothing; it lets the running host stand where a saved machine may.
func (h *LiveHost) Close() error { return nil }

// Near prepares for reading many files in the directory dir: read PREFIX+NAME from
// near in place of DIR/NAME from fsys, and call done at the end. On the running host
// dir is kept open meanwhile, so that the kernel need not walk to it for each file;
// elsewhere near is fsys.
func Near(fsys fs.FS, dir string) (near fs.FS, prefix string, done func()) {
	if h, ok := fsys.(*LiveHost); ok {
		if fd, err := h.open("open", dir, unix.O_PATH|unix.O_DIRECTORY); err == nil {
			sysfs := strings.HasPrefix(dir, "sys/")
			return &Host{root: fd, path: h.path + dir + "/", sysfs: sysfs}, "", func() { _ = unix.Close(fd) }
		}
	}
	return fsys, dir + "/", func() {}
}

// OpenDir returns the machine saved below the directory dir. Absolute links and
// links with .. stay inside dir, as after a chroot. Close it when done.
func OpenDir(dir string) (*Dir, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return &Dir{Host: Host{root: fd, path: strings.TrimSuffix(dir, "/") + "/", how: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}}, nil
}

// A Dir is a machine saved in a directory.
type Dir struct {
	Host
	once sync.Once
}

// Close lets go of the directory, which must not be in use. Nothing can be read from
// it afterwards.
func (d *Dir) Close() (err error) {
	d.once.Do(func() {
		err = unix.Close(d.root)
		d.root = -1 // whatever gets the number next is none of ours
	})
	return err
}

func ignoringEINTR(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}

func (h *Host) fail(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: h.path + name, Err: err}
}

func (h *Host) open(op, name string, flags int) (fd int, err error) {
	switch {
	case !fs.ValidPath(name):
		return -1, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	case h.how != 0:
		fd, err = h.openInside(name, flags)
	default:
		fd, err = ignoringEINTR(func() (int, error) {
			return unix.Openat(h.root, h.pre+name, flags|unix.O_CLOEXEC, 0)
		})
	}
	if err != nil {
		return -1, h.fail(op, name, err)
	}
	return fd, nil
}

var errNoFile = errors.New("neither a file nor a directory, which a saved machine has none of")

var errNoProc = errors.New("reading a saved machine from a directory needs /proc mounted")

// openInside opens a name in a saved directory. Opening a device node or a pipe acts
// on this host, so what it is is looked at first.
func (h *Host) openInside(name string, flags int) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | uint64(flags&(unix.O_NOFOLLOW|unix.O_DIRECTORY)), Resolve: h.how}
	var fd int
	var err error
	// A rename or mount anywhere while .. is resolved makes the kernel give up.
	for range 1000 {
		fd, err = unix.Openat2(h.root, name, &how)
		if err != unix.EAGAIN && err != unix.EINTR {
			break
		}
	}
	if err == unix.ENOSYS {
		err = errors.Join(err, errors.New("reading a saved machine from a directory needs openat2(2), Linux 5.6; pack it into a tar archive"))
	}
	if err != nil || flags&unix.O_PATH != 0 {
		return fd, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, err
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return -1, errNoFile
	}
	again, err := ignoringEINTR(func() (int, error) {
		return unix.Open("/proc/self/fd/"+strconv.Itoa(fd), flags|unix.O_CLOEXEC, 0)
	})
	if err == unix.ENOENT {
		return -1, errNoProc // and not that the file is missing
	}
	return again, err
}

// readFlags keeps a name that is not what it should be from holding us up.
const readFlags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY

// maxAttribute bounds what is read of one file below sys/ in a saved directory, whose
// files take no room if they are sparse.
const maxAttribute = 1 << 20

// ReadFile returns the content of name, at most [MaxFile] bytes: a larger file is
// [ErrTooLarge].
func (h *Host) ReadFile(name string) ([]byte, error) {
	fd, err := h.open("open", name, readFlags)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	buf := h.buffer()
	defer h.buffers.Put(buf)
	n := 0
	for end := false; !end && n < len(buf); {
		got, err := ignoringEINTR(func() (int, error) { return unix.Read(fd, buf[n:]) })
		if err != nil {
			return nil, h.fail("read", name, err)
		}
		n += got
		// An attribute arrives whole. A short read that ends a line ends a sysfs file,
		// and asking for the end would cost as much as the file; files of /proc are read
		// in pieces, so there the end is asked for, as it is of binary attributes, of which
		// a read gives at most a page.
		end = got == 0 || n < 4096 && buf[n-1] == '\n' && (h.sysfs || strings.HasPrefix(name, "sys/"))
	}
	data := append(make([]byte, 0, n), buf[:n]...)
	if n < len(buf) {
		return data, nil
	}
	limit := MaxFile
	if h.how != 0 && strings.HasPrefix(name, "sys/") {
		limit = maxAttribute
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil && st.Size <= int64(limit) {
		data = slices.Grow(data, max(int(st.Size)-n, 0)+1) // room to see the end, too
	}
	for n > 0 {
		if len(data) == cap(data) {
			data = slices.Grow(data, len(buf)) // at least doubles what is there
		}
		n, err = ignoringEINTR(func() (int, error) { return unix.Read(fd, data[len(data):cap(data)]) })
		if err != nil {
			return nil, h.fail("read", name, err)
		}
		if data = data[:len(data)+n]; len(data) > limit {
			return nil, h.fail("read", name, ErrTooLarge)
		}
	}
	return data, nil
}

// ReadLink returns what the link name points to.
func (h *Host) ReadLink(name string) (string, error) {
	if !fs.ValidPath(name) {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: fs.ErrInvalid}
	}
	buf := h.buffer()
	defer h.buffers.Put(buf)
	dir, rest := h.root, h.pre+name
	if h.how != 0 {
		fd, err := h.open("readlink", name, unix.O_PATH|unix.O_NOFOLLOW)
		if err != nil {
			return "", err
		}
		defer unix.Close(fd)
		dir, rest = fd, ""
	}
	n, err := ignoringEINTR(func() (int, error) { return unix.Readlinkat(dir, rest, buf[:]) })
	if err != nil {
		if h.how != 0 && err == unix.ENOENT {
			err = unix.EINVAL // the empty path of a file that is no link
		}
		return "", h.fail("readlink", name, err)
	}
	return string(buf[:n]), nil
}

// Lstat describes name itself, also when it is a link.
func (h *Host) Lstat(name string) (fs.FileInfo, error) {
	fd, err := h.open("lstat", name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return nil, err
	}
	return h.stat(fd, name)
}

// Stat describes what name is or points to.
func (h *Host) Stat(name string) (fs.FileInfo, error) {
	fd, err := h.open("stat", name, unix.O_PATH)
	if err != nil {
		return nil, err
	}
	return h.stat(fd, name)
}

func (h *Host) stat(fd int, name string) (fs.FileInfo, error) {
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, h.fail("stat", name, err)
	}
	return info{
		name: name[strings.LastIndexByte(name, '/')+1:],
		size: st.Size,
		mode: fileMode(st.Mode),
		time: time.Unix(st.Mtim.Unix()),
		node: st.Ino,
	}, nil
}

func fileMode(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	switch m & unix.S_IFMT {
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFBLK:
		mode |= fs.ModeDevice
	case unix.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case unix.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		mode |= fs.ModeSocket
	}
	return mode
}

// ReadDir lists the directory name, sorted. The entries know their type; their
// Info costs a system call.
func (h *Host) ReadDir(name string) ([]fs.DirEntry, error) {
	fd, err := h.open("open", name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	var found []dirEntry
	buf := h.buffer()
	defer h.buffers.Put(buf)
	for {
		n, err := ignoringEINTR(func() (int, error) { return unix.Getdents(fd, buf[:]) })
		if err != nil {
			return nil, h.fail("readdir", name, err)
		}
		if n <= 0 {
			break
		}
		found = h.appendEntries(found, name, buf[:n])
	}
	slices.SortFunc(found, func(a, b dirEntry) int { return strings.Compare(a.name, b.name) })
	entries := make([]fs.DirEntry, len(found))
	for i := range found {
		entries[i] = &found[i]
	}
	return entries, nil
}

// appendEntries reads struct linux_dirent64: inode and offset of 8 bytes each,
// record length of 2, type of 1, then the name up to a NUL.
func (h *Host) appendEntries(entries []dirEntry, dir string, b []byte) []dirEntry {
	const nameAt = 19
	for len(b) > nameAt {
		size := int(binary.NativeEndian.Uint16(b[16:]))
		if size <= nameAt || size > len(b) {
			break
		}
		name, _, _ := bytes.Cut(b[nameAt:size], []byte{0})
		if s := string(name); s != "." && s != ".." {
			// A type of DT_UNKNOWN is 0 and becomes a regular file's mode; the file
			// systems we read all state the type.
			entries = append(entries, dirEntry{h, dir, s, fileMode(uint32(b[18]) << 12).Type()})
		}
		b = b[size:]
	}
	return entries
}

type dirEntry struct {
	h         *Host
	dir, name string
	mode      fs.FileMode
}

func (e *dirEntry) Name() string               { return e.name }
func (e *dirEntry) IsDir() bool                { return e.mode.IsDir() }
func (e *dirEntry) Type() fs.FileMode          { return e.mode }
func (e *dirEntry) Info() (fs.FileInfo, error) { return e.h.Lstat(path.Join(e.dir, e.name)) }

type info struct {
	name string
	size int64
	mode fs.FileMode
	time time.Time
	node uint64
}

// Inode returns the number of the file, which in sysfs no later one gets: a device that is
// removed and found again has files with other numbers.
func (i info) Inode() uint64 { return i.node }

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.mode }
func (i info) ModTime() time.Time { return i.time }
func (i info) IsDir() bool        { return i.mode.IsDir() }
func (i info) Sys() any           { return nil }
