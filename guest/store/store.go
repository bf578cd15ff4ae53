package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"github.com/project-independence/indy/guest"
)

// file is the name of a definition in its guest's folder.
const file = "guest.yaml"

// knownFile is the name of what is kept of the devices that a guest had, and maxKnown how
// long it may be.
const (
	knownFile = "devices.json"
	maxKnown  = 1 << 20
)

// lockedFile marks a folder of which the guest is deleted, and was locked: its disks are for
// administrators still.
const lockedFile = ".locked"

// LockTimeout is how long a change waits for others. They take milliseconds.
const LockTimeout = 10 * time.Second

// Errors that say why a definition is not changed.
var (
	// ErrLocked is that only an administrator makes, changes or deletes a locked guest.
	ErrLocked = errors.New("the guest is locked; only an administrator changes it")

	// ErrChanged is that somebody else has changed the definition meanwhile.
	ErrChanged = errors.New("somebody else has changed the definition meanwhile")
)

// A Store keeps definitions in Dir, which is made when the first is. It opens no file
// that a definition names.
type Store struct {
	Dir string

	// Admin says that who asks is an administrator, who may change locked guests.
	Admin bool
}

// An Entry is a definition that is kept.
type Entry struct {
	guest.Definition

	Text []byte // as its owner wrote it
	Dir  string // the guest's folder, which relative names of files start from
}

// Folder returns the folder of the guest with that name, whether there is one or not.
func (s Store) Folder(name string) string { return filepath.Join(s.Dir, name) }

// Read returns the definition of the guest with that name. Without one it is
// [fs.ErrNotExist]. Of one that is damaged the error comes with name, folder and text, so that it can be mended.
func (s Store) Read(name string) (Entry, error) {
	if err := guest.ValidateName(name); err != nil {
		return Entry{}, err
	}
	e := Entry{Dir: s.Folder(name)}
	path := filepath.Join(e.Dir, file)
	text, err := readFile(path, guest.MaxDefinition)
	if errors.Is(err, fs.ErrNotExist) {
		return Entry{}, fmt.Errorf("there is no guest %s: %w", name, err)
	}
	if err != nil {
		return Entry{}, err
	}
	e.Text = text
	e.Definition, err = guest.ParseDefinition(path, text)
	if err == nil && e.Name != name {
		err = fmt.Errorf("%s: the name is %s, and that of the folder %s", path, e.Name, name)
	}
	if err != nil {
		e.Definition = guest.Definition{Name: name}
	}
	return e, err
}

// readFile reads at most one byte more than most. It does not follow a link and does not wait
// for a FIFO.
func readFile(path string, most int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is no file", path))
	}
	return io.ReadAll(io.LimitReader(f, most+1))
}

// List returns the definitions by name. The error joins what could not be read; the others
// are returned all the same. A store that has not been made yet has none.
func (s Store) List() ([]Entry, error) {
	folders, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	errs := []error{err}
	var all []Entry
	for _, f := range folders {
		if !f.IsDir() || guest.ValidateName(f.Name()) != nil {
			continue
		}
		e, err := s.Read(f.Name())
		switch {
		case errors.Is(err, fs.ErrNotExist): // deleted, and its disks were kept
		case err != nil:
			errs = append(errs, err)
		default:
			all = append(all, e)
		}
	}
	return all, errors.Join(errs...)
}

// Create keeps a new definition. A guest of that name is [fs.ErrExist]; what else is in its
// folder stays. What a locked guest left there is for administrators: without one it is
// [ErrLocked].
func (s Store) Create(ctx context.Context, text []byte) (Entry, error) {
	d, err := s.parse(text)
	if err != nil {
		return Entry{}, err
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return Entry{}, err
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return Entry{}, err
	}
	defer unlock()
	e := Entry{Definition: d, Text: text, Dir: s.Folder(d.Name)}
	if _, err := os.Lstat(filepath.Join(e.Dir, file)); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fmt.Errorf("there is a guest %s already: %w", d.Name, fs.ErrExist)
		}
		return Entry{}, err
	}
	if err := os.Mkdir(e.Dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return Entry{}, err
	}
	mark := filepath.Join(e.Dir, lockedFile)
	if _, err := os.Lstat(mark); !errors.Is(err, fs.ErrNotExist) && !s.Admin {
		return Entry{}, fmt.Errorf("guest %s: what is left in its folder is of one that was locked: %w", d.Name, ErrLocked)
	}
	if err := os.Remove(mark); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Entry{}, err
	}
	if err := s.write(e); err != nil {
		return Entry{}, err
	}
	return e, syncDir(s.Dir)
}

// Replace keeps text as the definition of the guest of which before was read. It is
// [ErrChanged] when there is another by now. The guest keeps its name.
func (s Store) Replace(ctx context.Context, before Entry, text []byte) (Entry, error) {
	d, err := s.parse(text)
	if err != nil {
		return Entry{}, err
	}
	if d.Name != before.Name {
		return Entry{}, fmt.Errorf("the name %s would become %s; it stays, create another guest instead", before.Name, d.Name)
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return Entry{}, err
	}
	defer unlock()
	if err := s.unchanged(before); err != nil {
		return Entry{}, err
	}
	e := Entry{Definition: d, Text: text, Dir: before.Dir}
	return e, s.write(e)
}

