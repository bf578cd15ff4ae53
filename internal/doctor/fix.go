package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/project-independence/indy/internal/hostedit"
)

// A ManualError says why a need is not met by editing a file, and what to do by hand.
type ManualError struct {
	Check  string // the check that it would mend
	Why    string
	Remedy string
}

// Error returns both.
func (e *ManualError) Error() string { return e.Check + ": " + e.Why + "; " + e.Remedy }

// reboot is what a change of the kernel's parameters needs.
const reboot = "start the machine anew"

// Edits returns the edits that meet a need on this host. With initramfs modules are also
// put into the initial file system, which is for devices that another driver would have
// by the time modules are loaded. A need that no edit meets is a *[ManualError].
//
// No edit binds a device: modules are loaded, and devices stay with their drivers until
// they are handed over.
func (h Host) Edits(n Need, initramfs bool) ([]hostedit.Edit, error) {
	if n.Parameter != "" {
		return h.parameter(n)
	}
	edits, err := h.load(n)
	if err == nil && initramfs {
		var more []hostedit.Edit
		more, err = h.early(n)
		edits = append(edits, more...)
	}
	return edits, err
}

func (h Host) parameter(n Need) ([]hostedit.Edit, error) {
	byHand := func(format string, args ...any) ([]hostedit.Edit, error) {
		return nil, &ManualError{n.Check, fmt.Sprintf(format, args...), "add " + n.Parameter + " to the kernel's parameters by hand, and start anew"}
	}
	name, _, _ := strings.Cut(n.Parameter, "=")
	e := hostedit.Edit{Words: []string{n.Parameter}, Against: []string{name + "=off", "iommu=off"}}
	switch {
	case h.ID == "nixos":
		return nil, &ManualError{n.Check, "NixOS makes its configuration files anew", h.boot(n.Parameter)}
	case h.OSTree:
		return nil, &ManualError{n.Check, "the parameters of this image are not in configuration files", h.boot(n.Parameter)}
	case len(h.Loaders) > 1 && h.Loader == "":
		return byHand("there is configuration of more than one boot loader (%s), and which of them starts this machine is not stated", list(h.loaderNames()))
	case len(h.Loaders) == 1 && h.Loader == "":
		return byHand("there is configuration of %s, but another boot loader has started this machine", h.Loaders[0])
	case h.Loader == "":
		return byHand("no boot loader's configuration was found")
	}
	var edits []hostedit.Edit
	add := func(file string, kind hostedit.Kind, keys []string, then ...string) {
		e := e
		e.File, e.Kind, e.Keys = file, kind, keys
		e.Then = append(slices.Clone(then), reboot)
		e.ThenUndone = e.Then
		edits = append(edits, e)
	}
	switch h.Loader {
	case GRUB:
		if len(h.Overrides) > 0 {
			return byHand("/%s sets the parameters again", h.Overrides[0])
		}
		keys := []string{"GRUB_CMDLINE_LINUX_DEFAULT", "GRUB_CMDLINE_LINUX"}
		if h.BLS {
			keys = []string{"GRUB_CMDLINE_LINUX", "GRUB_CMDLINE_LINUX_DEFAULT"}
		}
		add("etc/default/grub", hostedit.ShellString, keys, h.updateGRUB(n.Parameter, false))
		edits[0].ThenUndone = []string{h.updateGRUB(n.Parameter, true), reboot}
	case Kernelstub:
		add("etc/kernelstub/configuration", hostedit.JSONStrings, []string{"user.kernel_options"}, "kernelstub")
	case SystemdBoot:
		var then []string
		if len(h.Entries) == 0 { // they are in images, each with its own command line
			then = []string{"kernel-install add-all"}
			if slices.Contains(h.Initramfs, Mkinitcpio) {
				then = []string{"mkinitcpio -P"}
			}
			if h.Proxmox {
				then = []string{"proxmox-boot-tool refresh"}
			}
		}
		for _, name := range h.Entries {
			add(name, hostedit.LoaderEntry, nil)
		}
		if h.Cmdline != "" { // for kernels to come
			add(h.Cmdline, hostedit.WordLine, nil, then...)
		}
	case Extlinux:
		if h.UBootMenu {
			add("etc/default/u-boot", hostedit.ShellString, []string{"U_BOOT_PARAMETERS"}, "u-boot-update")
			edits[0].Assigned = true
		} else {
			add("boot/extlinux/extlinux.conf", hostedit.Extlinux, nil)
		}
	}
	return edits, nil
}

// updateGRUB is the command after which GRUB knows the parameters.
func (h Host) updateGRUB(parameter string, undone bool) string {
	switch {
	case h.BLS && undone:
		return "grubby --update-kernel=ALL --remove-args=" + parameter
	case h.BLS:
		return "grubby --update-kernel=ALL --args=" + parameter
	case h.like("debian", "ubuntu"):
		return "update-grub"
	case strings.Contains(h.GRUBConfig, "grub2"):
		return "grub2-mkconfig -o " + h.GRUBConfig
	}
	return "grub-mkconfig -o " + h.GRUBConfig
}

const heading = "# Added by indy doctor --fix; indy doctor --undo takes it away again.\n"

// load has modules loaded at each start.
func (h Host) load(n Need) ([]hostedit.Edit, error) {
	e := hostedit.Edit{Kind: hostedit.WordLines, Words: n.Modules, Then: []string{"modprobe -a " + strings.Join(n.Modules, " ")}}
	switch {
	case h.ID == "nixos":
		return nil, &ManualError{n.Check, "NixOS makes its configuration files anew", "add " + strings.Join(n.Modules, " ") + " to boot.kernelModules in configuration.nix, and rebuild"}
	case h.ModulesLoad == "etc/modules-load.d":
		e.File, e.Create, e.Heading = "etc/modules-load.d/indy.conf", true, heading
	case h.ModulesLoad != "":
		e.File = h.ModulesLoad
	default:
		return nil, &ManualError{n.Check, "there is neither /etc/modules-load.d nor /etc/modules", "have " + strings.Join(n.Modules, " ") + " loaded at each start by hand"}
	}
	return []hostedit.Edit{e}, nil
}

// early puts modules into the initial file system.
func (h Host) early(n Need) ([]hostedit.Edit, error) {
	var modules []string
	for _, m := range n.Modules {
		modules = append(modules, strings.ReplaceAll(m, "-", "_"))
	}
	modules = append(modules, "vfio_iommu_type1")
	if len(h.Initramfs) != 1 {
		var found []string
		for _, i := range h.Initramfs {
			found = append(found, string(i))
		}
		return nil, &ManualError{n.Check, "what makes the initial file system cannot be told (found: " + list(found) + ")", "add " + strings.Join(modules, " ") + " to it by hand"}
	}
	e := hostedit.Edit{Words: modules}
	switch h.Initramfs[0] {
	case InitramfsTools:
		e.File, e.Kind, e.Then = "etc/initramfs-tools/modules", hostedit.WordLines, []string{"update-initramfs -u -k all"}
	case Dracut:
		e.File, e.Kind, e.Keys, e.Create, e.Heading = "etc/dracut.conf.d/indy.conf", hostedit.ShellAppend, []string{"add_drivers"}, true, heading
		e.Then = []string{"dracut --force --regenerate-all"}
	case Mkinitcpio:
		e.File, e.Kind, e.Keys, e.Then = "etc/mkinitcpio.conf", hostedit.ShellArray, []string{"MODULES"}, []string{"mkinitcpio -P"}
	}
	e.ThenUndone = e.Then
	return []hostedit.Edit{e}, nil
}
