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
// simulated kernel needs to behave like it. Nothing in it wakes a function or is a
// secret by its nature; config space, VPD and ROMs, which may do or be so, are not in
// it. A battery is asked by the kernel for what it says of itself. Some attributes, as
// driver_override, sriov_numvfs and what a USB device says of its configuration, wait
// in some kernels for the device's lock, which an unbind that hangs holds.
var captureRules = []captureRule{
	{"functions: what they are, where they sit, who drives them, how they reset",
		"sys/bus/pci/devices/*", `uevent class vendor device subsystem_vendor subsystem_device revision modalias label index
		acpi_index boot_vga driver_override reset reset_method remove rescan numa_node local_cpulist irq
		resource removable power_state d3cold_allowed power/control power/runtime_status physical_location/*
		sriov_totalvfs sriov_numvfs sriov_drivers_autoprobe sriov_offset sriov_stride sriov_vf_device physfn virtfn*
		consumer:* supplier:* driver subsystem iommu iommu_group firmware_node/path`},
	{"which bus is behind each bridge", "sys/class/pci_bus/*", ""},
	{"drivers: which functions each has, and the doors for binding", "sys/bus/pci/drivers/*",
		"bind unbind new_id remove_id uevent module *:*:*.*"},
	{"slots: which card can be plugged in elsewhere", "sys/bus/pci/slots/*", "address"},
	{"the doors of the bus", "sys/bus/pci", "drivers_probe drivers_autoprobe rescan uevent"},

	{"USB devices, interfaces and root hubs", "sys/bus/usb/devices/*", `uevent idVendor idProduct bcdDevice bDeviceClass
		bDeviceSubClass bDeviceProtocol bConfigurationValue bNumConfigurations bNumInterfaces bmAttributes bMaxPower
		manufacturer product serial busnum devnum devpath speed rx_lanes tx_lanes version maxchild authorized
		authorized_default interface_authorized_default removable configuration descriptors bos_descriptors quirks
		avoid_reset_quirk physical_location/* firmware_node/path ieee1284_id bInterfaceNumber bAlternateSetting bNumEndpoints bInterfaceClass bInterfaceSubClass bInterfaceProtocol interface
		supports_autosuspend modalias power/control power/persist power/runtime_status driver subsystem port`},
	{"USB ports: what is soldered, where it is, and which two are one socket", "sys/bus/usb/devices/*:1.0/*port[0-9]*",
		"connect_type location over_current_count peer device state physical_location/*"},
	{"which USB-C socket a port is behind, and what is plugged into it", "sys/class/typec/port[0-9]*", `uevent data_role power_role
		port_type power_operation_mode preferred_role orientation vconn_source usb_typec_revision
		usb_power_delivery_revision physical_location/* device`},
	{"USB drivers and their doors", "sys/bus/usb/drivers/*", "bind unbind module [0-9]*"},
	{"the USB bus's door", "sys/bus/usb", "drivers_probe drivers_autoprobe"},

	{"groups: who cannot be parted from whom, and memory that must stay mapped",
		"sys/kernel/iommu_groups/*", "type reserved_regions name devices/*"},
	{"whether there are any: an empty directory says no, none says nothing", "sys/kernel", "iommu_groups/"},
	{"that there may be IOMMU units", "sys/class", "iommu/"},
	{"IOMMU units", "sys/class/iommu/*", `uevent intel-iommu/version intel-iommu/cap intel-iommu/ecap intel-iommu/domains_supported
		intel-iommu/domains_used intel-iommu/address
		amd-iommu/cap amd-iommu/features devices/*`},
	{"what the firmware says of the IOMMU", "sys/firmware/acpi/tables", "DMAR IVRS VIOT"},

	{"network interfaces and what is built of them", "sys/class/net/*", `uevent type address addr_assign_type flags operstate
		mtu speed dev_id dev_port ifindex iflink device master lower_* upper_* phy80211 wireless/ bridge/ bonding/ tun_flags`},
	{"WLAN radios", "sys/class/ieee80211/*", "uevent index name macaddress device"},
	{"WWAN ports", "sys/class/wwan/*", "uevent type dev device"},
	{"radio switches", "sys/class/rfkill/*", "uevent type name index hard soft state device"},
	{"Bluetooth adapters", "sys/class/bluetooth/*", "uevent address type device"},

	{"displays and their connectors", "sys/class/drm/*", `uevent dev status enabled dpms connector_id modes edid
		boot_display device`},
	{"which GPU the internal panel is wired to", "sys/devices/platform/asus-nb-wmi", "gpu_mux_mode"},
	{"which GPU is switched on", "sys/kernel/debug/vgaswitcheroo", "switch"},
	{"functions that can be divided among guests", "sys/class/mdev_bus/*", "uevent device"},
	{"and into what", "sys/class/mdev_bus/*/mdev_supported_types/*", "name description device_api available_instances devices/*"},
	{"and into what, of functions", "sys/bus/pci/devices/*/mdev_supported_types/*", "name description device_api available_instances devices/*"},
	{"what they are divided into", "sys/bus/mdev/devices/*", "uevent mdev_type iommu_group driver subsystem"},
	{"panel brightness", "sys/class/backlight/*", "uevent type device"},
	{"frame buffers, which may hold a display's memory", "sys/class/graphics/*", "uevent name device"},
	{"sound cards and their streams", "sys/class/sound/*", `uevent id number pcm_class dev device
		init_pin_configs vendor_id subsystem_id revision_id vendor_name chip_name afg mfg`},
	{"sound codecs", "sys/bus/hdaudio/devices/*", `uevent vendor_id subsystem_id revision_id vendor_name chip_name type afg mfg
		driver subsystem`},
	{"what a sound card's streams do, and what is plugged into it", "proc/asound/card[0-9]*", `id usbid usbbus eld#* stream[0-9]*
		pcm*/info pcm*/sub*/info pcm*/sub*/status pcm*/sub*/hw_params`},
	{"webcams", "sys/class/video4linux/*", "uevent name index dev device"},
	{"media controllers", "sys/bus/media/devices/*", "uevent model dev device"},
	{"input devices: is this the only keyboard", "sys/class/input/*", `uevent name phys uniq properties inhibited id/bustype
		id/vendor id/product id/version capabilities/ev capabilities/key capabilities/rel capabilities/abs capabilities/sw dev device`},
	{"raw HID devices", "sys/class/hidraw/*", "uevent dev device"},
	{"keyboards and mice of old", "sys/bus/serio/devices/*", "uevent description modalias driver subsystem"},
	{"sensors", "sys/bus/iio/devices/*", "uevent name label dev subsystem"},
	{"devices on SPI that programs use", "sys/class/spidev/*", "uevent dev device"},
	{"HID devices", "sys/bus/hid/devices/*", "uevent modalias driver subsystem"},

	{"disks and partitions, and what is built of them", "sys/class/block/*", `uevent dev size ro removable partition start
		dm/name dm/uuid dm/suspended md/level md/array_state md/uuid loop/backing_file bcache/ queue/rotational
		queue/logical_block_size holders/* slaves/* wwid device subsystem`},
	{"what a disk is", "sys/class/block/*/device", "model vendor rev type wwid cid name serial state"},
	{"file systems on several disks", "sys/fs/btrfs/*", "devices/*"},
	{"disks by name", "sys/block/*", ""},
	{"disks by number, as mounts name them", "sys/dev/block/*", ""},
	{"NVMe controllers", "sys/class/nvme/*", "uevent model serial firmware_rev transport address state cntlid subsysnqn hostnqn hostid dev device"},
	{"NVMe subsystems", "sys/class/nvme-subsystem/*", "model serial firmware_rev subsysnqn nvme*"},
	{"SCSI and ATA disks", "sys/class/scsi_disk/*", "device"},
	{"card readers and soldered storage", "sys/bus/mmc/devices/*", "uevent type name cid serial driver subsystem"},
	{"and what they are plugged into", "sys/class/mmc_host/*", "uevent device"},
	{"functions of such cards", "sys/bus/sdio/devices/*", "uevent class vendor device modalias driver subsystem"},

	{"TPMs", "sys/class/tpm/*", "uevent dev tpm_version_major device"},
	{"TPMs shared by programs", "sys/class/tpmrm/*", "uevent dev device"},
	{"batteries and mains", "sys/class/power_supply/*", `uevent type scope online present status manufacturer model_name technology
		capacity energy_full charge_full serial_number device`},
	{"whether the lid is closed", "proc/acpi/button/lid/*", "state"},
	{"serial ports of modems and cards", "sys/class/tty/tty[SUAG]*", "uevent dev device"},
	{"serial ports over Bluetooth", "sys/class/tty/rfcomm*", "uevent dev"},
	{"modem control", "sys/class/usbmisc/*", "uevent dev device"},
	{"printers", "sys/class/usbmisc/*/device", "ieee1284_id"},
	{"management engine", "sys/class/mei/*", "uevent dev device kind fw_ver"},
	{"what the management engine offers", "sys/bus/mei/devices/*", ""},
	{"Thunderbolt", "sys/bus/thunderbolt/devices/*", `uevent device_name vendor_name device vendor authorized unique_id security
		iommu_dma_protection generation rx_speed tx_speed nvm_version driver subsystem`},
	{"FireWire", "sys/bus/firewire/devices/*", `uevent dev guid vendor model hardware_version vendor_name
		model_name is_local units specifier_id version modalias subsystem driver`},
	{"lid and buttons", "sys/bus/acpi/devices/PNP0C0*", "uevent hid path status modalias driver subsystem"},

	{"processors", "sys/devices/system/cpu/cpu[0-9]*", "online topology/physical_package_id topology/core_id"},
	{"memory", "sys/devices/system/memory", "block_size_bytes"},
	{"blocks of memory", "sys/devices/system/memory/memory[0-9]*", "state"},
	{"which distribution, for remedies that fit it", "etc", "os-release"},
	{"where that leads to", "usr/lib", "os-release"},
	{"whether Secure Boot is on, and which boot loader ran", "sys/firmware/efi/efivars", `SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c
		LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f`},
	{"how much memory may be locked", "proc/self", "limits"},
	{"which machine this is", "sys/class/dmi/id", `uevent modalias sys_vendor product_name product_family product_version product_sku
		product_serial product_uuid board_vendor board_name board_version board_serial board_asset_tag chassis_vendor chassis_type
		chassis_version chassis_serial chassis_asset_tag bios_vendor bios_version bios_date bios_release ec_firmware_release`},
	{"UEFI or BIOS", "sys/firmware/efi", "fw_platform_size runtime"},
	{"that there is firmware: without efi beside it, it is a BIOS", "sys/firmware", "acpi/"},
	{"memory for guests in large pages", "sys/kernel/mm/hugepages/*", "nr_hugepages free_hugepages"},
	{"and whether the kernel makes some by itself", "sys/kernel/mm/transparent_hugepage", "enabled"},
	{"VFIO and its parts", "sys/module/vfio*", "version srcversion initstate"},
	{"VFIO's successor", "sys/module/iommufd", "version srcversion initstate"},
	{"a driver that holds functions for others", "sys/module/pci_stub", "version srcversion initstate"},
	{"KVM", "sys/module/kvm*", "version srcversion initstate"},
	{"sharing USB over a network", "sys/module/usbip*", "version srcversion initstate"},
	{"network and sockets for guests in the kernel", "sys/module/vhost*", "version srcversion initstate"},
	{"VFIO's settings", "sys/module/vfio*/parameters", "*"},
	{"those of the IOMMU's drivers, and of VFIO's successor", "sys/module/*iommu*/parameters", "*"},
	{"KVM's settings", "sys/module/kvm*/parameters", "nested npt ept ignore_msrs"},
	{"kernel lockdown", "sys/kernel/security", "lockdown"},
	{"the count of events, by which a change is seen", "sys/kernel", "uevent_seqnum"},
	{"sleep", "sys/power", "state mem_sleep disk"},
	{"where the host hibernates to", "sys/power", "resume resume_offset"},
	{"memory that is written out to a disk", "sys/class/block/zram*", "backing_dev"},
	{"addresses, and which routing tables lead everywhere", "proc/net", "if_inet6 fib_trie"},
	{"consoles of the kernel", "proc", "consoles"},
	{"the same, less of it", "sys/class/tty/console", "active"},
	{"who draws the text console", "sys/class/vtconsole/*", "name bind"},

	{"mounts: which disk the host needs", "proc/self", "mountinfo"},
	{"routes: which interface the host needs", "proc/net", "route ipv6_route"},
	{"swap, interrupts, and the kernel itself", "proc", `swaps interrupts cmdline version modules iomem mdstat cpuinfo meminfo asound/cards
		asound/pcm sys/kernel/hostname sys/kernel/osrelease sys/kernel/tainted`},

	{"nodes through which devices are used", "dev", `kvm iommu vhost-net vhost-vsock dri/* snd/* vfio/* vfio/devices/* tpm*
		video* hidraw* nvme* sd* media* mmcblk* cdc-wdm* wwan* ttyUSB* ttyACM* fw[0-9]* mei* spidev* usb/* fb*`},
}

// wakingRules is what the kernel can say only of a function that is awake, and wakes
// it for; see [CaptureOptions.Wake]. Codecs are woken by every sound: only those of a
// function without power are let be.
var wakingRules = []captureRule{
	{"how fast links are, and how large the BARs can be", "sys/bus/pci/devices/*", `current_link_speed current_link_width
		max_link_speed max_link_width resource[0-5]_resize`},
	{"which buses are behind a bridge", "sys/bus/pci/devices/*", "secondary_bus_number subordinate_bus_number"},
	{"the sockets of a sound card", "proc/asound/card[0-9]*", "codec#*"},
	{"the same, less of it", "sys/bus/hdaudio/devices/*", "widgets/*/caps widgets/*/pin_caps widgets/*/pin_cfg"},
}
