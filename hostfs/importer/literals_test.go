package importer_test

// A report of nixos-facter with a display, an SSD behind a root port, a webcam with two
// interfaces, its hub, a disk and a network interface.
const smallFacter = `{
  "version": 1,
  "system": "x86_64-linux",
  "uefi": {"supported": true, "platform_size": 64},
  "hardware": {
    "graphics_card": [
      {
        "index": 41,
        "base_class": {"hex": "0003", "name": "Display controller", "value": 3},
        "vendor": {"hex": "8086", "value": 32902},
        "device": {"hex": "a7a0", "value": 42912},
        "sysfs_id": "/devices/pci0000:00/0000:00:02.0",
        "sysfs_iommu_group_id": 0,
        "driver": "i915",
        "module_alias": "pci:v00008086d0000A7A0sv0000F111sd00000003bc03sc00i00"
      }
    ],
    "storage_controller": [
      {
        "sysfs_id": "/devices/pci0000:00/0000:00:06.0/0000:01:00.0",
        "sysfs_iommu_group_id": "0x1f",
        "revision": {"value": 1},
        "driver": "nvme",
        "drivers": ["nvme"],
        "detail": {"function": 0, "header_type": 0, "secondary_bus": 0, "irq": "0x10"},
        "module_alias": "pci:v000015B7d00005030sv000015B7sd00005030bc01sc08i02"
      }
    ],
    "camera": [
      {
        "vendor": {"name": "Generic", "value": 3034},
        "device": {"name": "Laptop Camera", "value": 22068},
        "serial": "200901010001",
        "sysfs_id": "/devices/pci0000:00/0000:00:14.0/usb3/3-7/3-7:1.0",
        "driver": "uvcvideo",
        "module_alias": "usb:v0BDAp5634d0021dcEFdsc02dp01ic0Eisc01ip00in00"
      },
      {
        "vendor": {"name": "Generic", "value": 3034},
        "device": {"name": "Laptop Camera", "value": 22068},
        "sysfs_id": "/devices/pci0000:00/0000:00:14.0/usb3/3-7/3-7:1.1",
        "driver": "uvcvideo",
        "detail": {"device_class": {"value": 239}, "device_subclass": {"value": 2}, "device_protocol": 1,
          "interface_class": {"value": 14}, "interface_subclass": {"value": 2}, "interface_protocol": 0, "interface_number": 1},
        "module_alias": "usb:v0BDAp5634d0021dcEFdsc02dp01ic0Eisc02ip00in01"
      }
    ],
    "hub": [
      {
        "sysfs_id": "/devices/pci0000:00/0000:00:14.0/usb3/3-0:1.0",
        "driver": "hub",
        "module_alias": "usb:v1D6Bp0002d0606dc09dsc00dp01ic09isc00ip00in00"
      }
    ],
    "bios": {"smbios_version": 772},
    "cpu": [{"vendor_name": "GenuineIntel", "model": 186, "address_sizes": {"physical": "0x27", "virtual": "0x30"}}],
    "disk": [
      {
        "sysfs_id": "/class/block/nvme0n1",
        "sysfs_device_link": "/devices/pci0000:00/0000:00:06.0/0000:01:00.0/nvme/nvme0",
        "unix_device_number": {"type": 98, "major": 259, "minor": 0, "range": 0}
      },
      {
        "sysfs_id": "/class/block/zd0"
      }
    ],
    "network_interface": [
      {
        "sysfs_id": "/class/net/lo"
      },
      {
        "sysfs_id": "/class/net/eth0",
        "sysfs_device_link": "/devices/pci0000:00/0000:00:14.0/usb3/3-7/3-7:1.0"
      }
    ]
  },
  "smbios": {
    "bios": {"vendor": "INSYDE Corp.", "version": "03.04", "date": "05/24/2023"},
    "board": {"manufacturer": "Framework", "product": "FRANMCCP06", "version": "A6"},
    "chassis": [{"manufacturer": "Framework", "chassis_type": {"name": "Notebook", "value": 10}}],
    "system": {"manufacturer": "Framework", "product": "Laptop", "version": "A6"}
  }
}
`

// As lspci -nnvk writes.
const smallText = `00:1d.0 PCI bridge [0604]: Intel Corporation Device [8086:51b0] (rev 01) (prog-if 00 [Normal decode])
	Flags: bus master, fast devsel, latency 0
	Bus: primary=00, secondary=3d, subordinate=3d, sec-latency=0
	Kernel driver in use: pcieport

00:1f.3 Audio device [0403]: Intel Corporation Device [8086:51ca] (rev 01) (prog-if 80)
	Subsystem: Framework Computer Inc. Device [f111:0003]
	Flags: bus master, fast devsel, latency 32, IRQ 188
	IOMMU group: 14
	Kernel driver in use: sof-audio-pci-intel-tgl
	Kernel modules: snd_hda_intel, snd_sof_pci_intel_tgl
`

