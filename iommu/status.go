package iommu

import (
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
)

// An Answer is yes, no, or unknown, which is the zero value.
type Answer int8

// The answers.
const (
	Unknown Answer = iota
	No
	Yes
)

// String returns yes, no or unknown.
func (a Answer) String() string {
	switch a {
	case Yes:
		return "yes"
	case No:
		return "no"
	}
	return "unknown"
}

// MarshalJSON writes true, false, or null when unknown.
func (a Answer) MarshalJSON() ([]byte, error) {
	switch a {
	case Yes:
		return []byte("true"), nil
	case No:
		return []byte("false"), nil
	}
	return []byte("null"), nil
}

// UnmarshalJSON reads what MarshalJSON writes.
func (a *Answer) UnmarshalJSON(data []byte) error {
	var b *bool
	if err := json.Unmarshal(data, &b); err != nil {
		return err
	}
	switch {
	case b == nil:
		*a = Unknown
	case *b:
		*a = Yes
	default:
		*a = No
	}
	return nil
}

// A Status says whether a machine's IOMMU works.
type Status struct {
	// Enabled is set when the kernel made groups, other than those of VFIO's no-IOMMU
	// mode.
	Enabled bool `json:"enabled"`
	// Kind is intel, amd, virtio, arm-smmu, arm-smmu-v3, another unit's name, "none"
	// without a unit and a group, or "unknown" with groups of an unnamed unit, or when
	// no unit is named and nothing is said of groups.
	Kind string `json:"kind"`
	// Units are the entries of /sys/class/iommu.
	Units []string `json:"units"`
	// Unstated is set when a saved machine does not say which groups its kernel made,
	// as a report of another program: then Enabled is false and means nothing. It is in
	// JSON as null for enabled.
	Unstated bool `json:"-"`
	// InterruptRemapping says whether the kernel routes interrupts through the
	// IOMMU, by the chips named in /proc/interrupts. Without it a device can send
	// interrupts to the host as it likes.
	InterruptRemapping Answer `json:"interrupt_remapping"`
}

// MarshalJSON writes enabled as null when it is unstated.
func (s Status) MarshalJSON() ([]byte, error) {
	type plain Status // without this method
	out := struct {
		Enabled *bool `json:"enabled"`
		plain
	}{&s.Enabled, plain(s)}
	if s.Unstated {
		out.Enabled = nil
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (s *Status) UnmarshalJSON(data []byte) error {
	type plain Status
	in := struct {
		Enabled *bool `json:"enabled"`
		*plain
	}{plain: (*plain)(s)}
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	s.Enabled, s.Unstated = in.Enabled != nil && *in.Enabled, in.Enabled == nil
	return nil
}

// ReadStatus reads the state of the IOMMU. What a machine does not state is
// unknown; the error joins what could not be read for other reasons.
//
// A kernel has both /sys/class/iommu and /sys/kernel/iommu_groups, or neither. A
// machine with the first and without the second leaves it open whether there are
// groups. So does one with /proc/cpuinfo and without /sys/kernel, which every kernel
// has: whoever copied the machine, as ghw does, left that out.
func ReadStatus(fsys fs.FS, groups []Group) (Status, error) {
	s := Status{Kind: "none", Units: []string{}}
	var errs []error
	units, err := fs.ReadDir(fsys, "sys/class/iommu")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, &OpError{"list IOMMU units", GroupID{}, err})
	}
	for _, u := range units {
		s.Units = append(s.Units, u.Name())
	}
	missing := func(name string) bool {
		_, err := fs.Lstat(fsys, name)
		return errors.Is(err, fs.ErrNotExist)
	}
	if len(groups) == 0 && missing(groupsDir) {
		s.Unstated = err == nil || missing("sys/kernel") && !missing("proc/cpuinfo")
	}
	s.Enabled = slices.ContainsFunc(groups, func(g Group) bool {
		if len(units) > 0 {
			return true
		}
		without, err := NoIOMMU(fsys, g.ID)
		if err != nil {
			errs = append(errs, err)
		}
		return without == No
	})
	switch {
	case len(units) > 0:
		s.Kind = kind(s.Units[0])
	case s.Enabled, s.Unstated:
		s.Kind = "unknown"
	}
	interrupts, err := fs.ReadFile(fsys, "proc/interrupts")
	switch {
	case err == nil:
		s.InterruptRemapping = remapping(string(interrupts))
	case !errors.Is(err, fs.ErrNotExist):
		errs = append(errs, &OpError{"read interrupt chips", GroupID{}, err})
	}
	return s, errors.Join(errs...)
}

// kind names the hardware by what its kernel driver calls the units.
func kind(unit string) string {
	for _, k := range []struct{ prefix, kind string }{
		{"dmar", "intel"}, {"ivhd", "amd"}, {"virtio", "virtio"}, {"smmu3", "arm-smmu-v3"}, {"smmu", "arm-smmu"},
	} {
		if strings.HasPrefix(unit, k.prefix) {
			return k.kind
		}
	}
	return unit
}

// remapping looks at the chips of /proc/interrupts, the first word after a line's
// label and its counts: those behind interrupt remapping begin with IR- (IR-IO-APIC,
// IR-PCI-MSI) on x86. A line without remapping does not speak against it, as the
// timer's and the IOMMU's own interrupts never have it.
func remapping(interrupts string) Answer {
	answer := Unknown
	for line := range strings.Lines(interrupts) {
		label, rest, ok := strings.Cut(line, ":")
		if !ok || !isNumber(strings.TrimSpace(label)) {
			continue
		}
		for chip := range strings.FieldsSeq(rest) {
			if isNumber(chip) {
				continue
			}
			switch {
			case strings.HasPrefix(chip, "IR-"):
				return Yes
			case strings.HasPrefix(chip, "PCI-MSI"), strings.HasPrefix(chip, "IO-APIC"):
				answer = No
			}
			break
		}
	}
	return answer
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
