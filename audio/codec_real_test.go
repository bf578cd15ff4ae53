package audio_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/project-independence/indy/audio"
	"github.com/project-independence/indy/internal/hosttest"
)

// dumps returns the codecs of real machines by file and number: each dump there, and
// those within reports of alsa-info.
func dumps(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "hda", "hda-emu"), "*"))
	if err != nil || len(files) < 40 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	found := map[string][]byte{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		parts := bytes.Split(append([]byte("\n"), text...), []byte("\nCodec: "))
		if len(parts) < 2 {
			t.Errorf("%s holds no codec", file)
		}
		for i, part := range parts[1:] {
			part, _, _ = bytes.Cut(part, []byte("\n--endcollapse--"))
			found[fmt.Sprintf("%s/%d", filepath.Base(file), i)] = append([]byte("Codec: "), part...)
		}
	}
	return found
}

var (
	pinLine    = regexp.MustCompile(`^ *Pin Default (0x[0-9a-f]{8}): (?:\[(.*)\] )?(.*) at (Ext|Int|Sep|Oth) (.*)$`)
	connLine   = regexp.MustCompile(`^ *Conn = (.*), Color = (.*)$`)
	seqLine    = regexp.MustCompile(`^ *DefAssociation = 0x([0-9a-f]), Sequence = 0x([0-9a-f])$`)
	nodeLine   = regexp.MustCompile(`^Node (0x[0-9a-f]{2}) \[(.*)\] wcaps (0x[0-9a-f]+): (.*)$`)
	pincapLine = regexp.MustCompile(`^ *Pincap 0x[0-9a-f]+:(.*)$`)
)

// TestRealCodecs compares what is decoded of each register with the words that the
// kernel wrote beside it.
func TestRealCodecs(t *testing.T) {
	codecs, nodes, pins, pincaps, connections := 0, 0, 0, 0, 0
	described := map[string]int{}
	for name, dump := range dumps(t) {
		c, err := audio.ParseCodec(dump)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		codecs++
		header, _, _ := strings.Cut(string(dump), "\nNode ")
		if want := fmt.Sprintf("Codec: %s\nAddress: %d\n", c.Name, c.Address); !strings.HasPrefix(strings.ReplaceAll(header, "  ", " "), want) {
			t.Errorf("%s: %.60q, want %q", name, header, want)
		}
		for field, want := range map[string]string{
			"Vendor Id: 0x":    c.Vendor.String() + c.Device.String(),
			"Subsystem Id: 0x": c.SubsystemVendor.String() + c.SubsystemDevice.String(),
			"Revision Id: 0x":  strings.TrimLeft(c.Revision.String(), "0x"),
		} {
			_, rest, ok := strings.Cut(header, field)
			got, _, _ := strings.Cut(rest, "\n")
			if !ok || strings.TrimLeft(want, "0") != strings.TrimLeft(got, "0") {
				t.Errorf("%s: %s%s, decoded %s", name, field, got, want)
			}
		}
		i := -1 // the node that the line is about
		for line := range strings.Lines(string(dump)) {
			line = strings.TrimSuffix(line, "\n")
			if strings.HasPrefix(line, "Node ") {
				if i++; i >= len(c.Nodes) {
					t.Fatalf("%s: only %d nodes", name, len(c.Nodes))
				}
				nodes++
			}
			if m := nodeLine.FindStringSubmatch(line); m != nil {
				n := c.Nodes[i]
				words := []string{map[int]string{1: "Mono", 2: "Stereo"}[n.Channels()]}
				if n.Channels() > 2 {
					words[0] = fmt.Sprintf("%d-Channels", n.Channels())
				}
				in, out := n.Amplifiers()
				for word, has := range map[string]bool{"Digital": n.Digital(), "Amp-In": in, "Amp-Out": out} {
					if has != slices.Contains(strings.Fields(m[4]), word) {
						t.Errorf("%s: %s: %s is %v", name, line, word, has)
					}
				}
				if fmt.Sprintf("0x%02x", n.ID) != m[1] || string(n.Widget()) != m[2] || strings.Fields(m[4])[0] != words[0] {
					t.Errorf("%s: %s: decoded %#02x %s %v", name, line, n.ID, n.Widget(), words)
				}
			}
			if m := pincapLine.FindStringSubmatch(line); m != nil {
				pincaps++
				n := c.Nodes[i]
				for word, has := range map[string]bool{"IN": n.Input(), "OUT": n.Output(), "HP": n.Headphone(), "HDMI": n.HDMI(), "DP": n.DisplayPort()} {
					if has != slices.Contains(strings.Fields(m[1]), word) {
						t.Errorf("%s: %s: %s is %v", name, line, word, has)
					}
				}
			}
			if i < 0 {
				continue
			}
			p := c.Nodes[i].Default
			if m := pinLine.FindStringSubmatch(line); m != nil {
				pins++
				described[p.Describe()]++
				connection := string(p.Connectivity())
				if m[2] == "" { // kernels of long ago left it out
					connection = ""
				}
				got := []string{p.Word.String(), connection, string(p.Device()), string(p.Place()), p.Location()}
				if !slices.Equal(got, m[1:]) {
					t.Errorf("%s: %s: decoded %q", name, line, got)
				}
				if m[2] != "" && !strings.HasSuffix(line, ": "+p.String()) {
					t.Errorf("%s: %s: written as %s", name, line, p)
				}
			} else if strings.Contains(line, "Pin Default 0x") {
				t.Errorf("%s: not compared: %q", name, line)
			}
			if m := connLine.FindStringSubmatch(line); m != nil {
				connections++
				if p.Connector() != m[1] || p.Colour() != m[2] {
					t.Errorf("%s: node %#02x: %s: decoded %s, %s", name, c.Nodes[i].ID, line, p.Connector(), p.Colour())
				}
			}
			if m := seqLine.FindStringSubmatch(line); m != nil {
				if got := []string{fmt.Sprintf("%x", p.Association()), fmt.Sprintf("%x", p.Sequence())}; !slices.Equal(got, m[1:]) {
					t.Errorf("%s: %s: decoded %s", name, line, got)
				}
			}
			if strings.Contains(line, "Misc = NO_PRESENCE") && !p.NoPresence() {
				t.Errorf("%s: node %#02x: NO_PRESENCE is not decoded", name, c.Nodes[i].ID)
			}
		}
		if missing := bytes.Count(dump, []byte("NO_PRESENCE")) - len(slices.DeleteFunc(slices.Clone(c.Nodes), func(n audio.Node) bool { return !n.Default.NoPresence() })); missing > 0 {
			t.Errorf("%s: %d pins lack NO_PRESENCE", name, missing)
		}
		if i+1 != len(c.Nodes) {
			t.Errorf("%s: %d nodes of %d", name, len(c.Nodes), i+1)
		}
	}
	t.Logf("codecs: %d, nodes: %d, pins: %d, pin capabilities: %d, connections: %d", codecs, nodes, pins, pincaps, connections)
	t.Logf("%d different pins, of them internal speakers: %d", len(described), described["Internal Speaker"])
	if codecs < 77 || pins < 541 || nodes < 1473 || pincaps < 541 || connections < 541 || described["Headphone jack, left"] < 14 {
		t.Error("fewer than there are")
	}
}
