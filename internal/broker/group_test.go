package broker

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/vfio"
)

// What the kernel says of a group is tested in the emulated laptop. Here it is what is not
// of VFIO.
func TestGroupErrors(t *testing.T) {
	b := below(t, 0, "dev/vfio/7")
	host := new(hostfs.Tree)
	var op *vfio.OpError
	if err := b.Viable(host, pci.NewGroupID(7)); !errors.Is(err, syscall.ENOTTY) || !errors.As(err, &op) || op.Op != "use" {
		t.Errorf("a node of something else: %v", err)
	}
	if err := b.Viable(host, pci.NewGroupID(8)); !errors.As(err, &op) || op.Op != "open" || errors.Is(err, syscall.EBUSY) {
		t.Errorf("no node: %v", err)
	}
	if err := b.Viable(host, pci.GroupID{}); err == nil {
		t.Error("no group is viable")
	}
	for _, id := range []pci.GroupID{pci.NewGroupID(7), pci.NewGroupID(8), {}} {
		if err := b.InUse(host, id); err != nil {
			t.Errorf("%v: %v", id, err)
		}
	}
	// Where nobody could ask, nothing is known.
	if err := unix.Kill(b.idle[false][0].pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	if err := b.InUse(host, pci.NewGroupID(7)); err == nil {
		t.Error("not in use, though nobody was asked")
	}
}

// A group that somebody has is told as the library tells it.
func TestGroupBusy(t *testing.T) {
	b := below(t, time.Minute, "dev/vfio/7")
	h := hang(t, filepath.Join(b.root, "dev/vfio/7"))
	h.opens.Store(true)
	for what, ask := range map[string]func() error{
		"in use": func() error { return b.InUse(new(hostfs.Tree), pci.NewGroupID(7)) },
		"viable": func() error { return b.Viable(new(hostfs.Tree), pci.NewGroupID(7)) },
	} {
		go func() { h.reply(<-h.writes, syscall.EBUSY, nil) }()
		var op *vfio.OpError
		if err := ask(); !errors.Is(err, syscall.EBUSY) || !errors.As(err, &op) || op.Op != "open" || !strings.Contains(err.Error(), "somebody else has the group open") {
			t.Errorf("%s: %v", what, err)
		}
	}
	// Nor is one free that could not be opened for want of something else.
	for _, errno := range []syscall.Errno{syscall.ENFILE, syscall.EMFILE, syscall.ENOMEM, syscall.EINTR, syscall.EAGAIN} {
		go func() { h.reply(<-h.writes, errno, nil) }()
		if err := b.InUse(new(hostfs.Tree), pci.NewGroupID(7)); !errors.Is(err, errno) {
			t.Errorf("%v: %v", errno, err)
		}
	}
	go func() { h.reply(<-h.writes, syscall.ENODEV, nil) }()
	if err := b.InUse(new(hostfs.Tree), pci.NewGroupID(7)); err != nil {
		t.Errorf("without a device: %v", err)
	}
}

// A group that the kernel does not open is in use, and nobody waits for it.
func TestGroupHangs(t *testing.T) {
	b := below(t, 100*time.Millisecond, "dev/vfio/7", unbind)
	h := hang(t, filepath.Join(b.root, "dev/vfio/7"))
	h.opens.Store(true)
	began := time.Now()
	for range 3 {
		if err := b.InUse(new(hostfs.Tree), pci.NewGroupID(7)); !errors.Is(err, assign.ErrStuck) || !strings.Contains(err.Error(), "/dev/vfio/7") {
			t.Errorf("in use: %v", err)
		}
		var stuck *assign.StuckError
		if err := b.Viable(new(hostfs.Tree), pci.NewGroupID(7)); !errors.As(err, &stuck) || stuck.PID == 0 || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("viable: %v", err)
		}
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
	if n := len(h.writes); n != 1 {
		t.Errorf("opened %d times", n)
	}
	if err := b.WriteFile(unbind, []byte("0000:05:00.0")); err != nil {
		t.Errorf("another device: %v", err)
	}
	h.opens.Store(false)
	h.reply(<-h.writes, syscall.EINTR, nil) // any error
	for end := time.Now().Add(5 * time.Second); b.InUse(new(hostfs.Tree), pci.NewGroupID(7)) != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("in use after the kernel has come back")
		}
	}
}
