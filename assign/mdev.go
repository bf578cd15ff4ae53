package assign

import (
	"crypto/rand"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// A MediatedRequest asks for a mediated device, a part of a device that the device's
// driver makes (Intel GVT-g, NVIDIA vGPU). The device itself stays with that driver.
type MediatedRequest struct {
	Parent string // name in /sys/class/mdev_bus: of a PCI function its address
	Type   string // its directory in mdev_supported_types, or its name
	UUID   string // of the new device, see [NewUUID]
}

// A MediatedDevice is a mediated device that a plan makes, and takes away when it is given
// back.
type MediatedDevice struct {
	Parent string `json:"parent"`
	Type   string `json:"type"` // its directory in mdev_supported_types
	UUID   string `json:"uuid"` // its name in /sys/bus/mdev/devices

	Group string `json:"group,omitempty"` // IOMMU group of the parent, if it has one
}

// NewUUID returns a random UUID (version 4, RFC 9562) for a mediated device.
func NewUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// ParseUUID returns a UUID as the kernel writes it: 36 characters in lower case.
func ParseUUID(s string) (string, error) {
	s = strings.ToLower(s)
	if !regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`).MatchString(s) {
		return "", fmt.Errorf("%.64q is no UUID, as 83b8f4f2-509f-482f-8e12-3c9d3d9f1c11", s)
	}
	return s, nil
}

// MediatedClaim is the claim of a mediated device.
func MediatedClaim(uuid string) Claim { return Claim("mdev " + uuid) }

// under is the share that the device has of its parent's group: its parent has to keep
// the driver that has made it.
func (m MediatedDevice) under() Claim {
	if m.Group == "" {
		return ""
	}
	return Under(Claim("group " + m.Group))
}

// mediated is what a plan needs to know of a parent of mediated devices.
type mediated struct {
	types []gpu.MediatedType
	group string
}

func readMediated(fsys fs.FS, l *laptop.Laptop, r MediatedRequest) (mediated, error) {
	var s mediated
	types, err := gpu.MediatedTypesOf(fsys, r.Parent)
	s.types = types
	if a, aerr := pci.ParseAddress(r.Parent); aerr == nil {
		if d := l.Function(a); d != nil && d.PCI.Group.IsValid() {
			s.group = d.PCI.Group.String()
		}
	}
	return s, err
}

// includeMediated adds a mediated device to the plan, and returns what speaks against it.
func (p *Plan) includeMediated(f *Facts, r Request, m MediatedRequest) []laptop.Finding {
	s := f.kinds.mdevs[m.Parent]
	dir := "sys/class/mdev_bus/" + m.Parent + "/mdev_supported_types"
	refuse := func(file, remedy, detail string, args ...any) []laptop.Finding {
		return p.weigh(r, laptop.Finding{
			Code: laptop.NoMediated, Severity: laptop.Block, Device: "pci:" + m.Parent, Detail: fmt.Sprintf(detail, args...),
			Evidence: "/" + dir + file, Remedy: remedy,
		})
	}
	if len(s.types) == 0 {
		return refuse("", "load its driver with what makes them (i915.enable_gvt=1, NVIDIA's vGPU host driver)", "no mediated devices can be made of %s", m.Parent)
	}
	at := slices.IndexFunc(s.types, func(t gpu.MediatedType) bool { return t.ID == m.Type })
	if at < 0 {
		at = slices.IndexFunc(s.types, func(t gpu.MediatedType) bool { return t.Name != "" && t.Name == m.Type })
	}
	if at < 0 {
		var names []string
		for _, t := range s.types[:min(len(s.types), 32)] {
			names = append(names, t.ID)
		}
		return refuse("", "name one of "+strings.Join(names, ", "), "%s makes no mediated device of the type %q", m.Parent, m.Type)
	}
	t := s.types[at]
	uuid, err := ParseUUID(m.UUID)
	switch {
	case err != nil:
		return refuse("/"+t.ID+"/create", "", "%v", err)
	case t.Available == 0:
		return refuse("/"+t.ID+"/available_instances", "give one back, or take a smaller type", "%s can make no more of the type %s now", m.Parent, t.ID)
	case t.API != "" && t.API != VFIODriver:
		return refuse("/"+t.ID+"/device_api", "", "devices of the type %s are no PCI devices (%s)", t.ID, t.API)
	}
	if a, err := pci.ParseAddress(m.Parent); err == nil {
		var refused []laptop.Finding
		for _, finding := range f.partOf(r, a, pci.Address{}) {
			refused = append(refused, p.weigh(r, finding)...)
		}
		if len(refused) > 0 {
			return refused
		}
	}
	made := MediatedDevice{Parent: m.Parent, Type: t.ID, UUID: uuid, Group: s.group}
	p.Mediated = append(p.Mediated, made)
	device := deviceDir("mdev", uuid)
	p.Steps = append(p.Steps, Step{
		Bus: "mdev", Device: uuid, Prior: Check{What: present},
		// Its driver binds while it is made.
		Do:   Write{File: dir + "/" + t.ID + "/create", Value: uuid, After: Check{What: driver, Not: true}},
		Undo: []Write{{File: device + "/remove", Value: "1", After: Check{What: present}}},
	})
	return nil
}
