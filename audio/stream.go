package audio

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
)

// A State is what a stream does, in the kernel's word.
type State string

// The states, from the line state of /proc/asound/cardN/pcmMp/subK/status.
const (
	Closed       State = "closed" // nobody has it open
	Open         State = "OPEN"   // nothing is set up yet
	Setup        State = "SETUP"
	Prepared     State = "PREPARED"
	Running      State = "RUNNING"
	XRun         State = "XRUN" // the program was too slow
	Draining     State = "DRAINING"
	Paused       State = "PAUSED"
	Suspended    State = "SUSPENDED"
	Disconnected State = "DISCONNECTED" // the card has gone, the program not yet
)

// A Stream is one direction of one PCM of a card: what a program opens to play or to
// record.
type Stream struct {
	Card    int  // number of the card
	Device  int  // number of the PCM of the card
	Capture bool // records; else plays
	Sub     int  // number of the stream, of PCMs that can mix several

	// ID and Name are the driver's words for the PCM, as ALC269 Analog, from
	// /proc/asound/cardN/pcmMp/info, else /proc/asound/pcm.
	ID, Name string

	// State is empty when it is unknown, as in a saved machine.
	State State

	// Owner is the process, or the thread of one, that has opened the stream: 0 when
	// nobody has or when that is a process outside of this container. Program is its
	// name from /proc/OWNER/comm, which it has chosen itself; empty when unknown.
	Owner   int
	Program string

	// From hw_params, and 0 or empty before they are set: the sample format, as S16_LE,
	// samples a second, and frames between two interrupts and in the whole buffer.
	Format         string
	Rate, Channels int
	Period, Buffer int

	// Trigger is when the stream was last started or stopped, on the clock that the
	// program has chosen, often that of the time since boot.
	Trigger time.Duration
}

// InUse reports whether a program has the stream open. Taking the card away from such
// a program may block in the kernel until it lets go.
func (s Stream) InUse() bool { return s.State != Closed && s.State != "" }

// Node returns the device node of the stream's PCM, dev/snd/pcmC0D0p.
func (s Stream) Node() string {
	return fmt.Sprintf("dev/snd/pcmC%dD%d%s", s.Card, s.Device, direction(s.Capture))
}

func direction(capture bool) string {
	if capture {
		return "c"
	}
	return "p"
}

const maxStreams = 1024 // of a card; snd-dummy can make 8 PCMs of 128

// Streams lists the streams of a card by PCM, playback first, with what each does now
// and who has it open, from /proc/asound/cardN. Where that is missing, as in a saved
// machine, /proc/asound/pcm says which streams there are, with their states unknown;
// where neither is, the error is [fs.ErrNotExist].
//
// It waits for a program that is just opening a stream. The error, if any, is an
// *[OpError] that joins what could not be read; the streams are returned all the same,
// with what is known. What vanished meanwhile is left out.
func Streams(fsys fs.FS, card Card) ([]Stream, error) {
	const op = "read streams of"
	entries, err := fs.ReadDir(fsys, card.dir())
	if errors.Is(err, fs.ErrNotExist) {
		list, fallback := pcmList(fsys, card)
		if fallback != nil {
			return list, card.opError(op, fallback)
		}
		return list, nil
	}
	if err != nil {
		return nil, card.opError(op, err)
	}
	var streams []Stream
	var errs []error
	note := func(err error) {
		if !harmless(err) && len(errs) < maxErrors {
			errs = append(errs, err)
		}
	}
	for _, e := range entries {
		pcm, ok := pcmName(e.Name())
		if !ok {
			continue
		}
		pcm.Card = card.Index
		dir := card.dir() + "/" + e.Name()
		if text, err := fs.ReadFile(fsys, dir+"/info"); err == nil {
			values := pairs(string(text))
			pcm.ID, pcm.Name = plain.Line(values["id"], maxText), plain.Line(values["name"], maxText)
		} else {
			note(err)
		}
		subs, err := numbered(fsys, dir, "sub")
		note(err)
		for _, n := range subs {
			if len(streams) == maxStreams {
				return streams, card.opError(op, fmt.Errorf("more than %d streams", maxStreams))
			}
			s := pcm
			s.Sub = n
			err := s.readStatus(fsys, fmt.Sprintf("%s/sub%d", dir, n))
			note(err)
			if err == nil || !harmless(err) {
				streams = append(streams, s)
			}
		}
	}
	slices.SortStableFunc(streams, func(a, b Stream) int { return a.order() - b.order() })
	if len(errs) > 0 {
		return streams, card.opError(op, errors.Join(errs...))
	}
	return streams, nil
}

// harmless reports whether an error is none, or only says that something has vanished.
func harmless(err error) bool { return err == nil || errors.Is(err, fs.ErrNotExist) }

func (s Stream) order() int {
	n := s.Device * 2
	if s.Capture {
		n++
	}
	return n*maxStreams + s.Sub
}

// pcmName reads the name of a PCM's directory, pcm0p or pcm3c.
func pcmName(name string) (s Stream, ok bool) {
	digits, ok := strings.CutPrefix(name, "pcm")
	if !ok || len(digits) < 2 {
		return s, false
	}
	last := digits[len(digits)-1]
	n, err := strconv.ParseUint(digits[:len(digits)-1], 10, 16)
	s.Device, s.Capture = int(n), last == 'c'
	return s, err == nil && (last == 'p' || last == 'c')
}

