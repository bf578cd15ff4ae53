package usb

import (
	"slices"
	"strings"
)

// A Grouping is why interfaces are one function.
type Grouping uint8

// The groupings.
const (
	Alone      Grouping = iota // nothing joins the interface to another
	Associated                 // an interface association names them
	United                     // a union descriptor of a communications interface does
	Collected                  // the header of a sound device's or camera's control interface does
)

// String returns alone, associated, united or collected.
func (g Grouping) String() string {
	switch g {
	case Associated:
		return "associated"
	case United:
		return "united"
	case Collected:
		return "collected"
	}
	return "alone"
}

// MarshalText writes the grouping as String does.
func (g Grouping) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// A Function is what works as one device within a device: the camera and the
// microphone of a webcam are two. One driver normally drives all of its interfaces,
// so that they go together.
type Function struct {
	// Class is that of the association, else that of the first interface.
	Class       Class
	Interfaces  []int // numbers, in ascending order
	Grouping    Grouping
	StringIndex uint8 // of its name, 0 for none
}

// Functions groups the interfaces of the configuration with that value (the file
// bConfigurationValue) into functions: by interface association, else by union, else
// by the header of a control interface, else each alone. Each interface is in one
// function. They are in the order of their first interface; there are none if there
// is no such configuration.
func (d Descriptors) Functions(configuration int) []Function {
	c, _ := d.Configuration(configuration)
	settings := c.firstSettings()
	var list []Function
	taken := map[int]bool{}
	group := func(f Function, numbers []int) {
		for _, n := range numbers {
			if _, ok := find(settings, n); ok && !taken[n] {
				taken[n] = true
				f.Interfaces = append(f.Interfaces, n)
			}
		}
		if len(f.Interfaces) > 0 {
			slices.Sort(f.Interfaces)
			list = append(list, f)
		}
	}
	for _, a := range c.Associations {
		f := Function{Class: a.Class, Grouping: Associated, StringIndex: a.StringIndex}
		if first, ok := find(settings, a.First); ok && a.Class.Base() == 0 {
			f.Class = first.Class // some have it empty, against the specification
		}
		var numbers []int
		for n := range a.Count {
			numbers = append(numbers, a.First+n)
		}
		group(f, numbers)
	}
	for _, in := range settings {
		if taken[in.Number] {
			continue
		}
		f := Function{Class: in.Class, StringIndex: in.StringIndex}
		numbers := []int{in.Number}
		switch s := in.Specific.(type) {
		case CDC:
			if s.Data != nil {
				f.Grouping, numbers = United, append(numbers, s.Data...)
			}
		case AudioControl:
			if s.Streaming != nil {
				f.Grouping, numbers = Collected, append(numbers, s.Streaming...)
			}
		case VideoControl:
			if s.Streaming != nil {
				f.Grouping, numbers = Collected, append(numbers, s.Streaming...)
			}
		}
		group(f, numbers)
	}
	slices.SortStableFunc(list, func(a, b Function) int { return a.Interfaces[0] - b.Interfaces[0] })
	return list
}

// InterfaceSet returns the classes of the interfaces of the configuration with that
// value in the order of their numbers, as 0e0100+0e0200+010100, each by its first
// alternate setting. It tells devices of one model apart from others, also when ids
// are shared, and is "" if there is no such configuration.
func (d Descriptors) InterfaceSet(configuration int) string {
	c, _ := d.Configuration(configuration)
	var set []string
	for _, in := range c.firstSettings() {
		set = append(set, in.Class.String())
	}
	return strings.Join(set, "+")
}

// InterfaceSet returns the classes of the device's interfaces as
// [Descriptors.InterfaceSet] does for the active configuration, but each by the
// alternate setting that is in use, whose class may be another: that of a network
// adapter of two kinds depends on its driver.
func (d Device) InterfaceSet() string {
	var set []string
	for _, in := range d.Interfaces {
		set = append(set, in.Class.String())
	}
	return strings.Join(set, "+")
}

// firstSettings returns the lowest alternate setting of each interface in the order
// of their numbers.
func (c Configuration) firstSettings() []InterfaceDescriptor {
	settings := slices.Clone(c.Interfaces)
	slices.SortStableFunc(settings, func(a, b InterfaceDescriptor) int {
		if a.Number != b.Number {
			return a.Number - b.Number
		}
		return a.Alternate - b.Alternate
	})
	return slices.CompactFunc(settings, func(a, b InterfaceDescriptor) bool { return a.Number == b.Number })
}

func find(settings []InterfaceDescriptor, number int) (InterfaceDescriptor, bool) {
	i, ok := slices.BinarySearchFunc(settings, number, func(in InterfaceDescriptor, n int) int { return in.Number - n })
	if !ok {
		return InterfaceDescriptor{}, false
	}
	return settings[i], true
}