// Delete forgets the guest of which before was read, with its UEFI variables. With disks
// it deletes those that are in its folder, too, and returns their names; others are never
// deleted. Keys and what its TPM keeps go with the disks: that may hold the key to them. The folder
// stays as long as there is something else in it.
func (s Store) Delete(ctx context.Context, before Entry, disks bool) (deleted []string, err error) {
	unlock, err := s.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := s.unchanged(before); err != nil {
		return nil, err
	}
	dir := s.Folder(before.Name)
	if now, err := s.Read(before.Name); err != nil || now.Locked { // of a damaged one it is not known
		if err := os.WriteFile(filepath.Join(dir, lockedFile), nil, 0o600); err != nil {
			return nil, err
		}
	}
	// From here on there is no such guest, whatever fails.
	if err := os.Remove(filepath.Join(dir, file)); err != nil {
		return nil, err
	}
	errs := []error{syncDir(dir)}
	if disks {
		for _, path := range before.Own() {
			err := os.Remove(path)
			switch {
			case err == nil:
				deleted = append(deleted, path)
			case !errors.Is(err, fs.ErrNotExist):
				errs = append(errs, err)
			}
		}
		errs = append(errs, os.RemoveAll(filepath.Join(dir, "tpm")))
	}
	for _, name := range []string{"uefi-variables", "uefi-variables-secure", knownFile} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if left, err := os.ReadDir(dir); err == nil && len(left) == 1 && left[0].Name() == lockedFile {
		errs = append(errs, os.Remove(filepath.Join(dir, lockedFile)))
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, fs.ErrExist) {
		errs = append(errs, err)
	}
	return deleted, errors.Join(append(errs, syncDir(s.Dir))...)
}

// Own returns the paths of the guest's disks that are in its folder, and of the credentials with
// their keys, by name, each once.
func (e Entry) Own() []string {
	var own, named []string
	for _, k := range e.Disks {
		named = append(named, k.File)
		if k.Key.Kind == guest.Credential {
			named = append(named, k.Key.File)
		}
	}
	for _, name := range named {
		name = filepath.Clean(name)
		if name != file && name != knownFile && name != lockedFile && !strings.ContainsRune(name, filepath.Separator) && name != "." && name != ".." {
			own = append(own, filepath.Join(e.Dir, name))
		}
	}
	slices.Sort(own)
	return slices.Compact(own)
}

// KnownFile is where is kept by what the devices are known again that the guest had.
func (e Entry) KnownFile() string { return filepath.Join(e.Dir, knownFile) }

// Known returns what [Store.KeepKnown] kept for the guest; nothing if it has not. A definition
// that is in no store has nothing.
func (e Entry) Known() ([]byte, error) {
	if e.Dir == "" {
		return nil, nil
	}
	text, err := readFile(e.KnownFile(), maxKnown)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err == nil && len(text) > maxKnown:
		err = fmt.Errorf("%s is longer than %d bytes", e.KnownFile(), maxKnown)
	}
	return text, err
}

// KeepKnown keeps, beside the definition of the guest with that name, by what the devices are
// known again that it has; what that is, is for the caller to say. It changes nothing of the
// guest, and so whoever starts it may. Without a definition it is [fs.ErrNotExist].
func (s Store) KeepKnown(ctx context.Context, name string, text []byte) error {
	if len(text) > maxKnown {
		return fmt.Errorf("what guest %s has is longer than %d bytes", name, maxKnown)
	}
	unlock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	e, err := s.Read(name)
	if e.Text == nil {
		return err
	}
	return renameio.WriteFile(e.KnownFile(), text, 0o600, renameio.WithTempDir(e.Dir))
}

// parse reads a definition that is to be kept.
func (s Store) parse(text []byte) (guest.Definition, error) {
	d, err := guest.ParseDefinition(file, text)
	if err == nil && d.Locked && !s.Admin {
		err = fmt.Errorf("guest %s: %w", d.Name, ErrLocked)
	}
	return d, err
}

// unchanged reports whether the definition is still as it was read, and may be changed. The caller
// has the lock.
func (s Store) unchanged(before Entry) error {
	now, err := s.Read(before.Name)
	switch damaged := err != nil && now.Text != nil; {
	case err != nil && !damaged:
		return err
	case !bytes.Equal(now.Text, before.Text):
		return fmt.Errorf("guest %s: %w", before.Name, ErrChanged)
	case damaged && !s.Admin: // whether it is locked cannot be known
		return fmt.Errorf("%w; only an administrator changes what may be locked", err)
	case now.Locked && !s.Admin:
		return fmt.Errorf("guest %s: %w", before.Name, ErrLocked)
	}
	return nil
}

func (s Store) write(e Entry) error {
	// The file is synced before it takes the place of the older one.
	if err := renameio.WriteFile(filepath.Join(e.Dir, file), e.Text, 0o600, renameio.WithTempDir(e.Dir)); err != nil {
		return err
	}
	return syncDir(e.Dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// lock takes the lock of the store, which the kernel lets go of with the process.
func (s Store) lock(ctx context.Context) (unlock func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, LockTimeout,
		fmt.Errorf("another process has held the lock of %s for %s, and should have for a moment only", s.Dir, LockTimeout))
	defer cancel()
	l := flock.New(filepath.Join(s.Dir, "lock"))
	if _, err := l.TryLockContext(ctx, 5*time.Millisecond); err != nil {
		return nil, orCause(ctx, err)
	}
	return func() { _ = l.Unlock() }, nil
}

func orCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
