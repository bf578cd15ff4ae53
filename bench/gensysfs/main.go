// Command gensysfs writes a machine of any size as the kernel would show it, for
// measuring tools against each other:
//
//	gensysfs DIR NPCI NUSB
//
// DIR must be empty or missing. DIR/sys then holds NPCI PCI functions and NUSB USB
// devices: real directories below devices/pciDDDD:00, links to them in
// bus/pci/devices, bus/usb/devices, the drivers, IOMMU groups and classes. DIR/proc
// holds the few files beside it that say what the host itself needs. The first
// functions are a laptop's; the rest are network and storage functions behind root
// ports, as many as a domain has room for, then in the next domain. The same
// arguments always write the same tree.
//
// One thing is not as the kernel does it: files of the same name and content are
// one file with many links, or 30,000 functions would not fit in memory. A
// function's uevent is its own.
//
// Any tool can be pointed at the tree in a mount namespace of its own:
//
//	unshare -m sh -c 'mount --bind DIR/sys /sys && lspci'
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

const maxFunctions, maxDevices = 1_000_000, 10_000

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gensysfs:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("usage: gensysfs DIR NPCI NUSB")
	}
	functions, err := number(args[1], maxFunctions)
	if err != nil {
		return err
	}
	devices, err := number(args[2], maxDevices)
	if err != nil {
		return err
	}
	return write(args[0], functions, devices)
}

func number(s string, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("%q: expected a number from 0 to %d", s, most)
	}
	return n, nil
}

// write writes a machine into the directory dir, which must be empty or missing.
func write(dir string, functions, devices int) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if entries, err := os.ReadDir(dir); err != nil {
		return err
	} else if len(entries) > 0 {
		return fmt.Errorf("%s is not empty; name a new directory", dir)
	}
	t := &tree{root: dir, same: map[string]string{}}
	t.machine()
	t.functions(functions)
	t.usb(devices)
	return t.err
}

// A tree writes files, links and directories until one of them fails; err says why.
type tree struct {
	root string
	same map[string]string // name and content of a file to its path
	err  error
}

func (t *tree) do(name string, f func(path string) error) {
	if t.err != nil {
		return
	}
	path := filepath.Join(t.root, name)
	if err := f(path); err == nil {
		return
	}
	// Most often the directory is there; else make it and try again.
	if t.err = os.MkdirAll(filepath.Dir(path), 0o755); t.err == nil {
		t.err = f(path)
	}
}

func (t *tree) dir(name string) {
	t.do(name, func(path string) error { return os.MkdirAll(path, 0o755) })
}

// file writes a file of its own, with a newline at the end.
func (t *tree) file(name, content string) {
	t.do(name, func(path string) error { return os.WriteFile(path, []byte(content+"\n"), 0o444) })
}

// attribute writes a file that may share its content with others of its name.
func (t *tree) attribute(dir, name, content string) {
	key := name + "\x00" + content
	t.do(dir+"/"+name, func(path string) error {
		if old, ok := t.same[key]; ok && os.Link(old, path) == nil {
			return nil
		}
		t.same[key] = path // also when a file has all the links it can
		return os.WriteFile(path, []byte(content+"\n"), 0o444)
	})
}

// link writes name as a link to target, both from the root of the machine. Like the
// kernel's links it is relative.
func (t *tree) link(name, target string) {
	relative, err := filepath.Rel("/"+filepath.Dir(name), "/"+target)
	if err != nil {
		t.err = err
		return
	}
	t.do(name, func(path string) error { return os.Symlink(relative, path) })
}

// machine writes what is there once.
func (t *tree) machine() {
	for _, dir := range []string{
		"sys/bus/pci/devices", "sys/bus/pci/drivers", "sys/bus/usb/devices", "sys/bus/usb/drivers", "sys/class/drm",
		"sys/class/sound", "sys/class/net", "sys/class/block", "sys/dev/block", "sys/kernel/iommu_groups", "sys/devices", "proc/self", "proc/net",
	} {
		t.dir(dir)
	}
	t.file("sys/kernel/uevent_seqnum", "1000")
	t.dir("sys/devices/virtual/iommu/dmar0")
	t.link("sys/class/iommu/dmar0", "sys/devices/virtual/iommu/dmar0")
	t.file("sys/class/dmi/id/sys_vendor", "Independence")
	t.file("sys/class/dmi/id/product_name", "Synthetic laptop")
	t.file("proc/interrupts", "            CPU0\n  24:          0  IR-PCI-MSI-0000:00:00.0    0-edge      PCIe PME")
	t.file("proc/self/mountinfo", "22 1 0:20 / / rw,relatime - tmpfs tmpfs rw")
	t.file("proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority")
	t.file("proc/net/route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT")
}
