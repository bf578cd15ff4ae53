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
	// Missing are the services of ACS that At does not give, of MissingACS and Multifunction.
	// With HasACS it has them, and they are switched off; otherwise it has no ACS, or must
	// have none.
	Missing pci.ACSFlags
	HasACS  bool
	Quirk   string // the kernel's function that decided instead of the capability, if one did
}

// String says it in one sentence without a full stop.
func (j Join) String() string { return j.sentence([]pci.Address{j.Device}) }

// Explain says why functions share a group, in the order of the joins: a sentence as
// [Join.String] writes it for each, and one for all that are there for the same reason.
func Explain(joins []Join) []string {
	var all []string
	said := map[Join]bool{}
	for i, j := range joins {
		if said[j.same()] {
			continue
		}
		said[j.same()] = true
		devices := []pci.Address{j.Device}
		for _, other := range joins[i+1:] {
			if other.same() == j.same() {
				devices = append(devices, other.Device)
			}
		}
		all = append(all, j.sentence(devices))
	}
	return all
}

// same is a Join without what may differ where the reason is the same.
func (j Join) same() Join {
	switch j.Reason {
	case DMAAlias:
		return j
	case Multifunction:
		j.At = pci.Address{} // each itself
	}
	j.Device = pci.Address{}
	return j
}

// sentence says why devices are in the group of j.With, all for the reason of j.
func (j Join) sentence(devices []pci.Address) string {
	at := j.At.String()
	if j.What != "" {
		at = j.What + " " + at
	}
	list, several := enumerate(devices), len(devices) > 1
	s := list + " shares the group of " + j.With.String() + " because "
	if several {
		s = list + " share the group of " + j.With.String() + " because "
	}
	switch j.Reason {
	case RealDMADevice:
		if several {
			return s + j.At.String() + " carries their whole PCI domain (Intel VMD): to the IOMMU their traffic is its own"
		}
		return s + j.At.String() + " carries its whole PCI domain (Intel VMD): to the IOMMU its traffic is that of " + j.At.String()
	case PCIBridge:
		sits := "it sits"
		if several {
			sits = "they sit"
		}
		return s + sits + " on the conventional PCI bus behind " + at + ": to the IOMMU all that comes from there is the bridge's own"
	case MissingACS:
		if j.At != j.With {
			at += " above that"
		}
		return s + at + " " + j.lack(false) + ": what is behind it could reach what is beside it"
	case DMAAlias:
		other := j.With
		if j.At == j.With {
			other = j.Device
		}
		return s + fmt.Sprintf("%s also sends under the number of %s (known to the kernel: %s)", j.At, other, j.Quirk)
	case Multifunction:
		if several {
			return s + "all are functions of one device, and none is kept from the others: " + or(j.What, "function") + "s " + list + " " + j.lack(true)
		}
		return s + "both are functions of one device, and neither is kept from the other: " + at + " " + j.lack(false)
	}
	return s + "of a rule that has no name"
}

// enumerate writes addresses as 0000:01:00.0, 0000:01:00.1 and 0000:01:00.2.
func enumerate(addresses []pci.Address) string {
	var b strings.Builder
	for i, a := range addresses {
		switch {
		case i == 0:
		case i == len(addresses)-1:
			b.WriteString(" and ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(a.String())
	}
	return b.String()
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// lack says what is missing at At, or at several.
func (j Join) lack(several bool) string {
	verb := func(one, more string) string {
		if several {
			return more
		}
		return one
	}
	switch {
	case j.HasACS:
		return verb("has", "have") + " ACS with " + flagNames(j.Missing) + " switched off"
	case j.Quirk != "":
		return fmt.Sprintf("%s not give %s (the kernel decides by %s)", verb("does", "do"), flagNames(j.Missing), j.Quirk)
	case strings.HasPrefix(j.What, "conventional"):
		return "cannot have ACS"
	}
	return verb("lacks", "lack") + " ACS (" + flagNames(j.Missing) + ")"
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
