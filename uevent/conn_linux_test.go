package uevent_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/uevent"
)

// skip leaves a test out, except in continuous integration, where nothing may be left
// out unseen.
func skip(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

func listen(t *testing.T, o uevent.Options) *uevent.Conn {
	t.Helper()
	c, err := uevent.Listen(o)
	if errors.Is(err, errors.ErrUnsupported) {
		skip(t, "no events here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

const (
	null = "/sys/devices/virtual/mem/null/uevent"
	uuid = "fe4d7c9d-b8c6-4a70-9ef1-3d8a58d18eed"
)

// trigger makes the kernel send an event about /dev/null that carries K=value.
func trigger(t *testing.T, value string) {
	t.Helper()
	f, err := os.OpenFile(null, os.O_WRONLY, 0)
	if err == nil {
		_, err = fmt.Fprintf(f, "change %s K=%s", uuid, value)
		_ = f.Close()
	}
	if err != nil {
		skip(t, "this process cannot make the kernel send an event: %v", err)
	}
}

// next returns the value K of the next event that this process has triggered.
func next(t *testing.T, c *uevent.Conn) (string, error) {
	t.Helper()
	for {
		e, err := c.Read(soon(t))
		if err != nil {
			return "", err
		}
		if id, _ := e.Lookup("SYNTH_UUID"); id == uuid {
			if e.Action != uevent.Change || e.Path != "/devices/virtual/mem/null" || e.Subsystem != "mem" || e.DevName != "null" || e.Seqnum == 0 {
				t.Errorf("%+v", e)
			}
			value, _ := e.Lookup("SYNTH_ARG_K")
			return value, nil
		}
	}
}

func TestRealEvents(t *testing.T) {
	c := listen(t, uevent.Options{})
	before, err := uevent.Seqnum(os.DirFS("/"))
	if err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"1", "2", "3"} {
		trigger(t, value)
	}
	for _, value := range []string{"1", "2", "3"} {
		if got, err := next(t, c); got != value || err != nil {
			t.Errorf("%q, %v, want %q", got, err, value)
		}
	}
	if after, err := uevent.Seqnum(os.DirFS("/")); after < before+3 || err != nil {
		t.Errorf("%d events before, %d after, %v", before, after, err)
	}
}

func TestReadStops(t *testing.T) {
	c := listen(t, uevent.Options{})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Read(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("before it began: %v", err)
	}
	for range 3 {
		short, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		for {
			_, err := c.Read(short)
			if err == nil {
				continue // an event of something else on this machine
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("at the deadline: %v", err)
			}
			break
		}
		cancel()
	}
	trigger(t, "after")
	if got, err := next(t, c); got != "after" || err != nil {
		t.Errorf("after a deadline: %q, %v", got, err)
	}

	read := make(chan error)
	go func() {
		for {
			if _, err := c.Read(t.Context()); err != nil {
				read <- err
				return
			}
		}
	}()
	time.Sleep(20 * time.Millisecond)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-read:
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Close does not end a Read that waits")
	}
	if _, err := c.Read(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// Who waits for its turn behind another stops as well when its ctx ends, and the
// other goes on.
func TestTwoReaders(t *testing.T) {
	c := listen(t, uevent.Options{})
	first := make(chan error, 1)
	go func() {
		for {
			e, err := c.Read(t.Context())
			if value, _ := e.Lookup("SYNTH_ARG_K"); value == "last" || err != nil && !errors.Is(err, uevent.ErrOverflow) {
				first <- err
				return
			}
		}
	}()
	time.Sleep(20 * time.Millisecond) // now it waits in the kernel
	second := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		for {
			if _, err := c.Read(ctx); err != nil && !errors.Is(err, uevent.ErrOverflow) {
				second <- err
				return
			}
		}
	}()
	select {
	case err := <-second:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the second: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the second does not stop at its deadline")
	}
	trigger(t, "last")
	select {
	case err := <-first:
		if err != nil {
			t.Errorf("the first: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the first does not get its event")
	}
}

// The kernel drops what does not fit into a tiny buffer, says so once, and the Conn
// goes on.
func TestOverflow(t *testing.T) {
	c := listen(t, uevent.Options{Buffer: 1})
	const sent = 200
	for i := range sent {
		trigger(t, fmt.Sprint(i))
	}
	overflows, received := 0, 0
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := c.Read(ctx)
		cancel()
		if errors.Is(err, uevent.ErrOverflow) {
			overflows++
		} else if errors.Is(err, context.DeadlineExceeded) {
			break
		} else if err != nil {
			t.Fatal(err)
		} else {
			received++
		}
	}
	t.Logf("sent: %d, received: %d, overflows: %d", sent, received, overflows)
	if overflows != 1 || received >= sent {
		t.Errorf("%d overflows, %d of %d events", overflows, received, sent)
	}
	trigger(t, "after")
	if got, err := next(t, c); got != "after" || err != nil {
		t.Errorf("after the overflow: %q, %v", got, err)
	}
}

// What another process sends is not the kernel's, whoever runs it and wherever it
// sends to.
func TestForged(t *testing.T) {
	c := listen(t, uevent.Options{})
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	forged := message("add@/devices/forged", "ACTION=add", "DEVPATH=/devices/forged", "SUBSYSTEM=usb", "SEQNUM=1")
	group := unix.Sendto(fd, forged, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1})
	// The first socket of a process has its process id as its port.
	alone := unix.Sendto(fd, forged, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: uint32(os.Getpid())})
	t.Logf("to the group: %v; to a process: %v", group, alone)
	if group != nil && alone != nil {
		skip(t, "this process cannot send such messages: %v, %v", group, alone)
	}
	trigger(t, "true")
	for {
		e, err := c.Read(soon(t))
		if err != nil {
			t.Fatal(err)
		}
		if e.Path == "/devices/forged" {
			t.Fatalf("took a forged event for the kernel's: %+v", e)
		}
		if value, _ := e.Lookup("SYNTH_ARG_K"); value == "true" {
			return
		}
	}
}
