package guest

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The bounds that Validate holds a definition to, besides those of a [Guest].
const (
	MaxNeeds     = 64
	MaxCDROMs    = 4
	MaxFolders   = 16
	MaxAwaited   = 32 // guests that one waits for
	MaxPriority  = 1000
	MaxDelay     = time.Hour
	maxText      = 1024 // bytes of a file name
	maxReadyText = 256
)

// A DefinitionError is one reason why a definition is none.
type DefinitionError struct {
	// Field is the field of the definition, such as disks[0].file; empty when it is
	// about the whole.
	Field string

	// Reason says what is wrong, what was expected and, where one is near, what was
	// meant.
	Reason string

	// File, Line and Column are where, counted from 1, and Source is that line. They are
	// zero when the definition was not read from a text.
	File         string
	Line, Column int
	Source       string
}

// Error returns file, line, column, field and reason in one line, and in two more the
// source with a caret below.
func (e *DefinitionError) Error() string {
	text := e.Reason
	if e.Field != "" {
		text = e.Field + ": " + text
	}
	if e.Line == 0 {
		if e.File != "" {
			text = e.File + ": " + text
		}
		return text
	}
	return fmt.Sprintf("%s:%d:%d: %s\n%s", e.File, e.Line, e.Column, text, caret(e.Source, e.Line, e.Column))
}

// caret shows a line of source with a mark below a column, both counted from 1. Of a long
// line it shows what is around.
func caret(source string, line, column int) string {
	runes := []rune(source)
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = ' '
		}
	}
	at := min(max(column-1, 0), len(runes))
	const around = 60
	from, to := max(0, at-around), min(len(runes), at+around)
	before, after := "", ""
	if from > 0 {
		before = "..."
	}
	if to < len(runes) {
		after = "..."
	}
	number := fmt.Sprint(line)
	return fmt.Sprintf("  %s | %s%s%s\n  %s | %s^", number, before, string(runes[from:to]), after,
		strings.Repeat(" ", len(number)), strings.Repeat(" ", len(before)+at-from))
}

// checks gathers the reasons against a definition.
type checks struct{ errs []error }

func (c *checks) bad(field, format string, args ...any) {
	c.errs = append(c.errs, &DefinitionError{Field: field, Reason: fmt.Sprintf(format, args...)})
}

// Validate returns nil if d can be a guest as far as can be said without looking at a
// host, and otherwise an error that joins a *[DefinitionError] for every reason why not.
func (d Definition) Validate() error {
	var c checks
	if d.Name == "" {
		c.bad("name", "the name is missing")
	} else if err := ValidateName(d.Name); err != nil {
		c.bad("name", "%v", err)
	}
	if d.CPUs < 0 || d.CPUs > MaxCPUs {
		c.bad("cpus", "%d is not between 1 and %d", d.CPUs, MaxCPUs)
	}
	switch {
	case d.Memory == 0:
		c.bad("memory", "the memory is missing; expected a size such as 8GiB")
	case d.Memory < MinMemory || d.Memory > MaxMemory:
		c.bad("memory", "%s is not between %s and %s", FormatSize(d.Memory), FormatSize(MinMemory), FormatSize(MaxMemory))
	case d.Memory%(1<<20) != 0:
		c.bad("memory", "%d bytes are not whole MiB", d.Memory)
	}
	if d.Firmware != BIOS && d.Firmware != UEFI {
		c.bad("firmware", "%v is none", d.Firmware)
	}
	if d.SecureBoot && d.Firmware != UEFI {
		c.bad("secure_boot", "only UEFI has it; it goes with firmware: uefi")
	}
	c.autostart(d)
	c.power(d)
	c.disks(d)
	c.network(d.Network)
	c.display(d)
	c.folders(d)
	if len(d.Devices) > MaxNeeds {
		c.bad("devices", "%d are more than %d", len(d.Devices), MaxNeeds)
	}
	for i, n := range d.Devices {
		c.need(fmt.Sprintf("devices[%d].", i), n)
	}
	return errors.Join(c.errs...)
}

