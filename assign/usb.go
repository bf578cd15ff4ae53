package assign

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/usb"
)

// usbfs is the driver of an interface that a program has claimed through the node of its
// device.
const usbfs = "usbfs"

// A USBDevice is a USB device that changes hands without its controller: the drivers of
// the host let go of its interfaces, and the guest's QEMU opens its node. Whatever its
// alternate settings are, the kernel sets those of an interface back when a driver or a
// program lets go of it.
type USBDevice struct {
	Path usb.PortPath `json:"path"`

	// Node is by what the guest opens it, below the root without the slash, as
	// dev/bus/usb/001/004. A replug gives it another, and the device is lost.
	Node   string `json:"node"`
	Serial string `json:"serial,omitempty"` // as the device states it

	Configuration string         `json:"configuration"`   // the number of the one that is set
	Interfaces    []USBInterface `json:"interfaces"`      // in the order of their numbers
	Group         string         `json:"group,omitempty"` // IOMMU group of its controller, if it has one
}

// A USBInterface is one interface of a device and the driver that it goes back to.
type USBInterface struct {
	Name   string `json:"name"`             // as 1-4:1.0
	Driver string `json:"driver,omitempty"` // of the host, empty for none
}

// USBClaim is the claim of a USB device.
func USBClaim(p usb.PortPath) Claim { return Claim("usb " + p.String()) }

// under is the share that a device has of its controller's group: who has the group has
// the device.
func (d USBDevice) under() Claim {
	if d.Group == "" {
		return ""
	}
	return Under(Claim("group " + d.Group))
}

// claimed says which interface a program has.
func (d USBDevice) claimed(fsys fs.FS) error {
	for _, i := range d.Interfaces {
		name, err := hostfs.ReadLinkBase(fsys, deviceDir("usb", d.Path.String())+"/"+i.Name+"/driver")
		if err == nil && name == usbfs {
			return fmt.Errorf("a program has claimed interface %s", i.Name)
		}
	}
	return nil
}

// usbState is what a plan needs to know of a USB device.
type usbState struct {
	device *laptop.Device // nil when there is none
	read   usb.Device
	plan   USBDevice // as it would be in a plan
	id     string
	held   []laptop.Holder // who has claimed an interface, as far as it can be seen
	losses []laptop.Loss

	residue Residue
}

