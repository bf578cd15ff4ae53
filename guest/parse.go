package guest

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxErrors is how many errors of one text are given; who mends those sees the others then.
const maxErrors = 20

// ParseDefinition reads a definition as its owner writes it. The text is YAML of which
// only what a definition needs is let in: one document of known fields with values on
// one line, without anchors, aliases, merge keys and tags, at most [MaxDefinition] bytes.
// The definition is valid, as [Definition.Validate] has it, or there is an error.
//
// The error joins a *[DefinitionError] for every reason found, which say where in the
// text it is. File is what to call the text there; nothing is read from it.
func ParseDefinition(file string, text []byte) (Definition, error) {
	root, lines, err := parseYAML(text)
	r := reader{file: file, lines: lines, at: map[string]position{}}
	var yaml *yamlError
	if errors.As(err, &yaml) {
		r.bad("", yaml.position, "%s", yaml.reason)
		return Definition{}, errors.Join(r.errs...)
	}
	d := r.definition(root)
	r.validated(d.Validate())
	if len(r.errs) > 0 {
		return Definition{}, errors.Join(r.errs...)
	}
	return d, nil
}

// A reader makes a definition of a document and gathers what is wrong with it.
type reader struct {
	file   string
	lines  []string
	at     map[string]position // of the fields that are there
	failed []string            // fields of which there is an error
	errs   []error
}

func (r *reader) bad(field string, pos position, format string, args ...any) {
	r.failed = append(r.failed, field)
	if len(r.errs) == maxErrors {
		return
	}
	e := &DefinitionError{Field: field, Reason: fmt.Sprintf(format, args...), File: r.file, Line: pos.line, Column: pos.column}
	if pos.line >= 1 && pos.line <= len(r.lines) {
		e.Source = r.lines[pos.line-1]
	}
	r.errs = append(r.errs, e)
}

// validated puts the reasons of Validate where their fields are. Those of a field of which
// there is an error already say nothing new.
func (r *reader) validated(err error) {
	reasons, _ := err.(interface{ Unwrap() []error })
	if reasons == nil {
		return
	}
	failed := slices.Clone(r.failed)
	for _, err := range reasons.Unwrap() {
		var e *DefinitionError
		if !errors.As(err, &e) || slices.ContainsFunc(failed, func(f string) bool { return within(e.Field, f) || within(f, e.Field) }) {
			continue
		}
		pos, ok := position{1, 1}, false
		for field := e.Field; !ok && field != ""; field = parent(field) {
			pos, ok = r.at[field]
		}
		if !ok {
			pos = position{1, 1}
		}
		r.bad(e.Field, pos, "%s", e.Reason)
	}
}

// within reports whether a field is another, or is in it.
func within(field, other string) bool {
	rest, ok := strings.CutPrefix(field, other)
	return ok && other != "" && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

func parent(field string) string {
	return field[:max(strings.LastIndexAny(field, ".["), 0)]
}

// A member is a field of a mapping.
type member struct {
	name string
	read func(value)
}

// A value is a node with the field it is the value of.
type value struct {
	*node
	r     *reader
	field string
}

func (v value) bad(format string, args ...any) { v.r.bad(v.field, v.pos, format, args...) }

// members reads a mapping of which these are the fields.
func (v value) members(members ...member) {
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = m.name
	}
	if v.kind != mappingNode {
		v.bad("expected the fields %s, found %v", alternatives(names), v.found())
		return
	}
	for _, e := range v.entries {
		i := slices.Index(names, e.key.text)
		field := e.key.text
		if i < 0 {
			field = quote(field) // which may be anything
		}
		if v.field != "" {
			field = v.field + "." + field
		}
		if i < 0 {
			v.r.bad(field, e.key.pos, "there is no such field; expected %s%s", alternatives(names), nearest(e.key.text, names))
			continue
		}
		v.r.at[field] = e.value.pos
		if e.value.kind == nullNode {
			v.r.bad(field, e.key.pos, "the value is missing")
			continue
		}
		members[i].read(value{e.value, v.r, field})
	}
}

// list reads a sequence of at most so many values.
func (v value) list(most int, read func(value)) {
	if v.kind != sequenceNode {
		v.bad("expected a list, found %v", v.found())
		return
	}
	if len(v.items) > most {
		v.bad("%d are more than %d", len(v.items), most)
		return
	}
	for i, n := range v.items {
		item := value{n, v.r, fmt.Sprintf("%s[%d]", v.field, i)}
		v.r.at[item.field] = n.pos
		if n.kind == nullNode {
			item.bad("the value is missing")
			continue
		}
		read(item)
	}
}

