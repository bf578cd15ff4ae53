// Package sim is a kernel that behaves, over a saved machine: what is written to
// the doors of the PCI bus changes the tree as Linux would change it, and fails
// with the errors Linux gives. A test runs one script on it and on the real kernel
// of the emulated laptop and compares what they say; see [Conform].
package sim

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/project-independence/indy/hostfs"
)

// Options says which kernel a [Kernel] is. The zero value is the saved one.
type Options struct {
	// VFIO loads the module vfio-pci if the saved machine is without it.
	VFIO bool
	// NodeDelay is how long after the bind the node of a group appears.
	NodeDelay time.Duration
	// RenameNet gives a network interface the next free name when its driver comes
	// back, as happens where names are not fixed.
	RenameNet bool
}

// A Write is one attempt to write, in the order of the attempts.
type Write struct {
	Name  string // as asked for
	Value []byte
	Err   error // what the writer got
}

// A Kernel is a simulated host. It implements [hostfs.FS], [fs.ReadFileFS],
// [fs.ReadDirFS] and [fs.ReadLinkFS]. Its errors are [*fs.PathError] with a
// [syscall.Errno] inside, as the running host's are. It may be used by many
// goroutines at once; a reader may see a write half done, as on a real host.
//
// What it does: driver_override, bind, unbind, drivers_probe, drivers_autoprobe,
// new_id, remove_id, reset, reset_method, remove, rescan, sriov_numvfs,
// sriov_drivers_autoprobe, d3cold_allowed, power/control; of USB authorized,
// bConfigurationValue, and bind and unbind of interfaces; create and remove of mediated
// devices. Any other file under sys, proc or dev is read-only here. Below rtnetlink is
// what rtnetlink says of virtual functions and takes for them, as the host's door has it,
// and usbfs/PATH/reset resets a USB device that has the node which is written.
//
// A function is taken by the driver it has in the saved machine, by a driver with
// a matching new_id or from AddDriver, and by vfio-pci and pci-stub through
// driver_override. With its own driver go the interfaces, disks, cards and nodes
// that this driver made; they come back with it.
type Kernel struct {
	// Fail, if set, is called before each write; what it returns is the write's
	// error, and nothing is changed. Set it before the kernel is used.
	Fail func(name string, value []byte) error

	// ResetFails, if set, says how a reset of the function at address by one method ends;
	// ENOTTY lets the next method be tried. Set it before the kernel is used.
	ResetFails func(address, method string) error

	// USBReset, if set, says how a reset of the USB device at a port path ends. After ENODEV
	// it has been found anew, with another number. Set it before the kernel is used.
	USBReset func(path string) error

	opts   Options
	tree   *hostfs.Tree
	mu     sync.Mutex // guards what follows, and every change of tree
	links  map[string]string
	dev    map[string]*device // by address
	byPath map[string]*device // by directory
	gone   []*removed         // functions taken away by remove, until a rescan
	usb    map[string][]entry // what deauthorised USB devices had, by directory
	kinds  kinds
	driver map[string]*driver
	loaded []*driver // in the order of loading
	manual bool      // drivers_autoprobe is 0: a driver that is loaded takes nothing
	writes []Write
	config map[string][]byte // what the configuration space of a function reads as
}

// New returns a kernel over a copy of t, with the doors it has and t may lack: the
// files driver_override, bind, unbind, new_id, remove_id, drivers_probe and rescan,
// and the links of a driver to its functions.
func New(t *hostfs.Tree, opts Options) (*Kernel, error) {
	k := &Kernel{
		opts: opts, tree: t.Clone(), links: map[string]string{}, dev: map[string]*device{}, byPath: map[string]*device{},
		usb: map[string][]entry{}, driver: map[string]*driver{}, kinds: newKinds(),
	}
	if err := k.complete(); err != nil {
		return nil, err
	}
	return k, nil
}

// Tree returns a copy of the machine as it is now.
func (k *Kernel) Tree() *hostfs.Tree {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.tree.Clone()
}

// Writes returns the attempts to write so far.
func (k *Kernel) Writes() []Write {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.writes)
}

// Close does nothing; it lets a Kernel stand where a host may.
func (k *Kernel) Close() error { return nil }

// Attributes that can be written and not read.
var writeOnly = map[string]bool{
	"bind": true, "unbind": true, "drivers_probe": true, "new_id": true, "remove_id": true, "rescan": true, "remove": true, "reset": true,
	"create": true,
}

