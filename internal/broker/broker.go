package broker

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/ioctl"
)

// Deadline is how long a call is waited for when nothing else was said. Letting go of a
// device takes a driver some milliseconds, a disk or a graphics card up to a few seconds.
const Deadline = 10 * time.Second

// ResetDeadline is how long a reset is waited for when nothing else was said. The kernel
// itself waits for 60 s until a device answers again (PCIE_RESET_READY_POLL_MS of
// drivers/pci/pci.h), and then says that it does not.
const ResetDeadline = 65 * time.Second

// A Broker makes calls on the running host by processes of its own. The zero value
// waits [Deadline] for each, and [ResetDeadline] for a reset. It may be used by many
// goroutines at once; calls about different devices do not wait for each other.
type Broker struct {
	// Deadline is how long one call is waited for, also a reset; 0 is [Deadline] and
	// [ResetDeadline]. It is not changed while the Broker is used.
	Deadline time.Duration

	// Program are the arguments with which this program does [Serve]. Some calls take
	// more than opening and reading or writing a file, and need a process in which Go
	// runs: [Broker.ResetBus], and what is below rtnetlink/ (settings of virtual
	// functions). Nil makes none of these.
	Program []string

	root string // what names are below; empty for /

	mu    sync.Mutex
	idle  map[bool][]*child  // by whether they are the program
	stuck map[string][]stuck // by device
}

// A stuck device has a call that has not returned.
type stuck struct {
	child *child
	err   *assign.StuckError
}

// Waits reports whether reading the file name may wait for as long as a driver takes to
// let go of a device, or the device to be reset, so that [Broker.ReadFile] is to read it.
func (b *Broker) Waits(name string) bool {
	if strings.HasPrefix(name, "rtnetlink/") {
		return b.Program != nil && among(byProgram, name)
	}
	switch name[strings.LastIndexByte(name, '/')+1:] {
	case "driver_override", "sriov_numvfs", "config":
		return among(waits, name)
	}
	return false
}

// Writes reports whether the file name is among those by which devices change hands, which
// [Broker.WriteFile] writes.
func (b *Broker) Writes(name string) bool {
	return fs.ValidPath(name) && (among(writable, name) || b.Program != nil && among(byProgram, name))
}

// ReadFile reads an attribute, as [hostfs.LiveHost] does, but not for longer than the
// deadline; see [Broker.WriteFile].
func (b *Broker) ReadFile(name string) ([]byte, error) {
	if !fs.ValidPath(name) || !b.Waits(name) {
		return nil, &fs.PathError{Op: "read", Path: "/" + name, Err: errNotOurs}
	}
	a, err := b.call(nil, ioctl.AsideRead, name, "")
	switch {
	case err != nil:
		return nil, err
	case a.failed == programFailed:
		return nil, b.fail("read", name, a.said())
	case a.errno != 0 && a.failed == 'o':
		return nil, b.fail("open", name, a.errno)
	case a.errno != 0:
		return nil, b.fail("read", name, a.errno)
	}
	return slices.Clone(a.data), nil
}

// WriteFile writes data to the existing file name with one write(2), as
// [hostfs.LiveHost] does. Only files by which devices change hands can be written.
//
// If the call has not returned at the deadline, its process is killed. If that ends it,
// the error is [os.ErrDeadlineExceeded]. If not it is an *[assign.StuckError]: the
// kernel is still at it. Until it has come back every other call about the same device
// is that error, and is not made.
func (b *Broker) WriteFile(name string, data []byte) error { return b.writeFile(nil, name, data) }

// writeFile is WriteFile that lends a lock.
func (b *Broker) writeFile(lent *lock, name string, data []byte) error {
	if !b.Writes(name) {
		return &fs.PathError{Op: "write", Path: "/" + name, Err: errNotOurs}
	}
	if path.Dir(path.Dir(name)) == "usbfs" {
		return b.resetUSB(lent, name, string(data))
	}
	a, err := b.call(lent, ioctl.AsideWrite, name, string(data))
	switch {
	case err != nil:
		return err
	case a.failed == programFailed:
		return b.fail("write", name, a.said())
	case a.errno != 0:
		return b.fail("write", name, a.errno)
	case byTheProgram(name):
		return nil
	case a.count != len(data):
		return b.fail("write", name, io.ErrShortWrite)
	}
	return nil
}

// resetUSB resets a USB device for which usbfs/PATH/reset stands, if it still has the node
// named, as 001/004 below dev/bus/usb: a replug gives it another.
func (b *Broker) resetUSB(lent *lock, name, node string) error {
	if bus, number, ok := strings.Cut(node, "/"); !ok || !digits(bus) || !digits(number) {
		return b.fail("write", name, unix.EINVAL)
	}
	a, err := b.callOn(lent, ioctl.AsideReset, name, "dev/bus/usb/"+node, "")
	if err == nil && a.errno != 0 {
		err = b.fail("reset", "dev/bus/usb/"+node, a.errno)
	}
	return err
}