func (c *checks) autostart(d Definition) {
	a := d.Autostart
	if a == nil {
		return
	}
	if a.Priority < 0 || a.Priority > MaxPriority {
		c.bad("autostart.priority", "%d is not between 0 and %d", a.Priority, MaxPriority)
	}
	c.duration("autostart.delay", a.Delay)
	if len(a.Needs) > MaxAwaited {
		c.bad("autostart.needs", "%d are more than %d", len(a.Needs), MaxAwaited)
	}
	for i, name := range a.Needs {
		field := fmt.Sprintf("autostart.needs[%d]", i)
		if err := ValidateName(name); err != nil {
			c.bad(field, "%v", err)
		} else if name == d.Name {
			c.bad(field, "the guest would wait for itself")
		} else if slices.Contains(a.Needs[:i], name) {
			c.bad(field, "%s is named twice", name)
		}
	}
	if a.Fullscreen && d.Display.Kind != VirtioDisplay && d.Display.Kind != VirglDisplay {
		c.bad("autostart.fullscreen", "there is no display to show; it goes with display kind virtio or virgl")
	}
	c.ready(a.Ready, d.Network)
}

func (c *checks) ready(r Ready, n Network) {
	given := 0
	for _, is := range []bool{r.Serial != "", r.Agent, r.TCP != 0, r.After != 0} {
		if is {
			given++
		}
	}
	if given > 1 {
		c.bad("autostart.ready", "%d ways are given; expected one of serial, agent, tcp and after", given)
	}
	if !oneLine(r.Serial, maxReadyText) {
		c.bad("autostart.ready.serial", "%s is not one line of at most %d bytes of text", quote(r.Serial), maxReadyText)
	}
	if r.TCP != 0 && n.Kind == NoNetwork {
		c.bad("autostart.ready.tcp", "the guest has no network to be reached through; it goes with network: nat or a bridge")
	}
	c.duration("autostart.ready.after", r.After)
}

func (c *checks) duration(field string, d time.Duration) {
	switch {
	case d < 0 || d > MaxDelay:
		c.bad(field, "%v is not between 0s and %v", d, MaxDelay)
	case d%time.Millisecond != 0:
		c.bad(field, "%v are not whole milliseconds", d)
	}
}

func (c *checks) disks(d Definition) {
	if len(d.Disks) > MaxDisks {
		c.bad("disks", "%d are more than %d", len(d.Disks), MaxDisks)
	}
	if len(d.CDROMs) > MaxCDROMs {
		c.bad("cdroms", "%d are more than %d", len(d.CDROMs), MaxCDROMs)
	}
	sata := len(d.CDROMs)
	writable := map[string]bool{}
	for i, k := range d.Disks {
		at := fmt.Sprintf("disks[%d].", i)
		c.file(at+"file", k.File)
		if k.Format != Raw && k.Format != Qcow2 {
			c.bad(at+"format", "%v is none", k.Format)
		}
		switch {
		case k.Bus < AutoBus || k.Bus > NVMe:
			c.bad(at+"bus", "%v is none", k.Bus)
		case k.CDROM:
			c.bad(at+"file", "a CD-ROM is no disk; it goes into cdroms")
		case k.Bus == SATA && k.ReadOnly:
			c.bad(at+"read_only", "a SATA disk cannot be read-only; use bus: virtio")
		}
		if why := k.badKey(); why != "" {
			c.bad(at+"key", "%s", why)
		} else if k.Key.Kind == Credential {
			c.file(at+"key", k.Key.File)
		}
		if k.OnSATA() {
			sata++
		}
		name := path.Clean(k.File)
		if before, twice := writable[name]; twice && (before || !k.ReadOnly) {
			c.bad(at+"file", "%s is given twice; only read-only disks can be shared", quote(k.File))
		}
		writable[name] = writable[name] || !k.ReadOnly
	}
	for i, file := range d.CDROMs {
		at := fmt.Sprintf("cdroms[%d]", i)
		c.file(at, file)
		if writable[path.Clean(file)] {
			c.bad(at, "%s is given twice; only read-only disks can be shared", quote(file))
		}
	}
	if sata > maxSATA {
		c.bad("disks", "%d on SATA, CD-ROMs among them, are more than %d; put some on bus: virtio or nvme", sata, maxSATA)
	}
}

