package laptop

import (
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

// The codes of what the host loses with a device, beside those of [Finding]s that every
// listing has.
const (
	Hibernation  Code = "hibernation"    // carries the disk to which the host would hibernate
	OnlyKeyboard Code = "only-keyboard"  // leaves the host without a keyboard
	OnlyPointer  Code = "only-pointer"   // leaves the host without mouse, touchpad or touchscreen
	NetworkInUse Code = "network-in-use" // carries a network interface that is up, or a VPN
	StreamOpen   Code = "stream-open"    // a program plays or records
	NodeOpen     Code = "node-open"      // a process has a node below /dev open or mapped
	Console      Code = "console"        // carries a console of the kernel
	Screen       Code = "screen"         // a screen that is plugged in goes dark
	RadioSwitch  Code = "radio-switch"   // a switch that stays with the host can turn the radio off
)

// A Loss is one thing that the host does with a device, and can no longer do when the
// device goes to a guest.
type Loss struct {
	Kind     Code     `json:"kind"`
	Device   string   `json:"device"`   // id of the device that carries it, as usb:1-2
	What     string   `json:"what"`     // in words, one line
	Via      []string `json:"via"`      // from what is lost, link by link, down to the device, and to the function it hangs on
	Severity Severity `json:"severity"` // Block where a plan refuses; Gap where it is not known
	Evidence string   `json:"evidence"` // the file that says so
	Remedy   string   `json:"remedy"`   // what to do first, empty when there is nothing to do
}

// Losses says what the host loses with a set of devices, the gravest first: mounted file
// systems, swap space and the hibernation image, in the mount namespaces of others, too;
// ways to the network; the only keyboard and pointer, screens and consoles; streams and
// device nodes that programs have open; and each device that hangs on one of the set.
// The devices are of l, and what changes hands with them, as the other members of their
// groups, is for the caller to name.
//
// It looks again at the machine, at each of its processes among others, and is for
// questions about few devices, not for listings; see [ReadOpen]. It waits for a program
// that is just opening a sound stream. What cannot be known is a Loss of severity
// [Gap]; the error joins what could not be read.
func Losses(fsys fs.FS, l *Laptop, devices []*Device) ([]Loss, error) {
	x := losing{fsys: fsys, l: l, given: slices.Clone(devices), set: slices.Clone(devices)}
	for _, d := range devices {
		if d.PCI == nil {
			continue
		}
		for _, c := range l.Carried(d.PCI.Address) {
			if !slices.Contains(x.set, c) {
				x.set = append(x.set, c)
			}
		}
	}
	x.note(x.look())
	x.storage()
	x.network()
	x.sitting()
	x.consoles()
	x.streams()
	x.nodes()
	x.carried()
	slices.SortStableFunc(x.losses, func(a, b Loss) int { return gravity(a.Severity) - gravity(b.Severity) })
	return x.losses, errors.Join(x.errs...)
}

func gravity(s Severity) int {
	return slices.Index([]Severity{Block, Gap, Warning, Info}, s)
}

// losing is one answer of Losses in the making.
type losing struct {
	fsys   fs.FS
	l      *Laptop
	given  []*Device // as asked for
	set    []*Device // and what hangs on them
	needs  *needs
	blocks *blocks
	open   Open
	played map[string]bool // nodes of sound streams that were reported
	losses []Loss
	errs   []error
}

// look reads what the host does with any device.
func (x *losing) look() error {
	var err, usesErr, openErr, usbErr error
	x.blocks, err = readBlocks(x.fsys)
	host, usesErr := readUses(x.fsys, x.blocks)
	found, usbErr := usb.Devices(x.fsys)
	host.carriedKnown = unlessMissing(usbErr, len(found)) == nil
	seatErr := host.readSeat(x.fsys, x.l, true)
	x.open, openErr = ReadOpen(x.fsys)
	x.needs = newNeeds(x.l, host)
	return errors.Join(err, usesErr, unlessMissing(usbErr, len(found)), seatErr, openErr)
}

func (x *losing) note(err error) {
	if err != nil && len(x.errs) < maxErrors {
		x.errs = append(x.errs, err)
	}
}

// add adds what is lost with d; via leads from what is lost to the device.
func (x *losing) add(d *Device, loss Loss, via ...string) {
	loss.Device = d.ID()
	loss.Via = append(slices.Clip(via), loss.Device)
	if c := d.Controller(); c.IsValid() && slices.ContainsFunc(x.set, func(s *Device) bool { return s.PCI != nil && s.PCI.Address == c }) {
		loss.Via = append(loss.Via, "pci:"+c.String())
	}
	for i, link := range loss.Via {
		loss.Via[i] = oneLine(link)
	}
	loss.What, loss.Evidence = oneLine(loss.What), "/"+strings.TrimPrefix(oneLine(loss.Evidence), "/")
	x.losses = append(x.losses, loss)
}

// owner returns the device of the set that carries a use, the one nearest to what is
// used, or nil.
func (x *losing) owner(u Use) *Device {
	for _, d := range x.set {
		switch {
		case d.USB != nil && d.USB.Path == u.Port:
			return d
		case d.Other != nil && slices.ContainsFunc(d.Classes, func(c ClassDevice) bool {
			return c.Name == u.Node && (c.Class == "net" || c.Class == "block")
		}):
			return d
		}
	}
	for _, a := range slices.Backward(u.Functions) {
		if d := x.function(a); d != nil {
			return d
		}
	}
	return nil
}

// function returns the device of the set that is the PCI function a, or nil.
func (x *losing) function(a pci.Address) *Device {
	i := slices.IndexFunc(x.set, func(d *Device) bool { return d.PCI != nil && d.PCI.Address == a })
	if i < 0 {
		return nil
	}
	return x.set[i]
}

// uses adds what of uses the set carries.
func (x *losing) uses(uses []Use, codes ...Code) {
	for _, u := range uses {
		if d := x.owner(u); d != nil && slices.Contains(codes, u.Code) {
			x.add(d, Loss{Kind: u.Code, What: u.What, Severity: Block, Evidence: u.Evidence, Remedy: u.remedy()}, u.Via...)
		}
	}
}

// gaps adds what a listing cannot say of the devices either, of these codes.
func (x *losing) gaps(codes ...Code) {
	for _, d := range x.given {
		if x.function(d.Controller()) != nil {
			continue // what is not known of it is not known of that
		}
		for _, f := range x.needs.of(d) {
			if f.Severity == Gap && slices.Contains(codes, f.Code) {
				x.add(d, Loss{Kind: f.Code, What: f.Detail, Severity: Gap, Evidence: strings.TrimPrefix(f.Evidence, "/"), Remedy: f.Remedy})
			}
		}
	}
}

// carried adds the devices that hang on those that were asked for.
func (x *losing) carried() {
	for _, d := range x.set {
		if slices.Contains(x.given, d) {
			continue
		}
		what := roleNames(d.Roles) + " " + d.Where()
		if driver := d.Driver(); driver != "" {
			what += " (" + driver + ")"
		}
		x.add(d, Loss{Kind: Carries, What: what, Severity: Warning, Evidence: d.source()})
	}
}

// storage adds file systems, swap space and the hibernation image.
func (x *losing) storage() {
	x.uses(x.needs.uses, HostDisk, Hibernation)
	x.gaps(HostDiskUnknown, Hibernation)
	if name := x.needs.imageName; name != "" {
		if d := x.playing(Storage); d != nil {
			x.add(d, Loss{
				Kind: Hibernation, Severity: Gap, Evidence: "proc/cmdline", Remedy: lookAgain,
				What: "at its next start the host looks for a hibernation image on " + name + ", and nothing says which disk that is",
			})
		}
	}
	found := x.blocks.elsewhere(x.needs.mounted, x.open.mounts)
	for _, u := range found.unknown {
		if d := x.playing(Storage); d != nil {
			x.add(d, Loss{Kind: HostDiskUnknown, Severity: Gap, What: u.what, Evidence: u.table, Remedy: lookAgain})
		}
	}
	x.uses(found.uses, HostDisk)
	x.note(errors.Join(found.errs...))
}

// playing returns the first of the devices asked for that plays one of the roles, or on
// which hangs one that does, or nil.
func (x *losing) playing(roles ...Role) *Device {
	for _, d := range x.given {
		if x.needs.plays(d, roles...) {
			return d
		}
	}
	return nil
}
