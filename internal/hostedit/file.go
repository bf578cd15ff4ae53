package hostedit

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// A file is one file of the host as it was found.
type file struct {
	name   string // as it was asked for
	path   string // where it is, all links followed
	exists bool
	text   string
	info   fs.FileInfo
}

func (f *file) sum() string {
	if !f.exists {
		return "none"
	}
	return sum(f.text)
}

func sum(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:])
}

// read reads a file below root. One that is not there is not an error, but its
// directory has to be.
func (e *Editor) read(name string) (*file, error) {
	at, err := resolve(e.Root, name)
	if err != nil {
		return nil, err
	}
	f := &file{name: name, path: at}
	r, err := os.OpenFile(at, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Dir(at)); err != nil {
			return nil, err
		}
		return f, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if f.info, err = r.Stat(); err != nil {
		return nil, err
	}
	if !f.info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", at)
	}
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, &NotUnderstoodError{File: "/" + name, Why: fmt.Sprintf("is larger than %d bytes", maxFile)}
	}
	f.exists, f.text = true, string(data)
	return f, nil
}

// mayChange says why a file that was read should not be replaced.
func (f *file) mayChange() error {
	if !f.exists {
		return nil
	}
	if f.info.Mode().Perm()&0o200 == 0 {
		return &NotUnderstoodError{File: "/" + f.name, Why: fmt.Sprintf("is read-only (mode %04o): whoever made it so makes it anew", f.info.Mode().Perm())}
	}
	if st, ok := f.info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
		return &NotUnderstoodError{File: "/" + f.name, Why: "has another name, too (a hard link), and the two would part"}
	}
	return nil
}

// resolve follows the links of name below root, those that lead to / to root itself, and
// returns the path of what they lead to, whether or not it is there. In each directory on
// the way only root and the caller may write: anybody else could put another link there
// between this look and the next.
func resolve(root, name string) (string, error) {
	if err := onlyOurs(root, name); err != nil {
		return "", err
	}
	var done []string
	rest := strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		elem := rest[0]
		rest = rest[1:]
		switch elem {
		case "", ".":
			continue
		case "..":
			done = done[:max(0, len(done)-1)]
			continue
		}
		at := filepath.Join(root, filepath.Join(done...), elem)
		target, err := os.Readlink(at)
		switch {
		case err == nil:
			if links++; links > 40 {
				return "", &fs.PathError{Op: "open", Path: filepath.Join(root, name), Err: syscall.ELOOP}
			}
			if path.IsAbs(target) {
				done = nil
			}
			rest = append(strings.Split(target, "/"), rest...)
		case errors.Is(err, fs.ErrNotExist):
			done = append(done, elem)
		case errors.Is(err, syscall.EINVAL): // no link
			if err := onlyOurs(at, name); err != nil {
				return "", err
			}
			done = append(done, elem)
		default:
			return "", err
		}
	}
	return filepath.Join(root, filepath.Join(done...)), nil
}

// onlyOurs says why a directory is not one that only root and the caller may write to.
func onlyOurs(at, name string) error {
	info, err := os.Lstat(at)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return nil
	}
	if err != nil {
		return err
	}
	why := ""
	st, ok := info.Sys().(*syscall.Stat_t)
	switch mode := info.Mode().Perm(); {
	case !ok:
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		why = fmt.Sprintf("belongs to user %d", st.Uid)
	case mode&0o002 != 0:
		why = "may be written to by everybody"
	case mode&0o020 != 0 && st.Gid != 0 && int(st.Gid) != os.Getegid():
		why = fmt.Sprintf("may be written to by group %d", st.Gid)
	}
	if why == "" {
		return nil
	}
	return &NotUnderstoodError{File: "/" + name, Why: fmt.Sprintf("is in %s, which %s, who could put another file in its place", at, why)}
}

// replace puts text in the place of what f was read from, in one rename, with the mode,
// the owner and the attributes of the file that was there.
func (e *Editor) replace(f *file, text string) error {
	dir := filepath.Dir(f.path)
	p, err := renameio.NewPendingFile(f.path, renameio.WithTempDir(dir), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return err
	}
	defer func() { _ = p.Cleanup() }()
	if _, err := p.WriteString(text); err != nil {
		return err
	}
	e.at("written")
	mode := fs.FileMode(0o644)
	if f.exists {
		mode = f.info.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
		if err := copyOwner(p.File, f.info); err != nil {
			return err
		}
		if err := copyAttributes(p.File, f.path); err != nil {
			return err
		}
	}
	if err := p.Chmod(mode); err != nil {
		return err
	}
	if err := f.unchanged(); err != nil {
		return err
	}
	e.at("ready")
	if err := p.CloseAtomicallyReplace(); err != nil {
		return err
	}
	e.at("renamed")
	return syncDir(dir)
}

// unchanged says that the file is not any more the one that was read: an editor may
// have saved it meanwhile.
func (f *file) unchanged() error {
	now, err := os.Lstat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !f.exists:
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case err != nil || !f.exists || !os.SameFile(now, f.info) || now.Size() != f.info.Size() || !now.ModTime().Equal(f.info.ModTime()):
		return fmt.Errorf("%s %w", f.path, ErrChanged)
	}
	return nil
}

// copyOwner does nothing where it is right already: some file systems have no owners.
func copyOwner(to *os.File, like fs.FileInfo) error {
	info, err := to.Stat()
	if err != nil {
		return err
	}
	want, ok1 := like.Sys().(*syscall.Stat_t)
	have, ok2 := info.Sys().(*syscall.Stat_t)
	if !ok1 || !ok2 || want.Uid == have.Uid && want.Gid == have.Gid {
		return nil
	}
	return to.Chown(int(want.Uid), int(want.Gid))
}

// copyAttributes copies the extended attributes of a file: its label, its access list.
// Sums and signatures of what was in it (security.ima, security.evm) would be wrong.
func copyAttributes(to *os.File, from string) error {
	fd := int(to.Fd())
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(from, names)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "listxattr", Path: from, Err: err}
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(names[:n]), "\x00"), "\x00") {
		if name == "" || name == "security.ima" || name == "security.evm" {
			continue
		}
		want, have := make([]byte, 64<<10), make([]byte, 64<<10)
		w, err := unix.Lgetxattr(from, name, want)
		if err != nil {
			return &fs.PathError{Op: "getxattr " + name, Path: from, Err: err}
		}
		if h, err := unix.Fgetxattr(fd, name, have); err == nil && string(want[:w]) == string(have[:h]) {
			continue
		}
		if err := unix.Fsetxattr(fd, name, want[:w], 0); err != nil {
			return &fs.PathError{Op: "setxattr " + name, Path: to.Name(), Err: err}
		}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}

// sweep removes what an interrupted replace left beside the file at path: renameio names
// it after the file, with a random number of 63 bits.
func sweep(at string) error {
	return sweepNames(filepath.Dir(at), regexp.QuoteMeta(filepath.Base(at)))
}

// sweepRecords is sweep for records.
func (e *Editor) sweepRecords() error {
	dir, err := e.dir()
	if err != nil {
		return err
	}
	return sweepNames(dir, recordName)
}

// sweepNames is sweep for all files in a directory whose names are like that.
func sweepNames(dir, name string) error {
	leftover := regexp.MustCompile(`^\.` + name + `[0-9]{15,19}$`)
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		if leftover.MatchString(entry.Name()) && entry.Type().IsRegular() {
			errs = append(errs, os.Remove(filepath.Join(dir, entry.Name())))
		}
	}
	return errors.Join(errs...)
}
