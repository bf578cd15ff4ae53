package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/laptop"
)

// residue returns what is noted of what guests have left in a function or a USB device, nil
// when nothing is: of a saved machine nothing is known.
func (m *machine) residue(d *laptop.Device) (*assign.Residue, error) {
	if m.residues == nil || d.PCI == nil && d.USB == nil {
		return nil, nil
	}
	all, err := m.residues()
	if err != nil {
		return nil, err
	}
	var now assign.Fingerprint
	name := d.ID()
	if d.PCI != nil {
		name = d.PCI.Address.String()
		now, err = assign.ReadFingerprint(m.fsys, d.PCI.Address)
	} else {
		now, err = assign.ReadUSBFingerprint(m.fsys, d.USB.Path)
	}
	if err != nil {
		return nil, err
	}
	r := all.Of(name, now)
	if r.State == assign.Clean && r.Since.IsZero() {
		return nil, nil
	}
	return &r, nil
}

// residueWords says what is left in a function, since when, and what is to be done.
func residueWords(r assign.Residue) string {
	s := r.String()
	if !r.Since.IsZero() {
		s += ", since " + r.Since.Local().Format(time.DateTime)
	}
	switch {
	case r.State == assign.Clean && len(r.Users) > 0:
		return s + ": it was reset by way of D3hot only, which not every device takes for one, so that no locked guest gets it or was the last to"
	case r.State == assign.Clean && r.Reset != nil && r.Reset.Method != "":
		return s + ": it was reset by " + r.Reset.Method
	case r.State == assign.Clean:
		return s
	case r.Detail != "":
		s += ": " + r.Detail
	case r.Reset != nil:
		s += ": " + r.Reset.String()
	}
	return fmt.Sprintf("%s; indy reset %s makes it clean, if the kernel can reset it", s, strings.TrimPrefix(r.Device, "usb:"))
}

// writeResidues lists the devices that are not clean and that no lease has: of the
// others the lease says who has them.
func writeResidues(env *Env, left []assign.Residue, leases []assign.Lease) {
	for _, r := range left {
		leased := slices.ContainsFunc(leases, func(l assign.Lease) bool { return slices.Contains(l.Names(), r.Device) })
		if r.State != assign.Clean && !leased {
			fmt.Fprintf(env.Stdout, "%s is %s\n", r.Device, printable(residueWords(r)))
		}
	}
}
