package audio

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
	"github.com/project-independence/indy/pci"
)

// A Codec is one chip on a High Definition Audio link: it turns streams into what
// comes out of jacks and speakers, and back.
type Codec struct {
	// Address is its number on the link, 0 to 14.
	Address int

	// Name is vendor and chip in the kernel's words, as Realtek ALC269. Empty when
	// it does not say.
	Name string

	// Unknown when not stated. The subsystem is what the maker of the board wrote
	// there; it need not be that of the PCI function.
	Vendor, Device                   pci.ID
	SubsystemVendor, SubsystemDevice pci.ID
	Revision                         Word

	// AFG and MFG are the nodes of the audio and of the modem function group; 0 when
	// there is none, or when the kernel does not say, as old ones do not.
	AFG, MFG uint8

	// Nodes are the widgets of the audio function group, in the order of their numbers.
	Nodes []Node
}

// Pins returns the nodes that lead out of the chip.
func (c Codec) Pins() []Node {
	return slices.DeleteFunc(slices.Clone(c.Nodes), func(n Node) bool { return n.Widget() != PinComplex })
}

// DisplayOnly reports whether all that the codec can play to is at the other end of an
// HDMI or DisplayPort cable: the codec belongs to a GPU, whichever link it is on.
func (c Codec) DisplayOnly() bool {
	display := false
	for _, n := range c.Nodes {
		switch {
		case n.Widget() != PinComplex || n.Default.Connectivity() == Nothing:
		case n.HDMI() || n.DisplayPort():
			display = true
		default:
			return false
		}
	}
	return display
}

const (
	maxDump   = 1 << 20 // bytes; the largest codecs have some 60 KiB
	maxNodes  = 256     // their numbers have 8 bits
	maxErrors = 8       // of one file, which then need not be read on
)

// ParseCodec reads the first codec of a dump as the kernel writes it to
// /proc/asound/cardN/codec#M. Lines before it, as in a report of alsa-info, are passed
// over. The error says what could not be read; the codec returned with it holds the
// rest.
func ParseCodec(dump []byte) (Codec, error) {
	var errs []error
	if len(dump) > maxDump {
		dump = dump[:maxDump]
		errs = append(errs, fmt.Errorf("what is above %d bytes of a codec: %w", maxDump, hostfs.ErrTooLarge))
	}
	var c Codec
	found := false
	for line := range strings.Lines(string(dump)) {
		name, isCodec := strings.CutPrefix(line, "Codec: ")
		switch {
		case isCodec && found:
			return c, errors.Join(errs...)
		case isCodec:
			c.Name, found = plain.Line(name, maxText), true
		case found:
			if err := c.parseLine(strings.TrimSpace(line)); err != nil {
				errs = append(errs, err)
			}
		}
		if len(errs) >= maxErrors {
			break
		}
	}
	if !found {
		return c, errors.New("no line Codec, with which a dump begins")
	}
	return c, errors.Join(errs...)
}

// parseLine reads one line below the name.
func (c *Codec) parseLine(line string) error {
	var last *Node
	if len(c.Nodes) > 0 {
		last = &c.Nodes[len(c.Nodes)-1]
	}
	value := func(prefix string) (string, bool) {
		rest, ok := strings.CutPrefix(line, prefix)
		if !ok {
			return "", false
		}
		if i := strings.IndexAny(rest, ": "); i >= 0 {
			rest = rest[:i]
		}
		return rest, true
	}
	if s, ok := value("Node "); ok {
		return c.parseNode(s, line)
	}
	if last != nil {
		var err error
		if s, ok := value("Pincap "); ok {
			last.PinCapabilities, err = parseWord(s)
		} else if s, ok := value("Pin Default "); ok {
			last.Default.Word, err = parseWord(s)
		}
		return err
	}
	var err error
	if s, ok := value("Address: "); ok {
		var n uint64
		if n, err = strconv.ParseUint(s, 10, 4); err == nil {
			c.Address = int(n)
		}
	} else if s, ok := value("Vendor Id: "); ok {
		c.Vendor, c.Device, err = parseIDs(s)
	} else if s, ok := value("Subsystem Id: "); ok {
		c.SubsystemVendor, c.SubsystemDevice, err = parseIDs(s)
	} else if s, ok := value("Revision Id: "); ok {
		c.Revision, err = parseWord(s)
	} else if s, ok := value("State of AFG node "); ok {
		c.AFG, err = parseNodeID(s)
	} else if s, ok := value("Modem Function Group: "); ok {
		c.MFG, err = parseNodeID(s)
	}
	if err != nil {
		return fmt.Errorf("line %.64q: %w", line, err)
	}
	return nil
}

// parseNode reads Node 0x15 [Pin Complex] wcaps 0x40018d: Stereo Amp-Out.
func (c *Codec) parseNode(id, line string) error {
	n, err := parseNodeID(id)
	if err != nil {
		return fmt.Errorf("line %.64q: %w", line, err)
	}
	if len(c.Nodes) == maxNodes {
		return fmt.Errorf("more than %d nodes", maxNodes)
	}
	c.Nodes = append(c.Nodes, Node{ID: n})
	_, caps, ok := strings.Cut(line, " wcaps ")
	if !ok {
		return fmt.Errorf("line %.64q: no wcaps", line)
	}
	caps, _, _ = strings.Cut(caps, ":")
	c.Nodes[len(c.Nodes)-1].Capabilities, err = parseWord(caps)
	return err
}

func parseWord(s string) (Word, error) {
	digits, _ := strings.CutPrefix(s, "0x")
	n, err := strconv.ParseUint(digits, 16, 32)
	if err != nil {
		return Word{}, fmt.Errorf("%.64q is no 32-bit word in hexadecimal", s)
	}
	return NewWord(uint32(n)), nil
}

func parseNodeID(s string) (uint8, error) {
	w, err := parseWord(s)
	if err != nil || w.v > 0xff {
		return 0, fmt.Errorf("%.64q is no number of a node", s)
	}
	return uint8(w.v), nil
}

// parseIDs reads two ids in one word, the vendor's in the upper half.
func parseIDs(s string) (vendor, device pci.ID, err error) {
	w, err := parseWord(s)
	if err != nil {
		return vendor, device, err
	}
	return pci.NewID(uint16(w.v >> 16)), pci.NewID(uint16(w.v)), nil
}
