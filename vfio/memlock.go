package vfio

import (
	"fmt"
	"io/fs"
	"math"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
)

// Unlimited is a limit of locked memory that is none.
const Unlimited = math.MaxUint64

// GuestMemory says what of a guest's memory its devices reach.
type GuestMemory struct {
	RAM     uint64 // bytes of the guest's memory
	BARs    uint64 // bytes of its devices' BARs that devices may reach of each other
	Devices int    // how many devices are assigned to it
	VIOMMU  bool   // the guest has an IOMMU of its own
}

// lockMargin is for what QEMU locks besides a guest's memory: its video memory, ROMs and
// firmware. It is what libvirt allows.
const lockMargin = 1 << 30

// Locked returns how many bytes QEMU locks at most: the guest's memory, the BARs and a
// margin of 1 GiB. With an IOMMU of the guest's own each device has an address space of
// its own, and the kernel counts the same memory once for each. Without devices it is
// 0; more than there are numbers for is [Unlimited].
func (g GuestMemory) Locked() uint64 {
	if g.Devices <= 0 {
		return 0
	}
	sum := g.RAM
	for _, n := range []uint64{g.BARs, lockMargin} {
		if n > Unlimited-sum {
			return Unlimited
		}
		sum += n
	}
	if n := uint64(g.Devices); g.VIOMMU && n > 1 {
		if sum > Unlimited/n {
			return Unlimited
		}
		sum *= n
	}
	return sum
}

// Check returns a *[MemlockError] when a process with the limit, in bytes, cannot lock
// that much.
func (g GuestMemory) Check(limit uint64) error {
	if need := g.Locked(); need > limit {
		return &MemlockError{Need: need, Limit: limit}
	}
	return nil
}

// A MemlockError says that devices need more memory locked than a process may lock
// (RLIMIT_MEMLOCK).
type MemlockError struct {
	Need   uint64 // bytes that are to be locked
	Locked uint64 // bytes that are locked already
	Limit  uint64 // bytes that may be
	Err    error  // what the kernel said, or nil when it was not asked
}

// Error says how much is missing and how to raise the limit.
func (e *MemlockError) Error() string {
	text := fmt.Sprintf("devices need %s of locked memory", kib(e.Need))
	if e.Locked > 0 {
		text += fmt.Sprintf(" besides %s", kib(e.Locked))
	}
	all := e.Need + e.Locked
	if all < e.Need {
		all = Unlimited
	}
	text += fmt.Sprintf(", and %s are allowed (RLIMIT_MEMLOCK); raise the limit: ulimit -l %d, LimitMEMLOCK=%d, or memlock in limits.conf",
		kib(e.Limit), (all-1)/1024+1, all)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns what the kernel said.
func (e *MemlockError) Unwrap() error { return e.Err }

func kib(n uint64) string {
	if n%(1<<20) == 0 {
		return strconv.FormatUint(n>>20, 10) + " MiB"
	}
	return strconv.FormatUint((n-1)/1024+1, 10) + " KiB"
}

// whyNoMemory turns ENOMEM of a mapping into a *MemlockError, if it is the limit that
// the process comes to. Iommufd counts against all processes of the user, which no
// process is told, so that there it may be the limit even if it looks large enough.
func whyNoMemory(fsys fs.FS, need uint64, kind Interface, err error) error {
	limits, readErr := hostfs.ReadString(fsys, "proc/self/limits")
	status, statusErr := hostfs.ReadString(fsys, "proc/self/status")
	if readErr != nil || statusErr != nil {
		return err
	}
	limit, ok := softLimit(limits)
	if !ok || mayLockAll(status) {
		return err
	}
	e := &MemlockError{Need: need, Locked: locked(status, kind), Limit: limit, Err: err}
	if kind == Groups && e.Locked <= limit && need <= limit-e.Locked {
		return err
	}
	return e
}

// softLimit finds the limit of locked memory in /proc/PID/limits.
func softLimit(text string) (limit uint64, ok bool) {
	for line := range strings.Lines(text) {
		rest, found := strings.CutPrefix(line, "Max locked memory")
		if f := strings.Fields(rest); found && len(f) > 0 {
			limit, err := strconv.ParseUint(f[0], 10, 64)
			return limit, err == nil // unlimited is no number
		}
	}
	return 0, false
}

// locked finds how much a process has locked in /proc/PID/status: VmLck, where VFIO
// counts for groups, and VmPin, where iommufd does.
func locked(status string, kind Interface) uint64 {
	key := "VmLck:"
	if kind == IOMMUFD {
		key = "VmPin:"
	}
	for line := range strings.Lines(status) {
		rest, found := strings.CutPrefix(line, key)
		if f := strings.Fields(rest); found && len(f) > 0 {
			if n, err := strconv.ParseUint(f[0], 10, 64); err == nil && n <= Unlimited/1024 {
				return n * 1024
			}
		}
	}
	return 0
}

// mayLockAll reports whether a process has CAP_IPC_LOCK, to which no limit applies.
func mayLockAll(status string) bool {
	for line := range strings.Lines(status) {
		if rest, found := strings.CutPrefix(line, "CapEff:"); found {
			caps, err := strconv.ParseUint(strings.TrimSpace(rest), 16, 64)
			return err == nil && caps>>14&1 != 0
		}
	}
	return false
}
