package iommu

import (
	"io/fs"
	"slices"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
)

// An Argument is one of the kernel's command line, or one option of it where it has
// several: intel_iommu=on,sm_on is two.
type Argument struct {
	Name  string // with _ for -, which the kernel takes for the same
	Value string // empty without one

	// Meaning is what Linux takes it for. It is empty when Linux does not know that
	// value, as of amd_iommu=on or iommu=on, which change nothing.
	Meaning string
}

// String writes the argument as on the command line.
func (a Argument) String() string {
	if a.Value == "" {
		return a.Name
	}
	return a.Name + "=" + a.Value
}

// A CommandLine is what the kernel was told of isolation when it was started.
type CommandLine struct {
	// Arguments are those that speak of isolation, in their order. They are what somebody
	// wanted, and no evidence of anything: see [Status] and [Groups] for what is so.
	Arguments []Argument
	// ArgumentsKnown is set when the command line was read.
	ArgumentsKnown bool
	// ACSOverride lists the kinds of pcie_acs_override= (downstream, multifunction,
	// id:VVVV:DDDD). A kernel with that patch, which is not Linux', splits groups whose
	// members can reach each other all the same. Any other kernel ignores it.
	ACSOverride []string
	// ConfigACS lists config_acs= and disable_acs_redir= of pci=, which change what
	// the ports let pass between devices.
	ConfigACS []string
}

// ReadCommandLine reads /proc/cmdline, and nothing else. The error is the kernel's.
func ReadCommandLine(fsys fs.FS) (CommandLine, error) {
	text, err := hostfs.ReadString(fsys, "proc/cmdline")
	if err != nil {
		return CommandLine{}, err
	}
	c := CommandLine{Arguments: parseArguments(text), ArgumentsKnown: true}
	for _, a := range c.Arguments {
		switch {
		case a.Name == "pcie_acs_override" && a.Value != "" && !slices.Contains(c.ACSOverride, a.Value):
			c.ACSOverride = append(c.ACSOverride, a.Value)
		case a.Name == "pci" && (strings.HasPrefix(a.Value, "config_acs=") || strings.HasPrefix(a.Value, "disable_acs_redir=")):
			c.ConfigACS = append(c.ConfigACS, a.Value)
		}
	}
	return c, nil
}

// maxArguments is the most that are kept; the kernel's whole line has some thousand bytes.
const maxArguments = 128

// argumentMeanings says what Linux takes arguments for
// (Documentation/admin-guide/kernel-parameters.txt). An empty value stands for none, *
// for any; options are separated by commas in those with more than one here, and in pci.
var argumentMeanings = []struct{ name, value, meaning string }{
	{"intel_iommu", "on", "use Intel's units, if the firmware describes any"},
	{"intel_iommu", "off", "leave Intel's units alone"},
	{"intel_iommu", "igfx_off", "leave the unit of the graphics alone"},
	{"intel_iommu", "forcedac", "allow devices addresses above 4 GiB"},
	{"intel_iommu", "strict", "invalidate at every unmapping"},
	{"intel_iommu", "sp_off", "no large pages"},
	{"intel_iommu", "sm_on", "scalable mode where there is one"},
	{"intel_iommu", "sm_off", "no scalable mode"},
	{"intel_iommu", "tboot_noforce", "do not turn the units on for a measured launch"},
	{"amd_iommu", "off", "leave AMD's units alone"},
	{"amd_iommu", "fullflush", "invalidate at every unmapping"},
	{"amd_iommu", "force_isolation", "translate for all devices, also those that could go without"},
	{"amd_iommu", "force_enable", "use the units though they are known to be faulty"},
	{"amd_iommu", "pgtbl_v1", "tables of the host's form"},
	{"amd_iommu", "pgtbl_v2", "tables of the guest's form"},
	{"amd_iommu", "irtcachedis", "do not remember interrupts"},
	{"amd_iommu", "nohugepages", "no large pages"},
	{"amd_iommu", "v2_pgsizes_only", "only the page sizes of the guest's form"},
	{"amd_iommu_intr", "legacy", "interrupts go through the host"},
	{"amd_iommu_intr", "vapic", "interrupts go straight to a guest that runs"},
	{"iommu", "off", "no IOMMU"},
	{"iommu", "noforce", "no IOMMU where it can be done without"},
	{"iommu", "force", "an IOMMU though it can be done without"},
	{"iommu", "soft", "copy instead of translating"},
	{"iommu", "pt", "the host's own devices are not translated; those of guests are"},
	{"iommu", "nopt", "the host's own devices are translated"},
	{"iommu", "merge", "join pieces of memory"},
	{"iommu", "nomerge", "do not join pieces of memory"},
	{"iommu", "biomerge", "join pieces of memory"},
	{"iommu", "panic", "stop when there is no space"},
	{"iommu", "nopanic", "go on when there is no space"},
	{"iommu.passthrough", "1", "the host's own devices are not translated; those of guests are"},
	{"iommu.passthrough", "0", "the host's own devices are translated"},
	{"iommu.strict", "1", "invalidate at every unmapping"},
	{"iommu.strict", "0", "invalidate later, many at once"},
	{"iommu.forcedac", "*", "which addresses devices get first"},
	{"intremap", "on", "remap interrupts where it can be done"},
	{"intremap", "off", "do not remap interrupts"},
	{"intremap", "nosid", "do not check who sends an interrupt"},
	{"intremap", "no_x2apic_optout", "use x2APIC though the firmware asks not to"},
	{"intremap", "nopost", "no interrupts straight to a guest"},
	{"intremap", "posted_msi", "interrupts of the host are posted"},
	{"nointremap", "", "do not remap interrupts"},
	{"nox2apic", "", "no x2APIC"},
	{"pcie_acs_override", "downstream", "a kernel with the override patch takes all ports for isolating"},
	{"pcie_acs_override", "multifunction", "a kernel with the override patch takes the functions of a device for isolated"},
	{"pcie_acs_override", "id:*", "a kernel with the override patch takes this device for isolating"},
	{"pci", "config_acs=*", "set what ports let pass between devices"},
	{"pci", "disable_acs_redir=*", "ports let devices reach each other directly"},
	{"pci", "noats", "devices do not translate addresses themselves"},
	{"pci", "nommconf", "no config space above 256 bytes, so that isolation (ACS) is not seen"},
	{"efi", "disable_early_pci_dma", "no DMA while the firmware hands over"},
	{"lockdown", "integrity", "root cannot change the kernel"},
	{"lockdown", "confidentiality", "root cannot read the kernel either"},
	{"vfio_iommu_type1.allow_unsafe_interrupts", "*", "whether VFIO does without interrupt remapping"},
	{"vfio.enable_unsafe_noiommu_mode", "*", "whether VFIO does without an IOMMU"},
	{"vfio_pci.ids", "*", "vfio-pci takes every device of these ids"},
	{"vfio_pci.disable_idle_d3", "*", "whether vfio-pci lets unused devices sleep"},
	{"pci_stub.ids", "*", "pci-stub takes every device of these ids"},
	{"ivrs_ioapic", "*", "correct the firmware's table: an IOAPIC"},
	{"ivrs_hpet", "*", "correct the firmware's table: a timer"},
	{"ivrs_acpihid", "*", "correct the firmware's table: a device of ACPI"},
}

