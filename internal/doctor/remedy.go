package doctor

import "strings"

// A software is what a host may lack, by how each distribution packages it.
type software int

const (
	qemuPackage software = iota
	uefiPackage
	pciPackage
	usbPackage
)

// installers are how packages are installed, by the distribution or by what it is like,
// and what they are called there, in the order of the softwares.
var installers = []struct {
	ids      []string
	install  string
	packages [4]string
}{
	{[]string{"debian", "ubuntu"}, "apt install", [4]string{"qemu-system-x86", "ovmf", "pci.ids", "usb.ids"}},
	{[]string{"rhel", "centos", "almalinux", "rocky"}, "dnf install", [4]string{"qemu-kvm", "edk2-ovmf", "hwdata", "hwdata"}},
	{[]string{"fedora"}, "dnf install", [4]string{"qemu-system-x86", "edk2-ovmf", "hwdata", "hwdata"}},
	{[]string{"arch", "archlinux"}, "pacman -S", [4]string{"qemu-system-x86", "edk2-ovmf", "hwdata", "hwdata"}},
	{[]string{"suse", "opensuse", "sles"}, "zypper install", [4]string{"qemu-x86", "qemu-ovmf-x86_64", "hwdata", "hwdata"}},
	{[]string{"alpine"}, "apk add", [4]string{"qemu-system-x86_64", "ovmf", "hwdata-pci", "hwdata-usb"}},
}

// install says how to get a software on this host.
func (h Host) install(s software) string {
	if h.ID == "nixos" {
		return "add " + [4]string{"qemu", "OVMF (virtualisation.libvirtd.qemu.ovmf)", "pciutils", "usbutils"}[s] + " to the system's configuration.nix"
	}
	// A distribution is more itself than what it is like: Rocky is like Fedora, too.
	for _, byID := range []bool{true, false} {
		for _, i := range installers {
			for _, id := range i.ids {
				if byID && h.ID == id || !byID && h.like(id) {
					return "run: " + i.install + " " + i.packages[s]
				}
			}
		}
	}
	var all []string
	for _, i := range installers[:1] {
		all = append(all, i.packages[s]+" (Debian, Ubuntu)")
	}
	all = append(all, installers[2].packages[s]+" (Fedora)", installers[3].packages[s]+" (Arch)", installers[4].packages[s]+" (SUSE)")
	return "install the package " + strings.Join(all, ", ")
}

// boot says how to start the kernel with a parameter on this host.
func (h Host) boot(parameter string) string {
	switch {
	case h.ID == "nixos":
		return "add " + parameter + " to boot.kernelParams in configuration.nix, and rebuild"
	case h.OSTree:
		return "run: rpm-ostree kargs --append-if-missing=" + parameter + "; then start anew"
	case h.Loader != "" && len(h.Overrides) == 0:
		return "indy doctor --fix adds " + parameter + " to the kernel's parameters (" + string(h.Loader) + "); then start anew"
	case h.Loader == GRUB:
		return "add " + parameter + " to the kernel's parameters in /" + h.Overrides[0] + ", run " + h.updateGRUB(parameter, false) + ", and start anew"
	case len(h.Loaders) > 1:
		return "add " + parameter + " to the kernel's parameters; of " + list(h.loaderNames()) + " it cannot be told which starts this machine"
	}
	return "start the kernel with the parameter " + parameter
}

func (h Host) loaderNames() []string {
	var s []string
	for _, l := range h.Loaders {
		s = append(s, string(l))
	}
	return s
}