func hidden(name string) bool { return writeOnly[base(name)] && strings.HasPrefix(name, "sys/") }

// ReadFile returns the content of name.
func (k *Kernel) ReadFile(name string) ([]byte, error) {
	if hidden(name) {
		if st, err := k.tree.Stat(name); err == nil && !st.IsDir() {
			return nil, fail("open", name, syscall.EACCES)
		}
	}
	if data, ok := k.said(name); ok {
		return data, nil
	}
	data, err := k.tree.ReadFile(name)
	if err == nil {
		return data, nil
	}
	if st, serr := k.tree.Stat(name); serr == nil && st.IsDir() {
		return nil, fail("read", name, syscall.EISDIR)
	}
	if data, ok := k.header(name); ok {
		return data, nil
	}
	return nil, k.errno(err, syscall.ELOOP)
}

// ReadDir lists the directory name, sorted.
func (k *Kernel) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := k.tree.ReadDir(name)
	if err != nil {
		return nil, k.errno(err, syscall.ENOTDIR)
	}
	for i, e := range entries {
		if st, err := e.Info(); err == nil {
			entries[i] = fs.FileInfoToDirEntry(k.withMode(name+"/"+e.Name(), st))
		}
	}
	return entries, nil
}

// ReadLink returns what the link name points to.
func (k *Kernel) ReadLink(name string) (string, error) {
	target, err := k.tree.ReadLink(name)
	return target, k.errno(err, syscall.EINVAL)
}

// Lstat describes name itself, also when it is a link. The mode of a file says
// whether it can be read and written here.
func (k *Kernel) Lstat(name string) (fs.FileInfo, error) { return k.stat(name, k.tree.Lstat) }

// Stat describes what name is or points to.
func (k *Kernel) Stat(name string) (fs.FileInfo, error) { return k.stat(name, k.tree.Stat) }

func (k *Kernel) stat(name string, stat func(string) (fs.FileInfo, error)) (fs.FileInfo, error) {
	st, err := stat(name)
	if err != nil {
		return nil, k.errno(err, syscall.ELOOP)
	}
	if addr, ok := strings.CutPrefix(name, devicesDir); ok {
		k.mu.Lock()
		d := k.dev[addr]
		var n uint64
		if d != nil {
			n = 1 + d.found
		}
		k.mu.Unlock()
		if d != nil {
			return numbered{st, n}, nil
		}
	}
	return k.withMode(name, st), nil
}

// numbered is what describes a function: another one each time that it was found.
type numbered struct {
	fs.FileInfo
	inode uint64
}

func (n numbered) Inode() uint64 { return n.inode }

// withMode gives what st says of name with the mode that name has in a kernel.
func (k *Kernel) withMode(name string, st fs.FileInfo) fs.FileInfo {
	if !st.Mode().IsRegular() {
		return st
	}
	if hidden(name) {
		return moded{st, 0o200}
	}
	if real, err := k.resolve(name); err == nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.door(real) != nil {
			return moded{st, 0o644}
		}
	}
	return moded{st, 0o444}
}

type moded struct {
	fs.FileInfo
	mode fs.FileMode
}

func (m moded) Mode() fs.FileMode { return m.mode }

// Open opens name for reading.
func (k *Kernel) Open(name string) (fs.File, error) {
	if st, err := k.tree.Stat(name); err == nil && !st.IsDir() {
		if _, err := k.ReadFile(name); err != nil {
			return nil, err
		}
	}
	f, err := k.tree.Open(name)
	return f, k.errno(err, syscall.ELOOP)
}

// errno gives an error of the tree the kernel's number; invalid is what
// [fs.ErrInvalid] stands for.
func (k *Kernel) errno(err error, invalid syscall.Errno) error {
	var pe *fs.PathError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &pe) || !fs.ValidPath(pe.Path):
		return err
	case errors.Is(err, fs.ErrNotExist):
		if _, err := k.resolve(pe.Path); err != nil {
			return fail(pe.Op, pe.Path, err) // it may also be below a file
		}
		return fail(pe.Op, pe.Path, syscall.ENOENT)
	case errors.Is(err, fs.ErrInvalid):
		return fail(pe.Op, pe.Path, invalid)
	}
	return err
}

func fail(op, name string, err error) error { return &fs.PathError{Op: op, Path: "/" + name, Err: err} }

func base(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }
