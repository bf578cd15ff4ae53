package guest

import (
	"fmt"
	"strings"
)

// YAML writes d so that [ParseDefinition] reads the same again, fields with zero values
// left out. It is meant for a valid definition.
func (d Definition) YAML() []byte {
	var b strings.Builder
	field := func(name, value string) { fmt.Fprintf(&b, "%s: %s\n", name, value) }
	field("name", text(d.Name))
	if d.CPUs != 0 {
		field("cpus", fmt.Sprint(d.CPUs))
	}
	field("memory", FormatSize(d.Memory))
	if d.Firmware != BIOS {
		field("firmware", d.Firmware.String())
	}
	for _, is := range []struct {
		name string
		it   bool
	}{{"secure_boot", d.SecureBoot}, {"tpm", d.TPM}, {"locked", d.Locked}} {
		if is.it {
			field(is.name, "true")
		}
	}
	if d.Autostart != nil {
		field("autostart", d.Autostart.yaml())
	}
	if d.Power != (Power{}) {
		field("power", d.Power.yaml())
	}
	list := func(name string, items []string) {
		if len(items) > 0 {
			fmt.Fprintf(&b, "%s:\n  - %s\n", name, strings.Join(items, "\n  - "))
		}
	}
	list("disks", each(d.Disks, Disk.yaml))
	list("cdroms", each(d.CDROMs, text))
	if d.Network != (Network{}) {
		field("network", text(d.Network.String()))
	}
	if d.Display != (Display{}) {
		field("display", d.Display.yaml())
	}
	if d.Audio != (Audio{}) {
		var f flow
		f.flag("play", d.Audio.Play)
		f.flag("record", d.Audio.Record)
		field("audio", f.String())
	}
	list("folders", each(d.Folders, Folder.yaml))
	list("devices", each(d.Devices, Need.yaml))
	return []byte(b.String())
}

// A flow is a mapping on one line.
type flow []string

func (f *flow) add(name, value string) { *f = append(*f, name+": "+value) }

func (f *flow) text(name, s string) {
	if s != "" {
		f.add(name, text(s))
	}
}

func (f *flow) flag(name string, is bool) {
	if is {
		f.add(name, "true")
	}
}

func (f flow) String() string { return "{" + strings.Join(f, ", ") + "}" }

// text writes a scalar that is read as text: without quotes where nothing else can be
// meant.
func text(s string) string {
	plain := s != "" && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/._-:", r)
	}) < 0 && (s[0] == '/' || s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z') && s[len(s)-1] != ':'
	switch strings.ToLower(s) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		plain = false
	}
	if plain {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func each[T any](all []T, write func(T) string) []string {
	lines := make([]string, len(all))
	for i, v := range all {
		lines[i] = write(v)
	}
	return lines
}

func (a *Autostart) yaml() string {
	var f, ready flow
	if a.Priority != 0 {
		f.add("priority", fmt.Sprint(a.Priority))
	}
	ready.text("serial", a.Ready.Serial)
	ready.flag("agent", a.Ready.Agent)
	if a.Ready.TCP != 0 {
		ready.add("tcp", fmt.Sprint(a.Ready.TCP))
	}
	if a.Ready.After != 0 {
		ready.add("after", a.Ready.After.String())
	}
	if len(ready) > 0 {
		f.add("ready", ready.String())
	}
	if a.Delay != 0 {
		f.add("delay", a.Delay.String())
	}
	if len(a.Needs) > 0 {
		f.add("needs", "["+strings.Join(each(a.Needs, text), ", ")+"]")
	}
	f.flag("fullscreen", a.Fullscreen)
	return f.String()
}

func (d Disk) yaml() string {
	var f flow
	f.text("file", d.File)
	if formatByName(d.File) != d.Format.String() {
		f.add("format", d.Format.String())
	}
	f.flag("read_only", d.ReadOnly)
	if d.Bus != AutoBus {
		f.add("bus", d.Bus.String())
	}
	if d.Key != (Key{}) {
		f.text("key", d.Key.String())
	}
	return f.String()
}

func (d Display) yaml() string {
	var f flow
	kind := string(d.Kind)
	if d.Kind == NoDisplay {
		kind = "none"
	}
	f.add("kind", kind)
	f.text("where", string(d.Where))
	return f.String()
}

func (x Folder) yaml() string {
	var f flow
	f.text("path", x.Path)
	f.text("name", x.Name)
	f.flag("read_only", x.ReadOnly)
	return f.String()
}

func (n Need) yaml() string {
	var f flow
	f.text("want", string(n.Want))
	f.text("which", string(n.Which))
	f.text("port", string(n.Port))
	f.text("ids", n.IDs.String())
	if n.Class != "" {
		f.add("class", `"`+string(n.Class)+`"`)
	}
	f.text("how", string(n.How))
	if n.Optional {
		f.add("need", "optional")
	}
	if n.ROM != nil {
		var rom flow
		rom.text("file", n.ROM.File)
		rom.add("sha256", `"`+n.ROM.SHA256.String()+`"`)
		f.add("rom", rom.String())
	}
	return f.String()
}
