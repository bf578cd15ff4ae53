package assign

import (
	"cmp"
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

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/journal"
	"github.com/project-independence/indy/pci"
)

// A Store keeps leases as journals in Dir, one each. All processes of the host that hand
// devices over use the same. It has a lock, which is held only while something is claimed;
// whoever carries out a plan, or takes it back, has the lock of that lease alone, so that
// a device that hangs keeps nobody from theirs.
type Store struct {
	Dir string // of the leases, which a new boot forgets: /run/indy/leases

	// StateDir keeps what outlives a boot: /var/lib/indy. Empty keeps nothing.
	StateDir string

	disk  journal.Disk         // nil is that of this host
	clock func() time.Duration // nil is the kernel's
}

// LockTimeout is how long a claim waits for others that claim something. They take
// milliseconds.
const LockTimeout = 10 * time.Second

func (s *Store) dir() journal.Dir { return s.journals(s.Dir) }

// journals is the directory of journals at path.
func (s *Store) journals(path string) journal.Dir {
	d := journal.Dir{Disk: s.disk, Path: path}
	if d.Disk == nil {
		d.Disk = journal.OS()
	}
	return d
}

// now is the kernel's clock: since it started, suspended or not.
func (s *Store) now() time.Duration {
	if s.clock != nil {
		return s.clock()
	}
	return BootClock()
}

// BootClock returns how long the kernel has been running, suspended or not. Nobody can set
// this clock; it is that of [Deadline].
func BootClock() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // which Linux has had since 2.6.39
	return time.Duration(ts.Nano())
}

// lock takes the store's lock, which is held for moments.
func (s *Store) lock(ctx context.Context) (unlock func(), err error) { return lock(ctx, s.dir()) }

func lock(ctx context.Context, d journal.Dir) (unlock func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, LockTimeout,
		fmt.Errorf("another process has held it for %s, and should have for a moment only", LockTimeout))
	defer cancel()
	return d.Lock(ctx)
}

// List returns the leases by first device. A file that is damaged, or of another form, is
// in the error and hides no other lease; what is certain of it is listed, too.
func (s *Store) List() ([]Lease, error) { return s.list(nil) }

// list is List for who has locked the lease own, and so knows what its file says; nil is
// none.
func (s *Store) list(own *Lease) ([]Lease, error) {
	names, err := s.dir().Names()
	if err != nil {
		return nil, fmt.Errorf("list leases: %w", err)
	}
	var leases []Lease
	var errs []error
	for _, name := range names {
		if own != nil && name == own.ID+suffix {
			leases = append(leases, *own)
			continue
		}
		l, err := s.read(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // given back meanwhile
		}
		if err != nil {
			errs = append(errs, err)
		}
		if l != nil {
			leases = append(leases, *l)
		}
	}
	slices.SortFunc(leases, func(a, b Lease) int {
		if len(a.Devices) > 0 && len(b.Devices) > 0 {
			if c := a.Devices[0].Compare(b.Devices[0]); c != 0 {
				return c
			}
		}
		return cmp.Compare(a.ID, b.ID)
	})
	return leases, errors.Join(errs...)
}

// read returns the lease in a file. With an error that is a *[journal.DamageError] it may
// be what the records before the damage say.
func (s *Store) read(name string) (*Lease, error) {
	if !strings.HasSuffix(name, suffix) {
		return nil, notLease(s.Dir, name)
	}
	records, torn, err := s.dir().Read(name)
	var damage *journal.DamageError
	if err != nil && !errors.As(err, &damage) {
		return nil, err
	}
	l, _, rerr := replay(path.Join(s.Dir, name), records, torn)
	return l, leaseError(cmp.Or(err, rerr))
}

// notLease says what a file is that has no lease's name.
func notLease(dir, name string) error {
	if strings.HasSuffix(name, ".json") {
		return fmt.Errorf("lease %s has the form of the first versions: %w", path.Join(dir, name), ErrFormat)
	}
	return fmt.Errorf("%s is no lease; remove it", path.Join(dir, name))
}

// leaseError says what a damaged lease means.
func leaseError(err error) error {
	var damage *journal.DamageError
	if errors.As(err, &damage) {
		return fmt.Errorf("lease %w; what it holds is not certain, and nothing is handed out meanwhile: indy recover looks what can be given back", damage)
	}
	return err
}

// Holding returns the lease that holds function a, or [ErrNotHeld].
func (s *Store) Holding(a pci.Address) (*Lease, error) {
	return s.find(a.String(), func(l *Lease) bool { return slices.Contains(l.Devices, a) })
}

