package daemon

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/internal/ioctl"
)

// The groups whose members have a role.
const (
	UserGroup     = "indy-users"
	OperatorGroup = "indy-operators"
	AdminGroup    = "indy-admins"
)

// A Peer is who is at the other end of a connection, as the kernel noted it when the
// connection was made.
type Peer struct {
	UID    uint32
	GID    uint32
	Groups []uint32 // besides
	PID    int32    // another process may have it by now
}

// PeerOf returns who made a connection, SO_PEERCRED and SO_PEERGROUPS of unix(7).
func PeerOf(c *net.UnixConn) (Peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var cred *unix.Ucred
	var groups []uint32
	var cerr, gerr error
	if err := raw.Control(func(fd uintptr) {
		cred, cerr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		groups, gerr = ioctl.PeerGroups(int(fd))
	}); err != nil {
		return Peer{}, err
	}
	if err := errors.Join(cerr, gerr); err != nil {
		return Peer{}, fmt.Errorf("who asks is not known: %w", err)
	}
	return Peer{UID: cred.Uid, GID: cred.Gid, Groups: groups, PID: cred.Pid}, nil
}

// Groups are the numbers of the groups that give a role. A group that is not there gives
// it to nobody.
type Groups struct {
	ids [Admin + 1]uint32
	has [Admin + 1]bool
}

// maxGroups is how much of the list of groups is read.
const maxGroups = 1 << 20

// ReadGroups reads from etc/group, group(5), which numbers the groups have. Who their
// members are is not read: that the kernel knows of each process. Without the file there is
// no group.
func ReadGroups(host fs.FS) (Groups, error) {
	f, err := host.Open("etc/group")
	if errors.Is(err, fs.ErrNotExist) {
		return Groups{}, nil
	}
	if err != nil {
		return Groups{}, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxGroups+1))
	if err != nil {
		return Groups{}, err
	}
	if len(text) > maxGroups {
		return Groups{}, fmt.Errorf("/etc/group is longer than %d bytes", maxGroups)
	}
	return parseGroups(string(text)), nil
}

// parseGroups reads the lines NAME:PASSWORD:NUMBER:MEMBERS. The first of a name counts, as
// it does for getgrnam(3); a line that is none is nobody's.
func parseGroups(text string) Groups {
	var g Groups
	names := map[string]Role{UserGroup: User, OperatorGroup: Operator, AdminGroup: Admin}
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimRight(line, "\n"), ":")
		r, ours := names[f[0]]
		if !ours || len(f) != 4 {
			continue
		}
		delete(names, f[0])
		id, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil || id == 0 || id == overflowID || id == 1<<32-1 {
			continue // root's group is everybody's who becomes root, the others are nobody's
		}
		g.ids[r], g.has[r] = uint32(id), true
	}
	return g
}

// overflowID is what users and groups are shown as that have no number here, as those of
// other user namespaces, /proc/sys/kernel/overflowgid.
const overflowID = 65534

// Role returns the role of a peer: root is an administrator, and whoever is in more than
// one of the groups has the highest.
func (g Groups) Role(p Peer) Role {
	if p.UID == 0 {
		return Admin
	}
	for _, r := range []Role{Admin, Operator, User} {
		if g.has[r] && (p.GID == g.ids[r] || slices.Contains(p.Groups, g.ids[r])) {
			return r
		}
	}
	return Nobody
}