// readStatus reads what the stream does and, unless it is closed, how and for whom.
func (s *Stream) readStatus(fsys fs.FS, dir string) error {
	text, err := fs.ReadFile(fsys, dir+"/status")
	if err != nil {
		return err
	}
	if err := s.parseStatus(string(text)); err != nil {
		return fmt.Errorf("%s/status: %w", dir, err)
	}
	if s.State == Closed {
		return nil
	}
	if s.Owner > 0 {
		// It may have ended after it gave the stream to another, who then is unknown.
		if comm, err := hostfs.ReadString(fsys, "proc/"+strconv.Itoa(s.Owner)+"/comm"); err == nil {
			s.Program = plain.Line(comm, maxText)
		}
	}
	text, err = fs.ReadFile(fsys, dir+"/hw_params")
	if harmless(err) {
		s.parseParameters(string(text))
		return nil
	}
	return err
}

// parseStatus reads the file status.
func (s *Stream) parseStatus(text string) error {
	if strings.TrimSpace(text) == string(Closed) {
		s.State = Closed
		return nil
	}
	values := pairs(text)
	state := State(values["state"])
	if !slices.Contains([]State{Open, Setup, Prepared, Running, XRun, Draining, Paused, Suspended, Disconnected}, state) {
		return fmt.Errorf("%.64q is no state of a stream", state)
	}
	s.State, s.Owner = state, positive(values["owner_pid"])
	seconds, fraction, _ := strings.Cut(values["trigger_time"], ".")
	sec, err1 := strconv.ParseInt(seconds, 10, 33)
	nsec, err2 := strconv.ParseInt(fraction, 10, 31)
	if err1 == nil && err2 == nil && sec >= 0 && nsec >= 0 && nsec < 1e9 && len(fraction) == 9 {
		s.Trigger = time.Duration(sec)*time.Second + time.Duration(nsec)
	}
	return nil
}

// parseParameters reads the file hw_params, which says "closed" or "no setup" before
// they are set.
func (s *Stream) parseParameters(text string) {
	values := pairs(text)
	s.Format, s.Channels = plain.Line(values["format"], maxText), positive(values["channels"])
	rate, _, _ := strings.Cut(values["rate"], " ") // 44100 (44100/1)
	s.Rate, s.Period, s.Buffer = positive(rate), positive(values["period_size"]), positive(values["buffer_size"])
}

// positive returns a decimal number above 0, or 0.
func positive(s string) int {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return 0
	}
	return int(n)
}

// pairs reads lines of the form key: value, the first of each key.
func pairs(text string) map[string]string {
	const most = 64 // lines
	values := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(line, ":")
		if key = strings.TrimSpace(key); ok && values[key] == "" {
			values[key] = strings.TrimSpace(value)
		}
		if len(values) == most {
			break
		}
	}
	return values
}

// pcmList lists the streams of a card from /proc/asound/pcm.
func pcmList(fsys fs.FS, card Card) ([]Stream, error) {
	text, err := fs.ReadFile(fsys, "proc/asound/pcm")
	if err != nil {
		return nil, err
	}
	var streams []Stream
	for _, p := range parsePCMs(string(text)) {
		if p.card != card.Index {
			continue
		}
		for _, capture := range []bool{false, true} {
			n := p.playback
			if capture {
				n = p.capture
			}
			for sub := range n {
				if len(streams) == maxStreams {
					return streams, fmt.Errorf("more than %d streams", maxStreams)
				}
				streams = append(streams, Stream{Card: p.card, Device: p.device, Capture: capture, Sub: sub, ID: p.id, Name: p.name})
			}
		}
	}
	return streams, nil
}

type pcm struct {
	card, device      int
	id, name          string
	playback, capture int // how many streams
}

// parsePCMs reads /proc/asound/pcm:
//
//	00-00: ALC269 Analog : ALC269 Analog : playback 1 : capture 1
func parsePCMs(text string) []pcm {
	var list []pcm
	for line := range strings.Lines(text) {
		numbers, rest, _ := strings.Cut(line, ": ")
		card, device, ok := strings.Cut(numbers, "-")
		c, err1 := strconv.ParseUint(card, 10, 16)
		d, err2 := strconv.ParseUint(device, 10, 16)
		if !ok || err1 != nil || err2 != nil || len(list) == maxStreams {
			continue
		}
		p := pcm{card: int(c), device: int(d)}
		fields := strings.Split(strings.TrimSpace(rest), " : ")
		for len(fields) > 0 { // the counts are last; a name may hold anything
			last := fields[len(fields)-1]
			if s, ok := strings.CutPrefix(last, "playback "); ok && p.playback == 0 {
				p.playback = min(positive(s), maxStreams)
			} else if s, ok := strings.CutPrefix(last, "capture "); ok && p.capture == 0 {
				p.capture = min(positive(s), maxStreams)
			} else {
				break
			}
			fields = fields[:len(fields)-1]
		}
		if len(fields) > 0 {
			p.id = plain.Line(fields[0], maxText)
			p.name = plain.Line(strings.Join(fields[1:], " : "), maxText)
		}
		list = append(list, p)
	}
	return list
}
