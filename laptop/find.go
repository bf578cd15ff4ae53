package laptop

import (
	"fmt"
	"slices"
	"strings"

	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// A FindError says that a word does not name one device. Candidates are the
// devices it may mean, if there is more than one.
type FindError struct {
	Word       string
	Candidates []*Device

	names *Names
}

// Name returns what a candidate is called, by the names that were looked in.
func (e *FindError) Name(d *Device) string {
	if e.names == nil {
		return d.Where()
	}
	return e.names.Name(d)
}

// Error lists the candidates, or says where to look.
func (e *FindError) Error() string {
	if len(e.Candidates) == 0 {
		return fmt.Sprintf("no device %q in this machine; indy devices lists them", e.Word)
	}
	ids := make([]string, len(e.Candidates))
	for i, d := range e.Candidates {
		ids[i] = d.Where()
	}
	return fmt.Sprintf("%q may be any of %s; name one by its address", e.Word, strings.Join(ids, ", "))
}

// Find returns the device that word names: an address (01:00.0 is in domain 0000), a
// USB port path, an id as pci:0000:01:00.0 or i2c:i2c-ELAN0001:00, the kernel's name
// of a device on neither bus, a role that only one device plays, the name or node of
// what the kernel made of one (wlan0, hci0, /dev/video0), or a part of a name that
// only one device has. Names may be nil. The error is a *[FindError].
func (l *Laptop) Find(word string, names *Names) (*Device, error) {
	if a, err := pci.ParseAddress(strings.TrimPrefix(word, "pci:")); err == nil {
		if d := l.Function(a); d != nil {
			return d, nil
		}
		return nil, &FindError{Word: word}
	}
	if p, err := usb.ParsePortPath(strings.TrimPrefix(word, "usb:")); err == nil {
		for i := range l.Devices {
			if d := &l.Devices[i]; d.USB != nil && d.USB.Path == p {
				return d, nil
			}
		}
		return nil, &FindError{Word: word}
	}
	matches := l.matching(func(d *Device) bool { return d.Other != nil && d.ID() == word })
	if len(matches) == 0 {
		matches = l.matching(func(d *Device) bool { return d.Other != nil && d.Other.Name == word })
	}
	part := strings.ToLower(word)
	if len(matches) == 0 {
		matches = l.matching(func(d *Device) bool { return d.Role() == Role(part) })
	}
	if len(matches) == 0 {
		matches = l.matching(func(d *Device) bool { return slices.Contains(d.Roles, Role(part)) })
	}
	if node := strings.TrimPrefix(word, "/"); len(matches) == 0 && word != "" {
		matches = l.matching(func(d *Device) bool {
			return slices.Contains(d.Nodes, node) || slices.ContainsFunc(d.Classes, func(c ClassDevice) bool { return c.Name == word })
		})
	}
	if len(matches) == 0 && names != nil && word != "" {
		matches = l.matching(func(d *Device) bool { return strings.Contains(strings.ToLower(names.Name(d)), part) })
	}
	if len(matches) == 1 {
		return matches[0], nil
	}
	return nil, &FindError{word, matches, names}
}

func (l *Laptop) matching(is func(*Device) bool) []*Device {
	var found []*Device
	for i := range l.Devices {
		if is(&l.Devices[i]) {
			found = append(found, &l.Devices[i])
		}
	}
	return found
}
