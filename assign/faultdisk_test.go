package assign_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/journal/journaltest"
)

// tried is a trial of one plan, that of the group with the most functions or, if small, of a
// group of one.
func tried(t *testing.T, small bool) *trial {
	t.Helper()
	k := machine(t, machines(t)[0], 1)
	all := plans(t, k)
	p := slices.MaxFunc(all[:len(all)-1], func(a, b *assign.Plan) int { return len(a.Steps) - len(b.Steps) })
	if small {
		p = all[slices.IndexFunc(all, func(p *assign.Plan) bool { return len(p.Steps) == 3 })]
	}
	c := &trial{T: t, plan: p, start: world{k, journaltest.New()}}
	c.assigned = c.start.clone()
	if err := c.assign(c.assigned.store(), c.assigned.host()); err != nil {
		t.Fatal(err)
	}
	return c
}

// faults are what a full or a broken disk says, after nothing or a part was written.
func faults(errno syscall.Errno) []error {
	return []error{errno, &journaltest.Short{N: 1, Err: errno}, &journaltest.Short{N: 50, Err: errno}}
}

// operations counts those of an act in a copy of w.
func operations(w world, do act) (n int) {
	w = w.clone()
	w.disk.Before = func(journaltest.Op) error { n++; return nil }
	_ = do(w.store(), w.host())
	return n
}

// A disk that is full at any operation of assign leaves the old state.
func TestFault17DiskFullAssign(t *testing.T) {
	c := tried(t, false)
	all := operations(c.start, c.assign)
	failed := 0
	for at := 1; at <= all; at++ {
		for i, fault := range faults(syscall.ENOSPC) {
			for _, rest := range []bool{false, true} { // that operation, or all from it on
				where := fmt.Sprintf("operation %d, fault %d, and all after it %v", at, i, rest)
				w := c.start.clone()
				n := 0
				var hit journaltest.Op
				w.disk.Before = func(op journaltest.Op) error {
					if n++; n < at || n > at && !rest || op.Name == "lock" || op.Name == "remove" {
						return nil // which need no space
					}
					if n == at {
						hit = op
					}
					return fault
				}
				err := c.assign(w.store(), w.host())
				w.disk.Before = nil
				assigned, wrong := c.state(w)
				switch {
				case wrong != nil:
					t.Errorf("%s (%v): %v; assign said %v", where, hit, wrong, err)
				case err == nil && !assigned, err != nil && assigned:
					t.Errorf("%s (%v): assigned is %v, and assign said %v", where, hit, assigned, err)
				case err != nil && !errors.Is(err, syscall.ENOSPC):
					t.Errorf("%s (%v): %v does not say that the disk is full", where, hit, err)
				}
				if err != nil {
					failed++
				}
				c.afterwards(where, w, assigned)
			}
		}
	}
	t.Logf("%d operations, %d failed runs", all, failed)
	if failed < all {
		t.Errorf("%d failures of %d operations show little", failed, all)
	}
}

// What is handed out is taken back on a full disk, and whatever of its operations fails the
// devices are with their drivers.
func TestFault17DiskFullRelease(t *testing.T) {
	c := tried(t, false)
	w := c.assigned.clone()
	w.disk.Fill(true)
	if err := c.release(w.store(), w.host()); err != nil {
		t.Errorf("release on a full disk: %v", err)
	}
	if assigned, err := c.state(w); err != nil || assigned {
		t.Errorf("after a release on a full disk: %v, %v", assigned, err)
	}
	all := operations(c.assigned, c.release)
	for at := 1; at <= all; at++ {
		for i, fault := range append(faults(syscall.ENOSPC), faults(syscall.EIO)...) {
			for _, rest := range []bool{false, true} {
				where := fmt.Sprintf("operation %d, fault %d, and all after it %v", at, i, rest)
				w := c.assigned.clone()
				n := 0
				var hit journaltest.Op
				w.disk.Before = func(op journaltest.Op) error {
					if n++; n < at || n > at && !rest || op.Name == "lock" {
						return nil
					}
					if n == at {
						hit = op
					}
					return fault
				}
				err := c.release(w.store(), w.host())
				w.disk.Before = nil
				if d := differ(c.start.kernel, w.kernel); len(d) > 0 {
					t.Errorf("%s (%v): the devices are not back: %v; release said %v", where, hit, few(d), err)
				}
				assigned, ok := c.settle(where, w)
				if ok && assigned {
					t.Errorf("%s (%v): still in a lease", where, hit)
				}
			}
		}
	}
	t.Logf("%d operations", all)
}

