package assign

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/project-independence/indy/internal/journal"
	"github.com/project-independence/indy/pci"
)

// Residue is kept in one journal for each function, in the directory residue of
// Store.StateDir. Each record is a whole Residue, and the last one counts.

const (
	residueReserve = 32 << 10 // bytes of a new journal
	residueRoom    = 12 << 10 // bytes that a use makes sure of for what follows it
	maxSameAddress = 64       // functions that were at one address, one after the other
)

func (s *Store) residueDir() journal.Dir {
	return s.journals(filepath.Join(s.StateDir, "residue"))
}

// Residues reads what is noted of all functions. A function of which a lease says that a
// guest has it, and of which nothing is noted, was used by that guest all the same. An
// error means that it is not known what is noted; nothing should then be planned.
func (s *Store) Residues(fsys fs.FS) (*Residues, error) {
	boot, err := bootID(fsys)
	if err != nil {
		return nil, err
	}
	if s.StateDir == "" {
		return &Residues{boot: boot}, nil
	}
	files, err := s.residueFiles(func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	return s.residues(nil, boot, files), nil
}

// residuesAt is Residues of what is noted at the given addresses only, for who has locked
// the lease own: enough for [Residues.locked] of these.
func (s *Store) residuesAt(own *Lease, devices []string) (*Residues, error) {
	files, err := s.residueFiles(func(name string) bool { return slices.Contains(devices, name) })
	if err != nil {
		return nil, err
	}
	return s.residues(own, own.BootID, files), nil
}

func (s *Store) residues(own *Lease, boot string, files []residueFile) *Residues {
	r := &Residues{boot: boot}
	for _, f := range files {
		r.all = append(r.all, f.Residue)
	}
	leases, _ := s.list(own) // what is damaged there keeps everybody from assigning
	for _, l := range leases {
		if l.State == Planning || l.State == Assigning {
			continue // its guest has nothing yet
		}
		for _, name := range l.given() {
			noted := slices.ContainsFunc(r.all, func(one Residue) bool {
				return one.State == Unknown && one.Device == name ||
					one.usedIn(l.ID) || one.resetIn(l.ID)
			})
			if !noted {
				r.all = append(r.all, Residue{Device: name, State: Clean}.use(l.user(), l.BootID))
			}
		}
	}
	return r
}

// user is who a lease is for.
func (l *Lease) user() User {
	how := "assign"
	if l.Run {
		how = "run"
	}
	return User{Guest: l.Guest, Locked: l.Locked, Since: l.Since, How: how, Lease: l.ID}
}

// All returns what is noted, by address.
func (r *Residues) All() []Residue {
	all := slices.Clone(r.all)
	slices.SortFunc(all, func(a, b Residue) int { return compareNames(a.Device, b.Device) })
	return all
}

// A residueFile is what one journal says.
type residueFile struct {
	name string
	Residue
}

// residueFiles reads the journals about the devices whose names are wanted.
func (s *Store) residueFiles(wanted func(string) bool) ([]residueFile, error) {
	d := s.residueDir()
	names, err := d.Names()
	if err != nil {
		return nil, fmt.Errorf("residue: %w", err)
	}
	var files []residueFile
	for _, name := range names {
		a, _, ok := residueName(name)
		if !ok || !wanted(a) {
			continue // nothing of ours, or of no matter here
		}
		records, _, err := d.Read(name)
		var damage *journal.DamageError
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // another process has just replaced it
		case err != nil && !errors.As(err, &damage):
			return nil, fmt.Errorf("residue: %w", err)
		}
		files = append(files, residueFile{name, lastResidue(a, records, err)})
	}
	return files, nil
}

