package qemu

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/pci"
)

// maxROM is more than any option ROM has; those of graphics have some 128 KiB.
const maxROM = 16 << 20

// A ROMError says that the file of an option ROM does not hold what it is said to. QEMU
// is then not started.
type ROMError struct {
	Device pci.Address
	File   string
	Want   guest.Digest // as named
	Got    guest.Digest // of what the file holds
}

// Error gives both digests.
func (e *ROMError) Error() string {
	return fmt.Sprintf("option ROM of %s: the SHA-256 of %s is %s, not %s", e.Device, e.File, e.Got, e.Want)
}

// openROMs gives QEMU the ROMs of g as files that nobody can change any more: what was
// compared with the digest is what QEMU reads. The errors name every ROM that cannot be
// used.
func openROMs(h *inheritance, g guest.Guest) ([]int, error) {
	var fds []int
	var errs []error
	for _, r := range g.ROMs {
		data, err := readROM(h.rights, r.File)
		if err == nil {
			if got := guest.Digest(sha256.Sum256(data)); got != r.SHA256 {
				err = &ROMError{r.Device, r.File, r.SHA256, got}
			}
		}
		var f *os.File
		if err == nil {
			f, err = sealed(r.File, data)
		}
		if err != nil {
			errs = append(errs, romError(r, err))
			continue
		}
		fds = append(fds, h.add(f, r.File))
	}
	return fds, errors.Join(errs...)
}

// readROM reads a regular file of bounded size.
func readROM(r Rights, name string) ([]byte, error) {
	f, err := r.Open(name, false)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no file", name)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxROM+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) == 0:
		return nil, fmt.Errorf("%s is empty", name)
	case len(data) > maxROM:
		return nil, fmt.Errorf("%s has more than %d bytes", name, maxROM)
	}
	return data, nil
}

// sealed returns data as a file in memory that cannot be written, shortened or
// lengthened. Everybody may open it, so that QEMU can, whoever it runs as.
func sealed(name string, data []byte) (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("rom", flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // Linux before 6.3
		fd, err = unix.MemfdCreate("rom", flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err = f.Write(data); err == nil {
		const seals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals)
	}
	if err == nil {
		err = f.Chmod(0o444)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// romError says of which device's ROM an error is, if it does not say so itself.
func romError(r guest.ROM, err error) error {
	var other *ROMError
	if errors.As(err, &other) {
		return err
	}
	return fmt.Errorf("ROM of %s: %w", r.Device, err)
}
