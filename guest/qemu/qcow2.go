package qemu

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// checkQcow2 reads the header of an image that is said to be qcow2 and refuses one
// that is not, and one that refers to other files: those names come from whoever
// wrote the image, and QEMU is not to open them.
func checkQcow2(r io.ReaderAt) error {
	var h [80]byte
	n, err := r.ReadAt(h[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if n < 72 || string(h[:4]) != "QFI\xfb" {
		return errors.New("not a qcow2 image")
	}
	version := binary.BigEndian.Uint32(h[4:])
	switch {
	case version != 2 && version != 3:
		return fmt.Errorf("qcow2 version %d is not known", version)
	case binary.BigEndian.Uint64(h[8:]) != 0:
		return errors.New("the image needs a backing file, which is not opened; make one file of both: qemu-img convert -O qcow2")
	case binary.BigEndian.Uint32(h[32:]) != 0:
		return errors.New("the image is encrypted, and there is no key")
	case version == 2:
		return nil
	case n < len(h):
		return errors.New("not a qcow2 image: it ends in its header")
	}
	// 0 dirty, 1 corrupt, 2 external data file, 3 compression type, 4 extended L2
	switch incompatible := binary.BigEndian.Uint64(h[72:]); {
	case incompatible&(1<<2) != 0:
		return errors.New("the image needs a data file, which is not opened; make one file of both: qemu-img convert -O qcow2")
	case incompatible&(1<<1) != 0:
		return errors.New("the image is marked corrupt; repair a copy of it: qemu-img check -r all")
	case incompatible>>5 != 0:
		return fmt.Errorf("the image needs features that are not known: %#x", incompatible>>5<<5)
	}
	return nil
}
