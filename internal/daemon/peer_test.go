package daemon

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/project-independence/indy/internal/hosttest"
)

func TestReadGroups(t *testing.T) {
	const text = "root:x:0:\nindy-admins:x:990:alice\nindy-users:x:992:\n# indy-operators:x:1:\nindy-admins:x:5:mallory\n"
	g, err := ReadGroups(fstest.MapFS{"etc/group": {Data: []byte(text)}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		peer Peer
		want Role
	}{
		{"root", Peer{}, Admin},
		{"a group of admins", Peer{UID: 1000, GID: 1000, Groups: []uint32{27, 990}}, Admin},
		{"the own group", Peer{UID: 1000, GID: 990}, Admin},
		{"users", Peer{UID: 1000, GID: 1000, Groups: []uint32{992}}, User},
		{"both", Peer{UID: 1000, GID: 992, Groups: []uint32{990}}, Admin},
		{"neither", Peer{UID: 1000, GID: 1000, Groups: []uint32{27, 100}}, Nobody},
		{"a name that comes twice", Peer{UID: 1000, GID: 5}, Nobody},
		{"a comment", Peer{UID: 1000, GID: 1}, Nobody},
		{"root's group", Peer{UID: 1000, GID: 0}, Nobody},
		{"another name space", Peer{UID: 65534, GID: 65534, Groups: []uint32{65534}}, Nobody},
	} {
		if got := g.Role(c.peer); got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}

// shut is a host of which nothing may be read.
type shut struct{}

func (shut) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
}

func TestReadGroupsOdd(t *testing.T) {
	if g, err := ReadGroups(fstest.MapFS{}); err != nil || g != (Groups{}) {
		t.Errorf("%v, %v without the file", g, err)
	}
	if _, err := ReadGroups(fstest.MapFS{"etc/group": {Data: make([]byte, maxGroups+1)}}); err == nil {
		t.Error("a list without end is read")
	}
	if _, err := ReadGroups(shut{}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("%v", err)
	}
	for _, text := range []string{
		"indy-users:x:0:", "indy-users:x:65534:", "indy-users:x:4294967295:", "indy-users:x:-1:", "indy-users:x:990", "indy-users", "indy-users:x::",
		"indy-users:x:4294967296:", "indy-users :x:990:", "Indy-Users:x:990:", "indy-users:x:990:a:b",
	} {
		if g := parseGroups(text); g.Role(Peer{UID: 1000, GID: 990, Groups: []uint32{0, 65534, 1<<32 - 1}}) != Nobody {
			t.Errorf("%q gives a role: %+v", text, g)
		}
	}
}

func FuzzGroups(f *testing.F) {
	f.Add("indy-users:x:990:\n")
	f.Add("a:b:c\nindy-admins::4294967295:")
	f.Fuzz(func(t *testing.T, text string) {
		g := parseGroups(text)
		if got := g.Role(Peer{UID: 1, GID: 0, Groups: []uint32{overflowID, 1<<32 - 1}}); got != Nobody {
			t.Errorf("%q makes %s of everybody", text, got)
		}
		for r, has := range g.has {
			if has && !strings.Contains(text, [...]string{"", UserGroup, OperatorGroup, AdminGroup}[r]) {
				t.Errorf("%q has a group of %s", text, Role(r))
			}
		}
	})
}

// TestPeerOf asks the kernel who connects: another user, with groups that no list of
// members names.
func TestPeerOf(t *testing.T) {
	if os.Getenv("INDY_TEST_CONNECT") != "" {
		c, err := net.Dial("unix", os.Getenv("INDY_TEST_CONNECT"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Read(make([]byte, 1)) // until the other end has looked
		return
	}
	if os.Geteuid() != 0 {
		hosttest.Missing(t, "to be another user takes root")
	}
	var many []uint32
	for i := range uint32(300) {
		many = append(many, 5000+i)
	}
	for _, groups := range [][]uint32{nil, {990, 27}, many} {
		l := listenIn(t)
		cmd := asUser(t, 1234, 4321, groups, "INDY_TEST_CONNECT="+l.Addr().String(), "TestPeerOf")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		c, err := l.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		p, err := PeerOf(c)
		_ = c.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		want := slices.Sorted(slices.Values(groups))
		if err != nil || p.UID != 1234 || p.GID != 4321 || int(p.PID) != cmd.Process.Pid || !slices.Equal(slices.Sorted(slices.Values(p.Groups)), want) {
			t.Errorf("%+v, %v; want user 1234, group 4321 and %d groups", p, err, len(groups))
		}
	}
}

// listenIn listens on a socket that everybody may connect to.
func listenIn(t *testing.T) *net.UnixListener {
	t.Helper()
	dir, err := os.MkdirTemp("", "indy-socket")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	name := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(name, 0o666)); err != nil {
		t.Fatal(err)
	}
	return l
}

// asUser is this test again, as another user. Its binary is where others may not go, so it
// is handed over open.
func asUser(t *testing.T, uid, gid uint32, groups []uint32, env, test string) *exec.Cmd {
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = self.Close() })
	cmd := exec.Command("/proc/self/fd/3", "-test.run=^"+test+"$", "-test.timeout=60s")
	cmd.ExtraFiles = []*os.File{self}
	cmd.Env = []string{env}
	cmd.Dir = "/"
	cmd.Stderr, cmd.Stdout = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid, Groups: groups}}
	return cmd
}
