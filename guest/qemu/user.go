package qemu

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// A User is whom QEMU runs as. The zero User stands for the default.
type User struct {
	UID, GID uint32
}

// Account is the name of the account that QEMU runs as if it exists.
const Account = "indy-qemu"

// nobodyElse is where the identities begin that no account has: above those that
// systemd and container managers hand out.
const nobodyElse = 0x70000000

// DefaultUser returns whom QEMU runs as when root starts it and nobody else is
// named: the account indy-qemu or, where there is none, an identity of its own for
// all guests of this process, made of its number. No account has it, and so nobody
// else's process can reach the guest.
func DefaultUser() (User, error) {
	u, err := user.Lookup(Account)
	var unknown user.UnknownUserError
	if errors.As(err, &unknown) {
		id := nobodyElse + uint32(os.Getpid())
		return User{id, id}, nil
	}
	if err != nil {
		return User{}, err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return User{}, fmt.Errorf("account %s: %w", Account, err)
	}
	return User{uint32(uid), uint32(gid)}, nil
}

// credential returns what to change the child's identity to, nil for nothing.
func credential(u User) (*syscall.Credential, error) {
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	if uid != 0 {
		if u != (User{}) && u != (User{uid, gid}) {
			return nil, fmt.Errorf("run QEMU as %d:%d: only root can run it as another user: %w", u.UID, u.GID, syscall.EPERM)
		}
		return nil, nil
	}
	if u == (User{}) {
		var err error
		if u, err = DefaultUser(); err != nil {
			return nil, err
		}
	}
	if u.UID == 0 || u.GID == 0 {
		return nil, fmt.Errorf("run QEMU as %d:%d: QEMU does not run as root: %w", u.UID, u.GID, syscall.EPERM)
	}
	return &syscall.Credential{Uid: u.UID, Gid: u.GID}, nil
}

// attributes are those of every QEMU: a session of its own, so that neither the
// terminal's Ctrl-C nor its hang-up reaches it, and death when the thread that
// started it dies.
func attributes(c *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: c, Setsid: true, Pdeathsig: syscall.SIGKILL}
}
