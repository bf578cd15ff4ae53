package guest

// A Template is a definition to begin with. It lacks a name.
type Template struct {
	Name    string // linux, windows-11 and so on
	Summary string // in a few words

	// Definition is what most guests of the kind want. Its one disk is system.qcow2.
	Definition Definition

	// DiskSize is how large the disk is made that is there to be installed on, in bytes.
	DiskSize int64
}

// Templates returns all templates. The first is what a guest is that is nothing else.
func Templates() []Template {
	system := func(b Bus) []Disk { return []Disk{{File: "system.qcow2", Format: Qcow2, Bus: b}} }
	return []Template{
		{
			Name: "linux", Summary: "Linux with a desktop, on paravirtual devices", DiskSize: 32 << 30,
			Definition: Definition{
				CPUs: 2, Memory: 4 << 30, Firmware: UEFI, Disks: system(VirtIO),
				Network: Network{Kind: NAT}, Display: Display{Kind: VirtioDisplay}, Audio: Audio{Play: true},
			},
		},
		{
			// What Windows 11 asks for: UEFI that can start signed code only, a TPM 2.0, two
			// processors, 4 GiB and 64 GB. It has a driver for NVMe, and none for virtio disks.
			Name: "windows-11", Summary: "Windows 11, with a TPM and Secure Boot", DiskSize: 80 << 30,
			Definition: Definition{
				CPUs: 4, Memory: 8 << 30, Firmware: UEFI, SecureBoot: true, TPM: true, Disks: system(NVMe),
				Network: Network{Kind: NAT}, Display: Display{Kind: VirtioDisplay}, Audio: Audio{Play: true},
			},
		},
		{
			Name: "network", Summary: "a guest that has the network cards, and keeps the others from them", DiskSize: 8 << 30,
			Definition: Definition{
				CPUs: 1, Memory: 512 << 20, Firmware: UEFI, Disks: system(VirtIO),
				Autostart: &Autostart{Priority: 100},
				Devices: []Need{
					{Want: WantEthernet, Which: BuiltIn, How: Assign, Optional: true},
					{Want: WantWLAN, Which: BuiltIn, How: Assign, Optional: true},
				},
			},
		},
		{
			Name: "usb", Summary: "a guest that has a USB controller, and what is plugged in there", DiskSize: 8 << 30,
			Definition: Definition{
				CPUs: 1, Memory: 512 << 20, Firmware: UEFI, Disks: system(VirtIO),
				Autostart: &Autostart{Priority: 100},
				Devices:   []Need{{Want: WantUSBController, How: Assign}},
			},
		},
	}
}
