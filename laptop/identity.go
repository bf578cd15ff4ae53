package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/usb"
)

// A Kind says what a piece of evidence is about.
type Kind string

// The kinds of evidence.
const (
	BySerial      Kind = "serial"      // serial number of a USB device, an NVMe controller, a battery, a card
	ByMAC         Kind = "mac"         // permanent addresses of network interfaces and radios, by commas
	ByWWID        Kind = "wwid"        // names of the disks of an NVMe controller or a USB device, by commas
	ByTopology    Kind = "topology"    // the way from the root of the bus, without what is renumbered
	ByAddress     Kind = "address"     // Device.ID, only where the topology is not known
	ByFirmware    Kind = "firmware"    // path of the device's node in the firmware's tables
	ByPort        Kind = "port"        // what the firmware says of the socket: connect_type=hotplug panel=left
	ByIDs         Kind = "ids"         // vendor:device; on neither bus that of HID, else the id in the firmware's tables
	BySubsystem   Kind = "subsystem"   // vendor:device of who built it in
	ByRevision    Kind = "revision"    // revision of a function, release of a USB device
	ByClass       Kind = "class"       // six hexadecimal digits
	ByDescriptors Kind = "descriptors" // SHA-256 of a USB device's descriptors
	ByInterfaces  Kind = "interfaces"  // classes of a USB device's interfaces, by configuration: 030101x2,080650;ff0000
	ByActive      Kind = "active"      // those active now, beside all that the descriptors offer
	ByEDID        Kind = "edid"        // the panels on a GPU: maker, model, when made, name, and serial number
	ByModalias    Kind = "modalias"    // of a device on neither bus: by what drivers know it
	ByModel       Kind = "model"       // maker and model of a battery, name of a card
	ByName        Kind = "name"        // names of input devices, sensors and the like, by commas
	ByDriver      Kind = "driver"      // as Device.Driver; it may change at any time
	ByDisk        Kind = "disk"        // names of the disks on a controller, which do not make it another one
	ByMonitor     Kind = "monitor"     // the monitors plugged into a GPU, likewise
)

// evidenceKinds are the kinds in their order, with what each is worth.
var evidenceKinds = [...]struct {
	kind   Kind
	weight int
}{
	{BySerial, 40}, {ByMAC, 30}, {ByWWID, 20},
	{ByTopology, 20}, {ByAddress, 10}, {ByFirmware, 10}, {ByPort, 5},
	{ByIDs, 20}, {BySubsystem, 10}, {ByRevision, 5}, {ByClass, 5}, {ByDescriptors, 10}, {ByInterfaces, 10}, {ByActive, 0}, {ByEDID, 10},
	{ByModalias, 5}, {ByModel, 10}, {ByName, 5},
	{ByDriver, 1}, {ByDisk, 0}, {ByMonitor, 0},
}

// Kinds returns all kinds of evidence: first what only one device has, then where a
// device is, then what it is.
func Kinds() []Kind {
	kinds := make([]Kind, len(evidenceKinds))
	for i, k := range evidenceKinds {
		kinds[i] = k.kind
	}
	return kinds
}

// Weight returns what evidence of the kind is worth in a score. That of weight 0 is
// never counted.
func (k Kind) Weight() int {
	if i := k.index(); i >= 0 {
		return evidenceKinds[i].weight
	}
	return 0
}

func (k Kind) index() int {
	for i := range evidenceKinds {
		if evidenceKinds[i].kind == k {
			return i
		}
	}
	return -1
}

// An Evidence is one fact by which a device is known again. Value is one bounded
// line; what a device wrote is in it as it is, and untrusted.
type Evidence struct {
	Kind   Kind   `json:"kind"`
	Value  string `json:"value"`
	Source string `json:"source"` // the file that says so, below / without the slash
}

// An Identity is what is known of a device that outlives a restart, new numbers for
// buses and a replug.
type Identity struct {
	ID       string     `json:"id"` // as [Device.ID], which does not
	Role     Role       `json:"role"`
	PartOf   string     `json:"part_of"`  // as [Device.PartOf]
	Evidence []Evidence `json:"evidence"` // at most one of a kind, in the order of [Kinds]
}

