package audio

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/usb"
)

const (
	class = "sys/class/sound"
	names = "proc/asound/cards"
)

// A Card is one sound card as the kernel lists it.
type Card struct {
	// Index is the number in card0. It is given out in the order in which drivers
	// find the cards and may differ at the next boot.
	Index int

	// ID is the short name by which programs select the card, such as PCH or
	// Webcam, from /sys/class/sound/cardN/id. Empty when it cannot be read.
	ID string

	// Name is the name for people, such as HDA Intel PCH, from /proc/asound/cards.
	// Empty when that does not say. For a USB device it is the device's own word: cut
	// to one bounded line of printable text, and untrusted.
	Name string

	// Function is the innermost PCI function in the path to which the link
	// /sys/class/sound/cardN leads: the sound controller, also when a driver for its
	// DSP is in between, or the USB controller of a USB card. The zero Address when
	// there is none, as for a card made by software (snd-aloop, snd-dummy).
	Function pci.Address

	// Port is the USB device that carries the card, the zero PortPath when none does.
	Port usb.PortPath

	// Driver is the driver of the device right below the card, from the link
	// /sys/class/sound/cardN/device/driver: of a PCI function, of a USB interface or,
	// with a DSP, of the board. Empty when unknown.
	Driver string

	// Nodes are the device nodes of the card, dev/snd/controlC0, dev/snd/pcmC0D0p and
	// so on, from the links in /sys/class/sound that lead to below the card, in the
	// order of the names there.
	Nodes []string
}

// An OpError says what could not be done with which card. Err keeps the kernel's
// *fs.PathError.
type OpError struct {
	Op   string
	Card string // as card0; empty when the error is about all cards
	Err  error
}

// Error returns operation, card and cause.
func (e *OpError) Error() string {
	if e.Card == "" {
		return e.Op + ": " + e.Err.Error()
	}
	return e.Op + " " + e.Card + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *OpError) Unwrap() error { return e.Err }

var errGone = errors.New("no such card; it may have been unplugged meanwhile")

// Cards lists the sound cards of a machine in the order of their numbers. A machine
// without /sys/class/sound has no cards, and that is no error: it has no sound
// hardware, or no driver for any.
//
// The error, if any, joins one *[OpError] for each card that could not be read in
// full; the cards are returned all the same, with what is known. A card that
// vanished meanwhile is only in the error.
func Cards(fsys fs.FS) ([]Card, error) {
	entries, err := fs.ReadDir(fsys, class)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &OpError{"list sound cards", "", err}
	}
	var cards []Card
	var dirs []string // of each card
	var others []fs.DirEntry
	var errs []error
	for _, e := range entries {
		index, ok := cardIndex(e.Name())
		if !ok {
			others = append(others, e)
			continue
		}
		c, dir, err := readCard(fsys, e.Name(), index)
		if err != nil {
			errs = append(errs, &OpError{"read", e.Name(), err})
			if errors.Is(err, errGone) {
				continue
			}
		}
		cards, dirs = append(cards, c), append(dirs, dir)
	}
	if len(cards) == 0 {
		return nil, errors.Join(errs...)
	}
	for _, e := range others {
		name := e.Name()
		target, err := fs.ReadLink(fsys, class+"/"+name)
		if err != nil {
			if e.Type()&fs.ModeSymlink != 0 && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, &OpError{"read", name, err})
			}
			continue // not a device: /sys/class/sound/version in old kernels
		}
		dir := path.Join(class, target)
		if i := slices.IndexFunc(dirs, func(card string) bool { return card != "" && strings.HasPrefix(dir, card+"/") }); i >= 0 {
			cards[i].Nodes = append(cards[i].Nodes, node(name, cards[i].Index))
		}
	}
	if err := nameCards(fsys, cards); err != nil {
		errs = append(errs, &OpError{"read names of sound cards", "", err})
	}
	slices.SortFunc(cards, func(a, b Card) int { return cmp.Compare(a.Index, b.Index) })
	return cards, errors.Join(errs...)
}

// cardIndex reads the name of a card, card0.
func cardIndex(name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, "card")
	n, err := strconv.ParseUint(digits, 10, 16)
	return int(n), ok && err == nil && strconv.FormatUint(n, 10) == digits
}

// readCard reads one card and the directory to which its link leads.
func readCard(fsys fs.FS, name string, index int) (c Card, dir string, err error) {
	c.Index = index
	var errs []error
	target, err := fs.ReadLink(fsys, class+"/"+name)
	if err != nil {
		errs = append(errs, err)
	} else {
		dir = path.Join(class, target)
		if functions := pci.InPath(target); len(functions) > 0 {
			c.Function = functions[len(functions)-1]
		}
		c.Port, _ = usb.InPath(target)
	}
	id, err := hostfs.ReadString(fsys, class+"/"+name+"/id")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err) // a saved machine may not state it
	}
	if _, gone := fs.Stat(fsys, class+"/"+name); err != nil && errors.Is(gone, fs.ErrNotExist) {
		return c, dir, fmt.Errorf("%w: %w", errGone, gone)
	}
	c.ID = plain.Line(id, maxText)
	driver, err := hostfs.ReadLinkBase(fsys, class+"/"+name+"/device/driver")
	switch {
	case err == nil:
		c.Driver = driver
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrInvalid): // not a link: a saved machine may have one
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		if _, err := fs.Stat(fsys, class+"/"+name); errors.Is(err, fs.ErrNotExist) {
			return c, dir, fmt.Errorf("%w: %w", errGone, err)
		}
	}
	return c, dir, errors.Join(errs...)
}

// node returns the device node of an entry of the class. Those of OSS, such as dsp
// and mixer, do not have the number of the card and are right below dev.
func node(name string, index int) string {
	if strings.Contains(name, "C"+strconv.Itoa(index)) {
		return "dev/snd/" + name
	}
	return "dev/" + name
}
