package qemu

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

const kvmNode = "/dev/kvm"

// openKVM opens /dev/kvm for a QEMU that cannot do so itself, because it runs as
// cred. It returns nil for one that can: QEMU takes the descriptor from 9.0 on only.
func openKVM(cred *syscall.Credential) (*os.File, error) {
	f, err := os.OpenFile(kvmNode, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil || cred == nil || allows(info, cred) {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// allows reports whether the node can be read and written by cred.
func allows(info fs.FileInfo, cred *syscall.Credential) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	mode := info.Mode().Perm()
	switch {
	case st.Uid == cred.Uid:
		return mode&0o600 == 0o600
	case st.Gid == cred.Gid:
		return mode&0o060 == 0o060
	}
	return mode&0o006 == 0o006
}