// Value returns the value of the evidence of kind k, empty when there is none.
func (id *Identity) Value(k Kind) string {
	for i := range id.Evidence {
		if id.Evidence[i].Kind == k {
			return id.Evidence[i].Value
		}
	}
	return ""
}

// Identify reads the identity of each device of a machine that has been read, in
// the order of l.Devices.
//
// It wakes none: config space is not read, so that the serial number in it is not
// among the evidence, no disk is touched, and the screens of a GPU that sleeps are
// not asked for. The firmware may be asked for what a battery says of itself. Like all
// texts of a USB device its serial number waits while the kernel resets it.
//
// What it opens is bounded by what there is: 5 files and links for a PCI function, 5
// for a USB device and 2 for another, at most 4 for each thing that the kernel made of
// it, 1 for each screen, and 11 for each USB port, besides what [usb.Hubs] takes twice.
// That is some hundreds for a notebook, and some milliseconds. A virtual function
// costs as many more as its physical one has before it.
//
// It returns what could be read, and an error that joins what could not. What a
// machine does not state is not among the evidence and is no error.
func Identify(fsys fs.FS, l *Laptop) ([]Identity, error) {
	r := &identifier{fsys: fsys, roots: map[string]string{}}
	r.readSockets(l)
	found := make([]Identity, 0, len(l.Devices))
	for i := range l.Devices {
		d := &l.Devices[i]
		r.current = d.ID()
		v := vector{}
		switch {
		case d.PCI != nil:
			r.function(d, v)
		case d.USB != nil:
			r.usbDevice(d.USB, v)
		default:
			r.other(d, v)
		}
		r.carried(d, v)
		if _, ok := v[ByTopology]; !ok {
			v.add(ByAddress, r.current, d.source())
		}
		v.add(ByDriver, d.Driver(), d.source())
		found = append(found, Identity{r.current, d.Role(), d.PartOf, v.list()})
	}
	return found, errors.Join(r.errs...)
}

// A vector is the evidence that was found of one device.
type vector map[Kind]Evidence

// add adds a fact unless it is empty.
func (v vector) add(k Kind, value, source string) {
	if value = strings.TrimSpace(oneLine(value)); value != "" {
		v[k] = Evidence{k, value, source}
	}
}

func (v vector) list() []Evidence {
	list := make([]Evidence, 0, len(v))
	for i := range evidenceKinds {
		if e, ok := v[evidenceKinds[i].kind]; ok {
			list = append(list, e)
		}
	}
	return list
}

// An identifier reads the evidence of one machine.
type identifier struct {
	fsys    fs.FS
	current string // the device that is read, empty for all
	errs    []error

	sockets map[usb.PortPath]*usb.Port
	super   map[int]bool      // which USB buses are those for 5 Gbit/s and more
	roots   map[string]string // topology of functions, and of root hubs on none, by their names
}

// read returns what the attribute name says, empty when the machine does not state
// it.
func (r *identifier) read(name string) string {
	s, err := hostfs.ReadString(r.fsys, name)
	r.note(err)
	return s
}

// note keeps what the kernel did not give, unless it only says that there is no such
// thing, or no value for now. What a device says that is not as it should be is no
// error here: then it is no evidence.
func (r *identifier) note(err error) {
	var kernel *fs.PathError
	switch {
	case !errors.As(err, &kernel):
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrInvalid), errors.Is(err, syscall.EINVAL),
		errors.Is(err, syscall.ENODATA), errors.Is(err, syscall.ENODEV), errors.Is(err, errors.ErrUnsupported):
	default:
		r.fail(err)
	}
}

func (r *identifier) fail(err error) {
	of := "identify"
	if r.current != "" {
		of += " " + r.current
	}
	r.errs = append(r.errs, fmt.Errorf("%s: %w", of, err))
}

// A set is some names, each once and in order.
type set []string

func (s *set) add(name string) {
	if i, found := slices.BinarySearch(*s, name); !found && name != "" {
		*s = slices.Insert(*s, i, name)
	}
}

func (s set) String() string { return strings.Join(s, ",") }
