package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hostedit"
)

// scratchHost is a host of one boot loader and one way to make the initial file system.
type scratchHost struct {
	name   string
	files  map[string]string
	loader Loader
	// What the parameter, and the modules in the initial file system, change.
	parameter, early []string
	then             string // the first command afterwards
}

func scratchHosts() []scratchHost {
	const grub = "GRUB_DEFAULT=0\nGRUB_DISTRIBUTOR=`lsb_release -i -s 2> /dev/null || echo Debian`\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet splash\"\nGRUB_CMDLINE_LINUX=\"\"\n"
	const stub = "{\n  \"user\": {\n    \"kernel_options\": [\n      \"quiet\"\n    ],\n    \"manage_mode\": true\n  }\n}\n"
	const ext = "default l0\nlabel l0\n\tlinux /vmlinuz\n\tappend root=/dev/sda1 ro\nlabel l1\n\tlinux /old\n\tappend root=/dev/sda1 single"
	return []scratchHost{
		{"debian", map[string]string{"etc/os-release": "ID=debian\n", "etc/default/grub": grub, "boot/grub/grub.cfg": "", "etc/initramfs-tools/modules": "# List\n"},
			GRUB, []string{"etc/default/grub"}, []string{"etc/initramfs-tools/modules"}, "update-grub"},
		{"ubuntu with another's overrides", map[string]string{"etc/os-release": "ID=ubuntu\nID_LIKE=debian\n", "etc/default/grub": grub, "boot/grub/grub.cfg": "",
			"etc/default/grub.d/init-select.cfg": "# GRUB_CMDLINE_LINUX=x\n"}, GRUB, []string{"etc/default/grub"}, nil, "update-grub"},
		{"fedora", map[string]string{"etc/os-release": "ID=fedora\n", "boot/grub2/grub.cfg": "", "boot/loader/entries/f.conf": "linux /x\noptions $kernelopts\n", "etc/kernel/cmdline": "root=1",
			"etc/default/grub": "GRUB_CMDLINE_LINUX=\"rhgb quiet\"\nGRUB_ENABLE_BLSCFG=true\n", "etc/dracut.conf.d/x.conf": ""},
			GRUB, []string{"etc/default/grub"}, []string{"etc/dracut.conf.d/indy.conf"}, "grubby --update-kernel=ALL --args=intel_iommu=on"},
		{"suse", map[string]string{"etc/os-release": "ID=opensuse-leap\nID_LIKE=\"suse opensuse\"\n", "boot/grub2/grub.cfg": "", "etc/default/grub": grub},
			GRUB, []string{"etc/default/grub"}, nil, "grub2-mkconfig -o /boot/grub2/grub.cfg"},
		{"arch, GRUB", map[string]string{"etc/os-release": "ID=arch\n", "boot/grub/grub.cfg": "", "etc/default/grub": grub, "etc/mkinitcpio.conf": "MODULES=(i915)\nHOOKS=(base udev)\n"},
			GRUB, []string{"etc/default/grub"}, []string{"etc/mkinitcpio.conf"}, "grub-mkconfig -o /boot/grub/grub.cfg"},
		{"arch, systemd-boot", map[string]string{"etc/os-release": "ID=arch\n", "boot/loader/entries/arch.conf": "title Arch\r\nlinux /vmlinuz-linux\r\noptions root=1 rw\r\n",
			"boot/loader/entries/win.conf": "title W\nefi /EFI/w.efi\n", "etc/kernel/cmdline": "root=1 rw"},
			SystemdBoot, []string{"boot/loader/entries/arch.conf", "etc/kernel/cmdline"}, nil, "start the machine anew"},
		{"arch, unified images", map[string]string{"etc/os-release": "ID=arch\n", "etc/kernel/cmdline": "root=1 rw\n", "etc/mkinitcpio.conf": "MODULES=()\n"},
			SystemdBoot, []string{"etc/kernel/cmdline"}, []string{"etc/mkinitcpio.conf"}, "mkinitcpio -P"},
		{"pop", map[string]string{"etc/os-release": "ID=pop\nID_LIKE=\"ubuntu debian\"\n", "etc/kernelstub/configuration": stub, "boot/efi/loader/entries/Pop_OS-current.conf": "linux /x\noptions quiet\n"},
			Kernelstub, []string{"etc/kernelstub/configuration"}, nil, "kernelstub"},
		{"alpine", map[string]string{"etc/os-release": "ID=alpine\n", "boot/extlinux/extlinux.conf": ext, "etc/modules": "af_packet\n"},
			Extlinux, []string{"boot/extlinux/extlinux.conf"}, nil, "start the machine anew"},
		{"u-boot-menu", map[string]string{"etc/os-release": "ID=debian\n", "boot/extlinux/extlinux.conf": ext, "etc/default/u-boot": "U_BOOT_PARAMETERS=\"ro quiet\"\n"},
			Extlinux, []string{"etc/default/u-boot"}, nil, "u-boot-update"},
	}
}

