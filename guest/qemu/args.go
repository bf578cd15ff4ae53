package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/pci"
)

// A Layout is what Args has to know besides the guest: under which numbers QEMU
// finds the descriptors it inherits, and how it is to run. Descriptors are at
// least 3.
type Layout struct {
	Accelerator Accelerator // KVM or TCG

	QMP    int // a connected stream socket
	Serial int // a connected stream socket

	// Disks has one entry for each of the guest's disks.
	Disks []DiskFile

	// Keys has, for each of the guest's disks, a pipe with the key to one that is encrypted,
	// and 0 for the others; nil when none is.
	Keys []int

	// ROMs has one descriptor for each of the guest's ROMs.
	ROMs []int

	// Code and Variables are the files of the UEFI firmware, given with guest.UEFI.
	Code, Variables int

	// NICs has one entry for each of the guest's network interfaces.
	NICs []NICEnd

	// TPM is a connected stream socket to the control channel of a TPM emulator.
	TPM int

	// Sound is what carries the guest's sound: any driver but AutoSound for a guest
	// with a sound card. Recording is the file that the driver WAV writes.
	Sound     SoundDriver
	Recording int

	// SoundServer is the socket of PulseAudio; empty lets QEMU look for it.
	SoundServer string

	// Window is GTK or SDL for a guest in a window.
	Window WindowSystem

	// RenderNode is the host's node in /dev/dri that draws for guest.VirGL where there
	// is no window; empty lets QEMU choose. QEMU opens it by itself.
	RenderNode string

	// USB has one opened node in /dev/bus/usb for each of the guest's USB devices.
	USB []int

	// Folders has, for each of the guest's folders, a connected stream socket on which
	// virtiofsd answers.
	Folders []int

	// Agent is a connected stream socket to whoever speaks to the guest's agent.
	Agent int

	// Watch and Knock are connected stream sockets for what looks at the guest's first network
	// interface: what the guest sends, and what is put before it. Both 0 are nobody.
	Watch, Knock int

	// KVM is /dev/kvm, opened; 0 leaves it to QEMU. QEMU knows this from 9.0 on.
	KVM int

	// NoReboot ends QEMU when the guest resets its machine.
	NoReboot bool
}

// A DiskFile is an open disk.
type DiskFile struct {
	FD     int
	Device bool // a block device, not a regular file
}

// A NICEnd is the host's end of a network interface.
type NICEnd struct {
	// FD is a tap interface for guest.LinkTap, and for guest.LinkNAT a connected stream socket
	// to passt, or 0 for QEMU's own user network.
	FD int
}

// Args returns the arguments of QEMU that make it run g, the program's name not
// among them. It is a pure function: nothing is opened or asked. QEMU waits for
// the command cont on QMP before the guest's first instruction.
//
// On QMP the guest's disks are the devices disk0, disk1 and so on over the block
// nodes node0, node1; its network interfaces are nic0, nic1 over the back ends net0,
// net1; its assigned functions are the devices device0, device1; its USB devices are
// usb-1-4.2 and so on, by their port paths, on the bus xhci.0; its graphics are the device graphics.
func Args(g guest.Guest, l Layout) ([]string, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	if err := l.validate(g); err != nil {
		return nil, fmt.Errorf("guest %s: %w", g.Name, err)
	}
	cpus := strconv.Itoa(max(g.CPUs, 1))
	var b builder
	b.add("-nodefaults")
	b.add("-no-user-config")
	b.add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")
	b.add("-name", option("", "guest", g.Name))
	b.add("-S")
	b.display(g, l)
	if l.NoReboot {
		b.add("-no-reboot")
	}
	b.firmware(g, l)
	b.accelerator(l)
	b.add("-smp", option("", "cpus", cpus, "sockets", "1", "cores", cpus, "threads", "1"))
	b.add("-m", option("", "size", strconv.FormatInt(g.Memory>>20, 10)+"M"))
	b.add("-boot", option("", "strict", "on"))
	b.socket("qmp", l.QMP)
	b.add("-mon", option("", "chardev", "qmp", "mode", "control"))
	b.socket("serial0", l.Serial)
	b.json("-device", value{"driver": "isa-serial", "id": "serial0", "chardev": "serial0"})
	b.keys(g, l)
	for i, d := range g.Disks {
		b.disk(i, d, l.Disks[i])
	}
	b.shared(g, l)
	roms := make(map[pci.Address]int, len(g.ROMs))
	for i, r := range g.ROMs {
		roms[r.Device] = l.ROMs[i]
	}
	b.devices(g.Devices, roms)
	return b.args, b.err
}

