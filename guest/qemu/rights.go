package qemu

import (
	"context"
	"net/netip"
	"os"
	"syscall"

	"github.com/project-independence/indy/guest"
)

// Rights is what takes rights of a start: opening files of the guest that its owner alone may
// open, and starting processes that run as somebody else. What the files say, what QEMU
// answers and all else is done without any.
//
// The files that it returns are the caller's, those that it is given stay so.
type Rights interface {
	// Open opens a disk or an option ROM of the guest, for reading or for reading and writing.
	// It does not wait for a FIFO, and opens a block device for writing only if nobody else uses it.
	Open(name string, write bool) (*os.File, error)

	// KVM opens /dev/kvm; nil is that QEMU may do so itself.
	KVM() (*os.File, error)

	// Variables opens the file name of UEFI's variables for reading and writing. One that is not
	// there is made with what is in template.
	Variables(name string, template *os.File) (*os.File, error)

	// TPM starts swtpm on the state in the directory dir, which is made if it is not there,
	// and returns QEMU's end of its control channel.
	TPM(dir string) (*os.File, Child, error)

	// Passt starts passt, which tells the guest of the name servers, and returns QEMU's end
	// of its socket.
	Passt(servers []netip.Addr) (*os.File, Child, error)

	// Folder starts virtiofsd on a folder, and returns QEMU's end of its socket.
	Folder(f guest.SharedFolder) (*os.File, Child, error)

	// QEMU starts QEMU with files, of which the first is descriptor 3, and returns when the
	// process is QEMU, or ctx ends. The measures are those of [VM.Confinement].
	QEMU(ctx context.Context, m Machine, files []*os.File) (Child, []Measure, error)
}

// A Machine is what a QEMU is started for. Its arguments, and what it sees of the host, are made
// of nothing else.
type Machine struct {
	Guest      guest.Guest
	Layout     Layout
	Seat       Seat
	RenderNode string
}

// A Child is a process that was started for a guest.
type Child interface {
	// PID returns its process id, which is valid until Done.
	PID() int

	// Kill ends it. It does not wait.
	Kill() error

	// Done is closed when it has ended and nothing of it is left.
	Done() <-chan struct{}

	// End returns how it ended, after Done.
	End() End
}

// An End is how a process ended.
type End struct {
	// Status is as wait(2) has it. Err is why it is not known, if it is not.
	Status syscall.WaitStatus
	Err    error

	// OutOfMemory is that the kernel ended it because it used more memory than it may, which
	// is Memory bytes.
	OutOfMemory bool
	Memory      int64

	// Stderr is the last that it wrote to standard error, at most 16 KiB.
	Stderr string
}

// NewRights returns the rights of this process, with which it does for another one's [Start] what
// that has none for. Of o it takes Binary, User, Jail and Logger.
func NewRights(o Options) (Rights, error) {
	o.Rights = nil
	return o.rights()
}

// rights returns what does for a start what takes rights: by itself this process.
func (o Options) rights() (Rights, error) {
	if o.Rights != nil {
		return o.Rights, nil
	}
	cred, err := credential(o.User)
	if err != nil {
		return nil, err
	}
	return own{o, cred}, nil
}
