package hostfs

// A captureRule names what one kind of thing is captured by. In dir and in names *
// matches within one element; links on the way are captured and followed, links
// that are named are captured only. A name that is not there is no error: kernels
// and devices differ.
type captureRule struct {
	why   string
	dir   string
	names string
}

// captureRules is what every reading command needs of a machine, and what a
// simulated kernel needs to behave like it. Nothing in it wakes a device, waits
// for one, or is a secret by its nature; config space, VPD and ROMs, which may do
// so, are not in it.
var captureRules = []captureRule{
	{"functions: what they are, where they sit, who drives them, how they reset",
		"sys/bus/pci/devices/*", `uevent class vendor device subsystem_vendor subsystem_device revision modalias label index
		acpi_index boot_vga driver_override reset reset_method remove rescan secondary_bus_number subordinate_bus_number
		numa_node local_cpulist irq resource removable power_state d3cold_allowed power/control power/runtime_status
		sriov_totalvfs sriov_numvfs sriov_offset sriov_stride sriov_vf_device physfn virtfn* consumer:* supplier:*
		driver subsystem iommu iommu_group firmware_node/path`},
	{"drivers: which functions each has, and the doors for binding", "sys/bus/pci/drivers/*",
		"bind unbind new_id remove_id uevent module *:*:*.*"},
	{"the doors of the bus", "sys/bus/pci", "drivers_probe drivers_autoprobe rescan uevent"},

	{"USB devices, interfaces and root hubs", "sys/bus/usb/devices/*", `uevent idVendor idProduct bcdDevice bDeviceClass
		bDeviceSubClass bDeviceProtocol bConfigurationValue bNumConfigurations bNumInterfaces bmAttributes bMaxPower
		manufacturer product serial busnum devnum devpath speed rx_lanes tx_lanes version maxchild authorized
		authorized_default interface_authorized_default removable configuration descriptors quirks avoid_reset_quirk
		bInterfaceNumber bAlternateSetting bNumEndpoints bInterfaceClass bInterfaceSubClass bInterfaceProtocol interface
		supports_autosuspend modalias power/control power/persist power/runtime_status driver subsystem port`},
	{"USB ports: what is soldered, and which two are one socket", "sys/bus/usb/devices/*-0:1.0/usb*-port*",
		"connect_type location over_current_count peer device state"},
	{"USB ports of hubs", "sys/bus/usb/devices/*:1.0/*-port*", "connect_type location over_current_count peer device state"},
	{"USB drivers and their doors", "sys/bus/usb/drivers/*", "bind unbind module [0-9]*"},
	{"the USB bus's door", "sys/bus/usb", "drivers_probe drivers_autoprobe"},

	{"groups: who cannot be parted from whom, and memory that must stay mapped",
		"sys/kernel/iommu_groups/*", "type reserved_regions name devices/*"},
	{"whether there are any: an empty directory says no, none says nothing", "sys/kernel", "iommu_groups/"},
	{"that there may be IOMMU units", "sys/class", "iommu/"},
	{"IOMMU units", "sys/class/iommu/*", `uevent intel-iommu/version intel-iommu/cap intel-iommu/ecap intel-iommu/domains_supported
		amd-iommu/cap amd-iommu/features devices/*`},
	{"what the firmware says of the IOMMU", "sys/firmware/acpi/tables", "DMAR IVRS VIOT"},

	{"network interfaces and what is built of them", "sys/class/net/*", `uevent type address addr_assign_type flags operstate
		mtu dev_id dev_port ifindex iflink device master lower_* upper_* phy80211 wireless/ bridge/ bonding/ tun_flags`},
	{"WLAN radios", "sys/class/ieee80211/*", "uevent index name macaddress device"},
	{"WWAN ports", "sys/class/wwan/*", "uevent type device"},
	{"radio switches", "sys/class/rfkill/*", "uevent type name index hard soft state device"},
	{"Bluetooth adapters", "sys/class/bluetooth/*", "uevent device"},

	{"displays and their connectors", "sys/class/drm/*", "uevent dev status enabled connector_id modes edid device"},
	{"panel brightness", "sys/class/backlight/*", "uevent type device"},
	{"frame buffers, which may hold a display's memory", "sys/class/graphics/*", "uevent name device"},
	{"sound cards and their streams", "sys/class/sound/*", "uevent id number pcm_class dev device"},
	{"sound codecs", "sys/bus/hdaudio/devices/*", "uevent vendor_id subsystem_id revision_id vendor_name chip_name type driver subsystem"},
	{"webcams", "sys/class/video4linux/*", "uevent name index dev device"},
	{"media controllers", "sys/class/media/*", "uevent model dev device"},
	{"input devices: is this the only keyboard", "sys/class/input/*", `uevent name phys uniq properties inhibited id/bustype
		id/vendor id/product id/version capabilities/ev capabilities/key capabilities/rel capabilities/abs capabilities/sw dev device`},
	{"raw HID devices", "sys/class/hidraw/*", "uevent dev device"},
	{"HID devices", "sys/bus/hid/devices/*", "uevent modalias driver subsystem"},

	{"disks and partitions, and what is built of them", "sys/class/block/*", `uevent dev size ro removable partition start
		dm/name dm/uuid dm/suspended md/level md/array_state md/uuid loop/backing_file bcache/ queue/rotational
		queue/logical_block_size holders/* slaves/* wwid device subsystem`},
	{"file systems on several disks", "sys/fs/btrfs/*", "devices/*"},
	{"disks by name", "sys/block/*", ""},
	{"disks by number, as mounts name them", "sys/dev/block/*", ""},
	{"NVMe controllers", "sys/class/nvme/*", "uevent model serial firmware_rev transport address state cntlid subsysnqn hostnqn hostid dev device"},
	{"NVMe subsystems", "sys/class/nvme-subsystem/*", "model serial firmware_rev subsysnqn nvme*"},
	{"SCSI and ATA disks", "sys/class/scsi_disk/*", "device"},
	{"card readers and soldered storage", "sys/bus/mmc/devices/*", "uevent type name cid serial driver subsystem"},

	{"TPMs", "sys/class/tpm/*", "uevent dev tpm_version_major device"},
	{"batteries and mains", "sys/class/power_supply/*", "type scope online present status device"},
	{"serial ports of modems and cards", "sys/class/tty/tty[SUAG]*", "uevent dev device"},
	{"modem control", "sys/class/usbmisc/*", "uevent dev device"},
	{"management engine", "sys/class/mei/*", "uevent dev device"},
	{"Thunderbolt", "sys/bus/thunderbolt/devices/*", `uevent device_name vendor_name device vendor authorized unique_id security
		iommu_dma_protection generation rx_speed tx_speed subsystem`},
	{"FireWire", "sys/bus/firewire/devices/*", "uevent guid vendor model vendor_name model_name is_local units subsystem driver"},
	{"lid and buttons", "sys/bus/acpi/devices/PNP0C0*", "hid path status"},

	{"processors", "sys/devices/system/cpu/cpu[0-9]*", "online topology/physical_package_id topology/core_id"},
	{"memory", "sys/devices/system/memory", "block_size_bytes"},
	{"blocks of memory", "sys/devices/system/memory/memory[0-9]*", "state"},
	{"which machine this is", "sys/class/dmi/id", `uevent modalias sys_vendor product_name product_family product_version product_sku
		product_serial product_uuid board_vendor board_name board_version board_serial board_asset_tag chassis_vendor chassis_type
		chassis_version chassis_serial chassis_asset_tag bios_vendor bios_version bios_date bios_release ec_firmware_release`},
	{"UEFI or BIOS", "sys/firmware/efi", "fw_platform_size runtime"},
	{"VFIO and its parts", "sys/module/vfio*", "version srcversion initstate"},
	{"VFIO's successor", "sys/module/iommufd", "version srcversion initstate"},
	{"a driver that holds functions for others", "sys/module/pci_stub", "version srcversion initstate"},
	{"KVM", "sys/module/kvm*", "version srcversion initstate"},
	{"sharing USB over a network", "sys/module/usbip*", "version srcversion initstate"},
	{"network and sockets for guests in the kernel", "sys/module/vhost*", "version srcversion initstate"},
	{"VFIO's settings", "sys/module/vfio*/parameters", "*"},
	{"KVM's settings", "sys/module/kvm*/parameters", "nested npt ept ignore_msrs"},
	{"kernel lockdown", "sys/kernel/security", "lockdown"},
	{"the count of events, by which a change is seen", "sys/kernel", "uevent_seqnum"},
	{"sleep", "sys/power", "state mem_sleep disk"},

	{"mounts: which disk the host needs", "proc/self", "mountinfo"},
	{"routes: which interface the host needs", "proc/net", "route ipv6_route"},
	{"swap, interrupts, and the kernel itself", "proc", `swaps interrupts cmdline version modules iomem mdstat cpuinfo meminfo asound/cards
		asound/pcm sys/kernel/hostname sys/kernel/osrelease sys/kernel/tainted`},

	{"nodes through which devices are used", "dev", "kvm iommu vhost-net vhost-vsock dri/* snd/* vfio/* vfio/devices/* tpm* video* hidraw* nvme* sd* media*"},
}
