package qemu

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"time"
)

// Options are how a guest is run. The zero value is good for a guest that nobody
// looks at.
type Options struct {
	// Binary is QEMU; empty is what Find finds.
	Binary string

	// User is whom QEMU runs as when root starts it; zero is DefaultUser. Nobody
	// else can choose. QEMU opens /dev/vfio/vfio and the /dev/vfio/N of each assigned
	// device by itself: this user must have been given the right to. Disks and
	// /dev/kvm are opened by the caller of Start with the caller's rights.
	User User

	// Rights is what does for Start what takes rights that this process does not have, which
	// has its own User and Jail; nil is this process.
	Rights Rights

	// Jail is the command that is run in QEMU's place and becomes QEMU when it has made a
	// root of its own for it and given up all rights: mostly "/proc/self/exe", "jail". One
	// more argument is appended. Empty runs QEMU at once, as its user but among all
	// others. Where root starts it, the guest does not start without the jail; where
	// somebody else does, it starts with what the host lets them do. [VM.Confinement]
	// says what is in force.
	Jail []string

	// Accelerator is what runs the processors; Auto probes first.
	Accelerator Accelerator

	// Serial receives what the guest writes to its first serial port; nil discards
	// it. One goroutine writes to it, in order; while a Write takes, the guest's port
	// waits, and at the end of the guest Done does, for at most five seconds. After an
	// error of Write the rest is discarded.
	Serial io.Writer

	// SerialInput is what the guest reads from its first serial port; nil is
	// nothing. A Read that waits when the guest ends is left to end by itself.
	SerialInput io.Reader

	// PowerdownTimeout is how long Stop lets the guest shut itself down; 0 is ten
	// seconds, below 0 is not at all.
	PowerdownTimeout time.Duration

	// NAT is what carries the network interfaces with the link guest.LinkNAT; AutoNAT takes
	// what is there. An isolated one is always UserNetwork.
	NAT NAT

	// Reach has what the guest's first network interface sends looked at, for [VM.Reach],
	// which must be called: QEMU waits until it is read.
	Reach bool

	// DNS are the name servers that a guest behind Passt is told of; nil are the
	// host's, but for those on its loopback interface. UserNetwork passes questions on
	// to the host's.
	DNS []netip.Addr

	// Taps has, for each network interface with the link guest.LinkTap in order, an open
	// and attached tap interface. They stay the caller's.
	Taps []*os.File

	// USB has, for each of the guest's USB devices in order, its node in /dev/bus/usb,
	// open for reading and writing. They stay the caller's.
	USB []*os.File

	// Keys has, for each of the guest's disks in order, the key to one that is encrypted, as
	// [CheckKey] wants it; those of others are not looked at. Start overwrites them with zeros,
	// also with an error: what is left is with QEMU.
	Keys [][]byte

	// Sound is what carries the guest's sound.
	Sound Sound

	// Window is what draws the guest's window.
	Window WindowSystem

	// Seat is where the window opens and the sound server is.
	Seat Seat

	// RenderNode is the node in /dev/dri that draws for a guest with guest.VirGL and no
	// window; empty is what QEMU finds. User must have the right to it.
	RenderNode string

	// Viewers is where viewers of a guest with the display VNC or SPICE connect, mostly
	// a unix socket; nil is nowhere, which leaves AddViewer. It is closed when the guest
	// ends, and with an error of Start.
	Viewers net.Listener

	// Capabilities are what Ask found. With nil, Start asks QEMU what it lacks only
	// after it did not start.
	Capabilities *Capabilities

	// NoReboot ends the run when the guest resets its machine.
	NoReboot bool

	// Passed is called by Start when it has come as far as each [Milestone], one after the
	// other; nil is nobody. It should return at once.
	Passed func(Milestone)

	// Logger is told what happens; nil is slog.DiscardHandler.
	Logger *slog.Logger
}

// A Milestone is how far a start has come.
type Milestone int

// The milestones, in their order.
const (
	Launched  Milestone = iota // QEMU's process is there
	Connected                  // QEMU answers
	Going                      // the guest's processors run
)

// String returns "launched", "connected" or "going".
func (m Milestone) String() string {
	switch m {
	case Launched:
		return "launched"
	case Connected:
		return "connected"
	case Going:
		return "going"
	}
	return fmt.Sprintf("Milestone(%d)", int(m))
}

func (o Options) passed(m Milestone) {
	if o.Passed != nil {
		o.Passed(m)
	}
}

func (o Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}
