package qemu

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/image"
)

// inheritance is the files a QEMU is started with. The child finds them from
// descriptor 3 on in the order in which they were added.
type inheritance struct {
	files []*os.File
	names map[int]string // by descriptor, what to call it in an error

	helpers []*helper // whose sockets are among the files

	rights Rights
}

// add takes f over and returns its descriptor in the child.
func (h *inheritance) add(f *os.File, name string) int {
	fd := 3 + len(h.files)
	h.files = append(h.files, f)
	if h.names == nil {
		h.names = make(map[int]string)
	}
	h.names[fd] = name
	return fd
}

// close closes the parent's side.
func (h *inheritance) close() {
	for _, f := range h.files {
		f.Close()
	}
	h.files = nil
}

// abandon closes the parent's side and ends the helpers that nobody has taken over.
func (h *inheritance) abandon() {
	h.close()
	for _, p := range h.helpers {
		p.kill(nil)
		<-p.done
	}
	h.helpers = nil
}

// Check returns the error that [Start] would give for g itself, for one of its disks or
// ROMs, or for want of firmware. Of o it takes User and Rights. It opens them and closes them again, so that what cannot
// start is known before a device is taken from the host for it.
func Check(g guest.Guest, o Options) error {
	err := g.Validate()
	var rights Rights
	if err == nil {
		rights, err = o.rights()
	}
	if err == nil {
		h := inheritance{rights: rights}
		_, disks := openDisks(&h, g)
		_, roms := openROMs(&h, g)
		err = errors.Join(disks, roms)
		if g.Firmware == guest.UEFI {
			g.Variables = "" // they are made at the start, and not before
			_, _, firmware := openUEFI(&h, g)
			err = errors.Join(err, firmware)
		}
		h.close()
	}
	if err != nil {
		return &OpError{Op: "start", Guest: g.Name, Err: err}
	}
	return nil
}

// openDisks opens the disks of g. The errors name every file that cannot be used.
func openDisks(h *inheritance, g guest.Guest) ([]DiskFile, error) {
	var (
		disks []DiskFile
		infos []fs.FileInfo
		errs  []error
	)
	for i, d := range g.Disks {
		f, info, err := openDisk(h.rights, d)
		if err != nil {
			errs = append(errs, fmt.Errorf("disk %d: %w", i+1, err))
			continue
		}
		for j, other := range infos {
			if os.SameFile(info, other) && (writes(d) || writes(g.Disks[j])) {
				errs = append(errs, fmt.Errorf("disk %d: %s is the same file as disk %d; only read-only disks can be shared", i+1, d.File, j+1))
			}
		}
		infos = append(infos, info)
		disks = append(disks, DiskFile{FD: h.add(f, d.File), Device: info.Mode()&fs.ModeDevice != 0})
	}
	return disks, errors.Join(errs...)
}

func writes(d guest.Disk) bool { return !d.ReadOnly && !d.CDROM }

// openDisk opens d with the access the guest will have. It does not follow what an image
// refers to.
func openDisk(r Rights, d guest.Disk) (*os.File, fs.FileInfo, error) {
	f, err := r.Open(d.File, writes(d))
	if err != nil {
		return nil, nil, err
	}
	info, err := checkDisk(f, d)
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

func checkDisk(f *os.File, d guest.Disk) (fs.FileInfo, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	mode := info.Mode()
	if !mode.IsRegular() && mode&(fs.ModeDevice|fs.ModeCharDevice) != fs.ModeDevice {
		return nil, fmt.Errorf("%s is neither a file nor a block device", d.File)
	}
	if mode.IsRegular() && info.Size() == 0 {
		return nil, fmt.Errorf("%s is empty", d.File)
	}
	if d.Format == guest.Qcow2 {
		size := info.Size()
		if !mode.IsRegular() {
			size = -1
		}
		if d.Key.Kind == guest.NoKey {
			_, err = image.Check(f, size, image.Qcow2)
		} else {
			_, err = image.CheckEncrypted(f, size)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.File, err)
		}
	}
	return info, nil
}
