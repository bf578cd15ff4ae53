package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// OutDir is where [Machine.Out] is found inside.
const OutDir = "/run/indy-lab/out"

// A Machine is one emulated laptop and the command to run in it. Only Args is
// needed.
type Machine struct {
	// Args is the command and its arguments. The command's path is absolute, on
	// this machine, without "="; it runs as root.
	Args []string
	// Env is added to the command's environment, as K=V. The rest of it is PATH,
	// HOME, PWD, TERM and LANG; nothing else comes from this process.
	Env []string
	// Dir is the command's working directory: absolute, on this machine. It is /
	// if empty.
	Dir string
	// NVMe is the raw image behind the NVMe 0000:02:00.0; what is written to the
	// disk stays in it. If empty, the disk has 64 MiB of zeroes for this once.
	NVMe string
	// Memory is the laptop's, as a number with K, M, G; 4G if empty.
	Memory string
	// Topology is which IOMMU there is, and how functions hang together.
	Topology Topology
	// Out is a directory on this machine that the command may write to. Inside
	// it is [OutDir].
	Out string
	// Heard is a file that receives what the sound card 0000:00:1b.0 plays, as
	// WAV. If empty, it plays to nobody.
	Heard string
	// Root, when it names any, are directories on this machine that together are a root
	// file system, each lying over those after it. The laptop boots its /sbin/init in
	// place of a command: Args, Env, Dir and Out are empty then. It loads drivers by
	// itself. What it writes to /dev/ttyS1 is its output, a line "status N" on
	// /dev/ttyS2 its exit status, and it has to power off.
	Root []string
	// Kernel are more arguments for the kernel, separated by spaces.
	Kernel string
	// Extra are more arguments for QEMU, after all others.
	Extra []string
	// Stdout receives the output of the command, both stdout and stderr, byte by
	// byte and while it runs. Nil discards it. Stdout and Console are written to
	// at the same time.
	Stdout io.Writer
	// Console receives what the kernel and the first process say. Nil discards
	// it; its end is part of errors all the same.
	Console io.Writer

	sector []byte // what the temporary disk starts with
}

// cpu is all that software emulates, but not that strings are moved fast: a kernel that is
// told so clears pages by rep stosb, which QEMU does byte by byte.
const cpu = "max,-erms,-fsrm"

// Descriptors that QEMU inherits, by number.
const (
	fdConsole = 3 + iota
	fdOutput
	fdStatus
	fdInitramfs
	fdNVMe
)

func fdPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func (m *Machine) check() error {
	switch {
	case len(m.Args) == 0 && len(m.Root) == 0:
		return errors.New("no command")
	case len(m.Args) > 0 && (!filepath.IsAbs(m.Args[0]) || strings.Contains(m.Args[0], "=")):
		return fmt.Errorf("command %q: not an absolute path, or one with =", m.Args[0])
	case m.Dir != "" && !filepath.IsAbs(m.Dir):
		return fmt.Errorf("working directory %q: not an absolute path", m.Dir)
	case !m.Topology.known():
		return fmt.Errorf("unknown topology %v", m.Topology)
	case m.Memory != "" && !regexp.MustCompile(`^[0-9]+[KMG]?$`).MatchString(m.Memory):
		return fmt.Errorf("memory %q: not a number with K, M or G", m.Memory)
	}
	if strings.ContainsAny(m.Kernel, "\x00\n") {
		return fmt.Errorf("arguments for the kernel %q hold a zero byte or a line's end", m.Kernel)
	}
	for _, s := range m.Args {
		if strings.Contains(s, "\x00") {
			return fmt.Errorf("argument %q holds a zero byte", s)
		}
	}
	for _, s := range m.Env {
		if k, _, ok := strings.Cut(s, "="); !ok || k == "" || strings.Contains(s, "\x00") {
			return fmt.Errorf("environment %q: not K=V", s)
		}
	}
	return m.checkRoot()
}

// object is one device, disk or sound backend, as QEMU takes it in JSON: no value
// can end one and begin another.
type object map[string]any

func (o object) String() string {
	b, err := json.Marshal(o)
	if err != nil {
		panic(err) // maps of strings, numbers and booleans always marshal
	}
	return string(b)
}

// escape is for the few values that QEMU takes in no other form than k=v,k=v.
func escape(value string) string { return strings.ReplaceAll(value, ",", ",,") }

