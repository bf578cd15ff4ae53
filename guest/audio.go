package guest

import (
	"errors"
	"fmt"
)

// Audio is a guest's sound card. The zero value is none. A card that may neither
// play nor record is not valid.
type Audio struct {
	// Card is what the guest sees.
	Card AudioCard

	// Play lets the guest be heard, and Record lets it hear. A guest that may not
	// record has no way to the host's microphone, whatever it does to its card: its
	// card has no input, and QEMU opens none. One that may record alone has a card
	// with an output that leads nowhere.
	Play, Record bool
}

// An AudioCard is the hardware that a sound card seems to be.
type AudioCard int

// The sound cards.
const (
	NoAudio AudioCard = iota
	// HDA is Intel's High Definition Audio, which every operating system knows.
	HDA
	// VirtIOSound is for guests with Linux 5.13 or newer.
	VirtIOSound
)

// String returns "none", "hda" or "virtio".
func (c AudioCard) String() string {
	switch c {
	case NoAudio:
		return "none"
	case HDA:
		return "hda"
	case VirtIOSound:
		return "virtio"
	}
	return fmt.Sprintf("AudioCard(%d)", int(c))
}

func (a Audio) validate() (errs []error) {
	switch {
	case a.Card < NoAudio || a.Card > VirtIOSound:
		errs = append(errs, fmt.Errorf("audio: %v is no card", a.Card))
	case a.Card == NoAudio && (a.Play || a.Record):
		errs = append(errs, errors.New("audio: there is no card to play or record with"))
	case a.Card != NoAudio && !a.Play && !a.Record:
		errs = append(errs, errors.New("audio: a card that may neither play nor record is none"))
	}
	return errs
}
