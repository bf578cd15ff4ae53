package assign_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/internal/journal"
	"github.com/project-independence/indy/iommu"
)

// A brokenDisk is the host's, of which one operation fails. Readings are counted, too.
type brokenDisk struct {
	journal.Disk
	n, at int // the operation that fails
}

func (d *brokenDisk) broken() error {
	if d.n++; d.n == d.at {
		return &os.PathError{Op: "break", Path: "disk", Err: syscall.EIO}
	}
	return nil
}

func (d *brokenDisk) MkdirAll(dir string) error {
	if err := d.broken(); err != nil {
		return err
	}
	return d.Disk.MkdirAll(dir)
}

func (d *brokenDisk) Create(name string, data []byte, size int64) (journal.Handle, error) {
	return d.handle(func() (journal.Handle, error) { return d.Disk.Create(name, data, size) })
}

func (d *brokenDisk) Open(name string) (journal.Handle, error) {
	return d.handle(func() (journal.Handle, error) { return d.Disk.Open(name) })
}

func (d *brokenDisk) handle(open func() (journal.Handle, error)) (journal.Handle, error) {
	if err := d.broken(); err != nil {
		return nil, err
	}
	h, err := open()
	if err != nil {
		return nil, err
	}
	return &brokenHandle{h, d}, nil
}

func (d *brokenDisk) ReadFile(name string, limit int64) ([]byte, error) {
	if err := d.broken(); err != nil {
		return nil, err
	}
	return d.Disk.ReadFile(name, limit)
}

func (d *brokenDisk) Remove(name string) error {
	if err := d.broken(); err != nil {
		return err
	}
	return d.Disk.Remove(name)
}

func (d *brokenDisk) Rename(from, to string) error {
	if err := d.broken(); err != nil {
		return err
	}
	return d.Disk.Rename(from, to)
}

func (d *brokenDisk) SyncDir(dir string) error {
	if err := d.broken(); err != nil {
		return err
	}
	return d.Disk.SyncDir(dir)
}

func (d *brokenDisk) Names(dir string) ([]string, error) {
	if err := d.broken(); err != nil {
		return nil, err
	}
	return d.Disk.Names(dir)
}

func (d *brokenDisk) Sweep(dir string) error {
	if err := d.broken(); err != nil {
		return err
	}
	return d.Disk.Sweep(dir)
}

func (d *brokenDisk) Lock(ctx context.Context, name string) (func(), error) {
	if err := d.broken(); err != nil {
		return nil, err
	}
	return d.Disk.Lock(ctx, name)
}

type brokenHandle struct {
	journal.Handle
	disk *brokenDisk
}

func (h *brokenHandle) ReadAll(limit int64) ([]byte, error) {
	if err := h.disk.broken(); err != nil {
		return nil, err
	}
	return h.Handle.ReadAll(limit)
}

func (h *brokenHandle) WriteAt(b []byte, off int64) error {
	if err := h.disk.broken(); err != nil {
		return err
	}
	return h.Handle.WriteAt(b, off)
}

func (h *brokenHandle) Allocate(size int64) error {
	if err := h.disk.broken(); err != nil {
		return err
	}
	return h.Handle.Allocate(size)
}

func (h *brokenHandle) Sync() error {
	if err := h.disk.broken(); err != nil {
		return err
	}
	return h.Handle.Sync()
}

func (h *brokenHandle) TryLock() (bool, error) {
	if err := h.disk.broken(); err != nil {
		return false, err
	}
	return h.Handle.TryLock()
}

func (h *brokenHandle) Linked() (bool, error) {
	if err := h.disk.broken(); err != nil {
		return false, err
	}
	return h.Handle.Linked()
}

