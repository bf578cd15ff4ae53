package assign

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// A Condition says what is left of its users in a function.
type Condition string

// The conditions.
const (
	Clean   Condition = "clean"   // nobody used it since a verified reset, or ever; after a weak one it has users
	Used    Condition = "used-by" // somebody did, and it was not reset since
	Tainted Condition = "tainted" // a reset failed, or it is not what it was before
	Unknown Condition = "unknown" // what was noted about it cannot be read
)

// A Residue is what the guests that had a function or a USB device may have left in it:
// registers, memory and firmware. It outlives leases and restarts of the machine.
type Residue struct {
	Device      string      `json:"device"`      // where it was last, as in [Plan.Names]: 0000:05:00.0, usb:1-4
	Fingerprint Fingerprint `json:"fingerprint"` // as it was before the first of its users
	State       Condition   `json:"state"`
	Users       []User      `json:"users"` // since it was clean, the first one first
	Since       time.Time   `json:"since"`
	BootID      string      `json:"boot_id"` // kernel on which it came to be so
	Reset       *Reset      `json:"reset,omitempty"`
	Detail      string      `json:"detail,omitempty"` // what is wrong, if it is tainted or unknown
	Lease       string      `json:"lease,omitempty"`  // of a clean one without users: id of the lease after which it was reset
	Gone        bool        `json:"gone,omitempty"`   // another one sits there now, as its owner says
}

// A User is a guest that had a function.
type User struct {
	Guest  string    `json:"guest"`
	Locked bool      `json:"locked"`
	Since  time.Time `json:"since"`
	How    string    `json:"how"`            // assign, or run for a guest that indy ran
	Lease  string    `json:"lease"`          // id of the lease
	Back   bool      `json:"back,omitempty"` // the lease was given back
	Weak   bool      `json:"weak,omitempty"` // a weak reset came after it, see [Reset.Weak]
}

// maxUsers bounds how many users are noted. More of one name and kind are one then, beside
// the last, whose lease still is; and with so many it is kept from everybody, whoever was
// the first.
const maxUsers = 32

// use returns what is left once u has had it, too. A tainted function stays tainted.
func (r Residue) use(u User, boot string) Residue {
	r.Users = append(slices.DeleteFunc(slices.Clone(r.Users), func(one User) bool { return one.Lease != "" && one.Lease == u.Lease }), u)
	if before := r.Users[:len(r.Users)-1]; len(before) >= maxUsers {
		before = distinctUsers(before)
		for len(before) >= maxUsers {
			first := max(slices.IndexFunc(before, func(one User) bool { return !one.Locked }), 0)
			before = slices.Delete(before, first, first+1)
		}
		r.Users = append(before, u)
	}
	if r.State != Tainted && r.State != Unknown {
		r.State = Used
	}
	r.Since, r.BootID, r.Lease = u.Since, boot, ""
	return r
}

func distinctUsers(all []User) []User {
	var kept []User
	for _, u := range all {
		if !slices.ContainsFunc(kept, func(k User) bool { return k.Guest == u.Guest && k.Locked == u.Locked && k.Weak == u.Weak }) {
			kept = append(kept, u)
		}
	}
	return kept
}

// usedIn reports whether the guest of the lease with that ID had it.
func (r Residue) usedIn(lease string) bool {
	return slices.ContainsFunc(r.Users, func(u User) bool { return u.Lease == lease })
}

// resetIn reports whether it was reset after the lease with that ID, and nobody had it since.
func (r Residue) resetIn(lease string) bool {
	weakly := func(u User) bool { return u.Lease == lease && u.Weak }
	return r.State == Clean && r.Reset != nil && r.Reset.Verified && (r.Lease == lease || slices.ContainsFunc(r.Users, weakly))
}

// unuse takes back use for a lease whose hand-over was undone: its guest never had it.
func (r Residue) unuse(lease string) Residue {
	r.Users = slices.DeleteFunc(slices.Clone(r.Users), func(u User) bool { return u.Lease == lease })
	if r.State == Used && !slices.ContainsFunc(r.Users, func(u User) bool { return !u.Weak }) {
		r.State = Clean
	}
	return r
}

