package audio

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
)

// KeptCodecs reads what the kernel keeps of the codecs of a card, in the order of
// their addresses: names, ids, and where the pins led when the machine started
// (init_pin_configs), from /sys/class/sound/hwCNDM; where these are missing, names and
// ids from /sys/bus/hdaudio/devices. It asks no chip and wakes none.
//
// Nodes are the pins with their Default alone; all else of them is unknown. A card
// without codecs has none and that is no error. The error, if any, is an *[OpError]
// that joins what could not be read; the codecs are returned all the same, with what
// is known.
func KeptCodecs(fsys fs.FS, card Card) ([]Codec, error) {
	var codecs []Codec
	var errs []error
	prefix := "hwC" + strconv.Itoa(card.Index) + "D"
	addresses, err := numbered(fsys, class, prefix)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	for _, address := range addresses {
		if address > 14 {
			continue // of other drivers than that for codecs
		}
		dir := class + "/" + prefix + strconv.Itoa(address)
		c, err := readBusCodec(fsys, dir, false)
		if err != nil {
			errs = append(errs, err)
		}
		if c.Vendor == (pci.ID{}) {
			continue // a device for other hardware, as a synthesizer
		}
		c.Address = address
		pins, err := hostfs.ReadString(fsys, dir+"/init_pin_configs")
		if err == nil {
			c.Nodes, err = parsePinConfigs(pins)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		codecs = append(codecs, c)
	}
	if len(codecs) == 0 && !card.Port.IsValid() {
		found, err := busCodecs(fsys, card, false)
		codecs = found
		if err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		return codecs, card.opError("read codecs of", errors.Join(errs...))
	}
	return codecs, nil
}

// parsePinConfigs reads lines as "0x14 0x90170110": a node, and where it leads. Lines
// that are not of that form are left out; the error says so of the first.
func parsePinConfigs(text string) ([]Node, error) {
	var nodes []Node
	var wrong error
	for l := range strings.Lines(text) {
		node, config, _ := strings.Cut(strings.TrimSpace(l), " ")
		n, err1 := strconv.ParseUint(node, 0, 8)
		w, err2 := parseWord(config)
		if err1 != nil || err2 != nil {
			if wrong == nil {
				wrong = fmt.Errorf("init_pin_configs: unexpected line %.40q", l)
			}
			continue
		}
		nodes = append(nodes, Node{ID: uint8(n), Default: PinDefault{w}})
		if len(nodes) > 255 {
			break
		}
	}
	slices.SortStableFunc(nodes, func(a, b Node) int { return int(a.ID) - int(b.ID) })
	return nodes, wrong
}
