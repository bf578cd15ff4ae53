package iommu

import (
	"fmt"
	"strings"

	"github.com/project-independence/indy/pci"
)

// A JoinReason says by which rule one function is in the group of another.
type JoinReason uint8

// The reasons, in the order in which the kernel looks for them.
const (
	RealDMADevice JoinReason = iota + 1 // its traffic carries the number of the function that carries its domain (Intel VMD)
	PCIBridge                           // it is on a conventional bus, which is one to the IOMMU
	MissingACS                          // a port above does not keep it from what is beside
	DMAAlias                            // one of both sends under the number of the other
	Multifunction                       // both are functions of a device that does not keep them apart
)

// String returns real-dma-device, pci-bridge, missing-acs, dma-alias, multifunction or unknown.
func (r JoinReason) String() string {
	names := []string{1: "real-dma-device", 2: "pci-bridge", 3: "missing-acs", 4: "dma-alias", 5: "multifunction"}
	if r == 0 || int(r) >= len(names) {
		return "unknown"
	}
	return names[r]
}

// MarshalText writes the reason as String does.
func (r JoinReason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// A Join is why one function is in a group with another.
type Join struct {
	Device, With pci.Address // Device is in the group because of With
	Reason       JoinReason
	// At is the port on whose link, or the function in which, isolation is missing; of an
	// alias the one that sends under another's number.
	At   pci.Address
	What string // what At is in words, such as root port; empty if that is not known
	// Missing are the services of ACS that At does not give. With HasACS it has them, and
	// they are switched off; otherwise it has no ACS, or must have none.
	Missing pci.ACSFlags
	HasACS  bool
	Quirk   string // the kernel's function that decided instead of the capability, if one did
}

// String says it in one sentence without a full stop.
func (j Join) String() string {
	at := j.At.String()
	if j.What != "" {
		at = j.What + " " + at
	}
	s := fmt.Sprintf("%s shares the group of %s because ", j.Device, j.With)
	switch j.Reason {
	case RealDMADevice:
		return s + fmt.Sprintf("%s carries its whole PCI domain (Intel VMD): to the IOMMU its traffic is that of %s", j.At, j.At)
	case PCIBridge:
		return s + fmt.Sprintf("it sits on the conventional PCI bus behind %s: to the IOMMU all that comes from there is the bridge's own", at)
	case MissingACS:
		beyond := ""
		if j.At != j.With {
			beyond = " above that"
		}
		return s + fmt.Sprintf("%s%s %s: what is behind it could reach what is beside it", at, beyond, j.lack())
	case DMAAlias:
		other := j.With
		if j.At == j.With {
			other = j.Device
		}
		return s + fmt.Sprintf("%s also sends under the number of %s (known to the kernel: %s)", j.At, other, j.Quirk)
	case Multifunction:
		return s + fmt.Sprintf("both are functions of one device, and neither is kept from the other: %s %s", at, j.lack())
	}
	return s + "of a rule that has no name"
}

// lack says what is missing at At.
func (j Join) lack() string {
	switch {
	case j.Quirk != "" && !j.HasACS:
		return fmt.Sprintf("does not give %s (the kernel decides by %s)", flagNames(j.Missing), j.Quirk)
	case j.HasACS:
		return "has ACS with " + flagNames(j.Missing) + " switched off"
	case strings.HasPrefix(j.What, "conventional"):
		return "cannot have ACS"
	}
	return "lacks ACS (" + flagNames(j.Missing) + ")"
}

// ACSNames returns the names of the services that are set, as source-validation and
// request-redirect, in the order of their bits.
func ACSNames(flags pci.ACSFlags) []string {
	names := []string{}
	for i, n := range []string{"source-validation", "translation-blocking", "request-redirect", "completion-redirect",
		"upstream-forwarding", "egress-control", "direct-translated-p2p"} {
		if flags>>i&1 != 0 {
			names = append(names, n)
		}
	}
	return names
}

// flagNames writes them as the specification does: Source Validation, Request Redirect.
func flagNames(flags pci.ACSFlags) string {
	names := ACSNames(flags)
	for i, n := range names {
		words := strings.Split(n, "-")
		for k, w := range words {
			words[k] = strings.ToUpper(w[:1]) + w[1:]
		}
		names[i] = strings.Join(words, " ")
	}
	return strings.Join(names, ", ")
}

// String says what may be, and why that is not known.
func (u Unread) String() string {
	if !u.With.IsValid() {
		return fmt.Sprintf("%s may share the group of others: %v", u.Device, u.Err)
	}
	return fmt.Sprintf("%s may share the group of %s, which %s decides: %v", u.Device, u.With, u.At, u.Err)
}

// String says which functions the kernel has apart or together, and what was derived.
func (d Difference) String() string {
	var groups, devices []string
	for _, g := range d.Groups {
		groups = append(groups, g.String())
	}
	for _, a := range d.Devices {
		devices = append(devices, a.String())
	}
	list := strings.Join(devices, ", ")
	if d.Kind == KernelJoins {
		return fmt.Sprintf("the kernel has %s in one group, %s, for a reason that is not among the facts read", list, strings.Join(groups, ", "))
	}
	return fmt.Sprintf("the kernel has %s in groups of their own (%s), though by what the functions say they are not kept apart",
		list, strings.Join(groups, ", "))
}