// lastResidue understands the records of a journal about the device of a name. What is damaged or
// says something else than what it should is unknown, and never clean.
func lastResidue(a string, records []json.RawMessage, damage error) Residue {
	var r Residue
	err := damage
	if len(records) > 0 {
		if jerr := json.Unmarshal(records[len(records)-1], &r); jerr != nil {
			r, err = Residue{}, errors.Join(err, jerr)
		} else if r.Device != a {
			err = errors.Join(err, errors.New("it is about another device"))
		} else if !slices.Contains([]Condition{Clean, Used, Tainted, Unknown}, r.State) {
			err = errors.Join(err, errors.New("it names no condition"))
		}
	} else if err == nil {
		err = errors.New("it has no record")
	}
	if err != nil {
		r.Device, r.State, r.Detail = a, Unknown, err.Error()
	}
	return r
}

// residueName reads the name of a journal, DEVICE-NUMBER: of the devices that were at one
// address or in one port, one after the other, each has its own.
func residueName(name string) (device string, n int, ok bool) {
	at := max(strings.LastIndexByte(name, '-'), 0)
	device = name[:at]
	if _, ok := usbName(device); !ok {
		if a, err := pci.ParseAddress(device); err != nil || a.String() != device {
			return "", 0, false
		}
	}
	n, err := strconv.Atoi(name[at+1:])
	return device, n, err == nil && n > 0 && residueFileName(device, n) == name
}

func residueFileName(device string, n int) string { return device + "-" + strconv.Itoa(n) }

// note changes what is noted of the given functions, each as change says of what was noted
// and of what the function is now. It returns once all of it is on the disk; room is how
// many bytes more can be noted of each then, whatever becomes of the disk. A function that
// has gone is left as it was noted. The caller has locked the lease own.
func (s *Store) note(fsys fs.FS, own *Lease, devices []string, ask asking, room int, change func(Residue, Fingerprint, string) Residue) error {
	if s.StateDir == "" || len(devices) == 0 {
		return nil
	}
	boot, err := bootID(fsys)
	if err != nil {
		return err
	}
	// What a function says of itself may take long, and others shall not wait for it.
	prints := make([]Fingerprint, len(devices))
	failed := make([]error, len(devices))
	for i, a := range devices {
		prints[i], failed[i] = fingerprintOf(fsys, a, ask)
	}
	d := s.residueDir()
	unlock, err := lock(context.Background(), d) // it is held for no longer than a few writes
	if err != nil {
		return fmt.Errorf("residue: %w", err)
	}
	defer unlock()
	files, err := s.residueFiles(func(string) bool { return true }) // it may have sat elsewhere
	if err != nil {
		return err
	}
	all := s.residues(own, boot, files)
	var errs []error
	for i, a := range devices {
		now, err := prints[i], failed[i]
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = s.keepOne(fsys, d, files, change(all.Of(a, now), now, boot), room)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("note what is left in %s: %w", a, err))
		}
	}
	return errors.Join(errs...)
}

