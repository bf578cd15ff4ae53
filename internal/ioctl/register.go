package ioctl

import (
	"runtime"
	"sync/atomic"
	"unsafe"
)

// Load32 reads the 32 bits from at on, in the byte order of the processor, in one
// access that is neither left out nor split. It reports false, and reads nothing, when
// at is not a multiple of four from a page's beginning or not within b.
func Load32(b []byte, at int64) (v uint32, ok bool) {
	p := word(b, at)
	if p == nil {
		return 0, false
	}
	return atomic.LoadUint32(p), true
}

// Store32 writes the 32 bits from at on as Load32 reads them. What was written to
// memory before is there before.
func Store32(b []byte, at int64, v uint32) bool {
	p := word(b, at)
	if p == nil {
		return false
	}
	store(p, v)
	return true
}

// store writes once. On these processors sync/atomic exchanges, which reads the
// register too, and some registers act on being read; a plain store is ordered there.
// Not inlined, it is neither left out nor joined with another.
//
//go:noinline
func store(p *uint32, v uint32) {
	if runtime.GOARCH == "amd64" || runtime.GOARCH == "386" {
		*p = v
		return
	}
	atomic.StoreUint32(p, v)
}

func word(b []byte, at int64) *uint32 {
	if at < 0 || at > int64(len(b))-4 {
		return nil
	}
	p := unsafe.Pointer(&b[at])
	if uintptr(p)%4 != 0 {
		return nil
	}
	return (*uint32)(p)
}
