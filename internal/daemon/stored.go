package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/danielgtaylor/huma/v2"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/store"
)

// Definitions keep those of guests. Who asks has been found to have the role for the verb; what
// else they may not, such as to have a guest open files of the host, is refused here.
type Definitions interface {
	// List and Read are those of [store.Store].
	List() ([]store.Entry, error)
	Read(name string) (store.Entry, error)

	// Create makes a guest. [fs.ErrExist] is that there is one of its name, or its disk.
	Create(context.Context, Caller, NewGuest) (store.Entry, error)

	// Replace changes the definition of the guest of which before was read.
	Replace(ctx context.Context, who Caller, before store.Entry, text []byte) (store.Entry, error)

	// Delete forgets that guest and, with disks, those in its folder, whose names it returns.
	Delete(ctx context.Context, who Caller, before store.Entry, disks bool) ([]string, error)
}

// A NewGuest is what a guest is made of.
type NewGuest struct {
	Text     []byte // its definition
	DiskSize int64  // how many bytes its first disk has, which is made; 0 makes none
	Key      []byte // the passphrase of that; nil is that it has none
}

// Stored are definitions in the store of this process, which has to be root's if the guests are:
// whom a file can be changed by is looked up, and disks are made.
type Stored struct {
	Store  store.Store // of which Admin is set by who asks
	Images []string    // folders of images that guests of others than administrators may have; see [Images]

	// MakeDisk makes an empty qcow2 image of that many bytes for a new guest, encrypted with the
	// key unless there is none; nil is that none are made.
	MakeDisk func(ctx context.Context, file string, size int64, key []byte) error
}

// List is that of the store.
func (s *Stored) List() ([]store.Entry, error) { return s.Store.List() }

// Read is that of the store.
func (s *Stored) Read(name string) (store.Entry, error) { return s.Store.Read(name) }

// of is the store, as somebody may change it.
func (s *Stored) of(who Caller) store.Store {
	as := s.Store
	as.Admin = who.Role == Admin
	return as
}

// Create makes a guest, and no part of it if any cannot be made.
func (s *Stored) Create(ctx context.Context, who Caller, g NewGuest) (store.Entry, error) {
	if who.Role != Admin {
		if err := s.mayName(string(g.Text), guest.Definition{}); err != nil {
			return store.Entry{}, err
		}
	}
	file, err := s.newDisk(g)
	if err != nil {
		return store.Entry{}, err
	}
	e, err := s.of(who).Create(ctx, g.Text)
	if err != nil || file == "" {
		return e, err
	}
	if err := s.MakeDisk(ctx, file, g.DiskSize, g.Key); err != nil {
		_, undone := s.of(who).Delete(context.WithoutCancel(ctx), e, true)
		return store.Entry{}, errors.Join(err, undone)
	}
	return e, nil
}

// newDisk returns the file of the disk that is to be made for a new guest, which is not there
// yet; empty for none.
func (s *Stored) newDisk(g NewGuest) (string, error) {
	if g.DiskSize == 0 {
		return "", nil
	}
	if s.MakeDisk == nil {
		return "", huma.Error501NotImplemented("this daemon makes no disks")
	}
	def, err := guest.ParseDefinition("guest.yaml", g.Text)
	if err != nil {
		return "", huma.Error422UnprocessableEntity(err.Error())
	}
	if len(def.Disks) == 0 || def.Disks[0].Format != guest.Qcow2 || !filepath.IsLocal(def.Disks[0].File) || filepath.Base(def.Disks[0].File) != def.Disks[0].File {
		return "", huma.Error422UnprocessableEntity("the disk that is made is a qcow2 image in the guest's folder, named as that is: disks: [{file: system.qcow2}]")
	}
	switch kind := def.Disks[0].Key.Kind; {
	case kind == guest.Credential:
		return "", huma.Error501NotImplemented("this daemon makes no credentials; root does: indy guest create --encrypt=credential")
	case (kind == guest.Passphrase) != (len(g.Key) > 0):
		return "", huma.Error422UnprocessableEntity("a disk that is made has a key exactly when its definition says key: passphrase")
	}
	file := filepath.Join(s.Store.Folder(def.Name), def.Disks[0].File)
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s: %w", file, cmp.Or(err, fs.ErrExist))
	}
	return file, nil
}

// Replace changes a definition.
func (s *Stored) Replace(ctx context.Context, who Caller, before store.Entry, text []byte) (store.Entry, error) {
	if who.Role != Admin {
		if err := s.mayName(string(text), before.Definition); err != nil {
			return store.Entry{}, err
		}
	}
	return s.of(who).Replace(ctx, before, text)
}

// Delete forgets a guest.
func (s *Stored) Delete(ctx context.Context, who Caller, before store.Entry, disks bool) ([]string, error) {
	return s.of(who).Delete(ctx, before, disks)
}
