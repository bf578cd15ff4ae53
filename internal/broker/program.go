package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/ioctl"
	"github.com/project-independence/indy/pci"
)

// Calls are what a process that was started as [Broker.Program] makes, by names that are
// no files of the kernel's; see [Broker].
type Calls struct {
	ReadFile  func(name string) ([]byte, error)
	WriteFile func(name string, data []byte) error
	ResetBus  func([]pci.Address) error
}

// busReset is the name under which the functions are written whose bus is to be reset.
const busReset = "vfio/reset_bus"

// programFailed is what the program says of a call that failed.
const programFailed = 'e'

// servant is the descriptor of the socket in a process that was started as the program.
const servant = 3

// byProgram are the names of what takes more than opening and reading or writing a file.
// Rtnetlink makes each request in the process that sends it, and waits there, which no
// signal ends, until nobody else changes any network interface (rtnl_lock).
var byProgram = []string{
	"rtnetlink/*/vf/*/mac",
	"rtnetlink/*/vf/*/vlan",
	"rtnetlink/*/vf/*/spoofchk",
}

// byTheProgram reports whether a call is made by [Broker.Program].
func byTheProgram(name string) bool { return name == busReset || among(byProgram, name) }

// ResetBus has a process of its own reset the bus of functions that all are with vfio-pci,
// by [Calls]. To open and to close a function may reset it, too, and wait for it. The
// error may be an *[assign.StuckError], and then is that of every other call about each
// of these functions until it is over.
func (b *Broker) ResetBus(functions []pci.Address) error { return b.resetBus(nil, functions) }

// resetBus is ResetBus that lends a lock.
func (b *Broker) resetBus(lent *lock, functions []pci.Address) error {
	if b.Program == nil {
		return errNotOurs
	}
	var names []string
	for _, a := range functions {
		names = append(names, a.String())
	}
	a, err := b.call(lent, ioctl.AsideWrite, busReset, strings.Join(names, " "))
	if err != nil {
		return err
	}
	return a.said()
}

// A saidError is what a call came to in another process: its text, and the kernel's number
// if it gave one.
type saidError struct {
	text  string
	errno unix.Errno
}

func (e *saidError) Error() string { return e.text }

func (e *saidError) Unwrap() error {
	if e.errno == 0 {
		return nil
	}
	return e.errno
}

// said is the error that a program answers.
func (a answer) said() error {
	if a.failed == 0 {
		return nil
	}
	return &saidError{string(a.data), a.errno}
}

// startProgram starts this program once more, to serve.
func (b *Broker) startProgram() (*child, error) {
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(ends[1]), "socket")
	defer theirs.Close()
	cmd := exec.Command("/proc/self/exe", b.Program...)
	cmd.Args[0] = "indy"
	cmd.Dir = "/"
	cmd.Env = []string{}
	cmd.ExtraFiles = []*os.File{theirs} // servant
	// The terminal's signals are not for it: what it is in the middle of is waited for. When
	// nobody waits any more, it keeps no group open that others want.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		_ = unix.Close(ends[0])
		return nil, err
	}
	c := &child{cmd.Process.Pid, ends[0]}
	return c, cmd.Process.Release() // it is reaped by its number
}

// Serve makes the calls that a [Broker] asks this process for, which it has started as its
// Program, one after the other, until the Broker ends.
func Serve(calls Calls) error {
	request := make([]byte, ioctl.AsideValue+ioctl.AsideMost)
	rights := make([]byte, unix.CmsgSpace(4*ioctl.AsideKept))
	for {
		n, with, flags, _, err := unix.Recvmsg(servant, request, rights, unix.MSG_CMSG_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("nobody asks: %w", err)
		case n < ioctl.AsideValue:
			return nil
		}
		name, _, _ := strings.Cut(string(request[ioctl.AsideName:ioctl.AsideValue]), "\x00")
		var data []byte
		if err = error(unix.EMFILE); flags&unix.MSG_CTRUNC == 0 { // else the lock has not come
			data, err = calls.make(request[0], name, slices.Clone(request[ioctl.AsideValue:n]))
		}
		closeAll(rights[:with]) // before whoever asked goes on and lets go of them, too
		if err := unix.Send(servant, reply(data, err), unix.MSG_NOSIGNAL); err != nil {
			return nil // nobody waits any more
		}
	}
}

// closeAll closes the descriptors that came with a packet.
func closeAll(control []byte) {
	messages, _ := unix.ParseSocketControlMessage(control) // the kernel makes no others
	for _, m := range messages {
		fds, _ := unix.ParseUnixRights(&m)
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}
}

func (c Calls) make(verb byte, name string, value []byte) ([]byte, error) {
	switch {
	case name == busReset && verb == ioctl.AsideWrite:
		functions, err := addresses(string(value))
		if err != nil {
			return nil, err
		}
		return nil, c.ResetBus(functions)
	case !fs.ValidPath(name) || !among(byProgram, name):
		return nil, errNotOurs
	case verb == ioctl.AsideRead:
		return c.ReadFile(name)
	}
	return nil, c.WriteFile(name, value)
}

func addresses(text string) ([]pci.Address, error) {
	var all []pci.Address
	for _, word := range strings.Fields(text) {
		a, err := pci.ParseAddress(word)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	if len(all) == 0 {
		return nil, errors.New("no function named")
	}
	return all, nil
}

// reply is an answer as a packet. What is around the kernel's error is not sent: whoever
// asked knows the name.
func reply(data []byte, err error) []byte {
	b := make([]byte, ioctl.AsideData, ioctl.AsideData+len(data))
	if err == nil {
		return append(b, data[:min(len(data), ioctl.AsideMost)]...)
	}
	b[0] = programFailed
	var errno unix.Errno
	if errors.As(err, &errno) {
		binary.NativeEndian.PutUint32(b[ioctl.AsideErrno:], uint32(errno))
	}
	if named, ok := err.(*fs.PathError); ok {
		err = named.Err
	}
	text := err.Error()
	return append(b, text[:min(len(text), ioctl.AsideMost)]...)
}

// affected names the devices that a call is about: none of them gets another call while
// it has not come back.
func affected(name, value string) []string {
	if name != busReset {
		return []string{device(name, value)}
	}
	var all []string
	for _, word := range strings.Fields(value) {
		all = append(all, "pci "+word)
	}
	return all
}

// shown is the file that a person is told of: of a reset of a bus, the node of the first
// function's group, through which it is made.
func shown(root, name, value string) string {
	if name != busReset {
		return name
	}
	host, err := hostfs.OpenDir(root + "/")
	if err != nil {
		return "dev/vfio"
	}
	defer host.Close()
	first, _, _ := strings.Cut(value, " ")
	group, _ := hostfs.ReadLinkBase(host, "sys/bus/pci/devices/"+first+"/iommu_group") // without it there is the directory
	return path.Join("dev/vfio", group)
}
