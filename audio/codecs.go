package audio

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

const hdaudio = "sys/bus/hdaudio/devices"

// dir returns the directory below /proc of a card.
func (c Card) dir() string { return "proc/asound/card" + strconv.Itoa(c.Index) }

func (c Card) opError(op string, err error) error {
	return &OpError{op, "card" + strconv.Itoa(c.Index), err}
}

// numbered returns, in order, the entries of a directory whose names are prefix and a
// decimal number. A missing directory has none and its error.
func numbered(fsys fs.FS, dir, prefix string) ([]int, error) {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, err
	}
	var found []int
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), prefix)
		if n, err := strconv.ParseUint(digits, 10, 16); ok && err == nil && strconv.FormatUint(n, 10) == digits {
			found = append(found, int(n))
		}
	}
	slices.Sort(found)
	return found, nil
}

// Codecs reads the codecs of a card in the order of their addresses, from
// /proc/asound/cardN/codec#M; where these are missing, from /sys/bus/hdaudio/devices,
// which says less. A card without any, as a USB card, has none and that is no error.
//
// The kernel asks the chips for it, in /proc and below widgets, and wakes those that
// sleep; [KeptCodecs] does not.
//
// The error, if any, is an *[OpError] that joins what could not be read; the codecs
// are returned all the same, with what is known.
func Codecs(fsys fs.FS, card Card) ([]Codec, error) {
	const op = "read codecs of"
	addresses, missing := numbered(fsys, card.dir(), "codec#")
	var codecs []Codec
	var errs []error
	for _, address := range addresses {
		name := card.dir() + "/codec#" + strconv.Itoa(address)
		dump, err := fs.ReadFile(fsys, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the driver has gone meanwhile
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		c, err := ParseCodec(dump)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		c.Address = address
		codecs = append(codecs, c)
	}
	if len(codecs) == 0 && !card.Port.IsValid() {
		found, err := busCodecs(fsys, card, true)
		codecs = found
		if err != nil {
			errs = append(errs, err)
		}
	}
	if missing != nil && len(codecs) == 0 && !card.Port.IsValid() {
		errs = append(errs, missing)
	}
	if len(errs) > 0 {
		return codecs, card.opError(op, errors.Join(errs...))
	}
	return codecs, nil
}

// busCodecs reads what sysfs says of the codecs on the link of a card: those below its
// function that are its own by name, as 0 in hdaudioC0D2, or by no name, as those
// that a DSP's driver calls ehdaudio0D2.
func busCodecs(fsys fs.FS, card Card, widgets bool) ([]Codec, error) {
	if !card.Function.IsValid() {
		return nil, nil
	}
	entries, err := fs.ReadDir(fsys, hdaudio)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var codecs []Codec
	var errs []error
	for _, e := range entries {
		index, address, ok := codecName(e.Name())
		if !ok || index >= 0 && index != card.Index {
			continue
		}
		target, err := fs.ReadLink(fsys, hdaudio+"/"+e.Name())
		if err != nil {
			continue // unplugged meanwhile
		}
		if functions := pci.InPath(target); len(functions) == 0 || functions[len(functions)-1] != card.Function {
			continue
		}
		c, err := readBusCodec(fsys, hdaudio+"/"+e.Name(), widgets)
		if err != nil {
			errs = append(errs, err)
		}
		c.Address = address
		codecs = append(codecs, c)
	}
	slices.SortFunc(codecs, func(a, b Codec) int { return a.Address - b.Address })
	return codecs, errors.Join(errs...)
}

// codecName reads hdaudioC0D2, card 0 and address 2, or ehdaudio0D2, whose first number
// is that of the link; then index is -1.
func codecName(name string) (index, address int, ok bool) {
	left, right, ok := cutLast(name, "D")
	a, err := strconv.ParseUint(right, 10, 4)
	if !ok || err != nil {
		return 0, 0, false
	}
	if digits, ok := strings.CutPrefix(left, "hdaudioC"); ok {
		n, err := strconv.ParseUint(digits, 10, 16)
		return int(n), int(a), err == nil
	}
	digits, ok := strings.CutPrefix(left, "ehdaudio")
	_, err = strconv.ParseUint(digits, 10, 16)
	return -1, int(a), ok && err == nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// readBusCodec reads the attributes of a codec, which the kernel keeps, and the widgets
// below it, for which it asks the chip.
func readBusCodec(fsys fs.FS, dir string, withWidgets bool) (Codec, error) {
	var c Codec
	var errs []error
	word := func(name string) Word {
		s, err := hostfs.ReadString(fsys, dir+"/"+name)
		if s == "" && err == nil || errors.Is(err, fs.ErrNotExist) {
			return Word{} // nothing stated
		}
		var w Word
		if err == nil {
			if w, err = parseWord(s); err != nil {
				err = fmt.Errorf("%s/%s: %w", dir, name, err)
			}
		}
		if err != nil {
			errs = append(errs, err)
		}
		return w
	}
	ids := func(name string) (vendor, device pci.ID) {
		w := word(name)
		if !w.known {
			return vendor, device
		}
		return pci.NewID(uint16(w.v >> 16)), pci.NewID(uint16(w.v))
	}
	vendor, _ := hostfs.ReadString(fsys, dir+"/vendor_name")
	chip, _ := hostfs.ReadString(fsys, dir+"/chip_name")
	c.Name = plain.Line(vendor+" "+chip, maxText)
	c.Vendor, c.Device = ids("vendor_id")
	c.SubsystemVendor, c.SubsystemDevice = ids("subsystem_id")
	c.Revision = word("revision_id")
	group := func(name string) uint8 {
		w := word(name)
		if w.v > 0xff {
			errs = append(errs, fmt.Errorf("%s/%s: %v is no number of a node", dir, name, w))
			return 0
		}
		return uint8(w.v)
	}
	c.AFG, c.MFG = group("afg"), group("mfg")
	if !withWidgets {
		return c, errors.Join(errs...)
	}
	widgets, err := fs.ReadDir(fsys, dir+"/widgets")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, e := range widgets {
		id, err := strconv.ParseUint(e.Name(), 16, 8)
		if err != nil {
			continue
		}
		below := "widgets/" + e.Name() + "/"
		n := Node{ID: uint8(id), Capabilities: word(below + "caps")}
		if !n.Capabilities.known {
			continue // a function group
		}
		if n.Widget() == PinComplex {
			n.PinCapabilities, n.Default.Word = word(below+"pin_caps"), word(below+"pin_cfg")
		}
		c.Nodes = append(c.Nodes, n)
	}
	return c, errors.Join(errs...)
}
