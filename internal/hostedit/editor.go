package hostedit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// An Editor changes files below Root. Its methods may be used by several processes, but
// not by several goroutines, at once; Apply and Undo wait for each other.
type Editor struct {
	Root string // an absolute path, / for the running host

	// reached is called at each step that a crash could come after; nil but in tests.
	reached func(step string)
}

func (e *Editor) at(step string) {
	if e.reached != nil {
		e.reached(step)
	}
}

// ErrChanged is the cause when a file is not any more as it was when the change was
// shown. Nothing was done.
var ErrChanged = errors.New("has changed meanwhile; look again")

// A Change is what edits would do. One without Files does nothing.
type Change struct {
	Files []FileChange
	Then  []string // commands to run afterwards
}

// A FileChange is what one edit, or taking one back, does to one file.
type FileChange struct {
	File    string // rooted at / without the slash
	Path    string // the file that is replaced: File below the root, with links followed
	Outcome Outcome
	Before  string
	After   string

	edit    Edit
	found   *file
	record  *Record
	removes bool
}

// An Outcome says what taking back comes to, or that an edit is made.
type Outcome string

// The outcomes.
const (
	Made     Outcome = "made"      // an edit
	Restored Outcome = "restored"  // the file is as it was before, byte by byte
	TakenOut Outcome = "taken out" // the words are gone; what others changed is kept
	Gone     Outcome = "gone"      // there was nothing left to take back
)

// Diff returns the change as a unified diff, which patch(1) takes below the root.
func (c *Change) Diff() string {
	var b strings.Builder
	for _, f := range c.Files {
		from, to := "a/"+f.File, "b/"+f.File
		if !f.found.exists {
			from = "/dev/null"
		}
		if f.removes {
			to = "/dev/null"
		}
		if f.Before != f.After || f.removes {
			b.WriteString(unified(from, to, f.Before, f.After))
		}
	}
	return b.String()
}

// Prepare says what edits would change. It changes nothing, and leaves out edits whose
// words are there already. A file that is not understood is a *[NotUnderstoodError], one
// that is missing and is not to be made is [fs.ErrNotExist].
func (e *Editor) Prepare(edits ...Edit) (*Change, error) {
	c := new(Change)
	texts := map[string]*file{} // as earlier edits leave them
	for _, edit := range edits {
		if err := edit.check(); err != nil {
			return nil, err
		}
		f := texts[edit.File]
		if f == nil {
			var err error
			if f, err = e.read(edit.File); err != nil {
				return nil, err
			}
		}
		if !f.exists && !edit.Create {
			return nil, &fs.PathError{Op: "open", Path: f.path, Err: fs.ErrNotExist}
		}
		before := f.text
		if !f.exists {
			before = edit.Heading
		}
		after, err := edit.add(before)
		if err != nil {
			return nil, err
		}
		if after == before && f.exists {
			continue
		}
		if err := f.mayChange(); err != nil {
			return nil, err
		}
		c.Files = append(c.Files, FileChange{
			File: edit.File, Path: f.path, Outcome: Made, Before: f.text, After: after, edit: edit, found: f,
		})
		made := *f
		made.text, made.exists = after, true
		texts[edit.File] = &made
		c.Then = appendNew(c.Then, edit.Then...)
	}
	return c, nil
}

