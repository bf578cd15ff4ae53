package vfio

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// The kinds of interrupts of PCI, which are their indexes (linux/vfio.h).
const (
	INTx             uint32 = iota // the line, of which a device has at most one
	MSI                            // message signalled interrupts
	MSIX                           // the same, up to 2048 of them
	ErrorInterrupt                 // a PCI Express error
	RequestInterrupt               // the host wants the device back
)

// What to do with interrupts: VFIO_IRQ_SET_DATA_ and VFIO_IRQ_SET_ACTION_.
const (
	irqNone    = 1 << 0
	irqEventFD = 1 << 2
	irqMask    = 1 << 3
	irqUnmask  = 1 << 4
	irqTrigger = 1 << 5

	maxInterrupts = 2048 // of MSI-X, which has the most
)

// Signals are interrupts of one kind that are delivered to this process, each to an
// eventfd. Several goroutines may use them at once.
type Signals struct {
	device *Device
	kind   Interrupt
	events []event
}

// An event counts the interrupts of one number. Turn is held by who waits for it, of
// whom there is one at a time, as a file has one deadline.
type event struct {
	file *os.File
	turn chan struct{}
}

func (e event) hold(call func(fd uintptr)) error { return (&file{e.file}).hold(call) }

// EnableInterrupts has the first count interrupts of a kind delivered
// (VFIO_DEVICE_SET_IRQS). INTx, MSI and MSI-X exclude each other. For MSI and MSI-X the
// device has to be bus master before it can send one.
//
// The error is errors.ErrUnsupported when the device has none of the kind, or fewer.
func (d *Device) EnableInterrupts(kind uint32, count int) (*Signals, error) {
	s, err := d.enable(kind, count)
	if err != nil {
		return nil, d.fail("enable "+interruptName(kind)+" of", err)
	}
	return s, nil
}

func (d *Device) enable(kind uint32, count int) (*Signals, error) {
	i, err := d.interrupt(kind)
	switch {
	case err != nil:
		return nil, err
	case i.Count == 0 || !i.EventFD:
		return nil, &lacking{what: "the device has none"}
	case count <= 0 || count > maxInterrupts:
		return nil, fmt.Errorf("%d interrupts", count)
	case uint32(count) > i.Count:
		return nil, &lacking{what: fmt.Sprintf("the device has %d of them, not %d", i.Count, count)}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, fs.ErrClosed
	}
	for other := range d.events {
		if other == kind || other <= MSIX && kind <= MSIX {
			return nil, fmt.Errorf("%s is enabled", interruptName(other))
		}
	}
	s := &Signals{device: d, kind: i}
	var ends []holder
	for n := range count {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			return nil, errors.Join(os.NewSyscallError("eventfd2", err), s.closeFiles())
		}
		e := event{os.NewFile(uintptr(fd), i.Name+" "+strconv.Itoa(n)), make(chan struct{}, 1)}
		s.events = append(s.events, e)
		ends = append(ends, e)
	}
	b := irqSet(irqEventFD|irqTrigger, kind, 0, count, 4*count)
	if err := d.node.files(deviceSetInterrupts, b, irqSetSize, ends...); err != nil {
		return nil, errors.Join(err, s.closeFiles())
	}
	d.events[kind] = s
	d.parts[s] = struct{}{}
	return s, nil
}

const irqSetSize = 20

// irqSet is a struct vfio_irq_set with room for data.
func irqSet(flags, index uint32, start, count, data int) []byte {
	b := make([]byte, irqSetSize+data) // argsz, flags, index, start, count
	for i, v := range []uint32{uint32(len(b)), flags, index, uint32(start), uint32(count)} {
		binary.NativeEndian.PutUint32(b[4*i:], v)
	}
	return b
}

// Kind returns what the kernel says of the interrupts.
func (s *Signals) Kind() Interrupt { return s.kind }

// Wait waits until interrupt n has come in, and returns how often since it was last
// waited for. It ends with ctx, with the cause of that, and when the signals are closed,
// with fs.ErrClosed. An interrupt of a kind that is AutoMasked, as INTx, comes again
// after Unmask only.
func (s *Signals) Wait(ctx context.Context, n int) (uint64, error) {
	count, err := s.wait(ctx, n)
	if err != nil {
		return 0, s.fail("wait for", n, err)
	}
	return count, nil
}

func (s *Signals) wait(ctx context.Context, n int) (uint64, error) {
	if err := s.known(n); err != nil {
		return 0, err
	}
	e := s.events[n]
	select {
	case e.turn <- struct{}{}:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	defer func() { <-e.turn }()
	if err := e.file.SetReadDeadline(time.Time{}); errors.Is(err, os.ErrNoDeadline) {
		return 0, err
	} else if err != nil {
		return 0, fs.ErrClosed // which it says in words of its own
	}
	// Go's poller waits; a deadline that is past wakes it.
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		e.file.SetReadDeadline(time.Unix(1, 0))
		close(woken)
	})
	var b [8]byte
	_, err := e.file.Read(b[:])
	if !stop() {
		<-woken // or it would cut short whoever waits next
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, context.Cause(ctx)
	}
	return binary.NativeEndian.Uint64(b[:]), closed(err)
}

// closed makes what a closed file answers fs.ErrClosed.
func closed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return fs.ErrClosed
	}
	return err
}

// Mask keeps interrupt n from coming in until Unmask. It is errors.ErrUnsupported for
// kinds that are not Maskable: all but INTx.
func (s *Signals) Mask(n int) error { return s.set("mask", irqMask, n) }

// Unmask lets interrupt n come in again; if it is waiting, it does at once.
func (s *Signals) Unmask(n int) error { return s.set("unmask", irqUnmask, n) }

// Trigger has the kernel deliver interrupt n as if the device had sent it, which the
// device does not notice.
func (s *Signals) Trigger(n int) error { return s.set("trigger", irqTrigger, n) }

func (s *Signals) set(op string, action uint32, n int) error {
	err := s.known(n)
	if err == nil && action != irqTrigger && !s.kind.Maskable {
		err = &lacking{what: "the kernel cannot mask them"}
	}
	if err == nil {
		s.device.mu.Lock()
		defer s.device.mu.Unlock()
		if s.device.events[s.kind.Index] != s {
			err = fs.ErrClosed
		} else {
			err = s.device.node.data(deviceSetInterrupts, irqSet(irqNone|action, s.kind.Index, n, 1, 0))
		}
	}
	if err != nil {
		return s.fail(op, n, err)
	}
	return nil
}

func (s *Signals) known(n int) error {
	if n < 0 || n >= len(s.events) {
		return fmt.Errorf("%d were enabled", len(s.events))
	}
	return nil
}

// Close disables the interrupts; who waits for one gets fs.ErrClosed. Closing again
// does nothing.
func (s *Signals) Close() error {
	d := s.device
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.events[s.kind.Index] != s {
		return nil
	}
	delete(d.events, s.kind.Index)
	delete(d.parts, s)
	err := d.node.data(deviceSetInterrupts, irqSet(irqNone|irqTrigger, s.kind.Index, 0, 0, 0))
	if err = errors.Join(err, s.closeFiles()); err != nil {
		return d.fail("disable "+s.kind.Name+" of", err)
	}
	return nil
}

func (s *Signals) closeFiles() error {
	var errs []error
	for _, e := range s.events {
		errs = append(errs, e.file.Close())
	}
	return errors.Join(errs...)
}

func (s *Signals) fail(op string, n int, err error) error {
	return s.device.fail(op+" "+s.kind.Name+" "+strconv.Itoa(n)+" of", err)
}