// find returns the lease that is meant. Of one that was taken before the last boot and one
// of now, it is that of now, which is later.
func (s *Store) find(name string, meant func(*Lease) bool) (*Lease, error) {
	leases, err := s.List()
	var found *Lease
	for i := range leases {
		if l := &leases[i]; meant(l) && (found == nil || l.Since.After(found.Since)) {
			found = l
		}
	}
	switch {
	case found != nil:
		return found, nil
	case err != nil:
		return nil, err
	}
	return nil, &OpError{"release", name, ErrNotHeld}
}

// bootID names the kernel that runs; it is empty where nobody says.
func bootID(fsys fs.FS) (string, error) {
	boot, err := hostfs.ReadString(fsys, "proc/sys/kernel/random/boot_id")
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return boot, err
}

// self is this process.
func self(fsys fs.FS) (*Process, error) {
	started, err := processStart(fsys, os.Getpid())
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return &Process{os.Getpid(), started}, err
}

// An openLease is a lease whose file is open, and locked by this process.
type openLease struct {
	*Lease
	progress
	store *Store
	file  *journal.File
	torn  bool
	me    *Process

	// See [Host.Lend].
	fsys     hostfs.FS // nil when nothing is lent
	resetBus func([]pci.Address) error
	back     func()
}

// hold makes the lease of a file that this process has locked.
func (s *Store) hold(h *Host, file *journal.File) *openLease {
	o := &openLease{store: s, file: file, back: func() {}}
	if fd, ok := file.Descriptor(); ok && h.Lend != nil {
		o.fsys, o.resetBus, o.back = h.Lend(fd)
	}
	return o
}

// lent is h for the work on this lease.
func (o *openLease) lent(h *Host) *Host {
	if o.fsys == nil {
		return h
	}
	lent := *h
	lent.FS, lent.ResetBus = o.fsys, o.resetBus
	return &lent
}

// name is that of its file.
func (o *openLease) name() string { return o.ID + suffix }

// append notes r and then takes it for so.
func (o *openLease) append(r record) error {
	r.BootID, r.Seq = o.BootID, o.seq
	if err := o.file.Append(r); err != nil {
		return fmt.Errorf("write lease: %w", err)
	}
	o.progress.apply(o.Lease, &r)
	o.seq++
	return nil
}

// note is what [work] notes before a write.
func (o *openLease) note(op string, step int) error { return o.append(record{Op: op, Step: step}) }

// lose notes which functions are in other hands.
func (o *openLease) lose(devices []pci.Address) error {
	return o.append(record{Op: opLost, Devices: devices})
}

// setState notes how far it has come.
func (o *openLease) setState(s State) error {
	return o.append(record{Op: opState, State: s, Process: o.me})
}

// remove ends the lease.
func (o *openLease) remove() error {
	if err := o.store.dir().Remove(o.name()); err != nil {
		return fmt.Errorf("remove lease: %w", err)
	}
	return nil
}

func (o *openLease) close() {
	o.back()
	_ = o.file.Close()
}

// errLocked is that another process works on a lease.
var errLocked = errors.New("another process works on it")

// open opens the lease with the given ID and locks it. It is errLocked when another
// process has it, and fs.ErrNotExist when it has ended. A damaged one comes with the error,
// and with what its records say up to the damage, which may be no lease at all.
func (s *Store) open(h *Host, name string) (*openLease, error) {
	if !strings.HasSuffix(name, suffix) {
		return nil, notLease(s.Dir, name)
	}
	file, records, ok, err := s.dir().OpenLocked(name)
	if file == nil {
		if err == nil && !ok {
			err = errLocked
		}
		return nil, err
	}
	o := s.hold(h, file)
	var damage *journal.DamageError
	if err != nil && !errors.As(err, &damage) {
		o.close()
		return nil, err
	}
	var perr error
	if o.me, perr = self(h.FS); perr != nil {
		o.close()
		return nil, perr
	}
	o.torn = file.Torn()
	var rerr error
	o.Lease, o.progress, rerr = replay(file.Name(), records, o.torn)
	if err = cmp.Or(err, rerr); err != nil && !errors.As(err, &damage) {
		o.close()
		return nil, err
	}
	return o, leaseError(err)
}

// uniqueID makes the ID of a lease from its first device and the clock. The caller has the
// store's lock.
func (s *Store) uniqueID(devices []pci.Address, claims []Claim, taken []string) string {
	first := "lease"
	switch {
	case len(devices) > 0:
		first = devices[0].String()
	case len(claims) > 0:
		first = fileName(claims[0].Key())
	}
	for n := int64(s.now()); ; n++ {
		id := first + "@" + strconv.FormatInt(n, 36)
		if !slices.Contains(taken, id) {
			return id
		}
	}
}

// fileName makes a name for a file of any text.
func fileName(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 128 && (r == '-' || r == '.' || r == ':' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z') {
			return r
		}
		return '-'
	}, s)
}

func base(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }
