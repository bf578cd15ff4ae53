package gpu_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/internal/hosttest"
)

// A sheet is the facts of one EDID as sorted lines.
type sheet map[string]int

func (s sheet) add(format string, args ...any) { s[fmt.Sprintf(format, args...)]++ }

func (s sheet) lines() []string { return slices.Sorted(maps.Keys(s)) }

// TestDecodes compares with what edid-decode says of the same bytes.
func TestDecodes(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "edid", "linuxhw"), "*.edid.bin"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no EDIDs: %v", err)
	}
	edids, facts := 0, 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		must(t, err)
		text, err := os.ReadFile(strings.TrimSuffix(file, ".edid.bin") + ".txt")
		must(t, err)
		e, err := gpu.ParseEDID(data)
		must(t, err)
		want := readDecode(t, string(text))
		base := strings.TrimSuffix(filepath.Base(file), ".edid.bin")
		for _, x := range unlike {
			if x.file == base && x.theirs != "" {
				if want[x.theirs] == 0 {
					t.Errorf("%s: %q is no longer there: the exception may go", base, x.theirs)
				}
				delete(want, x.theirs)
				want.add("%s", x.ours)
			}
		}
		got := factsOf(e, data)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-edid-decode +ours):\n%s", filepath.Base(file), diff)
		}
		var problems []string
		for _, x := range unlike {
			if x.file == base && x.problem != "" {
				problems = append(problems, x.problem)
			}
		}
		if !slices.Equal(problems, e.Problems) {
			t.Errorf("%s: problems %q, want %q", base, e.Problems, problems)
		}
		edids++
		facts += len(want.lines())
	}
	t.Logf("EDIDs: %d, facts: %d", edids, facts)
	if edids < 30 || facts < 30*edids {
		t.Errorf("only %d facts of %d EDIDs were compared", facts, edids)
	}
}

// unlike is where we mean to differ from edid-decode, and what is wrong with the
// bytes by CTA-861 and DisplayID, which edid-decode says elsewhere or not at all.
var unlike = []struct{ file, theirs, ours, problem, why string }{
	{"Digital__AU_Optronics__AUO632D__7F2EC2D7A0AD", `text "F64N5"`, `text "F64N5 B133HAN"`, "", dell},
	{"Digital__BOE__BOE0C04__3FD2DB790DCF", `text "HD9NF"`, `text "HD9NF NE14N41"`, "", dell},
	{"Digital__Sharp__SHP148D__6FC1884B0B61", `text "FNVDR"`, `text "FNVDR LQ156D1"`, "", dell},
	{"Digital__Chimei_Innolux__CMN145E__FEA4B84B1A33", "", "", "block 1: a data block of 15 bytes where 14 are left",
		"the maker counts a CTA block without its head in DisplayID's length"},
	{"Digital__Sharp__SHP0000__85F8DDBFAB71", "", "", "block 1: a data block of 15 bytes where 4 are left", "the last block reaches into the timings"},
	{"Digital__Samsung__SAME030__6DBB5EEE2626", "", "", "2 extensions are stated, 1 are here",
		"HDMI Forum's override says so, and who saved it did not heed it"},
}

const dell = "Dell's panels state their part number, a byte that is no letter, and the maker's name of the panel: " +
	"edid-decode ends at the byte, we want the name"

const plain = "DTD %dx%d%s %.2f Hz %d Hz size %dx%d h %d/%d/%d v %d/%d/%d in block %s"

// factsOf writes e in the words of readDecode.
func factsOf(e gpu.EDID, data []byte) sheet {
	s := sheet{}
	s.add("version %d.%d", e.Version, e.Revision)
	s.add("manufacturer %s", e.Manufacturer)
	s.add("model %d", e.Product)
	if e.Serial != 0 {
		s.add("serial %d", e.Serial)
	}
	s.add("made %d week %d model %v", e.Made.Year, e.Made.Week, e.Made.Model)
	s.add("digital %v", e.Input.Digital)
	if e.Input.Depth != 0 {
		s.add("depth %d", e.Input.Depth)
	}
	if e.Input.Interface != gpu.InterfaceUnknown {
		s.add("interface %v", e.Input.Interface)
	}
	s.add("size %dx%d cm", e.WidthCM, e.HeightCM)
	s.add("gamma %.2f", e.Gamma)
	f := e.Features
	for what, is := range map[string]bool{"standby": f.Standby, "suspend": f.Suspend, "off": f.Off, "srgb": f.SRGB, "continuous": f.Continuous,
		"444": f.YCbCr444, "422": f.YCbCr422} {
		if is {
			s.add("feature %s", what)
		}
	}
	for _, m := range e.Established {
		s.add("established %dx%d %d Hz", m.Width, m.Height, m.Refresh)
	}
	for _, m := range e.Standard {
		s.add("standard %dx%d %d Hz", m.Width, m.Height, m.Refresh)
	}
	inBase := len(e.Timings)
	for _, c := range e.DisplayID {
		inBase -= c.Timings
	}
	for i, t := range e.Timings {
		where := "DisplayID"
		if i < inBase {
			where = "EDID"
		}
		inter, height, vfront, vsync, vback := "", t.Height, t.VFront, t.VSync, t.VBlank-t.VFront-t.VSync
		if t.Interlaced {
			inter, vback = "i", t.VBlank/2-t.VFront-t.VSync
		}
		s.add(plain, t.Width, height, inter, t.Refresh(), t.Clock, t.WidthMM, t.HeightMM,
			t.HFront, t.HSync, t.HBlank-t.HFront-t.HSync, vfront, vsync, vback, where)
		if where == "DisplayID" {
			s.add("%dx%d %.2f Hz preferred %v", t.Width, t.Height, t.Refresh(), t.Preferred)
		}
	}
	if len(e.Timings) > 0 {
		s.add("first preferred %v", e.Timings[0].Preferred)
	}
	for what, text := range map[string]string{"name": e.Name, "serial": e.SerialText} {
		if text != "" {
			s.add("%s text %q", what, text)
		}
	}
	for _, x := range e.Texts {
		s.add("text %q", x)
	}
	if r := e.Range; r != (gpu.Range{}) {
		s.add("range %d-%d V %d-%d H %d MHz", r.MinV, r.MaxV, r.MinH, r.MaxH, r.MaxClock)
	}
	s.add("extensions %d", e.Extensions)
	for i, b := range e.Blocks {
		s.add("block %d %v checksum %02x ok %v", i, b.Kind, data[i*128+127], b.Checksum)
	}
	for _, c := range e.CTA {
		s.add("CTA revision %d native %d", c.Revision, c.NativeTimings)
		for what, is := range map[string]bool{"underscan": c.Underscan, "audio": c.BasicAudio, "444": c.YCbCr444, "422": c.YCbCr422} {
			if is {
				s.add("CTA %s", what)
			}
		}
		ctaFacts(s, c)
	}
	for _, d := range e.DisplayID {
		s.add("DisplayID %d.%d use %d checksum %v", d.Version, d.Revision, d.Use, d.Checksum)
		ctaFacts(s, d.CTA)
	}
	return s
}

func ctaFacts(s sheet, c gpu.CTA) {
	for _, v := range c.Video {
		s.add("VIC %d native %v only420 %v", v.Code, v.Native, v.Only420)
	}
	for _, a := range c.Audio {
		if a.Code != 0 {
			s.add("audio %v channels %d rates %v depths %v bit rate %d", a.Code, a.Channels, a.Rates, a.Depths, a.BitRate)
		}
	}
	if c.Speakers != 0 {
		s.add("speakers %06x", c.Speakers)
	}
	for _, v := range c.Vendors {
		s.add("vendor %06x", v.OUI)
		if v.PhysicalAddress != 0 {
			s.add("HDMI address %04x", v.PhysicalAddress)
		}
		if v.MaxTMDS != 0 {
			s.add("vendor %06x TMDS %d MHz", v.OUI, v.MaxTMDS/1_000_000)
		}
		if v.MaxFRL != 0 {
			s.add("FRL %d", v.MaxFRL)
		}
	}
}

// A decode reads the output of edid-decode line by line.
type decode struct {
	t                  *testing.T
	s                  sheet
	block, kind        string
	section            string // the heading two columns in
	timing             []string
	audio              *gpu.AudioFormat
	oui                string
	version, displayID string
	firstPreferred     bool
	speakers           uint32
	extensions         int
	use                int
	made               string
}

func match(pattern, line string) []string {
	return regexp.MustCompile(pattern).FindStringSubmatch(line)
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	must(t, err)
	return n
}

const modePattern = `(\d+)x(\d+)(i?) +(\d+\.\d+) Hz .*kHz +(\d+\.\d+) MHz`

func readDecode(t *testing.T, text string) sheet {
	t.Helper()
	_, text, ok := strings.Cut(text, "\n----------------\n")
	if !ok {
		t.Fatal("no decode in the file")
	}
	d := &decode{t: t, s: sheet{}}
	for line := range strings.Lines(text) {
		d.line(strings.TrimRight(line, "\n"))
	}
	d.endAudio()
	d.s.add("extensions %d", d.extensions)
	d.s.add("first preferred %v", d.firstPreferred)
	d.s.add("%s", d.made)
	return d.s
}

func (d *decode) line(line string) {
	t, s := d.t, d.s
	trimmed := strings.TrimSpace(line)
	if m := match(`^Block (\d+), (.*):`, line); m != nil {
		d.endAudio()
		d.block = m[1]
		d.kind = map[string]string{"Base EDID": "base", "CTA-861 Extension Block": "CTA-861", "DisplayID Extension Block": "DisplayID"}[m[2]]
		d.section = ""
		return
	}
	if m := match(`^Checksum: 0x(..)( \(should be)?`, line); m != nil {
		s.add("block %s %s checksum %s ok %v", d.block, d.kind, m[1], m[2] == "")
		return
	}
	if strings.HasPrefix(line, "  ") && !strings.HasPrefix(line, "   ") {
		d.endAudio()
		d.section = trimmed
		d.heading(trimmed)
		return
	}
	if m := match(`^DTD.*? `+modePattern+`(?: \((.*)\))?`, trimmed); m != nil {
		d.timing = m
		return
	}
	if m := match(`^Hfront +(\d+) Hsync +(\d+) Hback +(\d+)`, trimmed); m != nil {
		d.timing = append(d.timing, m[1:]...)
		return
	}
	if m := match(`^Vfront +(\d+) Vsync +(\d+) Vback +(\d+)`, trimmed); m != nil {
		if d.timing != nil {
			d.endTiming(m)
		}
		return
	}
	switch section := d.section; {
	case section == "Vendor & Product Identification:":
		if m := match(`^Manufacturer: (.*)`, trimmed); m != nil {
			s.add("manufacturer %s", m[1])
		} else if m := match(`^Model: (\d+)`, trimmed); m != nil {
			s.add("model %s", m[1])
		} else if m := match(`^Serial Number: (\d+)`, trimmed); m != nil {
			s.add("serial %s", m[1])
		} else if m := match(`^Made in: week (\d+) of (\d+)`, trimmed); m != nil {
			d.made = fmt.Sprintf("made %s week %s model false", m[2], m[1])
		} else if m := match(`^Made in: (\d+)`, trimmed); m != nil {
			d.made = fmt.Sprintf("made %s week 0 model false", m[1])
		} else if m := match(`^Model year: (\d+)`, trimmed); m != nil {
			d.made = fmt.Sprintf("made %s week 0 model true", m[1])
		}
	case section == "Basic Display Parameters & Features:":
		d.basic(trimmed)
	case section == "Established Timings I & II:" || section == "Standard Timings:":
		if m := match(modePattern, trimmed); m != nil {
			hz, err := strconv.ParseFloat(m[4], 64)
			must(t, err)
			w, h := m[1], m[2]
			if section == "Standard Timings:" {
				s.add("standard %sx%s %.0f Hz", w, h, hz)
			} else {
				s.add("established %sx%s %.0f Hz", w, h, hz)
			}
		}
	case section == "Detailed Timing Descriptors:":
		if m := match(`^Display Product (Name|Serial Number): '(.*)'`, trimmed); m != nil {
			s.add("%s text %q", map[string]string{"Name": "name", "Serial Number": "serial"}[m[1]], strings.TrimSpace(m[2]))
		} else if m := match(`^Alphanumeric Data String: '(.*)'`, trimmed); m != nil {
			if x := strings.TrimSpace(m[1]); x != "" {
				s.add("text %q", x)
			}
		} else if m := match(`^Monitor ranges.*: (\d+)-(\d+) Hz V, (\d+)-(\d+) kHz H(?:, max dotclock (\d+) MHz)?`, trimmed); m != nil {
			s.add("range %s-%s V %s-%s H %d MHz", m[1], m[2], m[3], m[4], number(t, "0"+m[5]))
		}
	case section == "Video Data Block:" || section == "YCbCr 4:2:0 Video Data Block:":
		if m := match(`^VIC +(\d+):`, trimmed); m != nil {
			s.add("VIC %s native %v only420 %v", m[1], strings.Contains(trimmed, "(native)"), strings.HasPrefix(section, "YCbCr"))
		}
	case section == "Audio Data Block:":
		d.audioLine(line, trimmed)
	case section == "Speaker Allocation Data Block:":
		d.speakers |= speakerBit(t, trimmed)
	case strings.HasPrefix(section, "Vendor-Specific Data Block"):
		if m := match(`^Source physical address: (\d+)\.(\d+)\.(\d+)\.(\d+)`, trimmed); m != nil && m[0] != "Source physical address: 0.0.0.0" {
			s.add("HDMI address %x%x%x%x", number(t, m[1]), number(t, m[2]), number(t, m[3]), number(t, m[4]))
		} else if m := match(`^Maximum TMDS (?:clock|Character Rate): (\d+) MHz`, trimmed); m != nil {
			s.add("vendor %s TMDS %s MHz", d.oui, m[1])
		} else if m := match(`^Max Fixed Rate Link: (.*)`, trimmed); m != nil {
			s.add("FRL %d", map[string]int{"3 Gbps per lane on 3 lanes": 1, "3 and 6 Gbps per lane on 3 lanes": 2,
				"3 and 6 Gbps per lane on 3 lanes, 6 Gbps on 4 lanes": 3, "3 and 6 Gbps per lane on 3 lanes, 6 and 8 Gbps on 4 lanes": 4,
				"3 and 6 Gbps per lane on 3 lanes, 6, 8 and 10 Gbps on 4 lanes": 5, "3 and 6 Gbps per lane on 3 lanes, 6, 8, 10 and 12 Gbps on 4 lanes": 6}[m[1]])
		}
	case section == "HDMI Forum EDID Extension Override Data Block:":
		if m := match(`^EDID Extension Block Count: (\d+)`, trimmed); m != nil {
			d.extensions = number(t, m[1])
		}
	}
}

// heading reads a line two columns in, which is a fact or opens a section.
func (d *decode) heading(line string) {
	s := d.s
	if m := match(`^EDID Structure Version & Revision: (.*)`, line); m != nil {
		s.add("version %s", m[1])
	} else if m := match(`^Extension blocks: (\d+)`, line); m != nil {
		d.extensions = number(d.t, m[1])
	} else if m := match(`^Vendor-Specific (?:Video )?Data Block.*OUI (..)-(..)-(..)`, line); m != nil {
		d.oui = strings.ToLower(m[1] + m[2] + m[3])
		if strings.HasPrefix(line, "Vendor-Specific Data Block (0x7f)") || strings.Contains(line, "Video Data") {
			return // of DisplayID, or video: not read
		}
		s.add("vendor %s", d.oui)
	} else if line == "Basic audio support" {
		s.add("CTA audio")
	} else if line == "Supports YCbCr 4:4:4" {
		s.add("CTA 444")
	} else if line == "Supports YCbCr 4:2:2" {
		s.add("CTA 422")
	} else if line == "Underscans IT Video Formats by default" {
		s.add("CTA underscan")
	} else if m := match(`^Revision: (\d+)`, line); m != nil {
		d.version = m[1]
	} else if m := match(`^Native detailed modes: (\d+)`, line); m != nil {
		s.add("CTA revision %s native %s", d.version, m[1])
	} else if m := match(`^Version: (.*)`, line); m != nil {
		d.displayID = m[1]
	} else if m := match(`^Display Product (?:Type|Primary Use Case): (.*)`, line); m != nil {
		use, ok := map[string]int{"Extension Section": 0, "Standalone display device": 3,
			"None of the listed primary use cases; generic display": 2}[m[1]]
		if !ok {
			d.t.Errorf("unknown use %q", m[1])
		}
		d.use = use
	} else if m := match(`^Checksum: 0x..( \(should be)?`, line); m != nil && d.kind == "DisplayID" {
		s.add("DisplayID %s use %d checksum %v", d.displayID, d.use, m[1] == "")
	}
}