// arguments returns what QEMU is started with.
func (l *Lab) arguments(m *Machine) []string {
	memory := m.Memory
	if memory == "" {
		memory = "4G"
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-machine", "q35,kernel-irqchip=split,accel=tcg", "-cpu", cpu, "-smp", "1", "-m", memory,
		"-kernel", l.kernel, "-initrd", fdPath(fdInitramfs),
		// The check of the timer counts what comes within a moment, and where this machine
		// is busy too few come; of an AMD IOMMU's, none do.
		"-append", "console=ttyS0 quiet " + m.Topology.kernelArguments() + strings.TrimSpace("panic=-1 mitigations=off no_timer_check "+m.Kernel),
	}
	for i, fd := range []int{fdConsole, fdOutput, fdStatus} {
		args = append(args, "-chardev", fmt.Sprintf("file,id=serial%d,path=%s", i, fdPath(fd)))
	}
	args = append(args,
		"-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap")
	if m.Out != "" {
		args = append(args,
			"-fsdev", "local,id=out,path="+escape(m.Out)+",security_model=none,multidevs=remap")
	}
	disk := object{"driver": "raw", "node-name": "disk", "file": object{"driver": "file", "filename": fdPath(fdNVMe)}}
	if m.NVMe != "" {
		disk["file"] = object{"driver": "file", "filename": m.NVMe}
	}
	heard := object{"driver": "none", "id": "heard"}
	if m.Heard != "" {
		heard = object{"driver": "wav", "id": "heard", "path": m.Heard}
	}
	args = append(args,
		"-blockdev", disk.String(),
		"-netdev", object{"type": "user", "id": "net", "restrict": true}.String(),
		"-audiodev", heard.String(),
		"-audiodev", object{"driver": "none", "id": "silent"}.String())
	more := m.Topology.more()
	for _, b := range more.blocks {
		args = append(args, "-blockdev", b.String())
	}
	for _, n := range more.networks {
		args = append(args, "-netdev", n.String())
	}
	for _, d := range append(m.devices(), more.devices...) {
		args = append(args, "-device", d.String())
	}
	return append(args, m.Extra...)
}

// devices returns the laptop's devices. Their places are fixed, so that addresses
// and groups do not depend on which of the optional ones there are.
func (m *Machine) devices() []object {
	var list []object
	add := func(o ...object) { list = append(list, o...) }
	add(m.Topology.unit()...)
	for i, irq := range m.Topology.serialIRQs() {
		add(object{"driver": "isa-serial", "index": i, "irq": irq, "chardev": "serial" + strconv.Itoa(i)})
	}
	// Two functions of one device share a group, so that group numbers stay too.
	add(object{
		"driver": "virtio-9p-pci", "bus": "pcie.0", "addr": "01.0", "multifunction": true,
		"fsdev": "root", "mount_tag": "root",
	})
	if m.Out != "" {
		add(object{"driver": "virtio-9p-pci", "bus": "pcie.0", "addr": "01.1", "fsdev": "out", "mount_tag": "out"})
	}
	for i := 1; i <= 4; i++ {
		add(object{
			"driver": "pcie-root-port", "id": "port" + strconv.Itoa(i), "bus": "pcie.0",
			"addr": fmt.Sprintf("%02x.0", i+1), "chassis": i, "slot": i,
		})
	}
	nvme, sound, usb := m.Topology.busMasters()
	add(
		object{"driver": "e1000e", "bus": "port1", "netdev": "net"},
		object{"driver": "nvme", "bus": nvme.bus, "addr": nvme.addr, "drive": "disk", "serial": "LAB1"},
		object{"driver": "pcie-pci-bridge", "id": "bridge", "bus": "port3"},
		object{"driver": "e1000", "bus": "bridge", "addr": "01.0"},
		object{"driver": "ich9-intel-hda", "id": "sound1", "bus": sound.bus, "addr": sound.addr},
		object{"driver": "hda-duplex", "bus": "sound1.0", "audiodev": "silent"},
		object{"driver": "igb", "bus": "port4"},
		object{"driver": "virtio-gpu-pci", "bus": "pcie.0", "addr": "10.0"},
		object{"driver": "qemu-xhci", "id": "xhci", "bus": usb.bus, "addr": usb.addr},
		object{"driver": "usb-kbd", "bus": "xhci.0"},
		object{"driver": "usb-tablet", "bus": "xhci.0"},
		object{"driver": "intel-hda", "id": "sound0", "bus": "pcie.0", "addr": "1b.0"},
		object{"driver": "hda-duplex", "bus": "sound0.0", "audiodev": "heard"},
	)
	return list
}
