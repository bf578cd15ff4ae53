package daemon

import (
	"fmt"
	"slices"
	"strings"
)

// A Role is what somebody may do, each more than the one before. The zero value is
// nobody, who may do nothing.
type Role int

// The roles.
const (
	Nobody   Role = iota
	User          // uses guests that are there
	Operator      // makes and changes free guests, too
	Admin         // makes and changes locked ones, too
)

// String returns nobody, user, operator or admin.
func (r Role) String() string {
	switch r {
	case Nobody:
		return "nobody"
	case User:
		return "user"
	case Operator:
		return "operator"
	case Admin:
		return "admin"
	}
	return fmt.Sprintf("Role(%d)", int(r))
}

// roles returns all roles, from the least on.
func roles() []Role { return []Role{Nobody, User, Operator, Admin} }

// A Verb is what the daemon can be asked to do: the operation id of its OpenAPI document.
type Verb string

// The verbs.
const (
	GuestsList       Verb = "guests-list"
	GuestsShow       Verb = "guests-show"
	GuestsCreate     Verb = "guests-create"
	GuestsEdit       Verb = "guests-edit"
	GuestsDelete     Verb = "guests-delete"
	GuestsStart      Verb = "guests-start"
	GuestsStop       Verb = "guests-stop"
	GuestsKill       Verb = "guests-kill"
	GuestsPowerdown  Verb = "guests-powerdown"
	GuestsSuspend    Verb = "guests-suspend"
	GuestsResume     Verb = "guests-resume"
	GuestsStatus     Verb = "guests-status"
	GuestsTop        Verb = "guests-top"
	GuestsEvents     Verb = "guests-events"
	GuestsLog        Verb = "guests-log"
	GuestsConsole    Verb = "guests-console"
	GuestsScreenshot Verb = "guests-screenshot"
	AutostartVerb    Verb = "autostart"
	ShutdownVerb     Verb = "shutdown"
	BootReportVerb   Verb = "boot-report"
	PowerVerb        Verb = "power"
	DevicesVerb      Verb = "devices"
	LeasesVerb       Verb = "leases"
	RecoverVerb      Verb = "recover"
	MetricsVerb      Verb = "metrics"
	VersionVerb      Verb = "version"
	OpenAPIVerb      Verb = "openapi"
)

// A Rule says who may do something: the least role for it.
type Rule struct {
	Verb Verb

	// Free and Locked are the least role for a free guest and for a locked one. They are
	// the same of what concerns no single guest. Nobody never may.
	Free, Locked Role

	Does string // in a few words, for people
}

// Verbs returns the rule of each verb, the one table that says who may do what. What has no
// rule is done for nobody.
//
// A user uses guests: has them start, rest and end, and sees how they are. An operator also
// makes and changes those that are free. Of a locked guest only an administrator changes or
// sees what is in it; to have one started, and shut down in order, takes a user, for whom it
// is there.
func Verbs() []Rule {
	return []Rule{
		{GuestsList, User, User, "which guests there are, and how each is"},
		{GuestsShow, User, User, "the definition of a guest"},
		{GuestsCreate, Operator, Admin, "make a guest"},
		{GuestsEdit, Operator, Admin, "change the definition of a guest; it is locked when it was or will be"},
		{GuestsDelete, Operator, Admin, "forget a guest"},
		{GuestsStart, User, User, "start a guest"},
		{GuestsStop, User, User, "have a guest shut itself down, and wait for it"},
		{GuestsKill, User, Operator, "end a guest at once, as a power cut would"},
		{GuestsPowerdown, User, User, "press the power button of a guest"},
		{GuestsSuspend, User, User, "have a guest stand still"},
		{GuestsResume, User, User, "have a guest go on"},
		{GuestsStatus, User, User, "how a guest is"},
		{GuestsTop, User, User, "what a guest uses of the host"},
		{GuestsEvents, User, User, "what happened to a guest"},
		{GuestsLog, User, Operator, "what the runner of a guest has to tell"},
		{GuestsConsole, User, Admin, "what a guest writes to its serial port, and typing at it"},
		{GuestsScreenshot, User, Admin, "what is on the display of a guest"},
		{AutostartVerb, Admin, Admin, "start the guests that start by themselves"},
		{ShutdownVerb, Admin, Admin, "stop all guests, those that others need last"},
		{BootReportVerb, User, User, "how long the start of the machine and of its guests took"},
		{PowerVerb, User, User, "how the host is powered, and what was done with guests because of it"},
		{DevicesVerb, User, User, "what is in this machine"},
		{LeasesVerb, User, User, "which devices are in guests' hands"},
		{RecoverVerb, Operator, Operator, "finish or take back what was interrupted"},
		{MetricsVerb, User, User, "figures of all guests, for Prometheus"},
		{VersionVerb, User, User, "which indy this is, and who asks"},
		{OpenAPIVerb, User, User, "this interface, as an OpenAPI document"},
	}
}

// May reports whether somebody in a role may do something, with a locked guest or a free
// one. What is not in the table nobody may.
func May(r Role, v Verb, locked bool) bool {
	rules := Verbs()
	i := slices.IndexFunc(rules, func(rule Rule) bool { return rule.Verb == v })
	if i < 0 {
		return false
	}
	least := rules[i].Free
	if locked {
		least = rules[i].Locked
	}
	return least > Nobody && r >= least && r <= Admin
}

// RolesTable returns the table of who may do what as Markdown, which docs/roles.md holds.
func RolesTable() string {
	var b strings.Builder
	b.WriteString("| verb | does | user | operator | admin |\n|---|---|---|---|---|\n")
	for _, rule := range Verbs() {
		fmt.Fprintf(&b, "| `%s` | %s |", rule.Verb, rule.Does)
		for _, r := range roles()[1:] {
			free, locked := May(r, rule.Verb, false), May(r, rule.Verb, true)
			word := "no"
			switch {
			case free && locked:
				word = "yes"
			case free:
				word = "free guests"
			case locked:
				word = "locked guests"
			}
			fmt.Fprintf(&b, " %s |", word)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
