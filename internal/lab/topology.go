package lab

import (
	_ "embed"
	"strconv"
)

// A Topology is which IOMMU the laptop has and how its functions hang together. All
// of them but AMDIOMMU have the functions of the first at the same addresses, and in
// groups like there.
type Topology int

const (
	// IntelIOMMU is VT-d with interrupt remapping, enabled by the kernel.
	IntelIOMMU Topology = iota
	// NoIOMMU has none, as a laptop where the firmware keeps it off.
	NoIOMMU
	// AMDIOMMU is AMD-Vi with interrupt remapping. QEMU 10.0 takes every function
	// behind a bridge for 0000:00:00.0 there, so that those neither reach memory nor
	// interrupt, and loses what comes through the I/O APIC. Therefore the NVMe is
	// 00:0a.0 and the second sound card 00:0b.0, and output comes at 4 kB/s.
	AMDIOMMU
	// SwitchedIntel is IntelIOMMU with more ways to hang together:
	//
	//	00:06.0, 06:00.0    root port, switch: a group each
	//	07:00.0, 07:00.1,   two ports of the switch in one device,
	//	08:00.0, 09:00.0    NVMe and e1000e behind them: one group of four
	//	07:01.0, 0a:00.0    port of the switch, xHCI behind it: one group
	//	00:07.0, 0b:00.0    root port without ACS, NVMe behind it: one group
	//	0c:00.0, 0c:00.1    virtio network and GPU in one device behind root port 00:08.0: one group
	//	00:1c.0, 00:1c.4,   two root ports without ACS in one device,
	//	0d:00.0, 0e:00.0    e1000e and xHCI with a disk behind them: one group of four
	SwitchedIntel
	// VMDIntel is IntelIOMMU with a function 00:0e.0 that the kernel's driver vmd has,
	// as Intel's Volume Management Device: behind it is the PCI domain 10000 with a root
	// port 10000:00:06.0 and an NVMe 10000:01:00.0, all in the group of 00:0e.0. The
	// two have a config space and nothing else, so no driver takes the NVMe.
	VMDIntel
	// NestedIntel is IntelIOMMU with switches below switches, and with functions that are
	// kept apart where those of SwitchedIntel are not. QEMU's switch ports have no ACS, so
	// those with it are root ports, which it takes there too:
	//
	//	00:06.0, 06:00.0      root port, switch: a group each
	//	07:00.0, 08:00.0,     port of the switch without ACS, a switch below it,
	//	09:00.0, 0a:00.0,     a port without ACS there, xHCI behind it,
	//	09:01.0, 0b:00.0      a port with ACS there, e1000e behind it: one group of six
	//	07:01.0, 0c:00.0      port of the first switch with ACS, NVMe behind it: a group each
	//	07:02.0, 0d:00.0      such a port, and another switch below it: a group each
	//	0e:00.0, 0f:00.0      port of that one without ACS, xHCI behind it: one group
	//	0e:01.0, 10:00.0      port of that one with ACS, e1000e behind it: a group each
	//	00:07.0, 11:00.0      root port without ACS, igb behind it: one group, to which virtual
	//	                      functions that are enabled there come too
	//	00:08.0, 00:08.1      igb of two functions, which the kernel knows to be apart: a group each
	//	00:09.0, 12:01.0,     bridge to conventional PCI, e1000 behind it,
	//	12:02.0, 13:01.0      a second such bridge, e1000 behind that: one group of four
	//	00:1d.0, 00:1d.1,     two root ports with ACS in one device,
	//	14:00.0, 15:00.0      e1000e behind each: a group each
	//	00:1e.0               root port with ACS in one device with two without: a group of its own
	//	00:1e.1, 00:1e.2,     those two,
	//	17:00.0               xHCI behind the first: one group of three
	NestedIntel
	// NoRemappingIntel is IntelIOMMU as a firmware leaves it that takes little care. The
	// unit cannot remap interrupts; and there is memory reserved for the e1000e 01:00.0
	// and for the xHCI 00:14.0, which they may reach whatever the IOMMU is told.
	NoRemappingIntel
)

// String returns the topology's name.
func (t Topology) String() string {
	switch t {
	case IntelIOMMU:
		return "intel"
	case NoIOMMU:
		return "none"
	case AMDIOMMU:
		return "amd"
	case SwitchedIntel:
		return "switched"
	case VMDIntel:
		return "vmd"
	case NestedIntel:
		return "nested"
	case NoRemappingIntel:
		return "noremapping"
	}
	return "Topology(" + strconv.Itoa(int(t)) + ")"
}

func (t Topology) known() bool { return t >= IntelIOMMU && t <= NoRemappingIntel }

// unit returns an Intel IOMMU, which QEMU wants before all that is behind it.
func (t Topology) unit() []object {
	if t == NoIOMMU || t == AMDIOMMU {
		return nil
	}
	remapping := "on"
	if t == NoRemappingIntel {
		remapping = "off"
	}
	return []object{{"driver": "intel-iommu", "intremap": remapping, "caching-mode": true, "aw-bits": 48}}
}

// kernelArguments returns what the kernel is told of the IOMMU. AMD's is on without
// being asked for.
func (t Topology) kernelArguments() string {
	if t == AMDIOMMU {
		return ""
	}
	return "intel_iommu=on "
}

// serialIRQs returns the interrupts of the serial lines; with 0 the kernel looks at a
// line every jiffy instead.
func (t Topology) serialIRQs() []int {
	if t == AMDIOMMU {
		return []int{0, 0, 0}
	}
	return []int{4, 3, 5}
}

//go:embed vmd.sh
var vmdScript []byte

// prepare returns the script that makes of the machine what it shall be, before any
// driver is loaded.
func (t Topology) prepare() []byte {
	if t == VMDIntel {
		return vmdScript
	}
	return nil
}

// A place is where a function is plugged in.
type place struct{ bus, addr string }

// busMasters returns the places of functions that differ.
func (t Topology) busMasters() (nvme, sound, usb place) {
	if t == AMDIOMMU {
		return place{"pcie.0", "0a.0"}, place{"pcie.0", "0b.0"}, place{"pcie.0", "0c.0"}
	}
	return place{"port2", "00.0"}, place{"bridge", "02.0"}, place{"pcie.0", "14.0"}
}

// more returns the devices that only this topology has, and the disks and networks
// behind them.
func (t Topology) more() shape {
	switch t {
	case AMDIOMMU:
		// It takes the first slot that is free, and has no property for another.
		return shape{devices: []object{{"driver": "amd-iommu", "intremap": "on", "pt": false, "xtsup": true}}}
	case SwitchedIntel:
		return switched()
	case NestedIntel:
		return nested()
	case VMDIntel:
		// Without its BIOS nothing writes into its memory before /lab/prepare does. Of
		// so many vectors the table is 16 KiB, and some of BAR 4 is left for vmd.
		return shape{devices: []object{{
			"driver": "virtio-vga", "bus": "pcie.0", "addr": "0e.0", "romfile": "", "vectors": 1024,
		}}}
	}
	return shape{}
}
