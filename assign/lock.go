package assign

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// orphanTime is how long a call into the kernel is waited for whose process was killed: as
// long as most take.
const orphanTime = 10 * time.Second

// lockLease is open for who waits until the other process is done, or ctx is. A damaged
// lease is an error alone.
func (s *Store) lockLease(ctx context.Context, h *Host, l *Lease) (*openLease, error) {
	o, err := s.await(ctx, h, l, orphanTime)
	if err != nil && o != nil {
		o.close()
		return nil, err
	}
	return o, err
}

// await is open for who waits. Who works on the lease is waited for without an end. If that
// process has been killed, what it asked the kernel for may still come: the lease stays
// locked until then (see [Host.Lend]). That is waited for as long as patience, and then a
// *[StuckError].
func (s *Store) await(ctx context.Context, h *Host, l *Lease, patience time.Duration) (*openLease, error) {
	const often = 200 * time.Millisecond // to look at all locks of the kernel
	told := h.Waiting == nil
	begin := time.Now()
	var looked, since time.Time // since when nobody but the kernel has it
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		o, err := s.open(h, l.ID+suffix)
		if !errors.Is(err, errLocked) {
			return o, err
		}
		now := time.Now()
		if now.Sub(begin) > 15*time.Millisecond && now.Sub(looked) > often {
			looked = now
			switch orphaned := s.orphaned(h.FS, l.ID); {
			case !orphaned:
				since = time.Time{}
			case since.IsZero():
				since = now
			case now.Sub(since) >= patience:
				return nil, fmt.Errorf("lease of %s: %w", l.Name(), s.orphanError(h.FS, l.ID, patience))
			}
			if !told && since.IsZero() {
				h.Waiting(*l)
				told = true
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("another process works on the lease of %s (%s): %w", l.Name(), l.State, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// orphaned reports whether the process that has locked a lease has ended: another one has
// its descriptor then, and is in the kernel. Who cannot be seen has not ended.
func (s *Store) orphaned(fsys fs.FS, id string) bool {
	inode, err := s.dir().Inode(id + suffix)
	if inode == "" || err != nil {
		return false
	}
	locks, err := fs.ReadFile(fsys, "proc/locks")
	pid := locker(locks, inode)
	if pid == 0 || err != nil {
		return false
	}
	if _, err := processStart(fsys, os.Getpid()); err != nil {
		return false // these are the processes of another machine, or of none
	}
	_, err = processStart(fsys, pid)
	return errors.Is(err, fs.ErrNotExist)
}

// locker returns the process that has taken the flock(2) of a file, as in `7: FLOCK
// ADVISORY  WRITE 812 00:1a:1234 0 EOF` (proc_locks(5)), also when it has ended. It is 0 when
// there is none. Who waits for one has -> behind its number.
func locker(locks []byte, inode string) (pid int) {
	for line := range bytes.Lines(locks) {
		f := strings.Fields(string(line))
		if len(f) < 6 || f[1] != "FLOCK" || f[5] != inode {
			continue
		}
		if n, err := strconv.Atoi(f[4]); err == nil && n > 0 {
			return n
		}
	}
	return 0
}

// orphanError says in which process a call is that nobody waits for any more, and which.
func (s *Store) orphanError(fsys fs.FS, id string, waited time.Duration) error {
	name := path.Join(s.Dir, id+suffix)
	e := &StuckError{File: strings.TrimPrefix(name, "/"), Waited: waited.Round(time.Second)}
	all := openers(fsys, name)
	time.Sleep(50 * time.Millisecond)
	for pid, file := range openers(fsys, name) {
		// Others open it for a moment, to see whether it is locked.
		if _, ok := all[pid]; ok && pid != os.Getpid() {
			e.PID = pid
			e.Started, _ = processStart(fsys, pid)
			if file != "" {
				e.File = strings.TrimPrefix(file, "/")
			}
		}
	}
	return e
}

// openers returns which processes have a file open, as far as they can be seen, and what
// else of /sys and /dev each has. Of one whose first thread has ended, as of one that was
// killed while another is in the kernel, only the others show that.
func openers(fsys fs.FS, name string) map[int]string {
	entries, _ := fs.ReadDir(fsys, "proc")
	all := map[int]string{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		tasks, _ := fs.ReadDir(fsys, "proc/"+e.Name()+"/task")
		for _, task := range tasks {
			files := openFiles(fsys, "proc/"+e.Name()+"/task/"+task.Name()+"/fd")
			if !slices.Contains(files, name) {
				continue
			}
			all[pid] = ""
			for _, file := range files {
				if strings.HasPrefix(file, "/sys/") || strings.HasPrefix(file, "/dev/") && file != "/dev/null" {
					all[pid] = file
				}
			}
		}
	}
	return all
}

func openFiles(fsys fs.FS, dir string) []string {
	fds, _ := fs.ReadDir(fsys, dir)
	var files []string
	for _, fd := range fds {
		if target, err := fs.ReadLink(fsys, dir+"/"+fd.Name()); err == nil {
			files = append(files, target)
		}
	}
	return files
}
