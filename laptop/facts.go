package laptop

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/project-independence/indy/hostfs"
)

// A Fact is one thing that is known of a device.
type Fact struct {
	Section Section `json:"section"`
	Name    string  `json:"name"`   // what it is about, as "reset methods" or "wlan0 state"
	Value   string  `json:"value"`  // for a person: one bounded line, never empty
	Source  string  `json:"source"` // the file that says so, as /sys/class/net/wlan0/operstate
}

// A Section says what kind of thing a Fact is about, for people to find it.
type Section string

// The sections, in the order in which facts are given.
const (
	SectionIdentity  Section = "identity"     // what it is
	SectionPlace     Section = "place"        // where it is plugged in
	SectionDriver    Section = "driver"       // who drives it, and how it changes hands
	SectionPower     Section = "power"        // its power and its link
	SectionAbilities Section = "capabilities" // what it says that it can do
	SectionTies      Section = "ties"         // what it carries, and what it belongs with
	SectionUse       Section = "use"          // what the kernel made of it: screens, cards, interfaces, disks
)

// Sections returns the sections in their order.
func Sections() []Section {
	return []Section{SectionIdentity, SectionPlace, SectionDriver, SectionPower, SectionAbilities, SectionTies, SectionUse}
}

// FactOptions say how far Facts may go. The zero FactOptions disturb nothing.
type FactOptions struct {
	// Wake: also read what only a device that is awake can say. It wakes one that
	// sleeps, may block for some seconds, and does no harm on a saved machine. That
	// is the configuration space and the link of a sleeping function, its product data
	// (VPD), the EDID of a screen on a sleeping GPU, and the codecs of a sound card in
	// full.
	Wake bool
}

// Facts says what is known of a device of l beyond what a listing reads: attributes
// of its bus, what it says of itself, and each thing that the kernel made of it.
// They are in the order of their sections. What a device or its firmware says of
// itself is untrusted.
//
// Without Wake it reads no file that wakes a device: of a PCI function that sleeps
// neither config nor link, EDIDs only of a GPU that is awake, of a sound card only
// what the kernel keeps. It may wait for a USB device that is being reset, for a
// screen that is being looked at and for a program that opens a sound stream. The
// kernel may ask the firmware for attributes of a battery.
//
// It returns what could be read, and an error that joins what could not: an attribute
// that fails costs the fact that it holds. One that this kernel or saved machine does
// not have is neither. One that only root may read is a fact: that it is unknown.
func Facts(fsys fs.FS, l *Laptop, d *Device, o FactOptions) ([]Fact, error) {
	f := &facts{fsys: fsys, wake: o.Wake}
	switch {
	case d.PCI != nil:
		f.function(l, d)
	case d.USB != nil:
		f.usb(d)
	default:
		f.other(*d.Other)
	}
	f.in(SectionTies).parts(d)
	f.in(SectionUse).display(l, d)
	f.cards(d)
	for _, c := range d.Classes {
		f.class(c)
	}
	order := Sections()
	slices.SortStableFunc(f.list, func(a, b Fact) int {
		return slices.Index(order, a.Section) - slices.Index(order, b.Section)
	})
	return f.list, errors.Join(f.errs...)
}

// facts are those of one device in the making.
type facts struct {
	fsys    fs.FS
	wake    bool    // with leave to wake
	awake   bool    // a PCI function that can be asked without waking it, or with leave
	section Section // of the facts to come
	list    []Fact
	errs    []error
}

// in begins a section, or goes on with it.
func (f *facts) in(s Section) *facts {
	f.section = s
	return f
}

// add takes a fact unless its value is empty. Source is below the root, or a list of
// such files as people write it.
func (f *facts) add(name, value, source string) {
	if value = line(value); value != "" {
		f.list = append(f.list, Fact{f.section, line(name), value, "/" + strings.TrimPrefix(source, "/")})
	}
}

// needsRoot is the value of a fact whose file is closed to who asks.
const needsRoot = "unknown: it takes root to read it"

// ok reports whether a fact could be read, and otherwise takes what there is to say:
// nothing if the attribute has no value, because it is missing or the device is not in
// the state for it, as the speed of an interface that is down; that it takes root; or
// else the error.
func (f *facts) ok(name, source string, err error) bool {
	switch troubleOf(err) {
	case none:
		return true
	case closed:
		var which *fs.PathError
		if errors.As(err, &which) { // one of several
			source = which.Path
		}
		f.add(name, needsRoot, source)
	case failed:
		f.errs = append(f.errs, err)
	}
	return false
}

// A trouble is what an error means for a fact.
type trouble int

const (
	none     trouble = iota
	unstated         // there is no value
	closed           // there may be one, for root
	failed
)

// troubleOf returns the worst of what errors that are joined mean.
func troubleOf(err error) trouble {
	var joined interface{ Unwrap() []error }
	switch {
	case err == nil:
		return none
	case errors.As(err, &joined):
		worst := none
		for _, e := range joined.Unwrap() {
			worst = max(worst, troubleOf(e))
		}
		return worst
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ENODATA), errors.Is(err, errors.ErrUnsupported):
		return unstated
	case errors.Is(err, fs.ErrPermission):
		return closed
	}
	return failed
}

// read returns the text of an attribute, empty when it has none or name, a fact, is
// already made of what there is to say.
func (f *facts) read(name, file string) string {
	s, err := hostfs.ReadString(f.fsys, file)
	if !f.ok(name, file, err) {
		return ""
	}
	return s
}

// text makes a fact of an attribute as it is.
func (f *facts) text(name, file string) { f.add(name, f.read(name, file), file) }

// parts says what the device is a part of, and of what it consists.
func (f *facts) parts(d *Device) {
	if d.PartOf != "" {
		f.add("part of", d.PartOf, d.source())
	}
	for _, p := range d.Parts {
		what := p.ID
		if what == "" {
			what = "interfaces " + numbers(p.Interfaces)
		}
		f.add("part", what+", "+string(p.Role)+": "+p.Why, p.Evidence)
	}
}

// source returns the directory of the device.
func (d *Device) source() string {
	switch {
	case d.PCI != nil:
		return "sys/bus/pci/devices/" + d.Where()
	case d.USB != nil:
		return "sys/bus/usb/devices/" + d.Where()
	}
	return "sys/devices/" + d.Other.Path
}

func (f *facts) other(o Other) {
	dir := "sys/devices/" + o.Path
	f.in(SectionIdentity).add("bus", o.Bus, dir+"/subsystem")
	f.add("modalias", o.Modalias, dir+"/uevent")
	if o.Controller.IsValid() {
		f.in(SectionPlace).add("behind", o.Controller.String(), dir)
	}
	f.in(SectionDriver)
	if _, err := fs.ReadFile(f.fsys, dir+"/uevent"); f.ok("driver", dir+"/uevent", err) {
		f.add("driver", or(o.Driver, "none"), dir+"/uevent")
	}
}
