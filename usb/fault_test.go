package usb_test

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/usb"
)

// failing is a tree on which reading some names fails.
type failing struct {
	*hostfs.Tree
	fail func(op, name string) error
}

func (f failing) check(op, name string) error {
	if err := f.fail(op, name); err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

func (f failing) ReadFile(name string) ([]byte, error) {
	if err := f.check("read", name); err != nil {
		return nil, err
	}
	return f.Tree.ReadFile(name)
}

func (f failing) ReadLink(name string) (string, error) {
	if err := f.check("readlink", name); err != nil {
		return "", err
	}
	return f.Tree.ReadLink(name)
}

func (f failing) Stat(name string) (fs.FileInfo, error) {
	if err := f.check("stat", name); err != nil {
		return nil, err
	}
	return f.Tree.Stat(name)
}

// A device unplugged after the bus was listed is in the error alone, with its
// interfaces or only some of them, and hides no other.
func TestUnplugged(t *testing.T) {
	without := func(remove ...string) string {
		var kept []string
		for line := range strings.Lines(deskLines) {
			if !slices.ContainsFunc(remove, func(s string) bool { return strings.HasPrefix(line, s+" ") }) {
				kept = append(kept, line)
			}
		}
		return strings.Join(kept, "")
	}
	for _, gone := range []string{"1-2", "1-4", "1-4.2", "1-5", "1-10", "2-1"} {
		fsys := failing{desk(t), func(op, name string) error {
			if rest, ok := strings.CutPrefix(name, "sys/bus/usb/devices/"+gone); ok && (rest == "" || rest[0] == '/' || rest[0] == ':') {
				return syscall.ENOENT
			}
			return nil
		}}
		list, err := usb.Devices(fsys)
		var op *usb.OpError
		if !errors.As(err, &op) || op.Path != path(gone) || !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", gone, err)
		}
		if got := lines(list); got != without(gone) {
			t.Errorf("%s: got\n%s", gone, got)
		}
	}
}

func TestInterfaceGone(t *testing.T) {
	list, err := usb.Devices(failing{desk(t), func(op, name string) error {
		if strings.HasPrefix(name, "sys/bus/usb/devices/1-2:1.1") {
			return syscall.ENOENT
		}
		return nil
	}})
	if err == nil || !strings.Contains(err.Error(), "read 1-2: interface 1-2:1.1") {
		t.Errorf("error: %v", err)
	}
	if got, want := lines(list), strings.Replace(deskLines, " 1:030102[]", "", 1); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// An attribute that fails costs what it says, and nothing else.
func TestReadFails(t *testing.T) {
	list, err := usb.Devices(failing{desk(t), func(op, name string) error {
		switch name {
		case "sys/bus/usb/devices/1-2/uevent", "sys/bus/usb/devices/1-2:1.2/uevent":
			return syscall.ENODEV
		case "sys/bus/usb/devices/1-10":
			return syscall.EIO
		}
		return nil
	}})
	if !errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), "read 1-2: ") || !strings.Contains(err.Error(), "read 1-10: ") {
		t.Errorf("error: %v", err)
	}
	want := strings.NewReplacer(
		"1-2 1/4 046d:c52b 1211 000000 [usb]", "1-2 1/0 ????:???? ???? ?????? []", "2:ff0000[usbhid]", "2:??????[]",
		"1-10 1/9 0781:5581 0100 000000 [usb] on 0000:3a:00.0", "1-10 1/9 0781:5581 0100 000000 [usb]",
	).Replace(deskLines)
	if got := lines(list); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// What a uevent says stays when the rest of it is nonsense and nothing else says
// more; what contradicts the port path is an error.
func TestHalfUevent(t *testing.T) {
	tr := new(hostfs.Tree)
	plug(t, tr, xhci, "1-1", "DRIVER=usb\nPRODUCT=46d/c52b/1211\nTYPE=0/0\nDEVNUM=004\n", "INTERFACE=9/0/0\n")
	plug(t, tr, xhci, "1-2", strings.Replace(receiver, "BUSNUM=001", "BUSNUM=002", 1))
	plug(t, tr, xhci, "1-3", receiver)
	must(t, tr.Symlink("../../../devices/"+xhci+"/usb1/1-2", "sys/bus/usb/devices/1-3"))
	list, err := usb.Devices(tr)
	for _, s := range []string{"read 1-1: ", "read 1-2: uevent, BUSNUM: bus 2", "read 1-3: ", "leads to another device"} {
		if err == nil || !strings.Contains(err.Error(), s) {
			t.Errorf("%q is not in the error %v", s, err)
		}
	}
	const want = `1-1 1/4 046d:c52b 1211 ?????? hub [usb] on 0000:3a:00.0 0:090000[]
1-2 1/4 046d:c52b 1211 000000 [usb] on 0000:3a:00.0
1-3 1/4 046d:c52b 1211 000000 [usb]
`
	if got := lines(list); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	must(t, tr.Put("sys/bus/usb/devices/1-1/devnum", []byte("9\n")))
	must(t, tr.Put("sys/bus/usb/devices/1-1/idVendor", []byte("ffff\n")))
	if d, _ := usb.ReadDevice(tr, path("1-1")); d.Number != 4 || d.Vendor.String() != "046d" {
		t.Errorf("the uevent was overruled: %s", lines([]usb.Device{d}))
	}
}
