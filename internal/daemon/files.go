package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/danielgtaylor/huma/v2"

	"github.com/project-independence/indy/guest"
)

// Images is the folder of images that root has for the guests of others than administrators,
// unless others are named.
const Images = "/var/lib/indy/images"

// A fileRule says which files of the host a definition may name of somebody who is no
// administrator: images in the guest's folder, and what is in folders that root has for that.
// Nobody but root can put anything there, and so what is found to be a file stays one.
type fileRule struct {
	own     string   // the guest's folder
	images  []string // folders
	others  []fs.FileInfo
	readers []fs.FileInfo // as others, but that may be read by all
}

// mayName returns an answer that refuses text, the definition of a guest, if somebody who is
// no administrator may not have it name what it does. What before, the definition until now,
// names already may stay.
func (s *Stored) mayName(text string, before guest.Definition) error {
	now, err := guest.ParseDefinition("guest.yaml", []byte(text))
	if err != nil {
		return huma.Error422UnprocessableEntity(err.Error())
	}
	r := fileRule{own: s.Store.Folder(now.Name), images: s.Images}
	s.lockedFiles(&r, now.Name)
	var errs []error
	check := func(field, file string, write, folder bool) {
		if err := r.check(file, write, folder); err != nil {
			errs = append(errs, fmt.Errorf("%s: %.200q %w", field, file, err))
		}
	}
	for i, k := range now.Disks {
		if !slices.ContainsFunc(before.Disks, func(b guest.Disk) bool {
			return b.File == k.File && b.Format == k.Format && (k.ReadOnly || !b.ReadOnly)
		}) {
			check(fmt.Sprintf("disks[%d].file", i), k.File, !k.ReadOnly, false)
		}
	}
	for i, k := range now.Disks {
		if k.Key.Kind == guest.Credential && !slices.ContainsFunc(before.Disks, func(b guest.Disk) bool { return b.Key == k.Key }) {
			if err := r.checkKey(k.Key.File); err != nil {
				errs = append(errs, fmt.Errorf("disks[%d].key: %.200q %w", i, k.Key.File, err))
			}
		}
	}
	for i, file := range now.CDROMs {
		if !slices.Contains(before.CDROMs, file) {
			check(fmt.Sprintf("cdroms[%d]", i), file, false, false)
		}
	}
	for i, f := range now.Folders {
		if !slices.ContainsFunc(before.Folders, func(b guest.Folder) bool { return b.Path == f.Path && (f.ReadOnly || !b.ReadOnly) }) {
			check(fmt.Sprintf("folders[%d].path", i), f.Path, !f.ReadOnly, true)
		}
	}
	for i, n := range now.Devices {
		if n.ROM != nil && !slices.ContainsFunc(before.Devices, func(b guest.Need) bool { return b.ROM != nil && b.ROM.File == n.ROM.File }) {
			check(fmt.Sprintf("devices[%d].rom.file", i), n.ROM.File, false, false)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return huma.Error403Forbidden(fmt.Sprintf("only an administrator gives a guest other files of the host than images in %s:\n%v",
			strings.Join(append([]string{"its own folder"}, s.Images...), " and "), err))
	}
	return nil
}

// lockedFiles notes what locked guests have in the folders for images.
func (s *Stored) lockedFiles(r *fileRule, but string) {
	all, _ := s.Store.List() // of those that are damaged nothing is known
	for _, e := range all {
		if !e.Locked || e.Name == but {
			continue
		}
		for _, k := range e.Disks {
			file := k.File
			if !filepath.IsAbs(file) {
				file = filepath.Join(e.Dir, file)
			}
			info, err := os.Stat(file)
			switch {
			case err != nil:
			case k.ReadOnly:
				r.readers = append(r.readers, info)
			default:
				r.others = append(r.others, info)
			}
		}
	}
}

// imageNames are how names of images end. What else is in a guest's folder says what the
// guest is, or holds its secrets.
func imageNames() []string { return []string{".qcow2", ".raw", ".img", ".iso", ".rom"} }

// check returns why a file, or a folder, may not be named.
func (r *fileRule) check(name string, write, folder bool) error {
	if slices.Contains(strings.Split(name, "/"), "..") {
		return errors.New("has .. in it")
	}
	path := filepath.Clean(name)
	if !filepath.IsAbs(path) {
		path = filepath.Join(r.own, path)
	}
	root, own := r.own, !folder && below(r.own, path)
	if !own {
		i := slices.IndexFunc(r.images, func(dir string) bool { return below(dir, path) || folder && path == filepath.Clean(dir) })
		if i < 0 {
			return errors.New("is in none of these")
		}
		root = filepath.Clean(r.images[i])
	}
	if !folder && !slices.Contains(imageNames(), filepath.Ext(path)) {
		return fmt.Errorf("is no image by its name, which ends in %s", strings.Join(imageNames(), ", "))
	}
	if _, err := os.Lstat(root); !own && err != nil {
		return fmt.Errorf("is in a folder that cannot be looked at: %w", unnamed(err)) // and may become anybody's
	}
	info, err := keptByRoot(root, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // which is an error when the guest starts, unless root has put it there by then
	case err != nil:
		return err
	case folder && !info.IsDir():
		return errors.New("is no folder")
	case !folder && !info.Mode().IsRegular():
		return errors.New("is no file")
	}
	same := func(other fs.FileInfo) bool { return os.SameFile(info, other) }
	if slices.ContainsFunc(r.others, same) || write && slices.ContainsFunc(r.readers, same) {
		return errors.New("is a disk of a locked guest")
	}
	return nil
}

// checkKey returns why a credential may not be named: root decrypts it, and another guest's
// would open that guest's disks.
func (r *fileRule) checkKey(name string) error {
	if filepath.Base(name) != name || filepath.Ext(name) != ".cred" {
		return errors.New("is no credential in the guest's own folder, NAME.cred")
	}
	info, err := keptByRoot(r.own, filepath.Join(r.own, name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return errors.New("is no file")
	}
	return nil
}

// below reports whether a clean path is in a folder, or in one of that.
func below(dir, path string) bool {
	return strings.HasPrefix(path, strings.TrimSuffix(filepath.Clean(dir), "/")+"/")
}

// keptByRoot returns what path is, which is in the folder root or is that itself. There is no
// link on the way from there, and on the whole way to it nothing that others than root may
// exchange.
func keptByRoot(root, path string) (fs.FileInfo, error) {
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		return nil, unnamed(err)
	}
	rest := strings.TrimPrefix(strings.TrimPrefix(path, root), "/")
	way := real
	if rest != "" {
		way = filepath.Join(real, rest)
	}
	var info fs.FileInfo
	at := "/"
	for _, part := range append([]string{""}, strings.Split(strings.Trim(way, "/"), "/")...) {
		at = filepath.Join(at, part)
		if info, err = os.Lstat(at); err != nil {
			return nil, unnamed(err)
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			return nil, errors.New("is reached by a symbolic link")
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		theirs := !ok || st.Uid != 0 && int64(st.Uid) != int64(os.Geteuid())
		// In a folder with the sticky bit nobody exchanges what is root's.
		if theirs || info.Mode().Perm()&0o022 != 0 && (!info.IsDir() || info.Mode()&fs.ModeSticky == 0 || at == way) {
			return nil, errors.New("can be changed by others than root")
		}
	}
	return info, nil
}

// unnamed is an error of a file without its name, which whoever asks may not know.
func unnamed(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
