#!/bin/bash
# usage: early.sh INDY
# Devices that vfio-pci takes before their host driver can: what indy early writes is
# read by modprobe as at the start of a machine. Each line of output is a step that went
# as it should; the first that does not ends it.
set -u
indy=$1
pci=/sys/bus/pci/devices
nvme=0000:02:00.0 nic=0000:01:00.0

die() { echo "FAILED: $*"; exit 1; }
do_or_die() { "$@" >/tmp/said 2>&1 || die "$*: $(cat /tmp/said)"; }
driver() { local d; d=$(readlink $pci/$1/driver) && echo ${d##*/} || echo none; }
is() { [ "$(driver $1)" = $2 ] || die "$3: $1 has the driver $(driver $1), not $2"; echo "ok: $3: $1 $2"; }

# start has the modules of both loaded anew by what names them, as udev does at the start
# of a machine: devices without driver and override, and neither of the modules there.
start() {
  for d in $nvme $nic; do
    [ "$(driver $d)" = none ] || do_or_die eval "echo $d >$pci/$d/driver/unbind"
    do_or_die eval "echo >$pci/$d/driver_override"
  done
  do_or_die modprobe -r vfio-pci nvme e1000e
  dmesg -C
  for d in $nvme $nic; do do_or_die modprobe "$(cat $pci/$d/modalias)"; done
  for i in $(seq 50); do [ "$(driver $nvme)" != none ] && [ "$(driver $nic)" != none ] && break; sleep 0.1; done
}

# untouched DEVICE: no driver of the host has said a word about it.
untouched() { ! dmesg | grep -E "(nvme|e1000e) .*$1|nvme nvme[0-9]+: pci function $1" || die "$2: a driver of the host was there"; }

mkdir -p /etc/modprobe.d /etc/udev/rules.d /etc/initramfs-tools /etc/modules-load.d
touch /etc/initramfs-tools/modules
files() { find /etc/modprobe.d /etc/udev /etc/initramfs-tools /etc/modules-load.d -type f -exec sha256sum {} + | sort; }
before=$(files)

start
is $nvme nvme "before"
is $nic e1000e "before"
dmesg | grep -q "nvme.*$nvme" || die "the driver's words are not seen: $(dmesg | tail)"

do_or_die $indy early $nvme --yes
[[ $(cat /tmp/said) == *"now: update-initramfs -u -k all"* ]] || die "nobody says to make the initial file system anew: $(cat /tmp/said)"
do_or_die $indy early $nic --yes
is $nvme nvme "nothing happens at once"
[ "$($indy early | awk 'NR > 1 { print $1, $2 }' | tr '\n' ' ')" = "$nic e1000e $nvme nvme " ] || die "indy early lists: $($indy early)"

start
is $nvme vfio-pci "taken early"
is $nic vfio-pci "taken early"
untouched $nvme "taken early"
untouched $nic "taken early"

do_or_die $indy assign $nvme
do_or_die $indy release $nvme
is $nvme vfio-pci "after assign and release"

# Another device under the same address is left to the host.
do_or_die sed -i "s/^# early $nic 0x8086/# early $nic 0x8087/" "/etc/modprobe.d/indy-early-$nic.conf"
start
is $nvme vfio-pci "another device under an address"
is $nic e1000e "another device under an address"
do_or_die sed -i "s/^# early $nic 0x8087/# early $nic 0x8086/" "/etc/modprobe.d/indy-early-$nic.conf"

# The way out, from the boot loader.
sed 's/$/ indy.early=off/' /proc/cmdline >/tmp/cmdline
do_or_die mount --bind /tmp/cmdline /proc/cmdline
start
is $nvme nvme "indy.early=off"
is $nic e1000e "indy.early=off"
do_or_die umount /proc/cmdline

do_or_die $indy early --undo $nvme --yes
start
is $nvme nvme "taken back"
is $nic vfio-pci "the other one stays"
do_or_die $indy early --undo --yes
[ "$($indy early)" = "no device is bound early" ] || die "left: $($indy early)"
start
is $nvme nvme "all taken back"
is $nic e1000e "all taken back"
[ "$(files)" = "$before" ] || die "the files are not as before: $(files)"
echo done