func (c *checks) network(n Network) {
	switch n.Kind {
	case NoNetwork, NAT:
		if n.Bridge != "" {
			c.bad("network", "%v has no bridge", n.Kind)
		}
	case Bridged:
		if !bridgeName(n.Bridge) {
			c.bad("network", "%s is no name of a bridge; expected bridge:NAME, with 1 to 15 of a-z, A-Z, 0-9, -, _ and .", quote(n.Bridge))
		}
	default:
		c.bad("network", "%v is none", n)
	}
}

// bridgeName reports whether s can be the name of a bridge: what the kernel takes
// (dev_valid_name), and only what nobody has to quote.
func bridgeName(s string) bool {
	return len(s) >= 1 && len(s) <= 15 && s != "." && s != ".." && s[0] != '-' && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	}) < 0
}

func (c *checks) display(d Definition) {
	switch d.Display.Kind {
	case NoDisplay, AssignedDisplay:
		if d.Display.Where != WhereverSeen && d.Display.Where != Nowhere {
			c.bad("display.where", "only an emulated display is seen in a %s; it goes with kind: virtio or virgl", d.Display.Where)
		}
	case VirtioDisplay, VirglDisplay:
	default:
		c.bad("display.kind", "%s is none", quote(string(d.Display.Kind)))
	}
	switch d.Display.Where {
	case WhereverSeen, InWindow, OnVNC, OnSPICE, Nowhere:
	default:
		c.bad("display.where", "%s is none", quote(string(d.Display.Where)))
	}
	gpu := slices.ContainsFunc(d.Devices, func(n Need) bool { return n.Want == WantGPU && n.How == Assign })
	if d.Display.Kind == AssignedDisplay && !gpu {
		c.bad("display.kind", "no gpu is assigned; it goes with one among devices")
	}
}

func (c *checks) folders(d Definition) {
	if len(d.Folders) > MaxFolders {
		c.bad("folders", "%d are more than %d", len(d.Folders), MaxFolders)
	}
	if d.Locked && len(d.Folders) > 0 {
		c.bad("folders", "a locked guest sees no folder of the host")
	}
	names := map[string]bool{}
	for i, f := range d.Folders {
		at := fmt.Sprintf("folders[%d].", i)
		c.file(at+"path", f.Path)
		if f.Path != "" && (!path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/") {
			c.bad(at+"path", "%s is no absolute path of a folder below /, written without . and ..", quote(f.Path))
		}
		if ValidateName(f.Name) != nil || len(f.Name) > 35 { // what a tag of virtiofs can hold
			c.bad(at+"name", "%s is no name; expected 1 to 35 of a-z, 0-9 and -, not starting with -", quote(f.Name))
		}
		if names[f.Name] {
			c.bad(at+"name", "%s is given twice", quote(f.Name))
		}
		names[f.Name] = true
	}
}

// file checks the name of a file.
func (c *checks) file(field, name string) {
	switch {
	case name == "":
		c.bad(field, "no file is named")
	case !oneLine(name, maxText):
		c.bad(field, "%s is not a file name in one line of at most %d bytes of text", quote(name), maxText)
	}
}

// oneLine reports whether s is text that does not move a terminal's cursor or hide
// what it says.
func oneLine(s string, most int) bool {
	return len(s) <= most && utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// alternatives lists words as a person would.
func alternatives[T ~string](words []T) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i > 0 && i == len(words)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(string(w))
	}
	return b.String()
}

// nearest asks whether the word was meant that is the nearest to s, if one is near: one
// edit away, or two if it begins the same.
func nearest[T ~string](s string, words []T) string {
	s = strings.ToLower(s)
	best, distance := "", 3
	for _, w := range words {
		d := editDistance(s, string(w))
		if d < distance && 2*d < len(w) && (d < 2 || s != "" && s[0] == w[0]) {
			best, distance = string(w), d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// editDistance counts the letters to insert, delete, replace or swap with their neighbour
// that make b of a. Long words are far from all.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	var before, last, row [65]int
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
