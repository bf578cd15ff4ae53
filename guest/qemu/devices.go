package qemu

import (
	"fmt"
	"strconv"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/pci"
)

// disk adds the i-th disk: the open file, the format over it, the device.
func (b *builder) disk(i int, d guest.Disk, f DiskFile) {
	n := strconv.Itoa(i)
	readOnly := d.ReadOnly || d.CDROM
	file := value{
		"driver": "file", "node-name": "file" + n, "filename": b.inherit(f.FD, d.File),
		"read-only": readOnly, "locking": "on", "discard": "unmap",
	}
	if f.Device {
		file["driver"] = "host_device"
	}
	b.json("-blockdev", file)
	format := value{
		"driver": d.Format.String(), "node-name": "node" + n, "file": "file" + n,
		"read-only": readOnly, "discard": "unmap",
	}
	if d.Format == guest.Qcow2 {
		format["backing"] = nil // whatever the image names is not opened
	}
	if d.Key.Kind != guest.NoKey {
		format["encrypt"] = value{"format": "luks", "key-secret": keyID(i)}
	}
	b.json("-blockdev", format)

	device := value{"id": "disk" + n, "drive": "node" + n, "bootindex": b.bootindex()}
	switch {
	case d.CDROM:
		device["driver"], device["bus"] = "ide-cd", b.sataPort()
	case d.OnSATA():
		device["driver"], device["bus"] = "ide-hd", b.sataPort()
	case d.Bus == guest.NVMe:
		device["driver"], device["serial"], device["bus"] = "nvme", "disk"+n, b.rootPort()
	default:
		device["driver"], device["bus"] = "virtio-blk-pci", b.rootPort()
	}
	b.json("-device", device)
}

// sataPort returns the next port of the chipset's SATA controller.
func (b *builder) sataPort() string {
	b.sata++
	return "ide." + strconv.Itoa(b.sata-1)
}

// rootPort adds a PCI Express root port, eight to a slot, and returns its name.
// Every device sits behind a port of its own: there it can have extended
// capabilities, message interrupts and a reset like on a real board. Functions
// of conventional PCI are content with it too.
func (b *builder) rootPort() string {
	n := b.ports
	b.ports++
	port := value{
		"driver": "pcie-root-port", "id": "port" + strconv.Itoa(n), "bus": "pcie.0",
		"addr": fmt.Sprintf("%#x.%d", 2+n/8, n%8), "chassis": n + 1, "slot": n + 1,
	}
	if n%8 == 0 {
		port["multifunction"] = true
	}
	b.json("-device", port)
	return "port" + strconv.Itoa(n)
}

// devices adds the assigned functions. Their option ROMs are never run: code that
// a device brings along has no business in the firmware of a guest. A function that
// shall have one gets it from a file, of which roms has the descriptor.
func (b *builder) devices(devices []pci.Address, roms map[pci.Address]int) {
	shared := sharedSlots(devices)
	ports := make(map[pci.Address]string)
	for i, a := range devices {
		device := value{
			"driver": "vfio-pci", "id": "device" + strconv.Itoa(i), "host": a.String(),
			"rombar": 0, "bootindex": b.bootindex(),
		}
		if fd, ok := roms[a]; ok {
			// QEMU does not look for ROMs in its sets of descriptors.
			device["rombar"], device["romfile"] = 1, "/proc/self/fd/"+strconv.Itoa(fd)
		}
		first := function0(a)
		if !shared[first] {
			device["bus"] = b.rootPort()
		} else {
			if ports[first] == "" {
				ports[first] = b.rootPort()
			}
			device["bus"] = ports[first]
			device["addr"] = fmt.Sprintf("0x0.%d", a.Function())
			if a == first {
				device["multifunction"] = true
			}
		}
		b.json("-device", device)
	}
}

// sharedSlots returns, by their function 0, the devices of which function 0 and
// others are given: the guest sees them as the functions of one device, which
// drivers of graphics with sound expect. Without function 0 a guest does not look
// for others, so those stand alone.
func sharedSlots(devices []pci.Address) map[pci.Address]bool {
	count := make(map[pci.Address]int)
	has0 := make(map[pci.Address]bool)
	for _, a := range devices {
		count[function0(a)]++
		if a.Function() == 0 {
			has0[a] = true
		}
	}
	shared := make(map[pci.Address]bool)
	for a, n := range count {
		shared[a] = n > 1 && has0[a]
	}
	return shared
}

func function0(a pci.Address) pci.Address {
	return pci.NewAddress(a.Domain(), a.Bus(), a.Device(), 0)
}
