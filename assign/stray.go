package assign

import (
	"fmt"
	"io/fs"
	"slices"

	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// A Stray is a function that is with vfio-pci, and of which nobody says why: no lease, no
// process that has it open, no driverctl. A lease that was lost leaves such functions,
// and so does who bound them by hand. Nothing touches it.
type Stray struct {
	Device   pci.Address `json:"device"`
	Override string      `json:"driver_override"` // empty for none
	Detail   string      `json:"detail"`
}

// String names the function, and what to do by hand.
func (s Stray) String() string { return s.Device.String() + " " + s.Detail }

// Strays lists the functions that are with vfio-pci and have no known owner, by address,
// without those that kept says somebody keeps there. It writes nothing. Leases that cannot be
// read may hold any function: then the error says so, and nothing is listed. Without root
// the processes of others are not seen.
func (s *Store) Strays(fsys fs.FS, kept func(pci.Address) bool) ([]Stray, error) {
	held := map[pci.Address]bool{}
	// Once before and once after: whoever hands over or gives back meanwhile is in one of
	// the two.
	if err := s.addHeld(held); err != nil {
		return nil, err
	}
	all, err := foreign(fsys, held)
	if err != nil {
		return nil, err
	}
	if err := s.addHeld(held); err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(f Foreign) bool {
		return f.Driver != VFIODriver || f.Driverctl != "" || len(f.Holders) > 0 || held[f.Device] || kept(f.Device)
	})
	if len(all) == 0 {
		return nil, nil
	}
	open, _ := laptop.ReadOpen(fsys) // what cannot be seen is not named
	var strays []Stray
	for _, f := range all {
		// Who uses iommufd has a node of the function itself open.
		nodes, _ := Nodes(fsys, "pci", f.Device.String())
		if slices.ContainsFunc(nodes, func(node string) bool { return len(open.Nodes[node]) > 0 }) {
			continue
		}
		strays = append(strays, newStray(f))
	}
	return strays, nil
}

// addHeld adds the functions of all leases.
func (s *Store) addHeld(held map[pci.Address]bool) error {
	leases, err := s.List()
	for _, l := range leases {
		for _, a := range l.Devices {
			held[a] = true
		}
	}
	return err
}

func newStray(f Foreign) Stray {
	s := Stray{Device: f.Device, Override: plain.Short(f.Override)}
	dir, first := "/sys/bus/pci/devices/"+f.Device.String(), ""
	s.Detail = "is with vfio-pci, and no lease, process or early binding is the reason"
	if f.Override != "" {
		s.Detail = fmt.Sprintf("is with vfio-pci by the driver override %s, and no lease, process or early binding is the reason", s.Override)
		first = "echo > " + dir + "/driver_override; "
	}
	s.Detail += fmt.Sprintf("; if it is nobody's, give it to its own driver by hand: %secho %s > %s/driver/unbind; echo %s > /sys/bus/pci/drivers_probe",
		first, f.Device, dir, f.Device)
	return s
}