// after returns what is left after a reset, given what the function was found to be then.
// Only a reset that was verified takes anything away; where there is no way to reset it,
// everything stays as it is.
func (r Residue) after(reset Reset, now Fingerprint, boot string, at time.Time) Residue {
	r.Reset = &reset
	r.Users = slices.Clone(r.Users)
	for i := range r.Users {
		r.Users[i].Back = true
	}
	changed := r.Fingerprint.Differs(now)
	switch {
	case reset.Verified && changed != "":
		// What it says of itself is kept in memory that no reset clears.
		r.State, r.Detail = Tainted, "after its guest it says of itself: "+changed
	case reset.Verified && reset.Weak():
		// Good enough between free guests; whose it was is not forgotten.
		r.Fingerprint, r.State, r.Detail = r.Fingerprint.merge(now), Clean, ""
		for i := range r.Users {
			r.Users[i].Weak = true
		}
	case reset.Verified:
		lease := r.Lease
		if n := len(r.Users); n > 0 {
			lease = r.Users[n-1].Lease
		}
		return Residue{Device: r.Device, Fingerprint: r.Fingerprint.merge(now), State: Clean, Since: at, BootID: boot, Reset: &reset, Lease: lease}
	case reset.impossible():
		return r
	default:
		r.State, r.Detail = Tainted, reset.String()
	}
	r.Since, r.BootID = at, boot
	return r
}

// finding says what speaks against giving it to the guest of a request, ok only if
// something does. It depends on nothing but the two.
func (r Residue) finding(q Request) (f laptop.Finding, ok bool) {
	// Two guests without a name of their own are never taken for one.
	mine := func(u User) bool { return u.Guest == q.Guest && u.Locked == q.Locked && !unnamed(u.Guest) }
	// One that went through D3hot since is none for a free guest, unless it was locked.
	foreign := slices.ContainsFunc(r.Users, func(u User) bool { return !mine(u) && !u.Weak })
	weakly := slices.ContainsFunc(r.Users, func(u User) bool { return !mine(u) && u.Weak && (u.Locked || q.Locked) })
	locked := slices.ContainsFunc(r.Users, func(u User) bool { return u.Locked && !mine(u) })
	if (r.State == "" || r.State == Clean || r.State == Used && !foreign) && !weakly {
		return f, false
	}
	f = laptop.Finding{
		Severity: laptop.Block, Device: "pci:" + r.Device, Evidence: "/sys/bus/pci/devices/" + r.Device + "/reset_method",
		Remedy: "reset it: indy reset " + r.Device,
	}
	if path, ok := usbName(r.Device); ok {
		f.Device, f.Evidence = r.Device, "/"+deviceDir("usb", path.String())+"/"+avoidReset
	}
	switch {
	case r.State == Unknown:
		f.Code = laptop.LockedResidue // a locked guest may have used it
		f.Detail = fmt.Sprintf("what guests have left in %s is not known: %s", r.Device, r.Detail)
		return f, true
	case r.State == Tainted:
		f.Code = laptop.Tainted
		f.Detail = fmt.Sprintf("%s was used by %s and is not known to be free of it: %s", r.Device, r.users(), r.Detail)
	case r.State == Used && foreign:
		f.Code = laptop.UsedBy
		f.Detail = fmt.Sprintf("%s was used by %s and has not been reset since: what was left in it the next guest would find", r.Device, r.users())
	default:
		f.Code = laptop.LockedResidue
		f.Detail = fmt.Sprintf("%s was used by %s and since then went through D3hot only, which not every device takes for a reset", r.Device, r.users())
	}
	switch {
	case q.Locked:
		f.Code = laptop.LockedResidue
		f.Detail += "; a locked guest gets only what was reset"
	case locked:
		f.Code = laptop.LockedResidue
		f.Detail += "; what a locked guest used goes to no other before"
	}
	return f, true
}

// why says what keeps it from being clean.
func (r Residue) why() string {
	switch {
	case r.Detail != "":
		return r.Detail
	case r.Reset != nil:
		return r.Reset.String()
	}
	return "it was not reset"
}

// users names them, with how they stand.
func (r Residue) users() string {
	if len(r.Users) == 0 {
		return "a guest"
	}
	var all []string
	for _, u := range distinctUsers(r.Users) {
		s := fmt.Sprintf("guest %q", u.Guest)
		if u.Locked {
			s = "the locked " + s
		}
		all = append(all, s+" since "+u.Since.Format(time.RFC3339))
	}
	if len(all) > 3 {
		all = append(all[:3], fmt.Sprintf("%d more", len(all)-3))
	}
	return strings.Join(all, ", ")
}

// String says what is left in one line, as "used-by work (locked), play".
func (r Residue) String() string {
	s := string(r.State)
	var names []string
	for _, u := range distinctUsers(r.Users) {
		name := u.Guest
		if u.Locked {
			name += " (locked)"
		}
		names = append(names, name)
	}
	if len(names) > 0 && r.State != Clean {
		s += " " + strings.Join(names, ", ")
	}
	return s
}

