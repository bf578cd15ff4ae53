package usb

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/pci"
)

// A Hub is what has ports: a root hub, which is part of its controller, or a device
// with more ports.
type Hub struct {
	// Path is where the hub is plugged in, the zero PortPath for a root hub.
	Path PortPath
	Bus  int

	// Controller is as in [Device].
	Controller pci.Address

	Class Class

	// Ports is how many it has (maxchild), 0 when it is not known.
	Ports int

	// Speed is what [Speed] returns, "" when it is not known.
	Speed string
}

// Name returns what the kernel calls the hub: usb1 or 1-4.
func (h Hub) Name() string {
	if h.Path.IsValid() {
		return h.Path.String()
	}
	return "usb" + strconv.Itoa(h.Bus)
}

// SuperSpeed reports whether this is the USB 3 half of a hub. A USB 3 hub is two: the
// other half is on another bus, with ports of its own that lead to the same sockets.
// It is false also when neither Speed nor Class is known.
func (h Hub) SuperSpeed() bool {
	switch h.Speed {
	case "5000", "10000", "20000":
		return true
	}
	return h.Class.Base() == classHub && h.Class.Protocol() == 3
}

// speedKnown reports whether SuperSpeed has anything to go by.
func (h Hub) speedKnown() bool { return h.Speed != "" && h.Speed != "unknown" || h.Class.Known() }

// Hubs lists the hubs of a machine, root hubs too: the root hub of a bus first, then
// the hubs below it in the order of their port paths. It costs what [Devices] does
// and two more files a hub. Errors are as those of Devices; a hub that vanished
// meanwhile is only in the error.
func Hubs(fsys fs.FS) ([]Hub, error) {
	var errs []error
	list, err := Devices(fsys)
	if err != nil {
		if list == nil {
			return nil, err
		}
		errs = append(errs, err)
	}
	roots, err := rootHubs(fsys)
	if err != nil {
		return nil, err
	}
	var hubs []Hub
	for _, bus := range roots {
		h, err := readRootHub(fsys, bus)
		if err != nil {
			errs = append(errs, err)
			if errors.Is(err, errGone) {
				continue
			}
		}
		hubs = append(hubs, h)
	}
	for _, d := range list {
		if !d.Hub {
			continue
		}
		h := Hub{Path: d.Path, Bus: d.Bus, Controller: d.Controller, Class: d.Class}
		if err := h.readPorts(fsys); err != nil {
			errs = append(errs, opError("read", d.Path, err))
		}
		hubs = append(hubs, h)
	}
	slices.SortStableFunc(hubs, func(a, b Hub) int {
		if a.Bus != b.Bus {
			return a.Bus - b.Bus
		}
		return a.Path.Compare(b.Path)
	})
	return hubs, errors.Join(errs...)
}

// rootHubs returns the numbers of the buses in ascending order.
func rootHubs(fsys fs.FS) ([]int, error) {
	entries, err := fs.ReadDir(fsys, devices)
	if err != nil {
		return nil, opError("list USB devices", PortPath{}, err)
	}
	var roots []int
	for _, e := range entries {
		if bus, ok := rootHub(e.Name()); ok {
			roots = append(roots, bus)
		}
	}
	slices.Sort(roots)
	return roots, nil
}

func readRootHub(fsys fs.FS, bus int) (Hub, error) {
	h := Hub{Bus: bus}
	dir := devices + "/" + h.Name()
	d := Device{Bus: bus}
	errs := d.readIDs(fsys, dir, nil)
	h.Class = d.Class
	target, err := fs.ReadLink(fsys, dir)
	if err == nil {
		if above, ok := strings.CutSuffix(target, "/"+h.Name()); !ok {
			err = fmt.Errorf("link %q leads to another device", plain.Short(target))
		} else if functions := pci.InPath(above); len(functions) > 0 {
			h.Controller = functions[len(functions)-1]
		}
	}
	errs = append(errs, err, h.readPorts(fsys))
	if err := errors.Join(errs...); err != nil {
		if _, gone := fs.Stat(fsys, dir); errors.Is(gone, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", errGone, gone)
		}
		return h, opError("read root hub "+h.Name(), PortPath{}, err)
	}
	return h, nil
}

// readPorts reads the number of ports and the speed, which not all saved machines
// have.
func (h *Hub) readPorts(fsys fs.FS) error {
	dir := devices + "/" + h.Name()
	s, err := hostfs.ReadString(fsys, dir+"/maxchild")
	if err == nil {
		var n uint64
		if n, err = strconv.ParseUint(s, 10, 8); err != nil {
			err = fmt.Errorf("maxchild: unexpected value %q", plain.Short(s))
		}
		h.Ports = int(n)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	speed, err2 := hostfs.ReadString(fsys, dir+"/speed")
	switch {
	case errors.Is(err2, fs.ErrNotExist):
		err2 = nil
	case err2 == nil && !isSpeed(speed):
		err2 = fmt.Errorf("speed: unexpected value %q", plain.Short(speed))
	case err2 == nil:
		h.Speed = speed
	}
	return errors.Join(err, err2)
}
