package runner

import (
	"encoding/json"
	"slices"
)

// A State is what a guest is doing.
type State string

// The states of a guest.
const (
	Stopped      State = "stopped"      // there is no runner, and nothing to tell
	Starting     State = "starting"     // there is a runner; the guest has not begun to run
	Running      State = "running"      // its processors run
	Suspended    State = "suspended"    // its processors stand still; Detail says why
	Stopping     State = "stopping"     // it is to end, or ended and its devices are given back
	Failed       State = "failed"       // it ended other than it should have; Failure says why
	Unresponsive State = "unresponsive" // QEMU, or the runner, does not answer
)

// A Status is what there is to say of a guest at a moment.
type Status struct {
	Name  string `json:"name"`
	State State  `json:"state"`

	// Detail says more of the state, in one line. It may be empty.
	Detail string `json:"detail"`

	// Ready is whether the guest is ready, by what its definition says; see guest.Ready.
	Ready bool `json:"ready"`

	PID         int    `json:"pid"`          // of the runner; 0 without one
	QEMU        int    `json:"qemu"`         // its process; 0 while there is none
	QEMUStarted string `json:"qemu_started"` // when that started, in the kernel's ticks, which tells it from a later one
	Accelerator string `json:"accelerator"`  // kvm or tcg; empty before it is chosen
	BootID      string `json:"boot_id"`      // of the kernel that it runs on

	// Devices are the ids of what of the host is assigned to it, as pci:0000:01:00.0.
	Devices []string `json:"devices"`

	// Holds are the reasons for which it stands still, and those that somebody has
	// overruled.
	Holds Holds `json:"holds,omitempty"`

	// Phases are how far its start came, in order of time.
	Phases []Phase `json:"phases"`

	// Unsaved is how many bytes of its console, log and events could not be written to their
	// files, as when these are on a disk that is full. The guest goes on.
	Unsaved int64 `json:"unsaved,omitempty"`

	// Failure says why it failed; nil when it has not.
	Failure *Failure `json:"failure"`
}

// A Phase is a point that a start has passed.
type Phase struct {
	Name PhaseName `json:"name"`
	At   float64   `json:"at"` // seconds since the kernel started, of which those asleep are a part
}

// A PhaseName names a point of a start.
type PhaseName string

// The points of a start, in their order but for the last two.
const (
	PhaseRunner   PhaseName = "runner"   // the runner runs
	PhaseResolved PhaseName = "resolved" // what the guest needs is known to be there
	PhaseDevices  PhaseName = "devices"  // its devices are assigned
	PhaseQEMU     PhaseName = "qemu"     // QEMU's process is there
	PhaseQMP      PhaseName = "qmp"      // QEMU answers
	PhaseRunning  PhaseName = "running"  // the guest's first instruction
	PhaseSerial   PhaseName = "serial"   // the first byte on its serial port
	PhaseReady    PhaseName = "ready"    // it is ready
)

// A Failure says why a guest did not start, or why it ended.
type Failure struct {
	Message string `json:"message"`

	// LastWords is the last that QEMU wrote to its standard error; empty when it had
	// nothing to say or was not there.
	LastWords string `json:"last_words"`

	// Exit is the exit status of a command that failed so, and Findings are what else it
	// says, both as Config.Explain has it.
	Exit     int             `json:"exit"`
	Findings json.RawMessage `json:"findings,omitempty"`
}

// Over reports whether there is nothing left of the guest that runs.
func (s Status) Over() bool { return s.State == Stopped || s.State == Failed }

// At returns when the start passed a point, in seconds since the kernel started.
func (s Status) At(name PhaseName) (at float64, passed bool) {
	i := slices.IndexFunc(s.Phases, func(p Phase) bool { return p.Name == name })
	if i < 0 {
		return 0, false
	}
	return s.Phases[i].At, true
}

func (s Status) clone() Status {
	s.Phases = slices.Clone(s.Phases)
	s.Devices = slices.Clone(s.Devices)
	s.Holds = slices.Clone(s.Holds)
	return s
}