func (d *decode) basic(line string) {
	s := d.s
	switch line {
	case "Digital display", "Analog display":
		s.add("digital %v", line[0] == 'D')
	case "DisplayPort interface":
		s.add("interface DisplayPort")
	case "HDMI-a interface", "HDMI-b interface", "DVI interface":
		s.add("interface %s", strings.Fields(line)[0])
	case "Default (sRGB) color space is primary color space":
		s.add("feature srgb")
	case "Display is continuous frequency":
		s.add("feature continuous")
	case "First detailed timing is the preferred timing", "First detailed timing includes the native pixel format and preferred refresh rate",
		"First detailed timing does not include the native pixel format and preferred refresh rate":
		d.firstPreferred = true
	}
	if m := match(`^Bits per primary color channel: (\d+)`, line); m != nil {
		s.add("depth %s", m[1])
	} else if m := match(`^Maximum image size: (\d+) cm x (\d+) cm`, line); m != nil {
		s.add("size %sx%s cm", m[1], m[2])
	} else if m := match(`^Gamma: (.*)`, line); m != nil {
		s.add("gamma %s", m[1])
	} else if m := match(`^DPMS levels: (.*)`, line); m != nil {
		for _, level := range strings.Fields(m[1]) {
			s.add("feature %s", strings.ToLower(level))
		}
	} else if m := match(`^Supported color formats: (.*)`, line); m != nil {
		for _, format := range []string{"444", "422"} {
			if strings.Contains(strings.ReplaceAll(m[1], ":", ""), "YCrCb "+strings.Join(strings.Split(format, ""), "")) {
				s.add("feature %s", format)
			}
		}
	}
}

// endTiming takes the second line of the details.
func (d *decode) endTiming(v []string) {
	m := d.timing
	d.timing = nil
	hz, err := strconv.ParseFloat(m[4], 64)
	must(d.t, err)
	mhz, err := strconv.ParseFloat(m[5], 64)
	must(d.t, err)
	where, w, h := "EDID", 0, 0
	if d.kind == "DisplayID" {
		where = "DisplayID"
		d.s.add("%sx%s %.2f Hz preferred %v", m[1], m[2], hz, strings.Contains(m[6], "preferred"))
	} else if size := match(`(\d+) mm x (\d+) mm`, m[6]); size != nil {
		w, h = number(d.t, size[1]), number(d.t, size[2])
	}
	var n []any
	for _, x := range append(m[7:10:10], v[1:4]...) {
		n = append(n, number(d.t, x))
	}
	d.s.add(plain, append([]any{number(d.t, m[1]), number(d.t, m[2]), m[3], hz, int64(mhz*1e6 + 0.5), w, h}, append(n, where)...)...)
}

func (d *decode) audioLine(line, trimmed string) {
	switch {
	case match(`^    \S.*:$`, line) != nil:
		d.endAudio()
		for c := gpu.AudioCode(1); c < 15; c++ {
			word := strings.TrimSuffix(trimmed, ":")
			if c.String() == word || c.String()+" (DD+)" == word || c.String()+" (MLP)" == word {
				d.audio = &gpu.AudioFormat{Code: c}
			}
		}
		if d.audio == nil {
			d.t.Errorf("unknown coding %q", trimmed)
			d.audio = &gpu.AudioFormat{}
		}
	case strings.HasPrefix(trimmed, "Max channels: "):
		d.audio.Channels = number(d.t, trimmed[len("Max channels: "):])
	case strings.HasPrefix(trimmed, "Supported sample rates (kHz): "):
		for _, khz := range strings.Fields(trimmed[len("Supported sample rates (kHz): "):]) {
			f, err := strconv.ParseFloat(khz, 64)
			must(d.t, err)
			d.audio.Rates = append([]int{int(f*1000 + 0.5)}, d.audio.Rates...)
		}
	case strings.HasPrefix(trimmed, "Supported sample sizes (bits): "):
		for _, bits := range strings.Fields(trimmed[len("Supported sample sizes (bits): "):]) {
			d.audio.Depths = append([]int{number(d.t, bits)}, d.audio.Depths...)
		}
	case strings.HasPrefix(trimmed, "Maximum bit rate: "):
		d.audio.BitRate = 1000 * number(d.t, strings.Fields(trimmed)[3])
	}
}

// endAudio and the bits of the speakers are whole when a section ends.
func (d *decode) endAudio() {
	if a := d.audio; a != nil {
		d.s.add("audio %v channels %d rates %v depths %v bit rate %d", a.Code, a.Channels, a.Rates, a.Depths, a.BitRate)
		d.audio = nil
	}
	if d.speakers != 0 {
		d.s.add("speakers %06x", d.speakers)
		d.speakers = 0
	}
}

func speakerBit(t *testing.T, line string) uint32 {
	short, _, _ := strings.Cut(line, " - ")
	for bit, name := range []string{"FL/FR", "LFE1", "FC", "BL/BR", "BC", "FLC/FRC", "RLC/RRC", "FLW/FRW"} {
		if name == short {
			return 1 << bit
		}
	}
	t.Errorf("unknown speaker %q", line)
	return 0
}
