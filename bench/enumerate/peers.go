package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/hostfs"
)

// A peer is one program that lists hardware. Its command is one word an element.
type peer struct {
	name    string
	command []string
	most    int // functions beyond which it takes minutes; 0 is any number
}

// peers are what is measured as whole processes. The first is what the others are
// compared with.
func (b *bench) peers() []peer {
	indy := filepath.Join(b.dir, "indy")
	return []peer{
		{"lspci -nnk", []string{"lspci", "-A", "linux-sysfs", "-O", "sysfs.path=/sys/bus/pci", "-nnk"}, 0},
		{"indy devices", []string{indy, "devices"}, 0},
		{"indy devices --json", []string{indy, "devices", "--json"}, 0},
		{"indy groups", []string{indy, "groups"}, 0},
		{"indy version", []string{indy, "version"}, 0},
		{"an empty Go program", []string{filepath.Join(b.dir, "empty")}, 0},
		{"C floor, one scan", []string{filepath.Join(b.dir, "floor"), "/sys", "1"}, 0},
		{"lspci -n", []string{"lspci", "-n"}, 0},
		{"ghw (PCI)", []string{filepath.Join(b.dir, "enumerate"), "-scan", "ghw", "1"}, 0},
	}
}

// slow are the peers that take too long to be run as often.
func (b *bench) slow() []peer {
	return []peer{
		{"lspci -nnk", []string{"lspci", "-nnk"}, 0},
		{"indy devices", []string{filepath.Join(b.dir, "indy"), "devices"}, 0},
		{"lspci -nnk and lsusb", []string{"sh", "-c", "lspci -nnk; lsusb; true"}, 0},
		{"virsh nodedev-list", []string{"virsh", "nodedev-list", "--cap", "pci"}, 30},
		{"lshw -short", []string{"lshw", "-short"}, 300},
		{"hwinfo --short", []string{"hwinfo", "--short"}, 0},
		{"hwinfo --pci --short", []string{"hwinfo", "--pci", "--short"}, 300},
	}
}

// install gets the peers that are missing, as root and on Debian.
func (b *bench) install() {
	var missing []string
	for program, pkg := range map[string]string{
		"lspci": "pciutils", "lsusb": "usbutils", "lshw": "lshw", "hwinfo": "hwinfo", "strace": "strace", "time": "time", "cc": "gcc",
	} {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, pkg)
		}
	}
	if len(missing) == 0 {
		return
	}
	fmt.Fprintln(os.Stderr, "enumerate: missing:", strings.Join(missing, ", "))
	if _, err := exec.LookPath("apt-get"); err != nil || !b.root {
		return
	}
	for _, args := range [][]string{{"update", "-qq"}, append([]string{"install", "-y", "-qq", "--no-install-recommends"}, missing...)} {
		cmd := exec.CommandContext(b.ctx, "apt-get", args...)
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "enumerate: apt-get:", err)
		}
	}
}

// versions says which peers were measured.
func (b *bench) versions() map[string]string {
	versions := map[string]string{}
	for name, args := range map[string][]string{
		"lspci": {"lspci", "--version"}, "lsusb": {"lsusb", "--version"}, "lshw": {"lshw", "-version"},
		"hwinfo": {"hwinfo", "--version"},
	} {
		if out, err := exec.CommandContext(b.ctx, args[0], args[1:]...).Output(); err == nil {
			words := strings.Fields(string(out))
			if i := slices.IndexFunc(words, func(w string) bool { return strings.ContainsAny(w, "0123456789") }); i >= 0 {
				versions[name] = words[i]
			}
		}
	}
	return versions
}

func processor() string {
	data, _ := hostfs.Live().ReadFile("proc/cpuinfo")
	for line := range strings.Lines(string(data)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return "unknown processor"
}

func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

func atoi(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}