func (l Layout) validate(g guest.Guest) error {
	if l.Accelerator != KVM && l.Accelerator != TCG {
		return fmt.Errorf("the accelerator is %v, neither kvm nor tcg", l.Accelerator)
	}
	if len(l.Disks) != len(g.Disks) {
		return fmt.Errorf("%d descriptors for %d disks", len(l.Disks), len(g.Disks))
	}
	if len(l.ROMs) != len(g.ROMs) {
		return fmt.Errorf("%d descriptors for %d ROMs", len(l.ROMs), len(g.ROMs))
	}
	if len(l.NICs) != len(g.NICs) {
		return fmt.Errorf("%d ends for %d network interfaces", len(l.NICs), len(g.NICs))
	}
	if len(l.USB) != len(g.USB.Devices) {
		return fmt.Errorf("%d descriptors for %d USB devices", len(l.USB), len(g.USB.Devices))
	}
	if len(l.Folders) != len(g.Folders) {
		return fmt.Errorf("%d descriptors for %d folders", len(l.Folders), len(g.Folders))
	}
	if g.Sound.Model != guest.NoSound && (l.Sound <= AutoSound || l.Sound > Silent) {
		return fmt.Errorf("the sound driver is %v", l.Sound)
	}
	if g.Screen.Kind == guest.Window && l.Window != GTK && l.Window != SDL {
		return fmt.Errorf("the window system is %v, neither gtk nor sdl", l.Window)
	}
	fds := slices.Concat([]int{l.QMP, l.Serial}, l.ROMs, l.USB, l.Folders)
	for i, n := range l.NICs {
		if g.NICs[i].Isolated && n.FD != 0 {
			return errors.New("only QEMU's user network can isolate a network interface")
		}
		if g.NICs[i].Link == guest.LinkTap || n.FD != 0 {
			fds = append(fds, n.FD)
		}
	}
	if g.TPM != "" {
		fds = append(fds, l.TPM)
	}
	if g.Agent {
		fds = append(fds, l.Agent)
	}
	if l.Watch != 0 || l.Knock != 0 {
		if len(g.NICs) == 0 {
			return errors.New("there is no network interface to look at")
		}
		fds = append(fds, l.Watch, l.Knock)
	}
	if g.Sound.Model != guest.NoSound && l.Sound == WAV {
		fds = append(fds, l.Recording)
	}
	for i, d := range l.Disks {
		fds = append(fds, d.FD)
		if g.Disks[i].Key.Kind == guest.NoKey {
			continue
		}
		if i >= len(l.Keys) {
			return fmt.Errorf("no descriptor for the key to disk %d", i+1)
		}
		fds = append(fds, l.Keys[i])
	}
	if g.Firmware == guest.UEFI {
		fds = append(fds, l.Code, l.Variables)
	}
	if l.KVM != 0 {
		fds = append(fds, l.KVM)
	}
	seen := make(map[int]bool, len(fds))
	for _, fd := range fds {
		if fd < 3 || seen[fd] {
			return fmt.Errorf("descriptor %d is standard input or output, or used twice", fd)
		}
		seen[fd] = true
	}
	return nil
}

// A value is a JSON object.
type value map[string]any

// A builder collects arguments.
type builder struct {
	args     []string
	err      error
	bootable int // how many devices have a place in the boot order
	ports    int // how many root ports there are
	sata     int // how many ports of the SATA controller are taken
}

func (b *builder) add(args ...string) { b.args = append(b.args, args...) }

func (b *builder) json(name string, v value) {
	text, err := json.Marshal(v)
	b.err = errors.Join(b.err, err)
	b.add(name, string(text))
}

// bootindex returns the next place in the boot order.
func (b *builder) bootindex() int {
	b.bootable++
	return b.bootable
}

func (b *builder) socket(id string, fd int) {
	b.add("-chardev", option("socket", "id", id, "fd", strconv.Itoa(fd)))
}

// inherit makes the descriptor known to QEMU and returns the name that opens it.
// The text says to a person who lists the process what it is.
func (b *builder) inherit(fd int, text string) string {
	n := strconv.Itoa(fd)
	b.add("-add-fd", option("", "fd", n, "set", n, "opaque", text))
	return "/dev/fdset/" + n
}

func (b *builder) firmware(g guest.Guest, l Layout) {
	machine := []string{"dump-guest-core", "off"}
	if len(g.Folders) > 0 {
		// whoever serves a folder reads and writes the guest's memory
		b.json("-object", value{"qom-type": "memory-backend-memfd", "id": "ram", "size": g.Memory, "share": true})
		machine = append(machine, "memory-backend", "ram")
	}
	if g.Sound.Play {
		machine = append(machine, "pcspk-audiodev", "audio")
	}
	if g.Firmware != guest.UEFI {
		b.add("-machine", option("q35", machine...))
		return
	}
	for _, f := range []struct {
		node     string
		fd       int
		readOnly bool
	}{{"code", l.Code, true}, {"variables", l.Variables, false}} {
		b.json("-blockdev", value{
			"driver": "file", "node-name": f.node + "-file", "filename": b.inherit(f.fd, "uefi "+f.node),
			"read-only": f.readOnly, "locking": "on",
		})
		b.json("-blockdev", value{"driver": "raw", "node-name": f.node, "file": f.node + "-file", "read-only": f.readOnly})
	}
	machine = append(machine, "pflash0", "code", "pflash1", "variables")
	if g.SecureBoot {
		// The variables, in which the keys are, are changed by the firmware alone, in system
		// management mode: what runs in the guest asks it, and it wants a signature.
		machine = append(machine, "smm", "on")
		b.add("-global", option("", "driver", "cfi.pflash01", "property", "secure", "value", "on"))
	}
	b.add("-machine", option("q35", machine...))
}

func (b *builder) accelerator(l Layout) {
	switch {
	case l.Accelerator == TCG:
		b.add("-accel", "tcg", "-cpu", "max")
	case l.KVM != 0:
		b.add("-accel", option("kvm", "device", b.inherit(l.KVM, "kvm")), "-cpu", "host")
	default:
		b.add("-accel", "kvm", "-cpu", "host")
	}
}
