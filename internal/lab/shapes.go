package lab

// A shape collects devices that hang together, and the disks and networks behind them.
type shape struct {
	devices, blocks, networks []object
	ports                     int
}

func (s *shape) add(o ...object) { s.devices = append(s.devices, o...) }

// port adds a port of a bridge; each has a number of its own.
func (s *shape) port(driver, id, bus, addr string, more object) {
	s.ports++
	o := object{"driver": driver, "id": id, "bus": bus, "addr": addr, "chassis": 10 + s.ports, "slot": 10 + s.ports}
	for k, v := range more {
		o[k] = v
	}
	s.add(o)
}

// disk adds an empty disk and returns its name.
func (s *shape) disk(id string) string {
	s.blocks = append(s.blocks, object{"driver": "null-co", "node-name": id, "size": 16 << 20, "read-zeroes": true})
	return id
}

// network adds a network that leads nowhere and returns its name.
func (s *shape) network(id string) string {
	s.networks = append(s.networks, object{"type": "user", "id": id, "restrict": true})
	return id
}

// switched returns what [SwitchedIntel] has.
func switched() shape {
	var s shape
	noACS := object{"disable-acs": true}

	s.port("pcie-root-port", "port5", "pcie.0", "06.0", nil)
	s.add(object{"driver": "x3130-upstream", "id": "switch", "bus": "port5"})
	s.port("xio3130-downstream", "down0", "switch", "00.0", object{"multifunction": true})
	s.port("xio3130-downstream", "down1", "switch", "00.1", nil)
	s.port("xio3130-downstream", "down2", "switch", "01.0", nil)
	s.port("pcie-root-port", "port6", "pcie.0", "07.0", noACS)
	s.port("pcie-root-port", "port7", "pcie.0", "1c.0", object{"disable-acs": true, "multifunction": true})
	s.port("pcie-root-port", "port8", "pcie.0", "1c.4", noACS)
	s.port("pcie-root-port", "port9", "pcie.0", "08.0", nil)
	s.add(
		object{"driver": "nvme", "bus": "down0", "drive": s.disk("disk1"), "serial": "LAB2"},
		object{"driver": "e1000e", "bus": "down1", "netdev": s.network("net1")},
		object{"driver": "qemu-xhci", "id": "xhci1", "bus": "down2"},
		object{"driver": "nvme", "bus": "port6", "drive": s.disk("disk2"), "serial": "LAB3"},
		object{"driver": "e1000e", "bus": "port7", "netdev": s.network("net2")},
		object{"driver": "qemu-xhci", "id": "xhci2", "bus": "port8"},
		object{"driver": "usb-storage", "bus": "xhci2.0", "drive": s.disk("disk3"), "serial": "LAB4"},
		object{"driver": "virtio-net-pci", "bus": "port9", "addr": "00.0", "multifunction": true, "netdev": s.network("net3")},
		object{"driver": "virtio-gpu-pci", "bus": "port9", "addr": "00.1"},
	)
	return s
}

// nested returns what [NestedIntel] has.
func nested() shape {
	var s shape
	noACS := object{"disable-acs": true}
	several := object{"multifunction": true}

	// A switch, one below its port without ACS, and one below its port with it.
	s.port("pcie-root-port", "port5", "pcie.0", "06.0", nil)
	s.add(object{"driver": "x3130-upstream", "id": "switch", "bus": "port5"})
	s.port("xio3130-downstream", "down0", "switch", "00.0", nil)
	s.port("pcie-root-port", "down1", "switch", "01.0", nil)
	s.port("pcie-root-port", "down2", "switch", "02.0", nil)
	for i, bus := range []string{"down0", "down2"} {
		below := string(rune('a' + i))
		s.add(object{"driver": "x3130-upstream", "id": "switch" + below, "bus": bus})
		s.port("xio3130-downstream", "down0"+below, "switch"+below, "00.0", nil)
		s.port("pcie-root-port", "down1"+below, "switch"+below, "01.0", nil)
		s.add(
			object{"driver": "qemu-xhci", "id": "xhci1" + below, "bus": "down0" + below},
			object{"driver": "e1000e", "bus": "down1" + below, "netdev": s.network("net1" + below)},
		)
	}
	s.add(object{"driver": "nvme", "bus": "down1", "drive": s.disk("disk1"), "serial": "LAB2"})

	// Virtual functions that cannot be told apart from their port.
	s.port("pcie-root-port", "port6", "pcie.0", "07.0", noACS)
	s.add(object{"driver": "igb", "bus": "port6", "netdev": s.network("net2")})

	// Where the kernel sees that this device uses ARI it looks for no second function,
	// so it is on the root bus, where there is none.
	s.add(
		object{"driver": "igb", "bus": "pcie.0", "addr": "08.0", "multifunction": true, "netdev": s.network("net3")},
		object{"driver": "igb", "bus": "pcie.0", "addr": "08.1", "netdev": s.network("net4")},
	)

	// A bridge that is not PCI Express itself, and another behind it.
	s.add(
		object{"driver": "i82801b11-bridge", "id": "dmi", "bus": "pcie.0", "addr": "09.0"},
		object{"driver": "e1000", "bus": "dmi", "addr": "01.0", "netdev": s.network("net5")},
		object{"driver": "pci-bridge", "id": "dmi2", "bus": "dmi", "addr": "02.0", "chassis_nr": 50, "shpc": false},
		object{"driver": "e1000", "bus": "dmi2", "addr": "01.0", "netdev": s.network("net6")},
	)

	// Devices of several root ports: with ACS, and with ACS in one of three.
	s.port("pcie-root-port", "port7", "pcie.0", "1d.0", several)
	s.port("pcie-root-port", "port8", "pcie.0", "1d.1", nil)
	s.port("pcie-root-port", "port9", "pcie.0", "1e.0", several)
	s.port("pcie-root-port", "port10", "pcie.0", "1e.1", noACS)
	s.port("pcie-root-port", "port11", "pcie.0", "1e.2", noACS)
	s.add(
		object{"driver": "e1000e", "bus": "port7", "netdev": s.network("net7")},
		object{"driver": "e1000e", "bus": "port8", "netdev": s.network("net8")},
		object{"driver": "qemu-xhci", "id": "xhci3", "bus": "port10"},
	)
	return s
}