// found says what the value is.
func (v value) found() string {
	switch {
	case v.kind != scalarNode:
		return v.kind.String()
	case v.text == "":
		return "an empty text"
	}
	return quote(v.text)
}

// word returns what is written, whatever YAML takes it for: 0403 is a class.
func (v value) word(expected string) string {
	if v.kind != scalarNode || v.text == "" {
		v.bad("expected %s, found %s", expected, v.found())
		return ""
	}
	return v.text
}

// line returns a text.
func (v value) line(expected string) string {
	if v.kind == scalarNode && v.typed != "" {
		v.bad("expected %s, found %s, which is %s in YAML; put it in quotes", expected, quote(v.text), v.typed)
		return ""
	}
	return v.word(expected)
}

func (v value) boolean() bool {
	if v.kind != scalarNode || v.quoted || v.text != "true" && v.text != "false" {
		v.bad("expected true or false, found %s", v.found())
	}
	return v.text == "true"
}

func (v value) number(from, to int) int {
	digits := v.kind == scalarNode && !v.quoted && v.text != "" && strings.Trim(v.text, "0123456789") == "" && (v.text[0] != '0' || v.text == "0")
	n, err := strconv.Atoi(v.text)
	if !digits || err != nil || n < from || n > to {
		v.bad("expected a number between %d and %d, found %s", from, to, v.found())
		return 0
	}
	return n
}

func (v value) size() int64 {
	const expected = "a size such as 8GiB"
	s := v.word(expected)
	if s == "" {
		return 0
	}
	n, err := ParseSize(s)
	if err != nil {
		v.bad("%v", err)
	}
	return n
}

func (v value) duration() time.Duration {
	const expected = "a time such as 30s, 1m30s or 500ms"
	s := v.word(expected)
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil || strings.Trim(s, "0123456789.hms") != "" || d%time.Millisecond != 0 {
		v.bad("expected %s, found %s", expected, v.found())
		return 0
	}
	return d
}

// choice returns which of the words is written.
func choice[T ~string](v value, words ...T) T {
	if v.kind == scalarNode && slices.Contains(words, T(v.text)) {
		return T(v.text)
	}
	var zero T
	near := ""
	if v.kind == scalarNode {
		near = nearest(v.text, words)
	}
	v.bad("expected %s, found %s%s", alternatives(words), v.found(), near)
	return zero
}

func (r *reader) definition(root *node) (d Definition) {
	value{root, r, ""}.members(
		member{"name", func(v value) { d.Name = v.line("a name") }},
		member{"cpus", func(v value) { d.CPUs = v.number(1, MaxCPUs) }},
		member{"memory", func(v value) { d.Memory = v.size() }},
		member{"firmware", func(v value) {
			if choice(v, "uefi", "bios") == "uefi" {
				d.Firmware = UEFI
			}
		}},
		member{"secure_boot", func(v value) { d.SecureBoot = v.boolean() }},
		member{"tpm", func(v value) { d.TPM = v.boolean() }},
		member{"locked", func(v value) { d.Locked = v.boolean() }},
		member{"autostart", func(v value) { d.Autostart = v.autostart() }},
		member{"power", func(v value) { d.Power = v.power() }},
		member{"disks", func(v value) { v.list(MaxDisks, func(v value) { d.Disks = append(d.Disks, v.disk()) }) }},
		member{"cdroms", func(v value) {
			v.list(MaxCDROMs, func(v value) { d.CDROMs = append(d.CDROMs, v.line("the name of a file")) })
		}},
		member{"network", func(v value) { d.Network = v.network() }},
		member{"display", func(v value) { d.Display = v.display() }},
		member{"audio", func(v value) {
			v.members(
				member{"play", func(v value) { d.Audio.Play = v.boolean() }},
				member{"record", func(v value) { d.Audio.Record = v.boolean() }},
			)
		}},
		member{"folders", func(v value) { v.list(MaxFolders, func(v value) { d.Folders = append(d.Folders, v.folder()) }) }},
		member{"devices", func(v value) { v.list(MaxNeeds, func(v value) { d.Devices = append(d.Devices, v.need()) }) }},
	)
	return d
}

func (v value) autostart() *Autostart {
	a := new(Autostart)
	v.members(
		member{"priority", func(v value) { a.Priority = v.number(0, MaxPriority) }},
		member{"ready", func(v value) { a.Ready = v.ready() }},
		member{"delay", func(v value) { a.Delay = v.duration() }},
		member{"needs", func(v value) {
			v.list(MaxAwaited, func(v value) { a.Needs = append(a.Needs, v.line("the name of a guest")) })
		}},
		member{"fullscreen", func(v value) { a.Fullscreen = v.boolean() }},
	)
	return a
}

