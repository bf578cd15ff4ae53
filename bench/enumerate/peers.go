package main

import (
	"path/filepath"
	"strconv"

	"github.com/project-independence/indy/bench/internal/peers"
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

// install gets the peers that are missing.
func (b *bench) install() {
	peers.Install(b.ctx, map[string]string{
		"lspci": "pciutils", "lsusb": "usbutils", "lshw": "lshw", "hwinfo": "hwinfo", "strace": "strace", "time": "time", "cc": "gcc",
	})
}

// versions says which peers were measured.
func (b *bench) versions() map[string]string {
	return peers.Versions(b.ctx, map[string][]string{
		"lspci": {"lspci", "--version"}, "lsusb": {"lsusb", "--version"}, "lshw": {"lshw", "-version"},
		"hwinfo": {"hwinfo", "--version"},
	})
}

func atoi(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}