// Residues are what is noted of all functions.
type Residues struct {
	boot string // of the kernel that runs
	all  []Residue
}

// Of returns what is left in the device that has a name now, as in [Plan.Names]. It is that
// of the same piece of hardware, wherever it sat before. A device that took the place of
// another while this kernel ran cannot be told from one that a guest has changed: it is
// tainted like that, unless nobody had left anything in the other, or its owner has said
// that it is another one ([Cleaning.AsNew]). After a restart it is a new one.
func (r *Residues) Of(name string, now Fingerprint) Residue {
	found := Residue{Device: name, Fingerprint: now, State: Clean}
	for _, one := range r.all {
		here := one.Device == name
		differs := one.Fingerprint.Differs(now)
		moved := sameBus(one.Device, name) && one.Fingerprint.SameUnit(now)
		switch {
		case one.State == Clean && (differs != "" || !here && !moved):
		case here && differs == "", moved:
			one.Device, one.Fingerprint, one.Gone = name, one.Fingerprint.merge(now), false
			found = worse(found, one)
		case here && one.BootID == r.boot && !one.Gone:
			one.State, one.Detail = Tainted, "since then it is another one, or says so: "+differs
			found = worse(found, one)
		}
	}
	return found
}

// locked reports whether a locked guest used what is at an address, or may have.
func (r *Residues) locked(name string) bool {
	if r == nil {
		return true
	}
	return slices.ContainsFunc(r.all, func(one Residue) bool {
		return one.Device == name && (one.State == Unknown || slices.ContainsFunc(one.Users, func(u User) bool { return u.Locked }))
	})
}

// resetIn returns of those devices which the release of a lease has reset already, and what
// came of it: one that did not work is none.
func (r *Residues) resetIn(lease string, devices []string) map[string]Reset {
	done := map[string]Reset{}
	if r == nil {
		return done
	}
	for _, a := range devices {
		// There may be another record, of what was at the address before.
		known := true
		var found *Reset
		for _, one := range r.all {
			switch {
			case one.Device != a:
			case one.resetIn(lease):
				found = one.Reset
			case one.State == Unknown || one.usedIn(lease):
				known = false
			}
		}
		if known && found != nil {
			done[a] = *found
		}
	}
	return done
}

// worse returns the one that less is known to be good of. Of two of a kind it is the
// later one, with the users of both.
func worse(a, b Residue) Residue {
	rank := func(c Condition) int { return slices.Index([]Condition{"", Clean, Used, Tainted, Unknown}, c) }
	switch {
	case rank(a.State) > rank(b.State), rank(a.State) == rank(b.State) && a.Since.After(b.Since):
	default:
		a, b = b, a
	}
	for _, u := range b.Users {
		if !a.usedIn(u.Lease) {
			a.Users = append(slices.Clone(a.Users), u)
		}
	}
	return a
}

// partOf returns what speaks against a part of function a, which is made for the guest of
// a request: what guests have left in the whole, and in what was at the part's address
// before. That is no address for a mediated device.
func (f *Facts) partOf(q Request, a, part pci.Address) []laptop.Finding {
	var found []laptop.Finding
	if finding, ok := f.kinds.parents[a].finding(q); ok {
		found = append(found, finding)
	}
	if f.noted != nil && part.IsValid() {
		if finding, ok := f.noted.Of(part.String(), Fingerprint{}).finding(q); ok {
			finding.Remedy = "ask for fewer virtual functions, or have the machine without power and say so: indy reset --power-cycled"
			found = append(found, finding)
		}
	}
	return found
}

// AddResidue adds to the facts what is left in the functions, and in those of which parts
// are asked for: a plan without knows nothing of it. It reads their fingerprints, which
// wakes none. The error joins what could not be read; nothing should then be planned.
func (f *Facts) AddResidue(fsys fs.FS, r *Residues) error {
	if len(r.all) == 0 {
		return nil // nothing is noted of any
	}
	f.noted = r
	var errs []error
	for a := range f.kinds.parents {
		now, err := ReadFingerprint(fsys, a)
		if errors.Is(err, fs.ErrNotExist) {
			continue // NewPlan says so
		}
		errs = append(errs, err)
		f.kinds.parents[a] = r.Of(a.String(), now)
	}
	for a, s := range f.functions {
		if s.stays {
			continue
		}
		now, err := ReadFingerprint(fsys, a)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.residue = r.Of(a.String(), now)
		f.functions[a] = s
	}
	return errors.Join(append(errs, f.addUSBResidue(fsys, r))...)
}