// Whatever fails, as many files are open after it as before.
func TestFault48DescriptorLeak(t *testing.T) {
	c := tried(t, false)
	dir := fastDir(t)
	fresh := 0
	store := func() assign.Store {
		fresh++
		return assign.Store{Dir: filepath.Join(dir, fmt.Sprint(fresh), "leases"), StateDir: filepath.Join(dir, fmt.Sprint(fresh), "state")}
	}
	paths, failed := 0, 0
	same := func(what string, f func() error) {
		t.Helper()
		before := descriptors(t)
		err := f()
		if after := descriptors(t); after != before {
			t.Errorf("%s: %d files open before, %d after; it said %v", what, before, after, err)
		}
		if paths++; err != nil {
			failed++
		}
	}
	a := c.plan.Devices[0]
	acts := []struct {
		name     string
		assigned bool // begins so
		do       act
	}{
		{"assign", false, c.assign},
		{"assign what is held", true, c.assign},
		{"release", true, c.release},
		{"recover", true, recoverAct},
		{"list", true, func(s *assign.Store, _ *assign.Host) error { _, err := s.List(); return err }},
		{"holding", true, func(s *assign.Store, _ *assign.Host) error { _, err := s.Holding(a); return err }},
		{"adopt", true, func(s *assign.Store, h *assign.Host) error { _, err := s.Adopt(t.Context(), h, a.String()); return err }},
		{"release own", true, func(s *assign.Store, h *assign.Host) error {
			own, err := s.Holding(a)
			if err != nil {
				return err
			}
			return s.ReleaseOwn(t.Context(), h, own)
		}},
	}
	for _, act := range acts {
		begin := func() (assign.Store, *assign.Host) {
			s, k := store(), c.start.kernel.Clone()
			if act.assigned {
				if err := c.assign(&s, &assign.Host{FS: k}); err != nil {
					t.Fatal(err)
				}
			}
			return s, &assign.Host{FS: k}
		}
		// Each operation on the disk fails, once.
		for at := 1; ; at++ {
			s, h := begin()
			disk := &brokenDisk{Disk: journal.OS(), at: at}
			s.SetDisk(disk)
			same(fmt.Sprintf("%s, disk fails at %d", act.name, at), func() error { return act.do(&s, h) })
			if disk.n < at {
				break
			}
		}
		// Each write to the machine fails, once and from then on.
		for _, rest := range []bool{false, true} {
			for at := 1; ; at++ {
				s, h := begin()
				k := c.start.kernel.Clone()
				if act.assigned {
					k = c.assigned.kernel.Clone()
				}
				n := 0
				k.Fail = func(string, []byte) error {
					if n++; n == at || rest && n > at {
						return syscall.EBUSY
					}
					return nil
				}
				h.FS = k
				same(fmt.Sprintf("%s, write %d fails, and all after it %v", act.name, at, rest), func() error { return act.do(&s, h) })
				if n < at {
					break
				}
			}
		}
		// The file of the lease is damaged.
		if act.assigned {
			s, h := begin()
			names, err := filepath.Glob(filepath.Join(s.Dir, "*.*"))
			if err != nil || len(names) != 1 {
				t.Fatal(names, err)
			}
			if err := os.WriteFile(names[0], []byte("damaged\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			same(act.name+", damaged", func() error { return act.do(&s, h) })
		}
	}
	no := errors.New("no")
	for name, do := range map[string]act{
		"no plan": func(s *assign.Store, h *assign.Host) error {
			_, err := s.Assign(t.Context(), h, assign.Taking{Plan: func() (*assign.Plan, error) { return nil, no }})
			return err
		},
		"not viable": func(s *assign.Store, h *assign.Host) error {
			h.Viable = func(iommu.GroupID) error { return no }
			return c.assign(s, h)
		},
		"interrupted": func(s *assign.Store, h *assign.Host) error {
			ctx, cancel := context.WithCancelCause(t.Context())
			h.Did = func(string, assign.Write, error) { cancel(no) }
			_, err := s.Assign(ctx, h, take(c.plan))
			return err
		},
		"in use": func(s *assign.Store, h *assign.Host) error {
			if err := c.assign(s, h); err != nil {
				t.Error(err)
			}
			h.InUse = func(iommu.GroupID) error { return syscall.EBUSY }
			return c.release(s, h)
		},
		"not held": func(s *assign.Store, h *assign.Host) error {
			_, err := s.Release(t.Context(), h, address(t, "0000:ee:00.0"))
			return err
		},
		"somebody works on it": func(s *assign.Store, h *assign.Host) error {
			var during error
			h.Did = func(string, assign.Write, error) {
				ctx, cancel := context.WithCancelCause(t.Context())
				cancel(no)
				_, err := s.Release(ctx, &assign.Host{FS: h.FS}, a)
				during = errors.Join(during, err)
			}
			return errors.Join(c.assign(s, h), during)
		},
		"no directory": func(s *assign.Store, h *assign.Host) error {
			_ = os.WriteFile(filepath.Join(dir, "file"), nil, 0o644)
			s.Dir = filepath.Join(dir, "file", "leases")
			return c.assign(s, h)
		},
	} {
		s := store()
		before := failed
		same(name, func() error { return do(&s, &assign.Host{FS: c.start.kernel.Clone()}) })
		if failed == before {
			t.Errorf("%s did not fail", name)
		}
	}
	t.Logf("%d paths, %d of them with an error", paths, failed)
	if failed < 100 {
		t.Error("too few failures to show anything")
	}
}
