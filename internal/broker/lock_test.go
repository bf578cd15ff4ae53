package broker

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/assign"
)

// lockedFile returns the descriptor of a file that is locked, and whether it is free.
func lockedFile(t *testing.T) (fd int, free func() bool) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "lease")
	fd, err := unix.Open(name, unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Fatal(err)
	}
	return fd, func() bool {
		t.Helper()
		other, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(other)
		err = unix.Flock(other, unix.LOCK_EX|unix.LOCK_NB)
		if err != nil && !errors.Is(err, unix.EWOULDBLOCK) {
			t.Fatal(err)
		}
		return err == nil
	}
}

// A write that nobody waits for any more keeps what it was lent until it is over, and no
// process keeps anything longer than its write.
func TestLend(t *testing.T) {
	for _, test := range []struct {
		name, other string
		broker      *Broker
	}{
		{unbind, "sys/bus/pci/drivers/igb/unbind", program(t, 300*time.Millisecond, mac, unbind, "sys/bus/pci/drivers/igb/unbind")},
		{mac, vlan, program(t, 300*time.Millisecond, mac, vlan)},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := test.broker
			warm(t, b)
			fd, free := lockedFile(t)
			back := b.Lend(fd)
			if err := b.WriteFile(test.other, []byte("0000:05:00.0")); err != nil {
				t.Fatal(err)
			}
			for _, all := range b.idle {
				for _, c := range all {
					if n := lent(t, c.pid); n != 0 {
						t.Errorf("process %d has %d leases open after its write", c.pid, n)
					}
				}
			}
			h := hang(t, filepath.Join(b.root, test.name))
			var stuck *assign.StuckError
			if err := b.WriteFile(test.name, []byte("0000:02:00.0")); !errors.As(err, &stuck) {
				t.Fatalf("it hangs: %v", err)
			}
			// As when this process is killed.
			back()
			if err := unix.Close(fd); err != nil {
				t.Fatal(err)
			}
			if free() {
				t.Error("free while the kernel is at it")
			}
			h.release(<-h.writes, len("0000:02:00.0"))
			for end := time.Now().Add(5 * time.Second); !free(); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("not free after the kernel has come back")
				}
			}

			// Nothing is lent after back, nor to who reads.
			fd, free = lockedFile(t)
			b.Lend(fd)()
			if err := b.WriteFile(test.other, []byte("0000:05:00.0")); err != nil {
				t.Error(err)
			}
			if err := unix.Close(fd); err != nil || !free() {
				t.Errorf("%v, or not free", err)
			}
		})
	}
}

// lent counts the leases that a process has open.
func lent(t *testing.T, pid int) (n int) {
	t.Helper()
	dir := "/proc/" + strconv.Itoa(pid) + "/fd"
	fds, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if target, err := os.Readlink(dir + "/" + fd.Name()); err == nil && filepath.Base(target) == "lease" {
			n++
		}
	}
	return n
}

// TestLendMany: of more than a process takes, the latest are lent.
func TestLendMany(t *testing.T) {
	b := below(t, 300*time.Millisecond, unbind)
	h := hang(t, filepath.Join(b.root, unbind))
	var free []func() bool
	for range 20 {
		fd, f := lockedFile(t)
		defer b.Lend(fd)()
		defer unix.Close(fd)
		free = append(free, f)
	}
	var stuck *assign.StuckError
	if err := b.WriteFile(unbind, []byte("0000:02:00.0")); !errors.As(err, &stuck) {
		t.Fatalf("it hangs: %v", err)
	}
	if n := lent(t, stuck.PID); n != 16 {
		t.Errorf("%d lent", n)
	}
	h.release(<-h.writes, len("0000:02:00.0"))
	for end := time.Now().Add(5 * time.Second); !(&child{pid: stuck.PID, socket: -1}).ended(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the process does not end")
		}
	}
	for i, f := range free {
		if f() {
			t.Errorf("the lock %d was let go of by who had only lent it", i)
		}
	}
}