// parseArguments returns the arguments of the kernel's command line that speak of
// isolation. What follows -- is init's.
func parseArguments(text string) []Argument {
	var all []Argument
	for _, arg := range kernelArguments(text) {
		if arg == "--" {
			break
		}
		name, value, _ := strings.Cut(arg, "=")
		name = strings.ReplaceAll(name, "-", "_")
		base, index, _ := strings.Cut(name, "[") // ivrs_ioapic[4]=00:14.0 until 6.2
		if !slices.ContainsFunc(argumentMeanings, func(m struct{ name, value, meaning string }) bool { return m.name == base }) {
			continue
		}
		if index != "" {
			value = strings.TrimSuffix(index, "]") + "@" + value
		}
		options := []string{value}
		if separable(base) {
			options = strings.Split(value, ",")
		}
		for _, option := range options {
			a := Argument{base, plain.Line(option, 256), meaning(base, option)}
			// Of these most options speak of other things.
			if other := base == "pci" || base == "efi"; other && a.Meaning == "" {
				continue
			}
			if len(all) < maxArguments {
				all = append(all, a)
			}
		}
	}
	return all
}

// separable reports whether commas separate options of the argument.
func separable(name string) bool {
	switch name {
	case "intel_iommu", "amd_iommu", "iommu", "intremap", "pcie_acs_override", "pci", "efi":
		return true
	}
	return false
}

func meaning(name, value string) string {
	for _, m := range argumentMeanings {
		prefix, any := strings.CutSuffix(m.value, "*")
		if m.name == name && (value == m.value || any && strings.HasPrefix(value, prefix)) {
			return m.meaning
		}
	}
	return ""
}

// WithoutACSOverride returns a kernel's command line without pcie_acs_override=, and the
// rest of it as it was.
func WithoutACSOverride(line string) string {
	var rest []string
	words := kernelWords(line)
	for i, word := range words {
		arg := strings.ReplaceAll(word, `"`, "")
		if arg == "--" {
			rest = append(rest, words[i:]...)
			break
		}
		if name, _, _ := strings.Cut(arg, "="); strings.ReplaceAll(name, "-", "_") != "pcie_acs_override" {
			rest = append(rest, word)
		}
	}
	return strings.Join(rest, " ")
}

// kernelArguments splits a command line as the kernel does, and takes quotes off as it does
// (next_arg of lib/cmdline.c): around an argument, or around its value. Others are part of
// the name or the value.
func kernelArguments(text string) []string {
	args := kernelWords(text)
	for i, arg := range args {
		arg, quoted := strings.CutPrefix(arg, `"`)
		name, value, equals := strings.Cut(arg, "=")
		value, within := strings.CutPrefix(value, `"`)
		if equals {
			arg = name + "=" + value
		}
		if quoted || within {
			arg = strings.TrimSuffix(arg, `"`)
		}
		args[i] = arg
	}
	return args
}

// kernelWords splits a command line at blanks that are not within double quotes.
func kernelWords(text string) []string {
	quoted := false
	return strings.FieldsFunc(text, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ' ' || r == '\t' || r == '\n')
	})
}
