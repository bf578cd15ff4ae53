package gpu

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
)

// Facts are what [Hybrid] concludes from. The zero Facts are those of a machine of
// which nothing is known.
type Facts struct {
	Functions []pci.Function
	Displays  []Display

	// Bridges are those above each display function, the one at the root first, as
	// [pci.Bridges] says. A function without an entry is not known to have none.
	Bridges map[pci.Address][]pci.Address

	BootCards   []string       // cards whose [BootDisplay] is Yes
	Switch      []SwitchClient // empty when not known
	Framebuffer Framebuffer

	// MUX is the file of a firmware's switch between the GPUs, empty when none is
	// known: /sys/devices/platform/asus-nb-wmi/gpu_mux_mode. Other makers' switches
	// have no file that is common to them.
	MUX string
}

const sub3D = 0x0302

const asusMUX = "sys/devices/platform/asus-nb-wmi/gpu_mux_mode"

// ReadFacts reads what Hybrid needs. What only root may read, or what a saved
// machine or an older kernel lacks, is not known and is no error. The error joins
// those of what could not be read in full. It reads no EDID and wakes no GPU.
func ReadFacts(fsys fs.FS, functions []pci.Function) (Facts, error) {
	f := Facts{Functions: functions, Bridges: map[pci.Address][]pci.Address{}}
	var errs []error
	note := func(err error) {
		all := []error{err}
		if joined, ok := err.(interface{ Unwrap() []error }); ok {
			all = joined.Unwrap()
		}
		for _, err := range all {
			if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
				errs = append(errs, err)
			}
		}
	}
	var err error
	if f.Displays, err = Displays(fsys, functions); err != nil {
		errs = append(errs, err)
	}
	for _, d := range f.Displays {
		above, err := pci.Bridges(fsys, d.Function)
		if note(err); err == nil {
			f.Bridges[d.Function] = above
		}
		if card := d.Card(); card != "" {
			boot, err := BootDisplay(fsys, card)
			if note(err); boot == Yes {
				f.BootCards = append(f.BootCards, card)
			}
		}
	}
	f.Switch, err = ReadSwitcheroo(fsys)
	note(err)
	f.Framebuffer, err = ReadFramebuffer(fsys)
	note(err)
	if _, err = hostfs.ReadString(fsys, asusMUX); err == nil {
		f.MUX = "/" + asusMUX
	}
	note(err)
	return f, errors.Join(errs...)
}

// A Conclusion is an answer and what it stands on.
type Conclusion struct {
	Answer  Answer
	Because []Reason
}

// Graphics is how the GPUs of a machine share its screens.
type Graphics struct {
	GPUs []GPU // in the order of Facts.Displays

	Wiring  Wiring
	Because []Reason // of Wiring
}

// A GPU is one display function and what it is to the machine.
type GPU struct {
	Function pci.Address

	// Integrated is Yes for a part of the processor or the chipset, No for a chip of
	// its own.
	Integrated Conclusion

	// Panel is Yes if the GPU drives the built-in panel now.
	Panel Conclusion

	// Boot is Yes if the firmware showed its picture through the GPU.
	Boot Conclusion
}

// A Wiring is how the built-in panel is wired to the GPUs. The zero Wiring is
// unknown.
type Wiring uint8

// The wirings.
const (
	WiringUnknown Wiring = iota
	NoPanel              // no GPU has a connector for a panel
	OneGPU               // there is one GPU and the panel is on it
	Muxless              // several GPUs; the panel is on one and cannot go to another
	MUXPossible          // several GPUs have a connector for a panel: a switch may be between
	MUX                  // the firmware offers a switch
)

// String returns unknown, no-panel, one-gpu, muxless, mux-possible or mux.
func (w Wiring) String() string {
	return name([]string{"unknown", "no-panel", "one-gpu", "muxless", "mux-possible", "mux"}, int(w))
}

// MarshalText writes the wiring as String does.
func (w Wiring) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// Hybrid tells for each GPU whether it is integrated, drives the panel and was the
// boot display, and whether the panel can change hands. It reads nothing. An answer
// that the facts do not carry is Unknown: a GPU without its graphics driver, such as
// one that waits for a guest, shows none of its connectors.
func Hybrid(f Facts) Graphics {
	var g Graphics
	for _, d := range f.Displays {
		g.GPUs = append(g.GPUs, GPU{d.Function, f.integrated(d.Function), f.panel(d), f.boot(d)})
	}
	g.Wiring, g.Because = f.wiring()
	return g
}

func because(answer Answer, detail, file string) Conclusion {
	return Conclusion{answer, []Reason{{detail, file}}}
}

// panel says whether d drives the panel now.
func (f Facts) panel(d Display) Conclusion {
	if c, ok := panelOf(d, Connected); ok {
		return because(Yes, c.Name+" is connected", c.file("status"))
	}
	for _, other := range f.Displays {
		if c, ok := panelOf(other, Connected); ok {
			return because(No, fmt.Sprintf("%s of %v is connected", c.Name, other.Function), c.file("status"))
		}
	}
	if c, ok := panelOf(d, StatusUnknown); ok {
		return because(Unknown, c.Name+" does not say whether it is connected", c.file("status"))
	}
	if c, ok := panelOf(d, Disconnected); ok {
		return because(No, c.Name+" is disconnected", c.file("status"))
	}
	if seen, why := f.seen(d); !seen {
		return Conclusion{Unknown, []Reason{why}}
	}
	return because(No, d.Card()+" has no connector for a panel", "/"+class+"/"+d.Card())
}

