package broker

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
		{override, unbind, program(t, 300*time.Millisecond, mac, unbind, override)},
		{mac, vlan, program(t, 300*time.Millisecond, mac, vlan)},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := test.broker
			warm(t, b)
			fd, free := lockedFile(t)
			l, back := b.Lend(fd)
			if err := l.WriteFile(test.other, []byte("0000:05:00.0")); err != nil {
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
			if err := l.WriteFile(test.name, []byte("0000:02:00.0")); !errors.As(err, &stuck) {
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

			// Nothing is lent after back, nor to who reads, nor with the writes of others.
			for what, call := range map[string]func(fd int) error{
				"after back": func(fd int) error {
					l, back := b.Lend(fd)
					back()
					return l.WriteFile(test.name, []byte("0000:02:00.0"))
				},
				"to read": func(fd int) error {
					l, back := b.Lend(fd)
					defer back()
					h.opens.Store(true)
					_, err := l.ReadFile(test.name)
					return err
				},
				"to another": func(fd int) error {
					_, back := b.Lend(fd)
					defer back()
					return b.WriteFile(test.name, []byte("0000:02:00.0"))
				},
			} {
				h.opens.Store(false)
				fd, free = lockedFile(t)
				if err := call(fd); !errors.Is(err, assign.ErrStuck) {
					t.Fatalf("%s: it hangs: %v", what, err)
				}
				if err := unix.Close(fd); err != nil || !free() {
					t.Errorf("lent %s (%v)", what, err)
				}
				h.reply(<-h.writes, unix.EIO, nil)
				for end := time.Now().Add(5 * time.Second); len(b.waiting()) > 0; time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatal("stuck after the kernel has come back")
					}
				}
			}
		})
	}
}

// waiting lists the processes that have not come back.
func (b *Broker) waiting() (pids []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, all := range b.stuck {
		for _, s := range all {
			if !s.child.ended() {
				pids = append(pids, s.child.pid)
			}
		}
	}
	return pids
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

// TestLendTwo: of two leases that one process works on, a write keeps the one that it
// belongs to, and the other is free as soon as that process has ended.
func TestLendTwo(t *testing.T) {
	b := below(t, 300*time.Millisecond, unbind, override)
	h := hang(t, filepath.Join(b.root, unbind))
	first, firstFree := lockedFile(t)
	second, secondFree := lockedFile(t)
	l, back := b.Lend(first)
	other, otherBack := b.Lend(second)
	var stuck *assign.StuckError
	if err := l.WriteFile(unbind, []byte("0000:05:00.0")); !errors.As(err, &stuck) {
		t.Fatalf("it hangs: %v", err)
	}
	if n := lent(t, stuck.PID); n != 1 {
		t.Errorf("%d lent", n)
	}
	if err := other.WriteFile(override, []byte("x")); err != nil || !strings.HasPrefix(b.content(t, override), "x") {
		t.Errorf("a write for the other: %q, %v", b.content(t, override), err)
	}
	// As when this process is killed.
	back()
	otherBack()
	if err := errors.Join(unix.Close(first), unix.Close(second)); err != nil {
		t.Fatal(err)
	}
	if firstFree() {
		t.Error("free while the kernel is at it")
	}
	if !secondFree() {
		t.Error("a write for another lease keeps this one")
	}
	h.release(<-h.writes, len("0000:05:00.0"))
	for end := time.Now().Add(5 * time.Second); !firstFree(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not free after the kernel has come back")
		}
	}
}
