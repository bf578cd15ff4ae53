package jail

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// site is where the new root is built: a directory that every host has, in a mount
// namespace that nobody else is in.
const site = "/dev"

// newRoot makes a mount namespace of a root that holds what s names and nothing else,
// all of it read-only.
func newRoot(s Spec, keep func(what, why string), own bool) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w; CAP_SYS_ADMIN is needed", os.NewSyscallError("unshare", err))
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return mountError("keep mounts private", "/", err)
	}
	// All are opened before anything is mounted over them.
	trees := make([]int, len(s.Binds))
	for i, b := range s.Binds {
		var err error
		if trees[i], err = open(b); err != nil {
			return err
		}
	}
	// As many files as there are in it, and some bytes for the links.
	if err := unix.Mount("tmpfs", site, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755,size=1m,nr_inodes=16k"); err != nil {
		return mountError("make a root", site, err)
	}
	if err := unix.Chdir(site); err != nil {
		return &fs.PathError{Op: "enter", Path: site, Err: err}
	}
	old := unix.Umask(0o022) // directories that whom the program runs as can pass
	defer unix.Umask(old)
	for i, b := range s.Binds {
		if err := attach(trees[i], b.to()[1:]); err != nil {
			return fmt.Errorf("bind %s: %w", b.From, err)
		}
	}
	for _, l := range s.Links {
		if err := errors.Join(os.MkdirAll(path.Dir(l.Name[1:]), 0o755), os.Symlink(l.Target, l.Name[1:])); err != nil {
			return err
		}
	}
	if s.Proc {
		if err := mountProc(); err != nil {
			if !own {
				return err
			}
			keep(Proc, err.Error()) // as in a container that shows parts of it alone
		}
	}
	if err := enter(keep); err != nil {
		return err
	}
	readOnly := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	if err := unix.MountSetattr(unix.AT_FDCWD, "/", 0, &readOnly); err != nil {
		return mountError("make read-only", "/", err)
	}
	return nil
}

// open returns what b names as a tree of mounts that is nowhere yet, and can be changed
// by nobody who gets at it there.
func open(b Bind) (int, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS}
	fd, err := unix.Openat2(unix.AT_FDCWD, b.From, &how)
	if err != nil {
		return 0, &fs.PathError{Op: "open", Path: b.From, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, &fs.PathError{Op: "stat", Path: b.From, Err: err}
	}
	kind := st.Mode & unix.S_IFMT
	if (kind == unix.S_IFCHR) != b.Device || kind == unix.S_IFBLK || kind == unix.S_IFIFO {
		return 0, &fs.PathError{Op: "bind", Path: b.From, Err: errors.New("not the kind of file that was named")}
	}
	tree, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_RECURSIVE)
	if err != nil {
		return 0, mountError("bind", b.From, err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID}
	if b.Device {
		attr.Attr_set |= unix.MOUNT_ATTR_NOEXEC
	} else {
		attr.Attr_set |= unix.MOUNT_ATTR_NODEV
	}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		unix.Close(tree)
		return 0, mountError("make read-only", b.From, err)
	}
	return tree, nil
}

// attach makes the tree seen under name, which is relative to the new root.
func attach(tree int, name string) error {
	defer unix.Close(tree)
	if err := os.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(tree, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	var err error
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = os.Mkdir(name, 0o755)
	} else {
		err = os.WriteFile(name, nil, 0o644)
	}
	if err != nil {
		return err
	}
	return os.NewSyscallError("move_mount", unix.MoveMount(tree, "", unix.AT_FDCWD, name, unix.MOVE_MOUNT_F_EMPTY_PATH))
}

// mountProc mounts proc with nothing in it but the processes of this namespace, and of
// these only those of who looks.
func mountProc() error {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := os.Mkdir("proc", 0o555); err != nil {
		return err
	}
	if err := unix.Mount("proc", "proc", "proc", flags, "hidepid=2,subset=pid"); err != nil {
		return mountError("mount proc", "/proc", err)
	}
	return nil
}

// enter makes the working directory the root, and detaches the old one.
func enter(keep func(what, why string)) error {
	err := unix.PivotRoot(".", ".")
	if err == nil {
		// the old root is on top of the new one now
		err = unix.Unmount(".", unix.MNT_DETACH)
		if err != nil {
			return mountError("detach", "the host's root", err)
		}
		return unix.Chdir("/")
	}
	if !errors.Is(err, unix.EINVAL) {
		return mountError("enter", site, err)
	}
	// An initial file system cannot be detached, only covered.
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return mountError("enter", site, err)
	}
	keep(Under, "the host runs from its initial file system, which can be covered, not detached")
	return errors.Join(unix.Chroot("."), unix.Chdir("/"))
}

// mountError is an error of a call about mounts.
func mountError(op, name string, err error) error {
	if errors.Is(err, unix.ENOSYS) {
		err = fmt.Errorf("%w; Linux 5.12 is needed", err)
	}
	return &fs.PathError{Op: op, Path: strings.TrimSuffix(name, "/."), Err: err}
}