// keepOne notes one residue, and removes what it stands in place of.
func (s *Store) keepOne(fsys fs.FS, d journal.Dir, files []residueFile, r Residue, room int) error {
	var old []string
	into := ""
	taken := map[int]bool{}
	for _, f := range files {
		here := f.Device == r.Device
		if _, n, _ := residueName(f.name); here {
			taken[n] = true
		}
		// The functions of one unit share its serial number (PCI Express 6.0, 7.9.3), and keep
		// their numbers wherever it sits: what is noted of another one of them stays.
		moved := oneUnit(f.Device, r.Device) && f.Fingerprint.SameUnit(r.Fingerprint)
		replaced := here && f.BootID == r.BootID && !f.Gone
		switch {
		case moved && !here && stillThere(fsys, f.Residue):
			continue // two of one make state the same serial number: of neither is anything forgotten
		case !moved && replaced && f.Fingerprint.Serial != "" && f.Fingerprint.Differs(r.Fingerprint) != "" && isUSB(r.Device):
			// Its owner says that this is another one. The first may be plugged in again.
			f.Gone = true
			if err := appendTo(d, f.name, f.Residue, 0); err != nil {
				return err
			}
			continue
		case moved, replaced, here && f.Fingerprint.Differs(r.Fingerprint) == "":
		default:
			continue // another piece of hardware
		}
		if here && into == "" && f.State != Unknown {
			into = f.name
		} else {
			old = append(old, f.name)
		}
	}
	if into != "" {
		err := appendTo(d, into, r, room)
		if errors.Is(err, errFull) {
			old = append(old, into)
			into = ""
		} else if err != nil {
			return err
		}
	}
	if into == "" {
		n := 1
		for taken[n] {
			n++
		}
		if n > maxSameAddress {
			return fmt.Errorf("there are %d files about what was at its address in %s; remove those of devices that you no longer have", n-1, d.Path)
		}
		f, err := d.Create(residueFileName(r.Device, n), residueReserve, r)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Reserve(room), f.Close()); err != nil {
			return err
		}
	}
	var errs []error
	for _, name := range old {
		_, _, err := d.Read(name)
		var damage *journal.DamageError
		if errors.As(err, &damage) {
			_, err = d.PutAside(name) // somebody may want to know what happened to it
		} else {
			err = d.Remove(name)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// errFull says that a journal is better begun anew.
var errFull = errors.New("the journal is full")

func appendTo(d journal.Dir, name string, r Residue, room int) error {
	f, records, err := d.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	size := 0
	for _, record := range records {
		size += len(record) + 18
	}
	if size > residueReserve-residueRoom && room > 0 {
		return errFull // only where there is time for it: what a release notes is appended
	}
	if err := f.Append(r); err != nil {
		return err
	}
	return f.Reserve(room)
}

// noteUse notes that the guest of a lease gets its functions, before anything is written
// to them. It makes sure that what becomes of them can be noted on a full disk, too.
func (s *Store) noteUse(fsys fs.FS, l *Lease) error { return s.noteUseOf(fsys, l, l.given()) }

func (s *Store) noteUseOf(fsys fs.FS, l *Lease, devices []string) error {
	return s.note(fsys, l, devices, ifAwake, residueRoom, func(r Residue, _ Fingerprint, boot string) Residue {
		return r.use(l.user(), boot)
	})
}

// noteUnused takes noteUse back: the hand-over was undone before the guest had anything.
func (s *Store) noteUnused(fsys fs.FS, l *Lease) error {
	return s.note(fsys, l, l.given(), ifAwake, 0, func(r Residue, _ Fingerprint, _ string) Residue { return r.unuse(l.ID) })
}

// noteReset notes what came of resetting functions, and returns it. Those that are stuck are
// asked nothing. With asNew the functions may be others than before.
func (s *Store) noteReset(fsys fs.FS, own *Lease, results map[string]Reset, stuck []StuckWrite, asNew bool) ([]Residue, error) {
	var devices, hung []string
	for _, a := range slices.SortedFunc(maps.Keys(results), compareNames) {
		if waitsFor(stuck, a) {
			hung = append(hung, a)
		} else {
			devices = append(devices, a)
		}
	}
	var noted []Residue
	change := func(r Residue, now Fingerprint, boot string) Residue {
		if asNew {
			r.Fingerprint = now
		}
		r = r.after(results[r.Device], now, boot, time.Now().UTC().Truncate(time.Second))
		noted = append(noted, r)
		return r
	}
	err := s.note(fsys, own, devices, always, 0, change)
	return noted, errors.Join(err, s.note(fsys, own, hung, never, 0, change))
}

// notGivenBack reports whether it is noted of a function that the guest of a lease has it,
// and nothing that says that it was given back.
func (s *Store) notGivenBack(l *Lease) bool {
	if s.StateDir == "" {
		return false
	}
	files, err := s.residueFiles(func(string) bool { return true })
	if err != nil {
		return true
	}
	return slices.ContainsFunc(files, func(f residueFile) bool {
		return slices.ContainsFunc(f.Users, func(u User) bool { return u.Lease == l.ID && !u.Back })
	})
}