func digits(s string) bool {
	return len(s) == 3 && strings.Trim(s, "0123456789") == ""
}

var errNotOurs = fmt.Errorf("%w: not among the files by which devices change hands", fs.ErrPermission)

func (b *Broker) fail(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: b.root + "/" + name, Err: err}
}

func (b *Broker) call(lent *lock, verb byte, name, value string) (answer, error) {
	return b.callOn(lent, verb, name, name, value)
}

// callOn makes a call on a file, which is about the device that name is about, and lends it
// a lock.
func (b *Broker) callOn(lent *lock, verb byte, name, file, value string) (answer, error) {
	about, program := affected(name, value), byTheProgram(name)
	c, err := b.child(about, program)
	if err != nil {
		var stuck *assign.StuckError
		if !errors.As(err, &stuck) {
			err = fmt.Errorf("start the process that makes calls into the kernel, before anything was written: %w", err)
		}
		return answer{}, err
	}
	// Once the driver lets go its nodes are gone, and nobody could tell who has them open.
	var nodes []string
	if verb == ioctl.AsideWrite && mayWait(name) {
		nodes = b.nodes(about[0])
	}
	limit := b.limit(name)
	asked := file
	if !program {
		asked = b.root + "/" + file
	}
	a, err := c.ask(verb, asked, value, limit, lent)
	switch {
	case err == nil:
		b.mu.Lock()
		if b.idle == nil {
			b.idle = map[bool][]*child{}
		}
		b.idle[program] = append(b.idle[program], c)
		b.mu.Unlock()
		return a, nil
	case errors.Is(err, errLate):
		return answer{}, b.late(c, about, nodes, verb, shown(b.root, name, value), limit)
	}
	_ = c.stop()
	return answer{}, b.fail(word(verb), name, err)
}

// limit is how long a call is waited for.
func (b *Broker) limit(name string) time.Duration {
	switch {
	case b.Deadline > 0:
		return b.Deadline
	case name == busReset || strings.HasSuffix(name, "/reset") || strings.HasPrefix(name, "dev/vfio/"): // see Viable
		return ResetDeadline
	}
	return Deadline
}

// mayWait reports whether a write makes a driver let go of a device.
func mayWait(name string) bool {
	return strings.HasSuffix(name, "/unbind") || strings.HasSuffix(name, "/remove")
}

func word(verb byte) string {
	switch verb {
	case ioctl.AsideReset:
		return "reset"
	case ioctl.AsideRead:
		return "read"
	case ioctl.AsideGroup:
		return "open"
	}
	return "write"
}

// child returns a process for a call about devices, unless there is one about any of them
// that has not returned.
func (b *Broker) child(about []string, program bool) (*child, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for device, all := range b.stuck {
		all = slices.DeleteFunc(all, func(s stuck) bool { return s.child.ended() })
		if b.stuck[device] = all; len(all) == 0 {
			delete(b.stuck, device)
		}
	}
	for _, device := range about {
		if all := b.stuck[device]; len(all) > 0 {
			return nil, all[0].err
		}
	}
	if n := len(b.idle[program]); n > 0 {
		c := b.idle[program][n-1]
		b.idle[program] = b.idle[program][:n-1]
		return c, nil
	}
	if program {
		return b.startProgram()
	}
	return start()
}

// late gives up a call that has not returned.
func (b *Broker) late(c *child, about, nodes []string, verb byte, name string, limit time.Duration) error {
	pid := c.pid
	if c.kill() {
		return b.fail(word(verb), name, fmt.Errorf("%w after %s", os.ErrDeadlineExceeded, limit))
	}
	live := hostfs.Live()
	started, err := assign.ProcessStart(live, pid)
	if err != nil {
		started = "" // without /proc nobody can look for it later either
	}
	holders, err := assign.Holders(live, nodes)
	if err != nil {
		holders = nil
	}
	e := &assign.StuckError{File: name, Waited: limit, PID: pid, Started: started, Holders: holders}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stuck == nil {
		b.stuck = map[string][]stuck{}
	}
	for _, device := range about {
		b.stuck[device] = append(b.stuck[device], stuck{c, e}) // several may have called at once
	}
	return e
}

// nodes returns the nodes of the device, by its bus and its name.
func (b *Broker) nodes(about string) []string {
	bus, name, ok := strings.Cut(about, " ")
	if !ok || b.root != "" {
		return nil
	}
	nodes, err := assign.Nodes(hostfs.Live(), bus, name)
	if err != nil {
		return nil // who holds it is then not known
	}
	return nodes
}

// Close ends the processes that are not in a call. One that is stuck ends by itself.
func (b *Broker) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, all := range b.idle {
		for _, c := range all {
			errs = append(errs, c.stop())
		}
	}
	b.idle = nil
	return errors.Join(errs...)
}
