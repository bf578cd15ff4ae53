package doctor

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
)

// A Loader is a boot loader, or the program that writes its configuration.
type Loader string

// The loaders.
const (
	GRUB        Loader = "GRUB"
	SystemdBoot Loader = "systemd-boot"
	Kernelstub  Loader = "kernelstub"
	Extlinux    Loader = "extlinux"
)

// An Initramfs is a program that makes the initial file system.
type Initramfs string

// The programs.
const (
	InitramfsTools Initramfs = "initramfs-tools"
	Dracut         Initramfs = "dracut"
	Mkinitcpio     Initramfs = "mkinitcpio"
)

// A Host is what a remedy has to know of the host. What it does not state is empty.
type Host struct {
	ID   string   // of the distribution, as debian (/etc/os-release)
	Like []string // the distributions that it is like
	Name string   // for a person, as "Debian GNU/Linux 12 (bookworm)"

	// Loaders are those whose configuration is there, and Loader the one in use: the
	// only one, or the one that the firmware's variable LoaderInfo names. It is empty
	// where that cannot be told.
	Loaders []Loader
	Loader  Loader
	// Entries are the files that describe what systemd-boot can start.
	Entries []string
	// Cmdline is /etc/kernel/cmdline, if it is there.
	Cmdline string
	// BLS is set when GRUB takes the kernels' parameters from entries of their own, as
	// Fedora's does (GRUB_ENABLE_BLSCFG in /etc/default/grub).
	BLS bool
	// GRUBConfig is what grub-mkconfig writes, rooted at /.
	GRUBConfig string
	// Overrides are files below /etc/default/grub.d that set the parameters again. One
	// that adds to them is none.
	Overrides []string
	// OSTree is set when the system is an image, whose parameters are kept beside it.
	OSTree bool
	// Proxmox is set when proxmox-boot-tool writes what boot loaders read.
	Proxmox bool

	// Initramfs are the programs whose configuration is there.
	Initramfs []Initramfs
	// ModulesLoad is the directory or the file that lists modules to load at each start.
	ModulesLoad string
	// UBootMenu is set when /etc/default/u-boot says what extlinux.conf is made of.
	UBootMenu bool
}

// loaderInfo is the variable in which a boot loader says its name
// (systemd's BOOT_LOADER_INTERFACE): four bytes of attributes, then UTF-16.
const loaderInfo = "sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

// ReadHost reads what the host is: the firmware's variables from fsys, configuration
// from files. What is not there or may not be read is not in the Host.
func ReadHost(fsys, files fs.FS) Host {
	var h Host
	there := func(name string) bool {
		_, err := fs.Stat(files, name)
		return err == nil
	}
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		if text, err := hostfs.ReadString(files, name); err == nil {
			h.release(text)
			break
		}
	}
	for _, dir := range []string{"boot/grub", "boot/grub2"} {
		if there("etc/default/grub") && there(dir) {
			h.Loaders = []Loader{GRUB}
			h.GRUBConfig = "/" + dir + "/grub.cfg"
		}
	}
	grub, _ := hostfs.ReadString(files, "etc/default/grub")
	for line := range strings.Lines(grub) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "GRUB_ENABLE_BLSCFG="); ok {
			h.BLS = strings.Trim(v, `"'`) == "true"
		}
	}
	for _, name := range names(files, "etc/default/grub.d", ".cfg") {
		text, _ := hostfs.ReadString(files, name)
		for line := range strings.Lines(text) {
			if overrides(line) {
				h.Overrides = append(h.Overrides, name)
				break
			}
		}
	}
	if there("etc/kernel/cmdline") {
		h.Cmdline = "etc/kernel/cmdline"
	}
	ran := firmwareLoader(fsys)
	isGRUB := slices.Contains(h.Loaders, GRUB)
	if !isGRUB || !h.BLS { // those are GRUB's entries
		for _, dir := range []string{"boot/loader/entries", "efi/loader/entries", "boot/efi/loader/entries"} {
			h.Entries = append(h.Entries, names(files, dir, ".conf")...)
		}
	}
	kernelstub := there("etc/kernelstub/configuration")
	switch {
	case kernelstub: // it writes systemd-boot's entries
		h.Loaders = append(h.Loaders, Kernelstub)
	case len(h.Entries) > 0, h.Cmdline != "" && (!isGRUB || strings.HasPrefix(ran, "systemd-boot")):
		h.Loaders = append(h.Loaders, SystemdBoot)
	}
	if there("boot/extlinux/extlinux.conf") {
		h.Loaders = append(h.Loaders, Extlinux)
		h.UBootMenu = there("etc/default/u-boot")
	}
	h.Loader = h.inUse(ran)
	h.OSTree, h.Proxmox = there("run/ostree-booted"), there("etc/kernel/proxmox-boot-uuids")
	for _, i := range []struct {
		name    Initramfs
		evident string
	}{{InitramfsTools, "etc/initramfs-tools/modules"}, {Dracut, "etc/dracut.conf.d"}, {Mkinitcpio, "etc/mkinitcpio.conf"}} {
		if there(i.evident) {
			h.Initramfs = append(h.Initramfs, i.name)
		}
	}
	for _, name := range []string{"etc/modules-load.d", "etc/modules"} {
		if h.ModulesLoad == "" && there(name) {
			h.ModulesLoad = name
		}
	}
	return h
}

