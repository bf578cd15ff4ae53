package hostedit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
)

// Records is where the records of edits are, below the root.
const Records = "var/lib/indy/edits"

// recordName is how records are called, as a regular expression.
const recordName = `[0-9]{6}\.json`

// A Record is one edit of one file as it was made: enough to take it back, whoever has
// changed the file since. It is on disk before the file is touched.
type Record struct {
	Version int       `json:"version"`
	Made    time.Time `json:"made"`
	File    string    `json:"file"` // rooted at / without the slash
	Kind    Kind      `json:"kind"`
	Keys    []string  `json:"keys"`
	Words   []string  `json:"words"` // what was added
	Created bool      `json:"created"`
	Before  []byte    `json:"before"` // the file as it was
	After   []byte    `json:"after"`  // and as it was made
	Then    []string  `json:"then"`   // what has to be run after it was taken back
	For     string    `json:"for,omitempty"`
	// Checksum is the SHA-256 of the record as JSON without it.
	Checksum string `json:"checksum"`

	path string
}

func (r *Record) checksum() (string, error) {
	plain := *r
	plain.Checksum = ""
	data, err := json.Marshal(plain)
	return sum(string(data)), err
}

func (r *Record) edit() Edit {
	return Edit{File: r.File, Kind: r.Kind, Keys: r.Keys, Words: r.Words}
}

// before and after are the sums of the file, as file.sum has them.
func (r *Record) before() string {
	if r.Created {
		return "none"
	}
	return sum(string(r.Before))
}

func (r *Record) after() string { return sum(string(r.After)) }

// dir is where the records are, links followed as those of files are.
func (e *Editor) dir() (string, error) { return resolve(e.Root, Records) }

// records returns the records, the newest first. A damaged one hides no other.
func (e *Editor) records() ([]*Record, error) {
	dir, err := e.dir()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []*Record
	var errs []error
	for _, entry := range slices.Backward(entries) {
		if !strings.HasSuffix(entry.Name(), ".json") || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		r, err := readRecord(filepath.Join(dir, entry.Name()))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, r)
	}
	return all, errors.Join(errs...)
}

// maxRecord bounds a record: twice a file, in base 64, and a few words.
const maxRecord = 4 * maxFile

func readRecord(name string) (*Record, error) {
	r := &Record{path: name}
	info, err := os.Stat(name)
	var data []byte
	if err == nil && info.Size() > maxRecord {
		err = errors.New("too large")
	}
	if err == nil {
		data, err = os.ReadFile(name)
	}
	if err == nil {
		err = json.Unmarshal(data, r)
	}
	if err == nil {
		var want string
		switch want, err = r.checksum(); {
		case err != nil:
		case r.Version != 1:
			err = fmt.Errorf("version %d is not known", r.Version)
		case want != r.Checksum:
			err = errors.New("its checksum is another one")
		default:
			err = r.edit().check()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the record %s of an edit is damaged, so it cannot be taken back: %w; look at the file yourself, then remove the record", name, err)
	}
	return r, nil
}

// put writes a new record, to disk.
func (e *Editor) put(r *Record) error {
	dir, err := e.dir()
	if err != nil {
		return err
	}
	next := 1
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		var n int
		if _, err := fmt.Sscanf(entry.Name(), "%06d.json", &n); err == nil && n >= next {
			next = n + 1
		}
	}
	r.path = filepath.Join(dir, fmt.Sprintf("%06d.json", next))
	if r.Checksum, err = r.checksum(); err != nil {
		return err
	}
	data, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	e.at("record")
	if err := renameio.WriteFile(r.path, append(data, '\n'), 0o600, renameio.WithTempDir(dir)); err != nil {
		return err
	}
	e.at("recorded")
	return syncDir(dir)
}

func (e *Editor) drop(r *Record) error {
	e.at("drop")
	if err := os.Remove(r.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	e.at("dropped")
	return syncDir(filepath.Dir(r.path))
}

// lock waits until no other process changes files below this root.
func (e *Editor) lock() (unlock func(), err error) {
	dir, err := e.dir()
	if err != nil {
		return nil, err
	}
	above := filepath.Dir(dir)
	if err := os.MkdirAll(above, 0o755); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err == nil {
		// Without its directories a record would be lost in a crash.
		if err := errors.Join(syncDir(above), syncDir(filepath.Dir(above))); err != nil {
			return nil, err
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	l := flock.New(filepath.Join(dir, "lock"))
	if err := l.Lock(); err != nil {
		return nil, err
	}
	return func() { _ = l.Unlock() }, nil
}