// As lspci -vmmnnk writes.
const smallRecords = `Slot:	00:0e.0
Class:	RAID bus controller [0104]
Vendor:	Intel Corporation [8086]
Device:	Volume Management Device NVMe RAID Controller [467f]
SVendor:	Dell [1028]
SDevice:	Device [0b04]
Driver:	vmd

Slot:	10000:e1:00.0
Class:	Non-Volatile memory controller [0108]
Vendor:	Samsung Electronics Co Ltd [144d]
Device:	NVMe SSD Controller PM9B1 [a80b]
Rev:	02
ProgIf:	02
Driver:	nvme
Module:	nvme
NUMANode:	0
IOMMUGroup:	9
`

// As udevadm info --export-db writes, with what systemd 250 added.
const smallUdev = `P: /devices/virtual/dmi/id
L: 0
E: DEVPATH=/devices/virtual/dmi/id
E: SUBSYSTEM=dmi
E: MODALIAS=dmi:bvnLENOVO:bvr83ET53WW(1.23):bd03/31/2011:br1.23:efr1.10:svnLENOVO:pn4177Q2U:pvrThinkPadT420:rvnLENOVO:rn4177Q2U:rvrNotAvailable:cvnLENOVO:ct10:cvrNotAvailable:
P: /devices/pci0000:00/0000:00:14.0
E: DEVPATH=/devices/pci0000:00/0000:00:14.0
E: DRIVER=xhci_hcd
E: PCI_CLASS=C0330
E: PCI_ID=8086:1E31
E: PCI_SUBSYS_ID=17AA:21CE
E: PCI_SLOT_NAME=0000:00:14.0
E: MODALIAS=pci:v00008086d00001E31sv000017AAsd000021CEbc0Csc03i30
E: SUBSYSTEM=pci

P: /devices/pci0000:00/0000:00:1b.0
M: 0000:00:1b.0
R: 0
U: pci
V: snd_hda_intel
E: DRIVER=snd_hda_intel
E: PCI_CLASS=40300
E: PCI_ID=8086:1E20

P: /devices/pci0000:00/0000:00:14.0/usb1/1-1
N: bus/usb/001/002
E: DEVTYPE=usb_device
E: DEVNAME=/dev/bus/usb/001/002
E: DRIVER=usb
E: PRODUCT=4f2/b221/1020
E: TYPE=239/2/1
E: BUSNUM=001
E: DEVNUM=002
E: MAJOR=189
E: MINOR=1
E: SUBSYSTEM=usb
E: ID_VENDOR_ENC=Chicony\x20Electronics\x20Co.\x2c\x20Ltd.
E: ID_VENDOR_ID=04f2
E: ID_MODEL_ENC=b221
E: ID_MODEL_ID=b221
E: ID_SERIAL=Chicony_Electronics_Co.__Ltd._b221

P: /devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0
E: DEVTYPE=usb_interface
E: DRIVER=uvcvideo
E: INTERFACE=14/1/0
E: PRODUCT=4f2/b221/1020
E: SUBSYSTEM=usb

P: /devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1:1.0/0003:04F2:B221.0001
E: DRIVER=hid-generic
E: HID_UNIQ=
MODALIAS=hid:b0003g0001v000004F2p0000B221
E: SUBSYSTEM=hid

P: /devices/pci0000:00/0000:00:1b.0/sound/card0
E: SUBSYSTEM=sound
E: SOUND_INITIALIZED=1

P: /devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda
N: sda
S: disk/by-id/ata-x
E: DEVNAME=/dev/sda
E: DEVTYPE=disk
E: MAJOR=8
E: MINOR=0
E: SUBSYSTEM=block

P: /devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda/sda1
N: sda1
E: DEVTYPE=partition
E: MAJOR=8
E: MINOR=1
E: PARTN=1
E: SUBSYSTEM=block

P: /devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0
E: DEVTYPE=scsi_device
E: DRIVER=sd
E: SUBSYSTEM=scsi

P: /devices/virtual/input/input5
E: NAME="Video Bus"
E: EV=3
E: SUBSYSTEM=input

P: /module/i915
E: SUBSYSTEM=module
`
