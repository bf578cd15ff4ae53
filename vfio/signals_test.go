package vfio

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// raise has the device send an interrupt.
func (k *kernel) raise(kind uint32, n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.groups[seven].device.send(kind, n)
}

func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestSignals(t *testing.T) {
	k := newKernel()
	_, d := open(t, k)
	s, err := d.EnableInterrupts(MSIX, 65)
	if err != nil || s.Kind().Name != "msix" {
		t.Fatalf("%v, %v", s, err)
	}
	k.raise(MSIX, 64)
	k.raise(MSIX, 64)
	k.raise(MSIX, 0)
	for n, want := range map[int]uint64{64: 2, 0: 1} {
		if got, err := s.Wait(soon(t), n); got != want || err != nil {
			t.Errorf("interrupt %d: %d, %v; want %d", n, got, err, want)
		}
	}
	go k.raise(MSIX, 3)
	if got, err := s.Wait(soon(t), 3); got != 1 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	if err := s.Trigger(5); err != nil {
		t.Error(err)
	}
	if got, err := s.Wait(soon(t), 5); got != 1 || err != nil {
		t.Errorf("triggered: %d, %v", got, err)
	}
	wantError(t, s.Mask(0), errors.ErrUnsupported, "mask msix 0 of 0000:02:00.0")
	wantError(t, s.Unmask(0), errors.ErrUnsupported)
	for _, n := range []int{-1, 65} {
		_, err := s.Wait(soon(t), n)
		wantError(t, err, errAny, "65 were enabled")
		wantError(t, s.Trigger(n), errAny)
	}
	for _, c := range []struct {
		kind  uint32
		count int
		is    error
		text  string
	}{
		{MSIX, 1, errAny, "msix is enabled"}, {INTx, 1, errAny, "msix is enabled"}, {MSI, 1, errors.ErrUnsupported, "has none"},
		{RequestInterrupt, 2, errors.ErrUnsupported, "has 1 of them, not 2"}, {RequestInterrupt, 0, errAny, "0 interrupts"},
		{RequestInterrupt, -1, errAny, ""}, {MSIX, 1 << 30, errAny, ""}, {7, 1, syscall.EINVAL, "enable interrupt 7"},
	} {
		_, err := d.EnableInterrupts(c.kind, c.count)
		wantError(t, err, c.is, c.text)
	}
	if err := errors.Join(s.Close(), s.Close()); err != nil {
		t.Error(err)
	}
	if len(k.groups[seven].device.enabled) != 0 {
		t.Error("still enabled")
	}
	_, err = s.Wait(soon(t), 0)
	wantError(t, err, fs.ErrClosed)
	wantError(t, s.Trigger(0), fs.ErrClosed)

	line, err := d.EnableInterrupts(INTx, 1)
	if err != nil {
		t.Fatal(err)
	}
	req, err := d.EnableInterrupts(RequestInterrupt, 1) // beside any
	if err != nil {
		t.Fatal(err)
	}
	k.raise(INTx, 0)
	k.raise(INTx, 0) // masked by then
	if got, err := line.Wait(soon(t), 0); got != 1 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	if err := line.Unmask(0); err != nil {
		t.Error(err)
	}
	k.raise(INTx, 0)
	if got, err := line.Wait(soon(t), 0); got != 1 || err != nil {
		t.Errorf("after it was unmasked: %d, %v", got, err)
	}
	if err := errors.Join(line.Unmask(0), line.Mask(0)); err != nil || !k.groups[seven].device.masked {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	_, err = req.Wait(soon(t), 0)
	wantError(t, err, fs.ErrClosed)
	_, err = d.EnableInterrupts(MSIX, 1)
	wantError(t, err, fs.ErrClosed)
}

// TestWaitEnds: nobody waits for ever, and a wait that was given up takes nothing from
// the next.
func TestWaitEnds(t *testing.T) {
	k := newKernel()
	_, d := open(t, k)
	s, err := d.EnableInterrupts(MSIX, 2)
	if err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	for range 50 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_, err := s.Wait(ctx, 0)
		wantError(t, err, context.DeadlineExceeded, "wait for msix 0")
		cancel()
	}
	reason := fmt.Errorf("the guest has ended")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	_, err = s.Wait(ctx, 0)
	wantError(t, err, reason)
	k.raise(MSIX, 0)
	if n, err := s.Wait(soon(t), 0); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	var wg sync.WaitGroup
	for range 4 { // one gets it, the others wait on
		wg.Go(func() {
			if _, err := s.Wait(soon(t), 1); err != nil && !errors.Is(err, fs.ErrClosed) {
				t.Error(err)
			}
		})
	}
	k.raise(MSIX, 1)
	time.Sleep(10 * time.Millisecond)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > before && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, %d before", n, before)
	}
}

func TestSignalsRefused(t *testing.T) {
	k := newKernel()
	_, d := open(t, k)
	k.fail = failOn("VFIO_DEVICE_SET_IRQS", syscall.EBUSY)
	_, err := d.EnableInterrupts(MSIX, 2)
	wantError(t, err, syscall.EBUSY, "enable msix of 0000:02:00.0", "VFIO_DEVICE_SET_IRQS")
	k.fail = nil
	s, err := d.EnableInterrupts(MSIX, 2) // what was refused is not enabled
	if err != nil {
		t.Fatal(err)
	}
	k.fail = failOn("VFIO_DEVICE_SET_IRQS", syscall.EIO)
	wantError(t, s.Close(), syscall.EIO, "disable msix")
	k.fail = nil
}
