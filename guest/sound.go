package guest

import (
	"errors"
	"fmt"
)

// A SoundCard is a guest's sound card. The zero value is none. A card that may neither
// play nor record is not valid.
type SoundCard struct {
	// Model is what the guest sees.
	Model CardModel

	// Play lets the guest be heard, and Record lets it hear. A guest that may not
	// record has no way to the host's microphone, whatever it does to its card: its
	// card has no input, and QEMU opens none. One that may record alone has a card
	// with an output that leads nowhere.
	Play, Record bool
}

// A CardModel is the hardware that a sound card seems to be.
type CardModel int

// The sound cards.
const (
	NoSound CardModel = iota
	// HDA is Intel's High Definition Audio, which every operating system knows.
	HDA
	// VirtIOSound is for guests with Linux 5.13 or newer.
	VirtIOSound
)

// String returns "none", "hda" or "virtio".
func (m CardModel) String() string {
	switch m {
	case NoSound:
		return "none"
	case HDA:
		return "hda"
	case VirtIOSound:
		return "virtio"
	}
	return fmt.Sprintf("CardModel(%d)", int(m))
}

func (c SoundCard) validate() (errs []error) {
	switch {
	case c.Model < NoSound || c.Model > VirtIOSound:
		errs = append(errs, fmt.Errorf("sound: %v is no card", c.Model))
	case c.Model == NoSound && (c.Play || c.Record):
		errs = append(errs, errors.New("sound: there is no card to play or record with"))
	case c.Model != NoSound && !c.Play && !c.Record:
		errs = append(errs, errors.New("sound: a card that may neither play nor record is none"))
	}
	return errs
}
