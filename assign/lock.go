package assign

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// orphanTime is how long a write is waited for whose process was killed: as long as most
// take.
const orphanTime = 10 * time.Second

// lockLease is open for who waits until the other process is done, or ctx is. A damaged
// lease is an error alone.
func (s *Store) lockLease(ctx context.Context, h *Host, l *Lease) (*openLease, error) {
	o, err := s.await(ctx, h, l)
	if err != nil && o != nil {
		o.close()
		return nil, err
	}
	return o, err
}

// await is open for who waits. Who works on the lease is waited for without an end. If that
// process has been killed, what it asked the kernel for may still come: the lease stays
// locked until then (see [Host.Lend]), for which orphanTime is waited.
func (s *Store) await(ctx context.Context, h *Host, l *Lease) (*openLease, error) {
	begin, told := time.Now(), h.Waiting == nil
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		o, err := s.open(h, l.ID+suffix)
		if !errors.Is(err, errLocked) {
			return o, err
		}
		waited := time.Since(begin)
		if waited > orphanTime {
			if orphan := s.orphan(h.FS, l.ID); orphan != nil {
				return nil, s.orphanError(h.FS, orphan)
			}
		}
		if !told && waited > 15*time.Millisecond {
			h.Waiting(*l)
			told = true
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("another process works on the lease of %s (%s): %w", l.Name(), l.State, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// orphan returns a lease, which is locked, if the process that worked on it has ended: a
// write that it asked for is in the kernel. Else it is nil.
func (s *Store) orphan(fsys fs.FS, id string) *Lease {
	if l, _ := s.read(id + suffix); l != nil && l.Worker != nil && !l.Worker.Alive(fsys) {
		return l
	}
	return nil
}

// orphanError says in which processes a write for a lease is that nobody waits for any more.
func (s *Store) orphanError(fsys fs.FS, l *Lease) error {
	e := &orphanError{device: l.Name()}
	for _, pid := range openers(fsys, path.Join(s.Dir, l.ID+suffix)) {
		e.in = append(e.in, "process "+strconv.Itoa(pid))
	}
	return e
}

// An orphanError is that a lease is locked by processes that make a write for one that was
// killed.
type orphanError struct {
	device string
	in     []string
}

func (e *orphanError) Error() string {
	return fmt.Sprintf("the kernel has not come back from a write for %s that a process had asked for which was killed (%s is in it); "+
		"indy recover gives it back once it has", e.device, cmp.Or(strings.Join(e.in, ", "), "another process"))
}

// openers lists the processes that have a file open, as far as they can be seen. One that
// was killed while another of its threads is in the kernel has lost the first one.
func openers(fsys fs.FS, name string) []int {
	entries, _ := fs.ReadDir(fsys, "proc")
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		tasks, _ := fs.ReadDir(fsys, "proc/"+e.Name()+"/task")
		if slices.ContainsFunc(tasks, func(task fs.DirEntry) bool {
			return hasOpen(fsys, "proc/"+e.Name()+"/task/"+task.Name()+"/fd", name)
		}) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func hasOpen(fsys fs.FS, dir, name string) bool {
	fds, _ := fs.ReadDir(fsys, dir)
	return slices.ContainsFunc(fds, func(fd fs.DirEntry) bool {
		target, err := fs.ReadLink(fsys, dir+"/"+fd.Name())
		return err == nil && target == name
	})
}
