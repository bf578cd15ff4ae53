package guest

import (
	"fmt"
	"slices"
)

// A Power says what becomes of a guest when the power of the host changes. Each zero value
// is what [Definition.PowerRules] makes of it.
type Power struct {
	// HostSleep is done before the host sleeps, and taken back after it.
	HostSleep PowerAction

	// LidClosed is done when the lid is closed, and taken back when it is opened.
	LidClosed PowerAction

	LowBattery LowBattery
}

// A LowBattery says what is done when the host runs on a battery that is nearly empty. It is
// taken back when that is charged, but for a shutdown.
type LowBattery struct {
	At int // percent, 1 to MaxBattery
	Do PowerAction
}

// MaxBattery is the highest charge in percent that can be called low.
const MaxBattery = 95

// A PowerAction is what is done with a guest.
type PowerAction string

// The actions. StayAwake is for a closed lid only.
const (
	DefaultAction PowerAction = ""
	DoNothing     PowerAction = "nothing"
	DoPause       PowerAction = "pause"      // its processors stand still; it does not notice
	DoSleep       PowerAction = "sleep"      // it puts itself to sleep (ACPI S3) when its power button is pressed
	DoShutDown    PowerAction = "shutdown"   // it shuts itself down when its power button is pressed
	StayAwake     PowerAction = "stay-awake" // the host does not sleep because its lid is closed
)

func powerActions() []PowerAction { return []PowerAction{DoNothing, DoPause, DoSleep, DoShutDown} }

func lidActions() []PowerAction { return append(powerActions(), StayAwake) }

// defaultLow is at which charge in percent a battery is low where nothing else is said.
const defaultLow = 5

// PowerRules returns d.Power with what it leaves open filled in: before the host sleeps a
// guest is paused when a device is to be assigned to it, and nothing is done with others; a
// closed lid is nothing to it; and it is shut down when the battery is at five percent.
func (d Definition) PowerRules() Power {
	p := d.Power
	if p.HostSleep == DefaultAction {
		p.HostSleep = DoNothing
		if d.assigns() {
			p.HostSleep = DoPause
		}
	}
	if p.LidClosed == DefaultAction {
		p.LidClosed = DoNothing
	}
	if p.LowBattery.Do == DefaultAction {
		p.LowBattery.Do = DoShutDown
	}
	if p.LowBattery.At == 0 {
		p.LowBattery.At = defaultLow
	}
	return p
}

// assigns reports whether a device is to be assigned.
func (d Definition) assigns() bool {
	return slices.ContainsFunc(d.Devices, func(n Need) bool { return n.How == Assign })
}

func (c *checks) power(d Definition) {
	p := d.Power
	action := func(field string, a PowerAction, all []PowerAction) {
		if a != DefaultAction && !slices.Contains(all, a) {
			c.bad(field, "%s is not known; expected %s%s", quote(string(a)), alternatives(all), nearest(string(a), all))
		}
	}
	action("power.host_sleep", p.HostSleep, powerActions())
	action("power.lid_closed", p.LidClosed, lidActions())
	action("power.low_battery.do", p.LowBattery.Do, powerActions())
	if p.HostSleep == DoNothing && d.assigns() {
		c.bad("power.host_sleep", "a guest with assigned devices does not go on while the host sleeps; expected %s", alternatives(powerActions()[1:]))
	}
	if at := p.LowBattery.At; at < 0 || at > MaxBattery {
		c.bad("power.low_battery.at", "%d is not between 1 and %d", at, MaxBattery)
	}
}

func (v value) power() (p Power) {
	v.members(
		member{"host_sleep", func(v value) { p.HostSleep = choice(v, powerActions()...) }},
		member{"lid_closed", func(v value) { p.LidClosed = choice(v, lidActions()...) }},
		member{"low_battery", func(v value) {
			v.members(
				member{"at", func(v value) { p.LowBattery.At = v.number(1, MaxBattery) }},
				member{"do", func(v value) { p.LowBattery.Do = choice(v, powerActions()...) }},
			)
		}},
	)
	return p
}

func (p Power) yaml() string {
	var f, low flow
	f.text("host_sleep", string(p.HostSleep))
	f.text("lid_closed", string(p.LidClosed))
	if p.LowBattery.At != 0 {
		low.add("at", fmt.Sprint(p.LowBattery.At))
	}
	low.text("do", string(p.LowBattery.Do))
	if len(low) > 0 {
		f.add("low_battery", low.String())
	}
	return f.String()
}
