package hostedit

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// A LeftError says why what was added to a file is left there: others have changed the
// place since, and what of it is ours cannot be told, or is not understood. Its record
// is kept.
type LeftError struct {
	File  string   // as /etc/default/grub
	Words []string // what was added
	Err   error
}

// Error returns file, words and reason.
func (l *LeftError) Error() string {
	return fmt.Sprintf("%s was added to %s and is left there: %v; take it out by hand", strings.Join(l.Words, " "), l.File, l.Err)
}

// Unwrap returns the reason.
func (l *LeftError) Unwrap() error { return l.Err }

// PrepareUndo says how what is recorded would be taken back, the newest first: all that
// wanted says yes to, or with nil all of it. It changes nothing. The error joins a
// *[LeftError] for each edit that cannot be taken back, and what is wrong with records;
// the rest is in the Change.
func (e *Editor) PrepareUndo(wanted func(Record) bool) (*Change, error) {
	c := new(Change)
	records, err := e.records()
	errs := []error{err}
	texts := map[string]*file{}
	for _, r := range records {
		if wanted != nil && !wanted(*r) {
			continue
		}
		f := texts[r.File]
		if f == nil {
			if f, err = e.read(r.File); errors.Is(err, fs.ErrNotExist) {
				f, err = &file{name: r.File, path: r.File}, nil // its directory is gone
			}
			if err != nil {
				errs = append(errs, &LeftError{"/" + r.File, r.Words, err})
				continue
			}
		}
		fc, err := undo(f, r)
		if err == nil && (fc.After != fc.Before || fc.removes) {
			err = f.mayChange()
		}
		if err != nil {
			errs = append(errs, &LeftError{"/" + r.File, r.Words, err})
			continue
		}
		c.Files = append(c.Files, fc)
		next := *f
		next.text, next.exists = fc.After, f.exists && !fc.removes
		texts[r.File] = &next
		if fc.Outcome != Gone {
			c.Then = appendNew(c.Then, r.Then...)
		}
	}
	return c, errors.Join(errs...)
}

// undo says what taking back one record does to its file.
func undo(f *file, r *Record) (FileChange, error) {
	fc := FileChange{File: r.File, Path: f.path, Before: f.text, After: f.text, found: f, record: r, Outcome: Gone}
	switch f.sum() {
	case "none", r.before():
		return fc, nil
	case r.after():
		fc.Outcome, fc.After, fc.removes = Restored, string(r.Before), r.Created
		if r.Created {
			fc.After = ""
		}
		return fc, nil
	}
	text, gone, err := r.edit().takeOut(string(r.Before), string(r.After), f.text)
	if err != nil {
		return fc, err
	}
	if gone {
		return fc, nil
	}
	fc.Outcome, fc.After = TakenOut, text
	if r.Created && strings.TrimSpace(text) == strings.TrimSpace(string(r.Before)) {
		fc.removes, fc.After = true, ""
	}
	return fc, nil
}

// Undo carries out what PrepareUndo has returned. Each file is replaced, and then its
// record dropped. What failed keeps its record, and may be tried again: if others were
// taken back, the error is a *[PartialError]. A file that is not as it was is [ErrChanged].
// Undo waits for other processes.
func (e *Editor) Undo(c *Change) error {
	unlock, err := e.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := e.sweepRecords(); err != nil {
		return err
	}
	var errs []error
	done := 0
	failed := map[string]bool{}
	for _, fc := range c.Files {
		if failed[fc.File] {
			continue // it would not be as it was shown
		}
		if err := e.undo(fc); err != nil {
			failed[fc.File] = true
			errs = append(errs, err)
		} else if fc.Outcome != Gone {
			done++
		}
	}
	if done > 0 && len(errs) > 0 {
		return &PartialError{Left: errs}
	}
	return errors.Join(errs...)
}

func (e *Editor) undo(fc FileChange) error {
	f, err := e.read(fc.File)
	if errors.Is(err, fs.ErrNotExist) && fc.Outcome == Gone {
		return e.drop(fc.record)
	}
	if err != nil {
		return err
	}
	if f.exists != fc.found.exists || f.text != fc.Before || f.path != fc.Path {
		return fmt.Errorf("%s %w", f.path, ErrChanged)
	}
	if err := sweep(f.path); err != nil {
		return err
	}
	return e.takeBack(f, fc.record, fc.After, fc.removes)
}
