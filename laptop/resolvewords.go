package laptop

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/iommu"
	"github.com/project-independence/indy/usb"
)

// An ask is one need while it is resolved.
type ask struct {
	Wanted
	index int
	words string // the same for needs that are the same in every word

	exact   []int  // those that are all that was asked for, and can be had
	instead []int  // those that may stand in
	without string // why there are none that are exact, in words
	there   []int  // what there is instead, where that does not say it
	note    string // what is known of them from before

	state      NeedState
	device     int   // of a need that is met
	candidates []int // of an ambiguous one
	companions []int // what goes with the device

	// The need with whose device this one leaves the host, or that would have nothing
	// left to share; left is the device that is not given for it.
	with *ask
	left int
}

// given reports whether the need has a device.
func (a *ask) given() bool { return a.state == NeedMatched || a.state == NeedSubstituted }

// before orders needs by who comes first when there are not enough devices. That of two
// equal needs does not matter, as nothing tells them apart.
func (a *ask) before(b *ask) int {
	return cmp.Or(boolean(a.Optional)-boolean(b.Optional), b.weight()-a.weight(),
		boolean(a.How != guest.Assign)-boolean(b.How != guest.Assign), strings.Compare(a.words, b.words), a.index-b.index)
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

// weight is how much a need says.
func (a *ask) weight() int {
	w := 0
	for i, said := range []bool{a.Which != "", a.Class != "", a.Port != "", a.IDs != (guest.IDs{})} {
		if said {
			w |= 1 << i
		}
	}
	return w
}

// Substitutes reports whether a device that is not at the port, has not the ids or is not of
// the kind (built-in, discrete and so on) that a need asks for may stand in for one that
// is, if it has the role and the class: another webcam for the built-in one. It is not so
// where what is on the device matters more than what it does (storage), where it may be
// anything (usb-device), and where it is the host's own door to its user (input). A GPU
// does not stand in for one of another kind, nor does a controller at another
// place: other things hang on it.
func Substitutes(want guest.Want) (ids, port, which bool) {
	switch want {
	case guest.WantStorage, guest.WantUSBDevice, guest.WantInput:
		return false, false, false
	case guest.WantGPU:
		return true, true, false
	case guest.WantUSBController, guest.WantThunderbolt, guest.WantFireWire:
		return true, false, false
	}
	return true, true, true
}

// ask finds out which devices may meet a need.
func (r *resolver) ask(index int, w Wanted) *ask {
	a := &ask{Wanted: w, index: index, words: inEveryWord(w), state: NeedMissing}
	all := make([]int, len(r.Devices))
	for i := range all {
		all[i] = i
	}
	role := r.sorted(all, func(_ int, d *Device, _ *Place) bool { return hasRole(d, w.Need) })
	if len(role) == 0 {
		a.without = fmt.Sprintf("this machine has no %s", w.Want)
		return a
	}
	exact, rest := role, role // rest are those that may stand in, as far as words go
	byIDs, byPort, byWhich := Substitutes(w.Want)
	for _, word := range []struct {
		said, others bool
		filter       func([]int, guest.Need) (kept []int, without string)
	}{
		{w.Class != "", false, r.ofClass},
		{w.IDs != (guest.IDs{}), byIDs, r.withIDs},
		{w.Port != "", byPort, r.atPort},
		{w.Which != "", byWhich, r.ofKind},
	} {
		if !word.said {
			continue
		}
		if !word.others {
			rest, _ = word.filter(rest, w.Need)
		}
		kept, without := word.filter(exact, w.Need)
		if len(kept) == 0 && len(exact) > 0 {
			a.without, a.there = without, exact
			if w.Which == guest.Integrated || w.Which == guest.Discrete {
				a.there = nil // they are said already
			}
		}
		exact = kept
	}
	exact, rest = r.foremost(exact, w.Need), r.foremost(rest, w.Need)
	known, suspects, note := r.known(w.Known)
	trusted := func(of []int) []int {
		return r.sorted(of, func(i int, _ *Device, _ *Place) bool { return !slices.Contains(suspects, i) })
	}
	if kept := trusted(exact); len(kept) == 0 && len(exact) > 0 {
		a.without = note
	}
	exact, rest = trusted(exact), trusted(rest)
	kept, without := r.usable(exact, w.Need)
	if len(kept) == 0 && len(exact) > 0 {
		a.without = without
	}
	a.exact = kept
	if same := r.sorted(kept, func(i int, _ *Device, _ *Place) bool { return slices.Contains(known, i) }); len(same) > 0 {
		a.exact, a.note = same, "known from before"
	} else if a.note = note; note == "" && len(w.Known) > 0 {
		a.note = "another than before"
	}
	rest, without = r.usable(rest, w.Need)
	if len(rest) == 0 && len(a.there) > 0 && without != "" {
		a.without, a.there = a.without+"; "+without, nil
	}
	a.instead = r.sorted(rest, func(i int, _ *Device, _ *Place) bool { return !slices.Contains(a.exact, i) })
	return a
}

// inEveryWord is the same for needs between which nothing but their order decides.
func inEveryWord(w Wanted) string {
	s := fmt.Sprintf("%s %s %v %+v", w.Need, w.How, w.Optional, w.Known)
	if w.ROM != nil {
		s += " " + w.ROM.File
	}
	return s
}

// anyUSB reports whether a need is for any USB device, whatever its role is, as further
// words say which.
func anyUSB(n guest.Need) bool {
	return n.Want == guest.WantUSBDevice && (n.Port != "" || n.IDs != (guest.IDs{}) || n.Class != "")
}

func hasRole(d *Device, n guest.Need) bool {
	return slices.Contains(d.Roles, Role(n.Want)) || d.USB != nil && anyUSB(n)
}

// foremost leaves out what plays the role by the way only, if anything does it more.
func (r *resolver) foremost(of []int, n guest.Need) []int {
	if anyUSB(n) {
		return of
	}
	prefer := func(is func(i int, d *Device, _ *Place) bool) {
		if better := r.sorted(of, is); len(better) > 0 {
			of = better
		}
	}
	prefer(func(_ int, d *Device, _ *Place) bool { return d.Role() == Role(n.Want) })
	prefer(func(_ int, d *Device, _ *Place) bool {
		whole := r.Device(d.PartOf)
		return d.PartOf == "" || whole == nil || whole.Role() != GPU && whole.Role() != d.Role()
	})
	byClass := func(d *Device) bool {
		if d.PCI == nil {
			return false
		}
		f := *d.PCI
		f.Driver = ""
		return pciRole(f) == Role(n.Want)
	}
	if slices.ContainsFunc(of, func(i int) bool { return byClass(&r.Devices[i]) }) {
		prefer(func(_ int, d *Device, _ *Place) bool { return d.PCI == nil || byClass(d) })
	}
	return of
}

func (r *resolver) ofClass(of []int, n guest.Need) ([]int, string) {
	kept := r.sorted(of, func(_ int, d *Device, _ *Place) bool {
		switch {
		case d.PCI != nil:
			return d.PCI.Class.Known() && n.Class.Holds(d.PCI.Class.String())
		case d.USB != nil:
			return d.USB.Class.Known() && n.Class.Holds(d.USB.Class.String()) ||
				slices.ContainsFunc(d.USB.Interfaces, func(i usb.Interface) bool { return i.Class.Known() && n.Class.Holds(i.Class.String()) })
		}
		return false
	})
	return kept, fmt.Sprintf("no %s here has the class %s", n.Want, n.Class)
}

func (r *resolver) withIDs(of []int, n guest.Need) ([]int, string) {
	kept := r.sorted(of, func(_ int, d *Device, _ *Place) bool {
		var have guest.IDs
		switch {
		case d.PCI != nil:
			have = guest.IDs{Vendor: d.PCI.Vendor, Device: d.PCI.Device}
		case d.USB != nil:
			have = guest.IDs{Vendor: d.USB.Vendor, Device: d.USB.Product}
		}
		return have.Vendor.Known() && have.Vendor == n.IDs.Vendor && (!n.IDs.Device.Known() || have.Device == n.IDs.Device)
	})
	return kept, fmt.Sprintf("no %s here has the ids %s", n.Want, n.IDs)
}

// ofKind takes those that are built in, external, integrated or discrete. Where nobody
// states whether USB devices are built in, what notebooks have built in is taken for it
// unless another is nearer to the board, and the rest for external.
func (r *resolver) ofKind(of []int, n guest.Need) ([]int, string) {
	switch n.Which {
	case guest.Integrated, guest.Discrete:
		want := gpu.Yes
		if n.Which == guest.Discrete {
			want = gpu.No
		}
		kept := r.sorted(of, func(_ int, _ *Device, at *Place) bool { return at.Integrated.Answer == want })
		return kept, r.otherKind(of, n)
	case guest.BuiltIn, guest.External:
		order := []nearness{statedIn, likelyIn, maybeIn}
		if n.Which == guest.External {
			order = []nearness{statedOut, likelyOut, maybeIn}
		}
		for _, near := range order {
			kept := r.sorted(of, func(_ int, d *Device, at *Place) bool { return at.nearness(d) == near })
			if len(kept) > 0 {
				return kept, ""
			}
		}
	}
	return nil, fmt.Sprintf("no %s here is %s", n.Want, n.Which)
}

// otherKind says of what kind the GPUs are that are not of the one wanted.
func (r *resolver) otherKind(of []int, n guest.Need) string {
	s := fmt.Sprintf("no %s here is %s", n.Want, n.Which)
	for _, i := range of[:min(len(of), maxReasons)] {
		is := r.at.Devices[i].Integrated
		word := "is not known to be either"
		switch is.Answer {
		case gpu.Yes:
			word = "is integrated"
		case gpu.No:
			word = "is discrete"
		}
		s += "; " + r.Devices[i].ID() + " " + word
		if len(is.Because) > 0 {
			s += " (" + is.Because[0].Detail + ")"
		}
	}
	return s
}

// A nearness says how far a device is a part of the machine.
type nearness int

const (
	statedIn  nearness = iota // somebody says that it is built in
	likelyIn                  // nobody says, but such devices are built in, and it is on no hub
	maybeIn                   // the same, on a hub
	likelyOut                 // nobody says, and such devices are plugged in
	statedOut
)

func (p *Place) nearness(d *Device) nearness {
	switch {
	case p.BuiltIn == iommu.Yes:
		return statedIn
	case p.BuiltIn == iommu.No:
		return statedOut
	}
	switch d.Role() {
	case Webcam, WLAN, Bluetooth, WWAN, Modem, Fingerprint, SmartCard:
		if p.Hubs > 0 {
			return maybeIn
		}
		return likelyIn
	}
	return likelyOut
}
