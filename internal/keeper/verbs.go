package keeper

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"syscall"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/qemu"
)

// A verb is what a runner asks for. There are no others.
type verb string

const (
	resolveVerb   verb = "resolve"
	holdVerb      verb = "hold"
	startedVerb   verb = "started"
	checkVerb     verb = "check"
	forgetsVerb   verb = "forgets"
	reopenVerb    verb = "reopen"
	releaseVerb   verb = "release"
	goneVerb      verb = "gone"
	openVerb      verb = "open"
	kvmVerb       verb = "kvm"
	variablesVerb verb = "variables"
	tpmVerb       verb = "tpm"
	passtVerb     verb = "passt"
	folderVerb    verb = "folder"
	qemuVerb      verb = "qemu"
	killVerb      verb = "kill"
	waitVerb      verb = "wait"
	cancelVerb    verb = "cancel" // has no answer
	logVerb       verb = "log"    // from the keeper, as number 0
)

// Resolved is what a guest is on this machine.
type Resolved struct {
	Guest   guest.Guest
	Ready   guest.Ready
	Devices []string // ids of what of the host is to be assigned

	// Accelerator and Seat are as in [qemu.Options].
	Accelerator qemu.Accelerator
	Seat        qemu.Seat
}

// Held is what a guest has of the host, open. The files are the caller's.
type Held struct {
	Taps, USB []*os.File
	Keys      [][]byte // of its disks; who has them overwrites them
}

// A Host does what of a guest's run takes rights. The calls are made in this order: Resolve,
// Hold, Started when the guest runs, and Release once at the end, also when Hold failed, and
// not when Resolve did.
type Host interface {
	// Resolve finds what meets the guest's needs. No device is touched.
	Resolve(ctx context.Context, told *slog.Logger) (Resolved, error)

	// Hold takes the devices from the host. What it tells is told to who asked to resolve.
	Hold(ctx context.Context) (Held, error)

	Started()

	// Check, Forgets and Reopen are as in [runner.Prepared].
	Check() error
	Forgets() []string
	Reopen(i int) (*os.File, error)

	// Release gives the devices back. QEMU has ended before.
	Release() error

	// Rights are those that QEMU is started with; nil are those of this process.
	Rights() qemu.Rights
}

// What goes with some of the verbs.
type (
	heldBody struct {
		Taps, USB int // files of each
		Keys      [][]byte
	}
	openBody struct {
		Name  string
		Write bool
	}
	folderBody struct{ Folder guest.SharedFolder }
	passtBody  struct{ Servers []netip.Addr }
	childBody  struct {
		Child    uint64 // its number
		PID      int
		Measures []qemu.Measure
	}
	endBody struct {
		Status      uint32
		Unknown     string
		OutOfMemory bool
		Memory      int64
		Stderr      []byte
	}
	lineBody struct {
		Level slog.Level
		Text  string
	}
)

func (b endBody) end() qemu.End {
	end := qemu.End{Status: syscall.WaitStatus(b.Status), OutOfMemory: b.OutOfMemory, Memory: b.Memory, Stderr: string(b.Stderr)}
	if b.Unknown != "" {
		end.Err = endError(b.Unknown)
	}
	return end
}

// endError is why it is not known how a process ended.
type endError string

func (e endError) Error() string { return string(e) }
