package ids

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/project-independence/indy/pci"
)

// maxFile is more than ten times the length of the longest list there is.
const maxFile = 16 << 20

// A File is one list of names, in the form pci.ids and usb.ids share. Its methods
// may be called by several goroutines at once. A nil File has no names.
type File struct {
	fsys  fs.FS
	names []string

	mu     sync.Mutex
	loaded bool
	err    error
	list   list
}

// An opener is a host on which a file can be read in parts.
type opener interface {
	OpenFile(name string) (*os.File, error)
}

// PCI returns the list of PCI names of the system in fsys.
func PCI(fsys fs.FS) *File {
	return Open(fsys, "usr/share/misc/pci.ids", "usr/share/hwdata/pci.ids", "usr/share/pci.ids",
		"var/lib/pciutils/pci.ids")
}

// USB returns the list of USB names of the system in fsys. For it, a device is what
// USB calls a product, and there are no subsystems.
func USB(fsys fs.FS) *File {
	return Open(fsys, "usr/share/misc/usb.ids", "usr/share/hwdata/usb.ids", "usr/share/usb.ids",
		"var/lib/usbutils/usb.ids")
}

// Open returns the list in the first of the named files that can be read. It is
// read when the first name is asked for; see [File.Err].
func Open(fsys fs.FS, names ...string) *File { return &File{fsys: fsys, names: names} }

// New returns the list in data, which is not to be changed any more.
func New(data []byte) *File { return &File{loaded: true, list: list{data: data}} }

// Err reads the list, unless that was done, and returns why there are no names. It
// is fs.ErrNotExist when this system has no such list.
func (f *File) Err() error {
	if f == nil {
		return fs.ErrNotExist
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.load()
	return f.err
}

// load returns the list, opened on the first call. The file of a running host stays
// open for as long as the File is in use; the runtime closes it after that.
func (f *File) load() *list {
	if f.loaded {
		return &f.list
	}
	f.loaded = true
	err := fs.ErrNotExist
	for _, name := range f.names {
		if host, ok := f.fsys.(opener); ok {
			if file, openErr := host.OpenFile(name); openErr == nil {
				if pages, size := openPages(file); pages != nil {
					f.list.data, f.list.pages = make([]byte, size), pages
					return &f.list
				}
				_ = file.Close()
			}
		}
		data, readErr := fs.ReadFile(f.fsys, name)
		if readErr == nil && len(data) > maxFile {
			readErr = fmt.Errorf("%s has %d bytes, more than %d", name, len(data), maxFile)
		}
		if readErr == nil {
			f.list.data = data
			return &f.list
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = readErr // one that is there tells more than one that is not
		}
	}
	f.err = fmt.Errorf("none of %s can be read: %w", strings.Join(f.names, ", "), err)
	return &f.list
}

// Vendor returns the name of a vendor.
func (f *File) Vendor(vendor pci.ID) (string, bool) {
	if f == nil || !vendor.Known() {
		return "", false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.load()
	b := l.block(vendorKey(vendor))
	if b == nil {
		return "", false
	}
	return l.text(formTop, b.line)
}

// Device returns the name of a device of a vendor, without the vendor's.
func (f *File) Device(vendor, device pci.ID) (string, bool) {
	if f == nil || !vendor.Known() || !device.Known() {
		return "", false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.load()
	line, ok := l.child(vendorKey(vendor), uint64(device.Uint16()))
	if !ok {
		return "", false
	}
	return l.text(formDevice, line)
}

// Subsystem returns the name by which the maker of a board or a laptop, the
// subsystem vendor, knows a device.
func (f *File) Subsystem(vendor, device, subvendor, subdevice pci.ID) (string, bool) {
	if f == nil || !vendor.Known() || !device.Known() || !subvendor.Known() || !subdevice.Known() {
		return "", false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.load()
	line, ok := l.child(vendorKey(vendor), uint64(device.Uint16()))
	if ok {
		line, ok = l.grandchild(line, formDevice, formSubsystem, uint64(subvendor.Uint16())<<16|uint64(subdevice.Uint16()))
	}
	if !ok {
		return "", false
	}
	return l.text(formSubsystem, line)
}

// Class returns the names of a base class, of a subclass in it, and of a programming
// interface (for USB: a protocol) of that; each is empty when it is not listed.
func (f *File) Class(base, sub, progif uint8) (class, subclass, iface string) {
	if f == nil {
		return "", "", ""
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.load()
	b := l.block(classKey(base))
	if b == nil {
		return "", "", ""
	}
	class, _ = l.text(formTop, b.line)
	if line, ok := l.child(classKey(base), uint64(sub)); ok {
		subclass, _ = l.text(formByte, line)
		if line, ok = l.grandchild(line, formByte, formByte2, uint64(progif)); ok {
			iface, _ = l.text(formByte2, line)
		}
	}
	return class, subclass, iface
}

func vendorKey(v pci.ID) uint64 { return uint64(v.Uint16()) }

func classKey(base uint8) uint64 { return firstClass | uint64(base) }