// readUSB reads the state of the device at a path.
func readUSB(fsys fs.FS, l *laptop.Laptop, path usb.PortPath) (usbState, error) {
	var s usbState
	if d := l.Device("usb:" + path.String()); d != nil {
		s.device = d
	}
	var err error
	s.read, err = usb.ReadDevice(fsys, path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil // the plan says so
	}
	errs := []error{err}
	note := func(err error) {
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	dir := deviceDir("usb", path.String())
	s.plan = USBDevice{Path: path, Node: s.read.Node(), Interfaces: []USBInterface{}}
	s.plan.Serial, err = usb.Serial(fsys, path)
	note(err)
	s.id, err = identifyUSB(fsys, path.String())
	note(err)
	entries, err := fs.ReadDir(fsys, dir)
	note(err)
	for _, i := range s.read.Interfaces {
		at := slices.IndexFunc(entries, func(e fs.DirEntry) bool {
			return strings.HasPrefix(e.Name(), path.String()+":") && strings.HasSuffix(e.Name(), "."+strconv.Itoa(i.Number))
		})
		if at < 0 {
			errs = append(errs, &OpError{"read", path.String(), fmt.Errorf("interface %d: %w", i.Number, fs.ErrNotExist)})
			continue
		}
		name := entries[at].Name()
		s.plan.Interfaces = append(s.plan.Interfaces, USBInterface{Name: name, Driver: i.Driver})
		s.plan.Configuration, _, _ = strings.Cut(strings.TrimPrefix(name, path.String()+":"), ".")
	}
	if f := l.Function(s.read.Controller); f != nil && f.PCI.Group.IsValid() {
		s.plan.Group = f.PCI.Group.String()
	}
	if s.device != nil {
		s.losses, err = laptop.Losses(fsys, l, []*laptop.Device{s.device})
		note(err)
	}
	if slices.ContainsFunc(s.read.Interfaces, func(i usb.Interface) bool { return i.Driver == usbfs }) {
		open, err := laptop.ReadOpen(fsys)
		note(err)
		s.held = open.Nodes[s.plan.Node]
	}
	return s, errors.Join(errs...)
}

// identifyUSB returns the ID of the [Identity] of the device with the given name on the
// bus: its number, which every replug changes, and its descriptors, with its ids among
// them. Neither waits for a driver, which the texts of the device, as its serial number,
// may.
func identifyUSB(fsys fs.FS, name string) (string, error) {
	dir := deviceDir("usb", name)
	number, err := hostfs.ReadString(fsys, dir+"/devnum")
	if err != nil {
		return "", err
	}
	vendor, err := hostfs.ReadString(fsys, dir+"/idVendor")
	if err != nil {
		return "", err
	}
	product, err := hostfs.ReadString(fsys, dir+"/idProduct")
	if err != nil {
		return "", err
	}
	id := fmt.Sprintf("%s:%s number %s", vendor, product, number)
	descriptors, err := fs.ReadFile(fsys, dir+"/descriptors")
	if errors.Is(err, fs.ErrNotExist) {
		return id, nil
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s descriptors %.8x", id, sha256.Sum256(descriptors)), nil
}

// includeUSB adds a USB device to the plan, and returns what speaks against it.
func (p *Plan) includeUSB(f *Facts, r Request, path usb.PortPath) []laptop.Finding {
	s := f.kinds.usb[path]
	id := "usb:" + path.String()
	var refused []laptop.Finding
	weigh := func(finding laptop.Finding) { refused = append(refused, p.weigh(r, finding)...) }
	block := func(code laptop.Code, detail, remedy string) {
		weigh(laptop.Finding{
			Code: code, Severity: laptop.Block, Device: id, Detail: detail,
			Evidence: "/" + deviceDir("usb", path.String()), Remedy: remedy,
		})
	}
	switch {
	case s.read.Hub:
		block(laptop.Bridge, "a hub stays with the host; what is plugged into it goes without it", "name one of those devices")
		return refused
	case s.device == nil:
		block(laptop.NotThere, "no such USB device in this machine", "indy devices lists what there is")
		return refused
	}
	for _, finding := range s.device.Findings {
		weigh(finding)
	}
	for _, loss := range s.losses {
		said := slices.ContainsFunc(s.device.Findings, func(f laptop.Finding) bool { return f.Code == loss.Kind })
		if loss.Severity == laptop.Block && !said {
			weigh(laptop.Finding{
				Code: loss.Kind, Severity: laptop.Block, Device: loss.Device, Detail: loss.What, Evidence: loss.Evidence, Remedy: loss.Remedy,
			})
		}
	}
	if finding, ok := s.residue.finding(r); ok {
		weigh(finding)
	}
	if s.plan.Node == "" || s.id == "" {
		block(laptop.Partial, "the number of "+path.String()+" on its bus is not known, by which it would be opened", "look at the running machine")
	}
	if s.plan.Configuration == "" {
		block(laptop.NotConfigured, path.String()+" has no interfaces: the kernel has set no configuration, or may not use it (authorized)",
			"write 1 to /"+deviceDir("usb", path.String())+"/authorized")
	}
	if s.read.Driver != "" && s.read.Driver != "usb" {
		block(laptop.USBClaimed, path.String()+" as a whole has been taken from the kernel by "+s.read.Driver, "end what uses it so")
	}
	for _, i := range s.read.Interfaces {
		if i.Driver == usbfs {
			block(laptop.USBClaimed, claimedText(path, i.Number, s.held), "end that program, or take the device from that guest")
		}
	}
	if len(refused) > 0 || slices.ContainsFunc(p.USB, func(d USBDevice) bool { return d.Path == path }) {
		return refused
	}
	p.USB = append(p.USB, s.plan)
	identity := Identity{Bus: "usb", Device: path.String(), ID: s.id}
	identity.parts(s.device)
	p.Identities = append(p.Identities, identity)
	p.Steps = append(p.Steps, usbSteps(s)...)
	return nil
}

func claimedText(path usb.PortPath, number int, holders []laptop.Holder) string {
	text := "a program has claimed interface " + strconv.Itoa(number) + " of " + path.String() + " (usbfs)"
	for i, h := range holders {
		text += []string{": ", ", "}[min(i, 1)] + h.String()
	}
	return text
}

// usbSteps take each interface from its driver, those of one driver after each other.
//
// A driver that has several interfaces for one thing takes the others along with the
// first, as a modem's data with its control interface, and binds none of them by itself;
// some let go of all when they lose one. So the interfaces of one driver are taken back
// together, by the first step: if the first interface is no longer with its driver, the
// others are taken from it, too, if they are not yet, and then bound in their order.
func usbSteps(s usbState) []Step {
	path := s.plan.Path.String()
	dir := deviceDir("usb", path)
	number := fmt.Sprintf("%02x", s.read.Interfaces[0].Number)
	configured := Check{What: s.plan.Interfaces[0].Name + "/bInterfaceNumber", Is: number}
	var all []Step
	for _, names := range s.units() {
		name := names[0].Driver
		file := "sys/bus/usb/drivers/" + name
		has := func(i USBInterface) Check { return Check{What: i.Name + "/" + driver, Is: name} }
		free := func(i USBInterface) Check { return Check{What: i.Name + "/" + driver} }
		// A guest may set another configuration, and the interfaces are others then. Once
		// it is set back the kernel offers them to its drivers.
		back := []Write{{File: dir + "/bConfigurationValue", Value: s.plan.Configuration, After: configured}}
		first := free(names[0])
		for _, i := range names[1:] {
			back = append(back, Write{file + "/unbind", i.Name, free(i), &first})
		}
		for n, i := range names {
			only := free(i)
			back = append(back, Write{file + "/bind", i.Name, has(i), &only})
			step := Step{
				Bus: "usb", Device: path, Prior: has(i), Undo: []Write{},
				Do: Write{File: file + "/unbind", Value: i.Name, After: free(i)},
			}
			if n > 0 {
				step.Prior = Check{What: present, Is: "yes"} // its driver may have let go of it
			}
			all = append(all, step)
		}
		all[len(all)-len(names)].Undo = back
	}
	return all
}

// units are the interfaces that have a driver, by that driver: those that it takes by
// themselves before those that it takes along.
func (s usbState) units() [][]USBInterface {
	var all [][]USBInterface
	for _, follows := range []bool{false, true} {
		for n, i := range s.plan.Interfaces {
			if i.Driver == "" || follower(s.read.Interfaces[n]) != follows {
				continue
			}
			at := slices.IndexFunc(all, func(u []USBInterface) bool { return u[0].Driver == i.Driver })
			if at < 0 {
				all, at = append(all, nil), len(all)
			}
			all[at] = append(all[at], i)
		}
	}
	return all
}

// follower reports whether the driver of another interface takes this one along: the data
// of a CDC function, the streams of a camera or a sound card.
func follower(i usb.Interface) bool {
	class := i.Class.String()
	switch {
	case strings.HasPrefix(class, "0a"):
		return true
	case strings.HasPrefix(class, "0e"), strings.HasPrefix(class, "01"):
		return !strings.HasPrefix(class[2:], "01")
	}
	return false
}
