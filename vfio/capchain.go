package vfio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
)

// maxInfo bounds how long an answer of the kernel may be.
const maxInfo = 64 << 10

// growing makes a request whose answer may be longer than b, which is what the kernel
// says then: its answer begins with the length it needs, and has a flag that something
// follows the structure.
func growing(n node, r request, b []byte, hasCaps uint32) ([]byte, error) {
	u := binary.NativeEndian
	for range 4 {
		u.PutUint32(b, uint32(len(b)))
		asked := append([]byte(nil), b...)
		if err := n.data(r, b); err != nil {
			return nil, err
		}
		needed := u.Uint32(b)
		if needed <= uint32(len(b)) || u.Uint32(b[4:])&hasCaps == 0 {
			return b, nil
		}
		if needed > maxInfo {
			return nil, fmt.Errorf("the kernel's answer is %d bytes long", needed)
		}
		b = append(asked, make([]byte, int(needed)-len(asked))...)
	}
	return nil, errors.New("the kernel's answer grows each time")
}

// capabilities walks a chain of struct vfio_info_cap_header in an answer from the
// offset first on, none of which is before least. Each is its id and its bytes with the
// header and all that follows it. The walk ends where the chain does, at an offset that
// is not within the answer, and when it comes by more capabilities than could be there,
// which makes it a ring.
func capabilities(b []byte, first, least uint32) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		at := uint64(first)
		for range len(b) / 8 {
			if at < uint64(least) || at+8 > uint64(len(b)) {
				return
			}
			if !yield(binary.NativeEndian.Uint16(b[at:]), b[at:]) {
				return
			}
			at = uint64(binary.NativeEndian.Uint32(b[at+4:]))
		}
	}
}