func panelOf(d Display, s Status) (Connector, bool) {
	for _, c := range d.Connectors {
		if c.Panel && c.Status == s {
			return c, true
		}
	}
	return Connector{}, false
}

func (c Connector) file(name string) string {
	return "/" + class + "/" + c.Card + "-" + c.Name + "/" + name
}

// seen reports whether a driver shows the connectors of d, and why not.
func (f Facts) seen(d Display) (bool, Reason) {
	card := d.Card()
	switch {
	case card == "":
		return false, Reason{"no graphics driver shows its connectors", "/" + class}
	case card == f.Framebuffer.Card:
		return false, Reason{card + " is the firmware's framebuffer, which shows no connectors", "/" + class + "/" + card}
	case len(d.Connectors) > 0:
		return true, Reason{}
	case f.function(d.Function).Driver == "nvidia":
		return false, Reason{"nvidia shows no connectors unless its option modeset is set", "/" + class + "/" + card}
	case f.function(d.Function).Class.Sub() != sub3D:
		return false, Reason{card + " shows no connectors; a saved machine may lack them", "/" + class + "/" + card}
	}
	return true, Reason{} // a 3D controller, which has no outputs
}

// second reports whether d is a further function of another display's device, as
// Intel's GPUs once had one for a second screen, and have virtual ones: the same
// GPU, whose connectors are those of function 0.
func (f Facts) second(d Display) bool {
	a := d.Function
	return a.Function() != 0 && len(d.Connectors) == 0 && slices.ContainsFunc(f.Displays, func(o Display) bool {
		return o.Function == pci.NewAddress(a.Domain(), a.Bus(), a.Device(), 0)
	})
}

func (f Facts) function(a pci.Address) pci.Function {
	for _, fn := range f.Functions {
		if fn.Address == a {
			return fn
		}
	}
	return pci.Function{}
}

// boot says whether the firmware drew through d. The kernel's boot_vga is of VGA
// controllers alone, so another GPU may be meant where it says no to all.
func (f Facts) boot(d Display) Conclusion {
	file := "/" + devices + "/" + d.Function.String() + "/boot_vga"
	c := Conclusion{}
	if d.BootVGA == Yes {
		c.Because = append(c.Because, Reason{"boot_vga is 1", file})
	}
	if card := d.Card(); card != "" && slices.Contains(f.BootCards, card) {
		c.Because = append(c.Because, Reason{"boot_display is 1", "/" + class + "/" + card + "/boot_display"})
	}
	owner := f.Framebuffer.Function
	if owner == d.Function {
		c.Because = append(c.Because, f.Framebuffer.Because...)
	}
	switch {
	case len(c.Because) > 0:
		c.Answer = Yes
	case d.BootVGA == No:
		c = because(No, "boot_vga is 0", file)
	case owner.IsValid():
		c = Conclusion{No, append([]Reason{{"the firmware's framebuffer is in the memory of " + owner.String(), "/" + iomem}}, f.Framebuffer.Because...)}
	default:
		c = because(Unknown, "boot_vga is stated for VGA controllers (0300) alone, and not by all saved machines", file)
	}
	return c
}

// wiring says how the panel is wired.
func (f Facts) wiring() (Wiring, []Reason) {
	var wired, unseen, clients []Reason
	connected, gpus := false, 0
	for _, d := range f.Displays {
		if f.second(d) {
			continue
		}
		gpus++
		if i := slices.IndexFunc(d.Connectors, func(c Connector) bool { return c.Panel }); i >= 0 {
			c := d.Connectors[i]
			wired = append(wired, Reason{fmt.Sprintf("%v has %s", d.Function, c.Name), strings.TrimSuffix(c.file(""), "/")})
			_, on := panelOf(d, Connected)
			connected = connected || on
			continue
		}
		if ok, why := f.seen(d); !ok {
			why.Detail = d.Function.String() + ": " + why.Detail
			unseen = append(unseen, why)
		}
	}
	for _, c := range f.Switch {
		if !c.Audio && c.Active {
			clients = append(clients, Reason{fmt.Sprintf("%v is active", c.Function), "/" + switcheroo})
		}
	}
	switch {
	case f.MUX != "":
		return MUX, append([]Reason{{"the firmware offers a switch that acts when the machine starts", f.MUX}}, wired...)
	case gpus == 0:
		return WiringUnknown, []Reason{{"no display function", "/" + devices}}
	case len(wired) > 1:
		return MUXPossible, append(wired, clients...)
	case len(unseen) > 0:
		return WiringUnknown, append(unseen, append(wired, clients...)...)
	case len(wired) == 0:
		return NoPanel, []Reason{{"no card has a connector eDP, LVDS or DSI", "/" + class}}
	case gpus == 1:
		return OneGPU, wired
	case !connected:
		return WiringUnknown, append(wired, Reason{"the panel is on none of the connectors", "/" + class})
	}
	return Muxless, append(wired, clients...)
}
