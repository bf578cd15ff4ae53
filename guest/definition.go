package guest

import (
	"fmt"
	"time"
)

// A Definition is a guest as its owner writes it down: what it has, what it needs of the
// machine, and when it starts. It holds no address, so that it means something on any
// machine; with its needs resolved it becomes a [Guest].
//
// Name and Memory must be given. Every other zero value is the least that a guest can
// have, named at its field.
type Definition struct {
	// Name is [a-z0-9][a-z0-9-]{0,62}.
	Name string

	// CPUs is the number of processors; 0 is 1.
	CPUs int

	// Memory is the size of the guest's memory in bytes, in whole MiB.
	Memory int64

	// Firmware is what starts the guest; the zero value is BIOS.
	Firmware Firmware

	// SecureBoot has the firmware start only what is signed. Only with UEFI.
	SecureBoot bool

	// TPM gives the guest a TPM 2.0 of its own, emulated.
	TPM bool

	// Locked lets nobody but administrators change the guest or give it devices.
	Locked bool

	// Autostart says when the guest starts by itself; nil is never.
	Autostart *Autostart

	// Power is what becomes of the guest when the host sleeps, its lid is closed, or its
	// battery is low; see [Definition.PowerRules] for the zero value.
	Power Power

	// Disks are the guest's disks, in boot order. None is a CD-ROM.
	Disks []Disk

	// CDROMs are files of images in CD-ROM drives, which come after the disks in boot
	// order: an installer starts as long as the first disk is empty.
	CDROMs []string

	// Network is how the guest reaches others; the zero value is not at all.
	Network Network

	// Display is what the guest draws on and where that is seen; the zero value is none.
	Display Display

	// Audio is what the guest may do with the host's sound; the zero value is nothing.
	Audio Audio

	// Folders are folders of the host that the guest sees.
	Folders []Folder

	// Devices are the needs of the guest, in boot order.
	Devices []Need
}

// An Autostart says when a guest starts after power-on, and when the guests that wait for
// it may.
type Autostart struct {
	// Priority orders guests that do not wait for one another, 0 to MaxPriority, the
	// highest first.
	Priority int

	// Ready is how it is known that the guest is ready.
	Ready Ready

	// Delay is how long to wait before the guest starts, once it may.
	Delay time.Duration

	// Needs are the names of guests that must be ready before this one starts.
	Needs []string

	// Fullscreen shows the guest's display on the whole screen.
	Fullscreen bool
}

// A Ready is how it is known that a guest is ready: one of its fields is given. The zero
// value is as soon as it runs.
type Ready struct {
	Serial string        // this text on its serial console
	Agent  bool          // an answer of the QEMU guest agent
	TCP    uint16        // a connection to this port through the guest's network
	After  time.Duration // this long after its start
}

// A Network is how a guest reaches others.
type Network struct {
	Kind NetworkKind

	// Bridge is the name of the host's bridge, with Bridged.
	Bridge string
}

// A NetworkKind is a kind of network.
type NetworkKind int

// The kinds of network.
const (
	NoNetwork NetworkKind = iota
	NAT                   // through the host, which nobody reaches the guest through
	Bridged               // a port of a bridge of the host
)

// String returns none, nat or bridge:NAME.
func (n Network) String() string {
	switch n.Kind {
	case NoNetwork:
		return "none"
	case NAT:
		return "nat"
	case Bridged:
		return "bridge:" + n.Bridge
	}
	return fmt.Sprintf("NetworkKind(%d)", int(n.Kind))
}

// A Display is what a guest draws on, and where that is seen.
type Display struct {
	Kind  DisplayKind
	Where Where
}

// A DisplayKind is a kind of display.
type DisplayKind string

// The kinds of display. The zero value is none.
const (
	NoDisplay       DisplayKind = ""
	VirtioDisplay   DisplayKind = "virtio"   // emulated, in two dimensions
	VirglDisplay    DisplayKind = "virgl"    // emulated, drawn by the host's GPU
	AssignedDisplay DisplayKind = "assigned" // that of a GPU among the needs
)

// A Where is where an emulated display is seen.
type Where string

// The places. The zero value is a window where the host has somebody to look at it, and
// nowhere else.
const (
	WhereverSeen Where = ""
	InWindow     Where = "window"
	OnVNC        Where = "vnc"   // a VNC server on a unix socket
	OnSPICE      Where = "spice" // a SPICE server on a unix socket
	Nowhere      Where = "none"
)

// An Audio is what a guest may do with the sound of the host.
type Audio struct {
	Play   bool // be heard
	Record bool // hear
}

// A Folder is a folder of the host that a guest sees.
type Folder struct {
	Path     string // on the host, absolute
	Name     string // the tag by which the guest mounts it, as a guest's name
	ReadOnly bool   // keeps the guest from writing
}
