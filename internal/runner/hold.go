package runner

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A Reason is why a guest is to stand still.
type Reason string

// The reasons. All but the first and the last are the daemon's, which takes back what it has
// asked for.
const (
	ByHand     Reason = "by-hand"     // somebody has said so
	HostSleep  Reason = "host-sleep"  // the host is about to sleep, or sleeps
	LidClosed  Reason = "lid-closed"  // the lid is closed
	LowBattery Reason = "low-battery" // the battery is nearly empty
	LostDevice Reason = "lost-device" // a device that is assigned to it does not work any more
)

// words says of a guest that stands still why.
func (r Reason) words() string {
	switch r {
	case HostSleep:
		return "because the host sleeps"
	case LidClosed:
		return "because the lid is closed"
	case LowBattery:
		return "because the battery is low"
	case LostDevice:
		return "because a device of it does not work any more"
	}
	return ""
}

func (r Reason) valid() bool {
	return slices.Contains([]Reason{ByHand, HostSleep, LidClosed, LowBattery}, r)
}

// A Hold is one reason for which a guest stands still. There may be several; it goes on
// when there is none any more.
type Hold struct {
	Reason Reason  `json:"reason"`
	Since  float64 `json:"since"` // seconds since the kernel started

	// Overruled is that somebody lets the guest go on all the same. The hold is kept until
	// its reason is over, so that it is not made anew.
	Overruled bool `json:"overruled"`
}

// Holds are the reasons for which a guest stands still, in the order in which they came.
type Holds []Hold

// Has reports whether there is such a hold, overruled or not.
func (h Holds) Has(r Reason) bool { return h.index(r) >= 0 }

func (h Holds) index(r Reason) int {
	return slices.IndexFunc(h, func(one Hold) bool { return one.Reason == r })
}

// Effective reports whether the guest is to stand still.
func (h Holds) Effective() bool {
	return slices.ContainsFunc(h, func(one Hold) bool { return !one.Overruled })
}

// With returns the holds with one more. One that is there stays as it is, overruled too.
func (h Holds) With(r Reason, since float64) Holds {
	if h.Has(r) {
		return h
	}
	return append(slices.Clone(h), Hold{Reason: r, Since: since})
}

// Without returns the holds without one; ByHand is without that and the one for lost
// devices, and overrules the others.
func (h Holds) Without(r Reason) Holds {
	h = slices.DeleteFunc(slices.Clone(h), func(one Hold) bool {
		return one.Reason == r || r == ByHand && one.Reason == LostDevice
	})
	if r == ByHand {
		for i := range h {
			h[i].Overruled = true
		}
	}
	if len(h) == 0 {
		return nil
	}
	return h
}

// words says why the guest stands still; nothing when somebody wants it so.
func (h Holds) words() string {
	var all []string
	for _, one := range h {
		if w := one.Reason.words(); w != "" && !one.Overruled {
			all = append(all, w)
		}
	}
	return strings.Join(all, " and ")
}

// errReason is that a guest is to stand still for a reason that is none.
var errReason = errors.New("it is not said for which reason")

func checkReason(r Reason) error {
	if !r.valid() {
		return fmt.Errorf("%w: %.40q", errReason, string(r))
	}
	return nil
}
