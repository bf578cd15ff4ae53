# Makes a PCI domain of its own, as Intel's Volume Management Device has it: the kernel's
# driver vmd reads the domain's config space from BAR 0 of its function, one MiB a bus,
# and BAR 0 of this function, a display, is memory. In it are a root port 06.0 and an
# NVMe behind it. This runs before the display's own driver is there; virtio's is part
# of the kernel, and has to go.
dev=/sys/bus/pci/devices/0000:00:0e.0
modprobe vmd || exit 1
read -r base _ <$dev/resource || exit 1
echo 0000:00:0e.0 >$dev/driver/unbind || exit 1

# put OFFSET WORD...: 32 bits each
put() {
	at=$((base + $1))
	shift
	for word; do
		devmem $at 32 "$word" || exit 1
		at=$((at + 4))
	done
}
# 00:06.0 8086:9a09, a bridge to bus 1, with the capability of a root port
put 0x30000 0x9a098086 0x00100007 0x06040001 0x00010000
put 0x30018 0x00010100
put 0x30034 0x40
put 0x30040 0x01420010
# 01:00.0 144d:a808, subsystem 144d:a801, an NVMe, with the capability of an endpoint
put 0x100000 0xa808144d 0x00100006 0x01080200 0
put 0x10002c 0xa801144d
put 0x100034 0x40
put 0x100040 0x00020010

# The last number says that interrupts need no help: the driver takes only sets of
# features that one of its own devices has.
echo 1af4 1050 1af4 1100 030000 ffffff 13 >/sys/bus/pci/drivers/vmd/new_id || exit 1
[ -e /sys/bus/pci/devices/10000:01:00.0 ]
