package audio

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
)

// A Detail is what few callers want to know of a card besides what [Cards] lists.
type Detail struct {
	// Model and LongName are from /proc/asound/cards: what the driver calls itself to
	// programs, as HDA-Intel, USB-Audio or sof-hda-dsp, and its words about this card.
	// The long name may be the device's own and is untrusted, one bounded line of
	// printable text. Empty when not stated.
	Model, LongName string

	// FunctionDriver is the driver of the PCI function, empty for a card on none or on
	// a USB device.
	FunctionDriver string

	// DSP tells that another driver is between the function and the card: the sound
	// goes through a signal processor with a firmware of its own, as that of Sound
	// Open Firmware (FunctionDriver sof-audio-pci-intel-tgl). A guest then needs that
	// driver and firmware, too.
	DSP bool

	// Display is the GPU to whose HDMI and DisplayPort outputs the card plays, as the
	// kernel pairs them: function 0 of a slot in which the card is function 1. The zero
	// Address when there is none. Other cards of the slot are no such cards: behind the
	// GPU of a processor by AMD, function 6 is what plays to the speakers.
	Display pci.Address

	// USBVendor and USBProduct are the ids of the USB device that the card is, from
	// /proc/asound/cardN/usbid. Unknown for other cards.
	USBVendor, USBProduct pci.ID
}

// ReadDetail reads the details of a card. The error, if any, is an *[OpError] that joins
// what could not be read; the Detail returned with it holds the rest. What is not
// there at all is no error.
func ReadDetail(fsys fs.FS, card Card) (Detail, error) {
	var d Detail
	var errs []error
	note := func(err error) {
		if !harmless(err) {
			errs = append(errs, err)
		}
	}
	text, err := fs.ReadFile(fsys, names)
	note(err)
	if c := parseCards(string(text))[card.Index]; card.ID == "" || c.id == card.ID {
		d.Model, d.LongName = c.model, c.longName
	}
	if card.Port.IsValid() {
		id, err := hostfs.ReadString(fsys, card.dir()+"/usbid")
		note(err)
		if err == nil {
			vendor, product, _ := strings.Cut(id, ":")
			var err1, err2 error
			d.USBVendor, err1 = pci.ParseID(vendor)
			d.USBProduct, err2 = pci.ParseID(product)
			if err := errors.Join(err1, err2); err != nil {
				note(fmt.Errorf("%s/usbid: %w", card.dir(), err))
			}
		}
	} else if card.Function.IsValid() {
		d.FunctionDriver, err = pci.Driver(fsys, card.Function)
		note(err)
		device, err := hostfs.ReadLinkBase(fsys, fmt.Sprintf("%s/card%d/device", class, card.Index))
		note(err)
		d.DSP = err == nil && device != card.Function.String()
		d.Display, err = display(fsys, card.Function)
		note(err)
	}
	if len(errs) > 0 {
		return d, card.opError("read details of", errors.Join(errs...))
	}
	return d, nil
}

// display returns function 0 beside function 1 if it is a display.
func display(fsys fs.FS, card pci.Address) (pci.Address, error) {
	if card.Function() != 1 {
		return pci.Address{}, nil
	}
	first := pci.NewAddress(card.Domain(), card.Bus(), card.Device(), 0)
	f, err := pci.ReadFunction(fsys, first)
	if f.Class.Known() && f.Class.Base() == 0x03 {
		return first, nil
	}
	return pci.Address{}, err
}