// put makes the files of a host below a directory, with modes that are to be kept.
func put(t testing.TB, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	if files["etc/modules"] == "" {
		files = with(files, "etc/modules-load.d/x.conf", "loop\n")
	}
	mode := fs.FileMode(0o600)
	for name, text := range files {
		at := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), mode)); err != nil {
			t.Fatal(err)
		}
		mode ^= 0o044
	}
	return root
}

// contents is what all files below a directory hold, with their modes, but for records.
func contents(t testing.TB, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(at string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(root, at)
		if strings.HasPrefix(name, hostedit.Records) {
			return nil
		}
		info, err1 := d.Info()
		data, err2 := os.ReadFile(at)
		all[name] = fmt.Sprint(info.Mode(), " ", string(data))
		return errors.Join(err1, err2)
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func readHost(t testing.TB, root string, variables fs.FS) Host {
	t.Helper()
	dir, err := hostfs.OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if variables == nil {
		variables = dir
	}
	return ReadHost(variables, dir)
}

// For each boot loader and each initramfs the right files are changed, they say what is
// needed, and come back byte by byte, with their modes.
func TestFixAndUndo(t *testing.T) {
	for _, host := range scratchHosts() {
		t.Run(host.name, func(t *testing.T) {
			root := put(t, host.files)
			before := contents(t, root)
			h := readHost(t, root, nil)
			if h.Loader != host.loader {
				t.Fatalf("loader %q of %v", h.Loader, h.Loaders)
			}
			edits, err := h.Edits(Need{Check: "iommu", Parameter: "intel_iommu=on"}, false)
			if err != nil {
				t.Fatal(err)
			}
			modules := Need{Check: "vfio", Modules: []string{"vfio-pci"}}
			more, err := h.Edits(modules, host.early != nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := h.Edits(modules, true); host.early == nil && !errors.As(err, new(*ManualError)) {
				t.Errorf("no initramfs: %v", err)
			}
			e := &hostedit.Editor{Root: root}
			c, err := e.Prepare(append(edits, more...)...)
			if err == nil {
				err = e.Apply(c)
			}
			if err != nil {
				t.Fatal(err)
			}
			made := contents(t, root)
			var changed []string
			for name, text := range made {
				if text == before[name] {
					continue
				}
				changed = append(changed, name)
				// Nothing binds a device at the next start.
				for _, never := range []string{"ids=", "driver_override", "vfio-pci.", "vfio_pci.", "install ", "softdep", "blacklist", "iommu=pt", "amd_iommu"} {
					if strings.Contains(text, never) && !strings.Contains(before[name], never) {
						t.Errorf("%s holds %s:\n%s", name, never, text)
					}
				}
			}
			load := "etc/modules-load.d/indy.conf"
			if host.files["etc/modules"] != "" {
				load = "etc/modules"
			}
			want := slices.Concat(host.parameter, host.early, []string{load})
			slices.Sort(want)
			slices.Sort(changed)
			if d := cmp.Diff(want, changed); d != "" {
				t.Error(d)
			}
			for _, name := range host.parameter {
				if n := strings.Count(made[name], "intel_iommu=on"); n != 1 && name != "boot/extlinux/extlinux.conf" || n == 0 {
					t.Errorf("%s:\n%s", name, made[name])
				}
			}
			for _, name := range host.early {
				if !strings.Contains(made[name], "vfio_pci") || !strings.Contains(made[name], "vfio_iommu_type1") {
					t.Errorf("%s:\n%s", name, made[name])
				}
			}
			if c.Then[0] != host.then || !slices.Contains(c.Then, "start the machine anew") {
				t.Errorf("afterwards: %q", c.Then)
			}
			u, err := e.PrepareUndo(nil)
			if err == nil {
				err = e.Undo(u)
			}
			if d := cmp.Diff(before, contents(t, root)); d != "" || err != nil {
				t.Errorf("%v\n%s", err, d)
			}
		})
	}
}

// Which of several boot loaders is in use is told by what it told the firmware, or not.
func TestLoaderInUse(t *testing.T) {
	both := map[string]string{"etc/default/grub": "GRUB_CMDLINE_LINUX_DEFAULT=\"\"\n", "boot/grub/grub.cfg": "", "boot/efi/loader/entries/a.conf": "linux /x\noptions y\n"}
	said := func(name string) string {
		b := "\x06\x00\x00\x00"
		for _, r := range name {
			b += string([]byte{byte(r), 0})
		}
		return b + "\x00\x00"
	}
	need := Need{Check: "iommu", Parameter: "intel_iommu=on"}
	for variable, want := range map[string]Loader{
		said("systemd-boot 252.5"): SystemdBoot, said("GRUB 2.12"): GRUB, said("rEFInd 0.14"): "", "": "", "\x06": "", strings.Repeat("x", 2000): "",
	} {
		h := readHost(t, put(t, both), tree(t, map[string]string{loaderInfo: variable}))
		if h.Loader != want || len(h.Loaders) != 2 {
			t.Errorf("%.40q: %q of %q", variable, h.Loader, h.Loaders)
		}
		edits, err := h.Edits(need, false)
		var manual *ManualError
		switch {
		case want == "" && (!errors.As(err, &manual) || !strings.Contains(err.Error(), "more than one boot loader (GRUB and systemd-boot)")):
			t.Error(err)
		case want == GRUB && edits[0].File != "etc/default/grub", want == SystemdBoot && edits[0].File != "boot/efi/loader/entries/a.conf":
			t.Error(edits)
		}
	}
}

// The firmware knows better which loader ran than the only configuration that is there.
func TestLoaderOfOthers(t *testing.T) {
	said := func(name string) fs.FS {
		b := "\x06\x00\x00\x00"
		for _, r := range name {
			b += string([]byte{byte(r), 0})
		}
		return tree(t, map[string]string{loaderInfo: b + "\x00\x00"})
	}
	grub := map[string]string{"etc/default/grub": "GRUB_CMDLINE_LINUX_DEFAULT=\"\"\n", "boot/grub/grub.cfg": ""}
	need := Need{Check: "iommu", Parameter: "intel_iommu=on"}
	if edits, err := readHost(t, put(t, grub), said("systemd-boot 252")).Edits(need, false); err == nil || !strings.Contains(err.Error(), "another boot loader has started this machine") {
		t.Error(edits, err)
	}
	proxmox := with(grub, "etc/kernel/cmdline", "root=ZFS=rpool/ROOT/pve-1\n", "etc/kernel/proxmox-boot-uuids", "1234-5678\n")
	edits, err := readHost(t, put(t, proxmox), said("systemd-boot 252")).Edits(need, false)
	if err != nil || len(edits) != 1 || edits[0].File != "etc/kernel/cmdline" || edits[0].Then[0] != "proxmox-boot-tool refresh" {
		t.Error(edits, err)
	}
	if h := readHost(t, put(t, proxmox), said("GRUB 2.12")); h.Loader != GRUB {
		t.Error(h.Loader)
	}
}

// A file that adds to the parameters leaves ours there; one that sets them does not.
func TestOverrides(t *testing.T) {
	grub := map[string]string{"etc/default/grub": "GRUB_CMDLINE_LINUX_DEFAULT=\"\"\n", "boot/grub/grub.cfg": ""}
	for line, want := range map[string]bool{
		`GRUB_CMDLINE_LINUX_DEFAULT="$GRUB_CMDLINE_LINUX_DEFAULT crashkernel=512M-:192M"`: false,
		`GRUB_CMDLINE_LINUX="${GRUB_CMDLINE_LINUX} quiet"`:                                false,
		`GRUB_CMDLINE_LINUX+=" quiet"`:                                                    false,
		`GRUB_CMDLINE_LINUX_RECOVERY="single"`:                                            false,
		`# GRUB_CMDLINE_LINUX=""`:                                                         false,
		`GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX_DEFAULT"`:                                true,
		` GRUB_CMDLINE_LINUX_DEFAULT="console=ttyS0"`:                                     true,
		`export GRUB_CMDLINE_LINUX=`:                                                      true,
	} {
		h := readHost(t, put(t, with(grub, "etc/default/grub.d/x.cfg", line+"\n")), nil)
		if got := len(h.Overrides) > 0; got != want {
			t.Errorf("%s: %t", line, got)
		}
		if b := h.boot("p"); strings.Contains(b, "--fix") == want || want && !strings.Contains(b, "/etc/default/grub.d/x.cfg") {
			t.Errorf("%s: %s", line, b)
		}
	}
}

// Where a file is made by others, or none is known, it is done by hand.
func TestByHand(t *testing.T) {
	parameter, modules := Need{Check: "iommu", Parameter: "intel_iommu=on"}, Need{Check: "vfio", Modules: []string{"vfio-pci"}}
	grub := map[string]string{"etc/default/grub": "GRUB_CMDLINE_LINUX_DEFAULT=\"\"\n", "boot/grub/grub.cfg": ""}
	for _, test := range []struct {
		files map[string]string
		need  Need
		want  string
	}{
		{map[string]string{"etc/os-release": "ID=nixos\n"}, parameter, "boot.kernelParams"},
		{map[string]string{"etc/os-release": "ID=nixos\n"}, modules, "boot.kernelModules"},
		{with(grub, "run/ostree-booted", ""), parameter, "rpm-ostree kargs"},
		{map[string]string{"etc/os-release": "ID=x\n"}, parameter, "no boot loader's configuration"},
		{with(grub, "etc/default/grub.d/50-cloudimg-settings.cfg", "GRUB_CMDLINE_LINUX_DEFAULT=\"console=ttyS0\"\n"), parameter, "/etc/default/grub.d/50-cloudimg-settings.cfg sets the parameters again"},
	} {
		h := readHost(t, put(t, test.files), nil)
		if edits, err := h.Edits(test.need, false); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v, %v; want %q", edits, err, test.want)
		}
	}
	h := Host{}
	if _, err := h.Edits(modules, false); err == nil || !strings.Contains(err.Error(), "neither") {
		t.Error(err)
	}
	// What is assigned nowhere has a value that only u-boot-update knows.
	root := put(t, map[string]string{"boot/extlinux/extlinux.conf": "label a\nappend b\n", "etc/default/u-boot": "#U_BOOT_PARAMETERS=\"ro quiet\"\n"})
	edits, err := readHost(t, root, nil).Edits(parameter, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&hostedit.Editor{Root: root}).Prepare(edits...); !errors.As(err, new(*hostedit.NotUnderstoodError)) {
		t.Error(err)
	}
}

func TestInstall(t *testing.T) {
	for release, want := range map[string]string{
		"ID=debian": "run: apt install ovmf", "ID=linuxmint\nID_LIKE=\"ubuntu debian\"": "run: apt install ovmf", "ID=fedora": "run: dnf install edk2-ovmf",
		"ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"": "run: dnf install edk2-ovmf", "ID=arch": "run: pacman -S edk2-ovmf", "ID=nixos": "configuration.nix",
		"ID=opensuse-tumbleweed\nID_LIKE=\"opensuse suse\"": "run: zypper install qemu-ovmf-x86_64", "": "install the package ovmf (Debian, Ubuntu), edk2-ovmf (Fedora)",
	} {
		h := ReadHost(tree(t), tree(t, map[string]string{"etc/os-release": release + "\n"}))
		if got := h.install(uefiPackage); !strings.Contains(got, want) {
			t.Errorf("%q: %q, want %q", release, got, want)
		}
	}
	rocky := ReadHost(tree(t), tree(t, map[string]string{"etc/os-release": "ID=rocky\nID_LIKE=\"rhel fedora\"\n"}))
	if got := rocky.install(qemuPackage); got != "run: dnf install qemu-kvm" {
		t.Error(got)
	}
}
