package fakehost

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// namespaceVariable is set to 1 in a process that has a mount namespace of its own.
const namespaceVariable = "INDY_FAKEHOST_NAMESPACE"

// helperVariable names the helper that a test binary is to be, and rootVariable the root
// of its host.
const (
	helperVariable = "INDY_FAKEHOST_HELPER"
	rootVariable   = "INDY_FAKEHOST_ROOT"
)

// Main is for TestMain: it starts the test binary again in a mount namespace of its own,
// in which nobody else sees what [New] mounts and from which nothing can be left behind,
// and there runs the tests and returns their exit code. Where no namespace can be had it
// runs the tests without one, and New skips or fails.
//
// In a process of [Host.Helper] it runs the helper of that name instead, whose / is that
// of the host.
func Main(m *testing.M, helpers map[string]func() error) int {
	if name := os.Getenv(helperVariable); name != "" {
		err := unix.Chroot(os.Getenv(rootVariable))
		if err == nil {
			err = os.Chdir("/")
		}
		if err == nil {
			err = helpers[name]()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	if os.Getenv(namespaceVariable) != "1" {
		if err := enterNamespace(); err != nil {
			fmt.Fprintln(os.Stderr, "no mount namespace of its own:", err)
		}
	}
	return m.Run()
}

// enterNamespace does not return if all goes well.
func enterNamespace() error {
	runtime.LockOSThread() // a namespace is a thread's, until exec makes it the process's
	defer runtime.UnlockOSThread()
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if err == unix.EINVAL { // in a chroot nothing is mounted on /
		err = privateMounts()
	}
	if err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	return unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), namespaceVariable+"=1"))
}

// privateMounts makes each mount private that is seen in a chroot. The one on which the
// chroot is cannot be named; that it is private is told by the first process.
func privateMounts() error {
	all, err := os.ReadFile("/proc/1/mountinfo")
	if err == nil && strings.Contains(string(all), " shared:") {
		err = errors.New("what is mounted in this chroot may be seen outside of it")
	}
	if err == nil {
		all, err = os.ReadFile("/proc/self/mountinfo")
	}
	if err != nil {
		return err
	}
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	for line := range strings.Lines(string(all)) {
		const target = 4 // the fifth field
		if f := strings.Fields(line); len(f) > target {
			if err := unix.Mount("", unescape.Replace(f[target]), "", unix.MS_PRIVATE, ""); err != nil {
				return fmt.Errorf("%s: %w", f[target], err)
			}
		}
	}
	return nil
}

// require skips a test that cannot be run here, or fails it where CI is "true": there
// nothing may be left out unseen.
func require(t testing.TB) {
	t.Helper()
	why := ""
	switch {
	case os.Getuid() != 0:
		why = "not root"
	case os.Getenv(namespaceVariable) != "1":
		why = "no mount namespace of its own; does TestMain call fakehost.Main?"
	default:
		f, err := os.OpenFile(fuseNode, os.O_RDWR, 0)
		if err != nil {
			why = err.Error()
			break
		}
		_ = f.Close()
	}
	switch {
	case why == "":
	case os.Getenv("CI") == "true":
		t.Fatalf("a host of its own for the real command: %s", why)
	default:
		t.Skipf("a host of its own for the real command: %s", why)
	}
}

const fuseNode = "/dev/fuse"
