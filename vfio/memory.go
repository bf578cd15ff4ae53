package vfio

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"runtime/debug"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/internal/ioctl"
)

// errFault is the cause when a mapped page has nothing behind it any more.
var errFault = errors.New("there is nothing at its address any more: the device is gone, asleep or has its memory switched off")

// A window is memory that was mapped, which Go's collector knows nothing of. Whoever
// uses it keeps it from being unmapped meanwhile.
type window struct {
	mu sync.RWMutex
	b  []byte // nil when it is unmapped
}

// use has f do something with the bytes. A page without anything behind it, as of a
// device that was unplugged, is an error instead of the end of the program.
func (w *window) use(f func(b []byte) error) (err error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.b == nil {
		return fs.ErrClosed
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		p := recover()
		if _, fault := p.(interface{ Addr() uintptr }); fault {
			err = errFault
		} else if p != nil {
			panic(p)
		}
	}()
	return f(w.b)
}

func (w *window) load32(at int64) (v uint32, err error) {
	err = w.use(func(b []byte) error {
		var ok bool
		if v, ok = ioctl.Load32(b, at); !ok {
			return misplaced(at, len(b))
		}
		return nil
	})
	return v, err
}

func (w *window) store32(at int64, v uint32) error {
	return w.use(func(b []byte) error {
		if !ioctl.Store32(b, at, v) {
			return misplaced(at, len(b))
		}
		return nil
	})
}

func misplaced(at int64, size int) error {
	return fmt.Errorf("%#x is not the place of 32 bits within %#x bytes", at, size)
}

// unmap waits for those that use the window.
func (w *window) unmap() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.b == nil {
		return nil
	}
	err := unix.Munmap(w.b)
	if err == nil {
		w.b = nil
	}
	return os.NewSyscallError("munmap", err)
}

// Memory is memory for devices to read and write: mapped from the kernel (mmap(2)),
// never of Go's heap, so that it neither moves nor is freed while a device may reach
// it. [AddressSpace.Map] gives it to devices. Several goroutines may use it at once;
// that they, and the device, do not write the same bytes is for them to arrange.
type Memory struct {
	window
	size int

	at     sync.Mutex
	closed bool                  // being closed, too: nothing is mapped any more
	maps   map[*Mapping]struct{} // where devices find it
}

// Allocate returns memory of at least size bytes, a whole number of pages, all zero.
// The error is an *[OpError]: a size that is not positive, or ENOMEM.
func Allocate(size int) (*Memory, error) {
	fail := func(err error) (*Memory, error) { return nil, &OpError{Op: "allocate memory for devices", Err: err} }
	page := os.Getpagesize()
	if size <= 0 || size > math.MaxInt-page {
		return fail(fmt.Errorf("%d bytes", size))
	}
	size = (size + page - 1) / page * page
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	if err != nil {
		return fail(os.NewSyscallError("mmap", err))
	}
	return &Memory{window: window{b: b}, size: size, maps: map[*Mapping]struct{}{}}, nil
}

// Size returns how many bytes it has, whether or not it is closed.
func (m *Memory) Size() int { return m.size }

// ReadAt reads what is there, by the rules of [io.ReaderAt]; beyond the end is io.EOF.
// The error is fs.ErrClosed after Close.
func (m *Memory) ReadAt(p []byte, off int64) (n int, err error) {
	err = m.use(func(b []byte) error {
		if off < 0 {
			return fmt.Errorf("offset %d", off)
		}
		if off >= int64(len(b)) {
			return io.EOF
		}
		if n = copy(p, b[off:]); n < len(p) {
			return io.EOF
		}
		return nil
	})
	return n, m.fail("read", err)
}

// WriteAt writes by the rules of [io.WriterAt]. What does not fit is not written in
// part. The error is fs.ErrClosed after Close.
func (m *Memory) WriteAt(p []byte, off int64) (n int, err error) {
	err = m.use(func(b []byte) error {
		if off < 0 || off > int64(len(b)) || len(p) > len(b)-int(off) {
			return fmt.Errorf("%d bytes at %d are not within its %d", len(p), off, len(b))
		}
		n = copy(b[off:], p)
		return nil
	})
	return n, m.fail("write", err)
}

// Load32 reads the 32 bits from off on, in the byte order of the processor, in one
// access, as is needed for what a device writes meanwhile.
func (m *Memory) Load32(off int64) (uint32, error) {
	v, err := m.load32(off)
	return v, m.fail("read", err)
}

// Store32 writes 32 bits as Load32 reads them. What was written before is there before.
func (m *Memory) Store32(off int64, v uint32) error { return m.fail("write", m.store32(off, v)) }

// Close takes the memory from the devices that have it, and returns it to the kernel.
// When one of those cannot be done it stays as it is, and the error says why. Closing
// again does nothing.
func (m *Memory) Close() error {
	m.at.Lock()
	if m.closed {
		m.at.Unlock()
		return nil
	}
	m.closed = true // before the devices let go of it, or it could be mapped again
	mapped := slices.Collect(maps.Keys(m.maps))
	m.at.Unlock()
	var errs []error
	for _, p := range mapped {
		errs = append(errs, p.Unmap())
	}
	err := errors.Join(errs...)
	if err == nil {
		err = m.unmap()
	}
	if err != nil {
		m.at.Lock()
		m.closed = false
		m.at.Unlock()
	}
	return m.fail("close", err)
}

// lend notes that devices have the memory, which Close takes from them, and forget
// that they have it no more.
func (m *Memory) lend(p *Mapping) error {
	m.at.Lock()
	defer m.at.Unlock()
	if m.closed {
		return fs.ErrClosed
	}
	m.maps[p] = struct{}{}
	return nil
}

func (m *Memory) forget(p *Mapping) {
	m.at.Lock()
	defer m.at.Unlock()
	delete(m.maps, p)
}

func (m *Memory) fail(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &OpError{Op: op + " memory for devices", Err: err}
}
