package hostfs

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// OpenDevice opens the character device name for reading and writing, such as the node of a
// USB device that is handed to a guest. It does not wait for the device. The caller closes
// it.
func (h *LiveHost) OpenDevice(name string) (*os.File, error) {
	fd, err := h.open("open", name, unix.O_RDWR|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFCHR {
		err = fs.ErrInvalid
	}
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, h.fail("open", name, err)
	}
	return os.NewFile(uintptr(fd), h.path+name), nil
}