func (v value) ready() (r Ready) {
	v.members(
		member{"serial", func(v value) { r.Serial = v.line("a text") }},
		member{"agent", func(v value) {
			if r.Agent = v.boolean(); !r.Agent {
				v.bad("expected true, or no such field")
			}
		}},
		member{"tcp", func(v value) { r.TCP = uint16(v.number(1, 65535)) }},
		member{"after", func(v value) {
			if r.After = v.duration(); r.After == 0 && !slices.Contains(v.r.failed, v.field) {
				v.bad("expected more than 0s")
			}
		}},
	)
	return r
}

func (v value) disk() (d Disk) {
	format := ""
	v.members(
		member{"file", func(v value) { d.File = v.line("the name of a file") }},
		member{"format", func(v value) { format = choice(v, Raw.String(), Qcow2.String()) }},
		member{"read_only", func(v value) { d.ReadOnly = v.boolean() }},
		member{"bus", func(v value) {
			switch choice(v, "virtio", "nvme", "sata") {
			case "virtio":
				d.Bus = VirtIO
			case "nvme":
				d.Bus = NVMe
			case "sata":
				d.Bus = SATA
			}
		}},
		member{"key", func(v value) {
			s := v.line("passphrase or credential:FILE")
			if s == "" {
				return
			}
			var err error
			if d.Key, err = ParseKey(s); err != nil {
				v.bad("%v", err)
			}
		}},
	)
	if d.File == "" || slices.Contains(v.r.failed, v.field+".format") {
		return d
	}
	if format == "" {
		format = formatByName(d.File)
	}
	switch format {
	case "raw":
	case "qcow2":
		d.Format = Qcow2
	case "iso":
		d.CDROM = true // which Validate says something about
	default:
		v.r.bad(v.field+".format", v.r.at[v.field+".file"],
			"the format is not known from the name and is never guessed from the content; expected format: raw or format: qcow2")
	}
	return d
}

// formatByName returns the format that the extension of a file says: raw, qcow2, iso or
// none.
func formatByName(file string) string {
	switch path.Ext(file) {
	case ".qcow2":
		return "qcow2"
	case ".raw", ".img":
		return "raw"
	case ".iso":
		return "iso"
	}
	return ""
}

func (v value) network() Network {
	s := v.line("nat, bridge:NAME or none")
	name, bridged := strings.CutPrefix(s, "bridge:")
	switch {
	case bridged:
		return Network{Bridged, name}
	case s == "nat":
		return Network{Kind: NAT}
	case s != "none" && s != "":
		v.bad("expected nat, bridge:NAME or none, found %s%s", quote(s), nearest(s, []string{"nat", "none", "bridge:"}))
	}
	return Network{}
}

func (v value) display() (d Display) {
	v.members(
		member{"kind", func(v value) {
			if d.Kind = choice(v, VirtioDisplay, VirglDisplay, AssignedDisplay, "none"); d.Kind == "none" {
				d.Kind = NoDisplay
			}
		}},
		member{"where", func(v value) { d.Where = choice(v, InWindow, OnVNC, OnSPICE, Nowhere) }},
	)
	return d
}

func (v value) folder() (f Folder) {
	v.members(
		member{"path", func(v value) { f.Path = v.line("the path of a folder") }},
		member{"name", func(v value) { f.Name = v.line("a name") }},
		member{"read_only", func(v value) { f.ReadOnly = v.boolean() }},
	)
	return f
}

func (v value) need() (n Need) {
	v.members(
		member{"want", func(v value) { n.Want = choice(v, Wants()...) }},
		member{"which", func(v value) { n.Which = choice(v, Whiches()...) }},
		member{"port", func(v value) { n.Port = Port(v.line("a port")) }},
		member{"ids", func(v value) {
			s := v.word("ids such as 8086:15f3")
			if s == "" {
				return
			}
			var err error
			if n.IDs, err = ParseIDs(s); err != nil {
				v.bad("%v", err)
			}
		}},
		member{"class", func(v value) { n.Class = Class(v.word("a class such as 0403")) }},
		member{"how", func(v value) { n.How = choice(v, Assign, Share) }},
		member{"need", func(v value) { n.Optional = choice(v, "required", "optional") == "optional" }},
		member{"rom", func(v value) { n.ROM = v.rom() }},
	)
	return n
}

func (v value) rom() *NeedROM {
	rom := new(NeedROM)
	v.members(
		member{"file", func(v value) { rom.File = v.line("the name of a file") }},
		member{"sha256", func(v value) {
			s := v.word("64 hexadecimal digits")
			if s == "" {
				return
			}
			var err error
			if rom.SHA256, err = ParseDigest(s); err != nil {
				v.bad("%v", err)
			}
		}},
	)
	return rom
}
