package vfio

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/project-independence/indy/pci"
)

// Grant gives the node of a group, /dev/vfio/N, to a user, who may then open the
// group. Revoke takes it back; a node that has gone by then is none's. The node is
// that of a group with a function bound to vfio-pci. Only root may give it away. The
// error is an *[OpError].
func Grant(id pci.GroupID, uid, gid uint32) (revoke func() error, err error) {
	name := "/dev/vfio/" + id.String()
	fail := func(err error) error { return &OpError{Op: "grant", Group: id, Err: err} }
	st, err := os.Lstat(name)
	if err != nil {
		return nil, fail(err)
	}
	owner, ok := st.Sys().(*syscall.Stat_t)
	if !ok || st.Mode().Type() != fs.ModeDevice|fs.ModeCharDevice {
		return nil, fail(&fs.PathError{Op: "grant", Path: name, Err: errors.New("not a character device")})
	}
	if err := os.Lchown(name, int(uid), int(gid)); err != nil {
		return nil, fail(err)
	}
	return func() error {
		if err := os.Lchown(name, int(owner.Uid), int(owner.Gid)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return &OpError{Op: "revoke", Group: id, Err: err}
		}
		return nil
	}, nil
}