// overrides reports whether a line of shell sets parameters that a fix would add to, and
// does not keep what they were, as GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX quiet" does.
func overrides(line string) bool {
	name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
	if !ok || name != "GRUB_CMDLINE_LINUX" && name != "GRUB_CMDLINE_LINUX_DEFAULT" {
		return false // += adds
	}
	for _, same := range []string{"$" + name + " ", "$" + name + `"`, "${" + name + "}"} {
		if strings.Contains(value, same) {
			return false
		}
	}
	return true
}

// release reads os-release(5): ID, ID_LIKE and PRETTY_NAME, quotes or not.
func (h *Host) release(text string) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = plain.Line(strings.Trim(value, `"'`), 100)
		switch key {
		case "ID":
			h.ID = value
		case "ID_LIKE":
			h.Like = strings.Fields(value)
		case "PRETTY_NAME":
			h.Name = value
		}
	}
}

// like reports whether the host is one of the distributions, or like one.
func (h Host) like(ids ...string) bool {
	return slices.Contains(ids, h.ID) || slices.ContainsFunc(h.Like, func(l string) bool { return slices.Contains(ids, l) })
}

// inUse chooses among the loaders by what the firmware was told of the one that ran.
func (h Host) inUse(ran string) Loader {
	if len(h.Loaders) == 1 && ran == "" {
		return h.Loaders[0]
	}
	for _, l := range h.Loaders {
		switch {
		case l == GRUB && strings.HasPrefix(ran, "GRUB"), (l == SystemdBoot || l == Kernelstub) && strings.HasPrefix(ran, "systemd-boot"):
			return l
		}
	}
	return ""
}

// firmwareLoader returns what the boot loader called itself, as "systemd-boot 252".
func firmwareLoader(fsys fs.FS) string {
	data, err := fs.ReadFile(fsys, loaderInfo)
	if err != nil || len(data) < 4 || len(data) > 1024 {
		return ""
	}
	var units []uint16
	for i := 4; i+1 < len(data); i += 2 {
		units = append(units, uint16(data[i])|uint16(data[i+1])<<8)
	}
	return plain.Line(string(utf16.Decode(units)), 100)
}

// names lists the files in a directory that end so, those hidden left out, at most 256.
func names(fsys fs.FS, dir, end string) []string {
	entries, _ := fs.ReadDir(fsys, dir)
	var found []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), end) && !strings.HasPrefix(e.Name(), ".") && len(found) < 256 {
			found = append(found, path.Join(dir, e.Name()))
		}
	}
	return found
}
