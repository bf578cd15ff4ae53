package fakehost

import (
	"fmt"
	"strings"
	"syscall"
)

// An Op is one operation that would change something.
type Op struct {
	N    int    // counts from 0 since the last Reset
	Kind string // write, create, mkdir, rename, unlink, rmdir, fsync, truncate, allocate, open (of a VFIO group)
	Name string // below the root, without the leading slash; of a rename the new name
	Data []byte // of a write; not to be changed or kept
	TID  int    // the thread that asks
}

// String names the operation in the same way in each run: what is drawn for names, the
// numbers of temporary ones and what follows an @, is left out.
func (o Op) String() string {
	dir, base := "", o.Name
	if at := strings.LastIndexByte(o.Name, '/'); at >= 0 {
		dir, base = o.Name[:at+1], o.Name[at+1:]
	}
	temporary := strings.HasPrefix(base, ".")
	if at := strings.IndexByte(base, '@'); at >= 0 {
		base = base[:at] + "@*"
	} else if temporary {
		base = strings.TrimRight(base, "0123456789") + "*"
	}
	return fmt.Sprintf("%s /%s%s", o.Kind, dir, base)
}

// State reports whether the operation is one on the directories in which programs keep
// what they know, and not on the kernel.
func (o Op) State() bool {
	return strings.HasPrefix(o.Name, "run/") || strings.HasPrefix(o.Name, "var/")
}

// A Fault is what happens to an operation. The zero Fault lets it be done.
type Fault struct {
	Before func()          // is called first
	Wait   <-chan struct{} // then nothing happens until it is closed, if it is not nil
	Err    syscall.Errno   // is given, and nothing is done
	Take   int             // how many bytes of a write are done; 0 means all of them
	After  func()          // is called after it was done and before the answer
}

// A Hook decides what happens to an operation. It is called by many goroutines.
type Hook func(Op) Fault

// run lets what happens to op happen; do is told how many bytes to take, or -1.
func (f Fault) run(do func(take int) syscall.Errno) syscall.Errno {
	if f.Before != nil {
		f.Before()
	}
	if f.Wait != nil {
		<-f.Wait
	}
	errno := f.Err
	if errno == 0 {
		take := -1
		if f.Take > 0 {
			take = f.Take
		}
		errno = do(take)
	}
	if f.After != nil {
		f.After()
	}
	return errno
}