func appendNew(all []string, more ...string) []string {
	for _, s := range more {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// Apply makes a change that Prepare has returned. Each file is recorded, and then
// replaced. When one fails, those before it are taken back, and the error says if that
// failed, too: then it is a *[PartialError]. A file that is not as it was is [ErrChanged].
// Apply waits for other processes.
func (e *Editor) Apply(c *Change) error {
	unlock, err := e.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := e.recover(); err != nil {
		return err
	}
	for i := range c.Files {
		err := e.make(&c.Files[i])
		if err == nil {
			continue
		}
		var left []error
		if partial, ok := errors.AsType[*PartialError](err); ok {
			err, left = partial.Err, partial.Left
		}
		for j := range slices.Backward(c.Files[:i]) {
			if err := e.unmake(c.Files[j].record); err != nil {
				left = append(left, err)
			}
		}
		if len(left) > 0 {
			return &PartialError{err, left}
		}
		return err
	}
	return nil
}

// A PartialError says that a change was made in part: one that failed could not be taken
// back in full, or of several only some could. The records of what is left are kept, and
// Undo takes it back.
type PartialError struct {
	Err  error   // why the change failed; nil of an Undo
	Left []error // what could not be taken back
}

// Error joins both.
func (p *PartialError) Error() string {
	if p.Err == nil {
		return fmt.Sprintf("not all could be taken back: %v", errors.Join(p.Left...))
	}
	return fmt.Sprintf("%v; and not all could be taken back: %v", p.Err, errors.Join(p.Left...))
}

// Unwrap returns why it failed, and why the rest was left.
func (p *PartialError) Unwrap() []error {
	if p.Err == nil {
		return p.Left
	}
	return append([]error{p.Err}, p.Left...)
}

// make does one edit.
func (e *Editor) make(fc *FileChange) error {
	f, err := e.read(fc.File)
	if err != nil {
		return err
	}
	if f.exists != fc.found.exists || f.text != fc.Before || f.path != fc.Path {
		return fmt.Errorf("%s %w", f.path, ErrChanged)
	}
	if err := f.mayChange(); err != nil {
		return err
	}
	r := &Record{
		Version: 1, Made: time.Now().UTC().Truncate(time.Second), File: fc.File, Kind: fc.edit.Kind, Keys: fc.edit.Keys,
		Words: fc.edit.Words, Created: !f.exists, Before: []byte(fc.Before), After: []byte(fc.After), Then: fc.edit.ThenUndone,
		For: fc.edit.For,
	}
	if r.Created {
		r.Before = []byte(fc.edit.Heading)
	}
	if err := e.put(r); err != nil {
		return err
	}
	if err := e.replace(f, fc.After); err != nil {
		// It may have been renamed all the same: the file says so.
		now, rerr := e.read(fc.File)
		switch {
		case rerr == nil && now.sum() != r.after():
			return errors.Join(err, e.drop(r)) // what is there now is not ours
		case rerr == nil:
			rerr = e.unmake(r)
		}
		if rerr != nil {
			return &PartialError{err, []error{rerr}}
		}
		return err
	}
	fc.record = r
	return nil
}

// unmake takes back an edit of this Apply, of a file that nobody else has changed.
func (e *Editor) unmake(r *Record) error {
	f, err := e.read(r.File)
	if err != nil {
		return err
	}
	if f.sum() != r.after() {
		return fmt.Errorf("%s %w", f.path, ErrChanged)
	}
	return e.takeBack(f, r, string(r.Before), r.Created)
}

// takeBack writes what a record's file becomes, and drops the record.
func (e *Editor) takeBack(f *file, r *Record, text string, remove bool) error {
	switch {
	case remove && f.exists:
		e.at("remove")
		if err := os.Remove(f.path); err != nil {
			return err
		}
		e.at("removed")
		// The record goes only when the file is gone for good.
		if err := syncDir(filepath.Dir(f.path)); err != nil {
			return err
		}
	case f.exists && text != f.text:
		if err := e.replace(f, text); err != nil {
			return err
		}
	}
	return e.drop(r)
}

// recover drops the records of edits that were never made, or that were taken back:
// their file is as before. It removes what was left half written.
func (e *Editor) recover() error {
	if err := e.sweepRecords(); err != nil {
		return err
	}
	records, _ := e.records() // a damaged one is reported by Undo, and keeps nobody from editing
	for _, r := range records {
		f, err := e.read(r.File)
		if err != nil {
			continue // Undo says so, and it keeps nobody from editing others
		}
		if err := sweep(f.path); err != nil {
			return err
		}
		if f.sum() == r.before() {
			if err := e.drop(r); err != nil {
				return err
			}
		}
	}
	return nil
}
