package vfio

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"
)

func TestClose(t *testing.T) {
	k := newKernel()
	g, d := open(t, k)
	if _, err := openGroup(k.host(), seven); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("second opener: %v, want EBUSY", err)
	}
	for range 2 {
		if err := g.Close(); err != nil {
			t.Errorf("close group: %v", err)
		}
		if err := d.Close(); err != nil {
			t.Errorf("close device: %v", err)
		}
	}
	if len(k.open) != 0 {
		t.Errorf("%d files are still open", len(k.open))
	}
	_, err := g.Status()
	wantError(t, err, fs.ErrClosed)
	wantError(t, g.Attach(), fs.ErrClosed)
	_, err = g.OpenDevice(nvme)
	wantError(t, err, fs.ErrClosed)
	_, err = d.Info()
	wantError(t, err, fs.ErrClosed)
	wantError(t, d.Reset(), fs.ErrClosed)
}

// TestNothingLeaks fails each call of a whole cycle in turn, with errors that
// matter; no error may leave a file open, and none may go unnoticed.
func TestNothingLeaks(t *testing.T) {
	cycle := func(k *kernel) (err error) {
		g, err := openGroup(k.host(), seven)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, g.Close()) }()
		if err := g.Attach(); err != nil {
			return err
		}
		d, err := g.OpenDevice(nvme)
		if err != nil {
			return err
		}
		_, err = d.Regions()
		_, err2 := d.Interrupts()
		_, err3 := d.ReadConfig(make([]byte, 4), 0)
		return errors.Join(err, err2, err3, d.Reset(), d.Close())
	}
	failEachCall(t, newKernel, cycle)
}

// failEachCall has a cycle done once, and then fails each of its calls in turn: the error
// must come out of the cycle, and nothing may be open after it.
func failEachCall(t *testing.T, fresh func() *kernel, cycle func(*kernel) error) {
	t.Helper()
	k := fresh()
	if err := cycle(k); err != nil {
		t.Fatal(err)
	}
	for at := 1; at <= k.calls; at++ {
		for _, errno := range []syscall.Errno{syscall.EIO, syscall.EPERM, syscall.ENODEV, syscall.EBUSY} {
			f, failed := fresh(), ""
			f.fail = func(call string) error {
				if f.calls != at {
					return nil
				}
				failed = call
				return errno
			}
			err := cycle(f)
			if !errors.Is(err, errno) {
				t.Errorf("call %d (%s) gave %v, the cycle %v", at, failed, errno, err)
			}
			if len(f.open) != 0 || f.groups[seven].node != nil || f.groups[seven].byNode != 0 {
				t.Errorf("call %d (%s) gave %v: %d files are still open", at, failed, errno, len(f.open))
			}
		}
	}
}

func TestRequests(t *testing.T) {
	if got := deviceReset.code() & 0xffff; got != ';'<<8|111 || deviceReset.String() != "VFIO_DEVICE_RESET" {
		t.Errorf("VFIO_DEVICE_RESET is %#x, %v", got, deviceReset)
	}
}
