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
	}
	return "Topology(" + strconv.Itoa(int(t)) + ")"
}

func (t Topology) known() bool { return t >= IntelIOMMU && t <= VMDIntel }

// unit returns an Intel IOMMU, which QEMU wants before all that is behind it.
func (t Topology) unit() []object {
	if t == NoIOMMU || t == AMDIOMMU {
		return nil
	}
	return []object{{"driver": "intel-iommu", "intremap": "on", "caching-mode": true, "aw-bits": 48}}
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
func (t Topology) more() (devices, blocks, networks []object) {
	switch t {
	case AMDIOMMU:
		// It takes the first slot that is free, and has no property for another.
		return []object{{"driver": "amd-iommu", "intremap": "on", "pt": false, "xtsup": true}}, nil, nil
	case SwitchedIntel:
		return switched()
	case VMDIntel:
		// Without its BIOS nothing writes into its memory before /lab/prepare does. Of
		// so many vectors the table is 16 KiB, and some of BAR 4 is left for vmd.
		return []object{{
			"driver": "virtio-vga", "bus": "pcie.0", "addr": "0e.0", "romfile": "", "vectors": 1024,
		}}, nil, nil
	}
	return nil, nil, nil
}

func switched() (devices, blocks, networks []object) {
	add := func(o ...object) { devices = append(devices, o...) }
	chassis := 10
	port := func(driver, id, bus, addr string, more object) {
		chassis++
		o := object{"driver": driver, "id": id, "bus": bus, "addr": addr, "chassis": chassis, "slot": chassis}
		for k, v := range more {
			o[k] = v
		}
		add(o)
	}
	disk := func(id string) string {
		blocks = append(blocks, object{"driver": "null-co", "node-name": id, "size": 16 << 20, "read-zeroes": true})
		return id
	}
	network := func(id string) string {
		networks = append(networks, object{"type": "user", "id": id, "restrict": true})
		return id
	}
	noACS := object{"disable-acs": true}

	port("pcie-root-port", "port5", "pcie.0", "06.0", nil)
	add(object{"driver": "x3130-upstream", "id": "switch", "bus": "port5"})
	port("xio3130-downstream", "down0", "switch", "00.0", object{"multifunction": true})
	port("xio3130-downstream", "down1", "switch", "00.1", nil)
	port("xio3130-downstream", "down2", "switch", "01.0", nil)
	port("pcie-root-port", "port6", "pcie.0", "07.0", noACS)
	port("pcie-root-port", "port7", "pcie.0", "1c.0", object{"disable-acs": true, "multifunction": true})
	port("pcie-root-port", "port8", "pcie.0", "1c.4", noACS)
	port("pcie-root-port", "port9", "pcie.0", "08.0", nil)
	add(
		object{"driver": "nvme", "bus": "down0", "drive": disk("disk1"), "serial": "LAB2"},
		object{"driver": "e1000e", "bus": "down1", "netdev": network("net1")},
		object{"driver": "qemu-xhci", "id": "xhci1", "bus": "down2"},
		object{"driver": "nvme", "bus": "port6", "drive": disk("disk2"), "serial": "LAB3"},
		object{"driver": "e1000e", "bus": "port7", "netdev": network("net2")},
		object{"driver": "qemu-xhci", "id": "xhci2", "bus": "port8"},
		object{"driver": "usb-storage", "bus": "xhci2.0", "drive": disk("disk3"), "serial": "LAB4"},
		object{"driver": "virtio-net-pci", "bus": "port9", "addr": "00.0", "multifunction": true, "netdev": network("net3")},
		object{"driver": "virtio-gpu-pci", "bus": "port9", "addr": "00.1"},
	)
	return devices, blocks, networks
}
