package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/audio"
)

// cards says what sound cards the device has, and who plays to them and records.
func (f *facts) cards(d *Device) {
	if !has(d.Classes, "sound") {
		return
	}
	cards, err := audio.Cards(f.fsys)
	f.ok("sound cards", "sys/class/sound", err)
	for _, c := range cards {
		name := fmt.Sprint("card", c.Index)
		for _, own := range d.Classes {
			if own.Class == "sound" && own.Name == name {
				f.add(name+" id", c.ID, own.Source("id"))
				f.add(name+" name", c.Name, "proc/asound/cards")
				f.add(name+" driver", f.soundDriver(c), own.Source("device/driver"))
				f.codecs(c, name)
				f.sinks(c, name)
				f.usbFormats(c, name)
				f.streams(c, name)
			}
		}
	}
}

// soundDriver names the driver of a card and what else is between it and its bus.
func (f *facts) soundDriver(c audio.Card) string {
	detail, err := audio.ReadDetail(f.fsys, c)
	if troubleOf(err) == failed {
		f.errs = append(f.errs, err)
	}
	s := c.Driver
	if detail.DSP {
		s += ", behind a signal processor (DSP) driven by " + detail.FunctionDriver
	}
	if detail.Display.IsValid() {
		s += ", for the screens of " + detail.Display.String()
	}
	return s
}

// codecs names the chips and what their pins lead to. Without leave to wake them, that
// is what the kernel keeps.
func (f *facts) codecs(c audio.Card, card string) {
	if c.Port.IsValid() {
		return
	}
	source := func(address int) string { return fmt.Sprintf("sys/class/sound/hwC%dD%d", c.Index, address) }
	var found []audio.Codec
	if f.wake {
		asked, err := audio.Codecs(f.fsys, c)
		if len(asked) > 0 || !errors.Is(err, fs.ErrNotExist) { // else a saved machine without /proc/asound
			f.ok(card+" codecs", "proc/asound/"+card, err)
		}
		if found = asked; len(found) > 0 {
			source = func(address int) string { return fmt.Sprintf("proc/asound/%s/codec#%d", card, address) }
		}
	}
	if len(found) == 0 {
		kept, err := audio.KeptCodecs(f.fsys, c)
		f.ok(card+" codecs", "sys/class/sound/"+card, err)
		found = kept
	}
	for _, codec := range found {
		name := fmt.Sprintf("%s codec %d", card, codec.Address)
		file := source(codec.Address)
		if _, err := fs.Stat(f.fsys, file); err != nil {
			file = "sys/bus/hdaudio/devices"
		}
		s := or(codec.Name, "unnamed")
		if codec.Vendor.Known() {
			s += " " + codec.Vendor.String() + ":" + codec.Device.String()
		}
		if codec.SubsystemVendor.Known() {
			s += ", subsystem " + codec.SubsystemVendor.String() + ":" + codec.SubsystemDevice.String()
		}
		f.add(name, s, file)
		f.add(name+" pins", pinsText(codec), file)
	}
}

// pinsText says what pins lead to, without those that lead nowhere.
func pinsText(c audio.Codec) string {
	var s []string
	for _, n := range c.Nodes {
		if n.Default.Known() && n.Default.Connectivity() != audio.Nothing {
			s = append(s, n.Default.Describe())
		}
	}
	return listBy(counted(s), "; ")
}

// sinks says what is plugged into HDMI and DisplayPort outputs.
func (f *facts) sinks(c audio.Card, card string) {
	sinks, err := audio.Sinks(f.fsys, c)
	f.ok(card+" screens", "proc/asound/"+card, err)
	empty := 0
	for _, s := range sinks {
		if !s.Present && !s.Valid {
			empty++
			continue
		}
		f.add(fmt.Sprintf("%s screen %d", card, s.Index), s.String(), fmt.Sprintf("proc/asound/%s/eld#%d.%d", card, s.Codec, s.Index))
	}
	if empty > 0 {
		f.add(card+" outputs without a screen", fmt.Sprint(empty), "proc/asound/"+card)
	}
}

// usbFormats says how sound comes and goes over USB.
func (f *facts) usbFormats(c audio.Card, card string) {
	if !c.Port.IsValid() {
		return
	}
	formats, err := audio.USBFormats(f.fsys, c)
	f.ok(card+" plays", "proc/asound/"+card, err)
	var plays, records []string
	for _, u := range formats {
		var rates []string
		for _, r := range u.Rates {
			rates = append(rates, fmt.Sprint(r))
		}
		by := ", "
		if u.Continuous {
			by = " to "
		}
		text := fmt.Sprintf("%s, %s at %s Hz", u.Format, plural(u.Channels, "channel"), or(strings.Join(rates, by), "unknown"))
		into := &plays
		if u.Capture {
			into = &records
		}
		if !slices.Contains(*into, text) {
			*into = append(*into, text)
		}
	}
	f.add(card+" plays", listBy(plays, "; "), "proc/asound/"+card+"/stream0")
	f.add(card+" records", listBy(records, "; "), "proc/asound/"+card+"/stream0")
}

// streams says of each stream that is open who has it, and counts the others. Whoever
// has one open must let go before the card can go to a guest.
func (f *facts) streams(c audio.Card, card string) {
	streams, err := audio.Streams(f.fsys, c)
	if !errors.Is(err, fs.ErrNotExist) {
		f.ok(card+" streams", "proc/asound/"+card, err)
	}
	var idle, unknown []string
	file := "proc/asound/" + card
	if _, err := fs.Stat(f.fsys, file); err != nil {
		file = "proc/asound/pcm"
	}
	for _, s := range streams {
		direction, what := "p", "plays"
		if s.Capture {
			direction, what = "c", "records"
		}
		text := strings.TrimSpace(fmt.Sprintf("%d %s %s", s.Device, what, or(s.ID, s.Name)))
		switch {
		case s.InUse():
			f.add(fmt.Sprintf("%s stream %d %s", card, s.Device, what), streamText(s),
				fmt.Sprintf("%s/pcm%d%s/sub%d/status", file, s.Device, direction, s.Sub))
		case s.State == "":
			unknown = append(unknown, text)
		default:
			idle = append(idle, text)
		}
	}
	f.add(card+" free streams", list(counted(idle)), file)
	f.add(card+" streams", list(counted(unknown)), file)
}

// streamText says what an open stream does and for whom.
func streamText(s audio.Stream) string {
	text := strings.ToLower(string(s.State))
	if s.Rate > 0 {
		text += fmt.Sprintf(", %s at %d Hz in %s", s.Format, s.Rate, plural(s.Channels, "channel"))
	}
	switch {
	case s.Owner != 0 && s.Program != "":
		text += fmt.Sprintf(", opened by %s (process %d)", s.Program, s.Owner)
	case s.Owner != 0:
		text += fmt.Sprintf(", opened by process %d", s.Owner)
	default:
		text += ", opened by a process that cannot be seen"
	}
	if s.ID != "" {
		text = s.ID + ": " + text
	}
	return text
}