// The same on a small file system of the host's.
func TestFault17DiskFullTmpfs(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k,nr_inodes=64"); err != nil {
		hosttest.Missing(t, "mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	c := tried(t, false)
	store := &assign.Store{Dir: filepath.Join(dir, "leases"), StateDir: filepath.Join(dir, "state")}
	k := c.start.kernel.Clone()
	host := &assign.Host{FS: k}
	ballast := filepath.Join(dir, "ballast")
	fill := func() {
		t.Helper()
		f, err := os.Create(ballast)
		for err == nil {
			_, err = f.Write(make([]byte, 4096))
		}
		if _ = f.Close(); !errors.Is(err, syscall.ENOSPC) {
			t.Fatal("fill the disk:", err)
		}
	}
	fill()
	if err := c.assign(store, host); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("assign on a full disk: %v", err)
	}
	if d := differ(c.start.kernel, k); len(d) > 0 || len(k.Writes()) > 0 {
		t.Errorf("a hand-over that could not be noted changed %v, in %d writes", few(d), len(k.Writes()))
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := c.assign(store, host); err != nil {
		t.Fatal(err)
	}
	fill()
	if err := c.release(store, host); err != nil {
		t.Errorf("release on a full disk: %v", err)
	}
	if d := differ(c.start.kernel, k); len(d) > 0 {
		t.Errorf("after a release on a full disk: %v", few(d))
	}
	if leases, err := store.List(); len(leases) > 0 || err != nil {
		t.Errorf("leases: %v, %v", leases, err)
	}
}

// leaseFile returns the path of the only lease on a disk, and its content.
func leaseFile(t *testing.T, d *journaltest.Disk) (name string, data []byte) {
	t.Helper()
	names, err := d.Names(memory + "/leases")
	names = slices.DeleteFunc(names, func(s string) bool { return s == "lock" })
	if err != nil || len(names) != 1 {
		t.Fatalf("files of leases: %v, %v", names, err)
	}
	name = filepath.Join(memory, "leases", names[0])
	return name, d.Files()[name]
}

// Every byte of a lease is changed, and every length of it is tried. Either the last good
// record counts, or the lease is said to be damaged, by name; it is never taken for one that
// is not there, nothing is handed to a second owner, and its devices can be had back: by
// recover and release, or by what the error says.
func TestFault18EveryByteOfALease(t *testing.T) {
	t.Parallel()
	c := tried(t, true)
	name, whole := leaseFile(t, c.assigned.disk)
	text := bytes.TrimRight(whole, "\x00") // without the reserve
	told, kept := 0, 0
	try := func(what string, data []byte) { c.changed(what, name, data, &told, &kept) }
	for i := range text {
		for _, flip := range []byte{0x20, 0xff} {
			data := slices.Clone(whole)
			data[i] ^= flip
			try(fmt.Sprintf("byte %d of %d ^ %#x", i, len(text), flip), data)
		}
		try(fmt.Sprintf("%d of %d bytes", i, len(text)), whole[:i])
	}
	for i := 0; i < len(text); i += 16 { // a block that was lost
		data := slices.Clone(whole)
		clear(data[i:min(i+512, len(data))])
		try(fmt.Sprintf("zeros from byte %d of %d", i, len(text)), data)
	}
	t.Logf("%d bytes: %d times damage was told of, %d times the last good record counted", len(text), told, kept)
	if told < len(text)*2 || kept == 0 {
		t.Error("that is not what flipped bytes do")
	}
}

// The lease of a group of three is cut off.
func TestFault18CutLease(t *testing.T) {
	t.Parallel()
	c := tried(t, false)
	name, whole := leaseFile(t, c.assigned.disk)
	text := bytes.TrimRight(whole, "\x00")
	told, kept := 0, 0
	for i := range text {
		if i%11 > 0 && text[i-1] != '\n' && text[i] != '\n' {
			continue
		}
		c.changed(fmt.Sprintf("%d of %d bytes", i, len(text)), name, whole[:i], &told, &kept)
		zeros := make([]byte, len(whole))
		copy(zeros, whole[:i])
		c.changed(fmt.Sprintf("%d of %d bytes and then zeros", i, len(text)), name, zeros, &told, &kept)
	}
	t.Logf("%d bytes: %d times damage was told of, %d times the last good record counted", len(text), told, kept)
	if told == 0 || kept == 0 {
		t.Error("that is not what cutting does")
	}
}

// changed shows what holds of a lease whose file has other bytes than were written.
func (c *trial) changed(what, name string, data []byte, told, kept *int) {
	c.Helper()
	w := c.assigned.clone()
	w.disk.Put(name, data)
	leases, err := w.store().List()
	switch {
	case err == nil && len(leases) == 0:
		c.Errorf("%s: nothing is held, and nothing is said", what)
		return
	case err != nil:
		*told++
		if !strings.Contains(err.Error(), name) {
			c.Errorf("%s: the error does not name the file: %v", what, err)
		}
	default:
		*kept++
	}
	// The last good record counts: assigned, or if that is the one that is gone, a hand-over
	// that was interrupted.
	var held *assign.HeldError
	if again := c.assign(w.store(), w.host()); again == nil {
		c.Errorf("%s: a second owner", what)
	} else if err == nil && leases[0].State == assign.Assigned && !errors.As(again, &held) {
		c.Errorf("%s: assign: %v", what, again)
	}
	c.back(what, w)
}

// back shows that all devices can be had back from a lease that is not as it was written,
// or that each which is not is named with what to do.
func (c *trial) back(what string, w world) {
	c.Helper()
	_, err := w.store().Recover(c.Context(), w.host())
	if _, held := w.store().Holding(c.plan.Devices[0]); err == nil && held == nil {
		err = c.release(w.store(), w.host())
	}
	changed := differ(c.start.kernel, w.kernel)
	if err == nil && len(changed) > 0 {
		c.Errorf("%s: it is said that all is given back, and it is not: %v", what, few(changed))
	}
	for _, a := range c.plan.Devices {
		dir := "sys/bus/pci/devices/" + a.String()
		was, _ := hostfs.ReadLinkBase(c.start.kernel, dir+"/driver")
		is, _ := hostfs.ReadLinkBase(w.kernel, dir+"/driver")
		if is == "" && was != "" {
			c.Errorf("%s: %s has no driver", what, a)
		}
		if is != was && (!strings.Contains(err.Error(), a.String()) || !strings.Contains(err.Error(), "by hand")) {
			c.Errorf("%s: %s is with %s, and the error does not say what to do about it: %v", what, a, is, err)
		}
	}
}
