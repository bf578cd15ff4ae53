#!/bin/bash
# usage: judge.sh busy|idle|firmware|without INDY
# Whatever speaks against handing over a device, made on a real kernel and taken away
# again. Each line of output is a step that went as it should; the first that does not
# ends it.
set -u
indy=$2
pci=/sys/bus/pci/devices

die() { echo "FAILED: $*"; exit 1; }
do_or_die() { "$@" >/tmp/said 2>&1 || die "$*: $(cat /tmp/said)"; }

# refused CODE TEXT DEVICE: indy why names CODE with TEXT for DEVICE, and indy plan
# refuses to hand it over for that reason.
refused() {
  local code=$1 text=$2 device=$3 said status
  said=$($indy why $device 2>&1) || die "why $device: $said"
  [[ $said == *"verdict: refused"* ]] || die "why $device: not refused: $said"
  grep -A2 "^  $code: " <<<"$said" | grep -qF -- "$text" || die "why $device: no $code with \"$text\": $said"
  said=$($indy plan --with-companions $device 2>&1); status=$?
  [ $status = 4 ] || die "plan $device: exit status $status, not 4: $said"
  grep "^  $code: " <<<"$said" | grep -qF -- "$text" || die "plan $device: no $code with \"$text\": $said"
  echo "ok: $device: $code: $text"
}

# no CODE DEVICE: nobody names CODE for DEVICE.
no() {
  local said
  said=$($indy why $2 2>&1) || die "why $2: $said"
  ! grep "^  $1: " <<<"$said" || die "why $2: $said"
  said=$($indy plan --with-companions $2 2>&1)
  ! grep "^  $1: " <<<"$said" || die "plan $2: $said"
}

# free CODE DEVICE ARG...: nobody names CODE for DEVICE, and it can be handed over.
free() {
  local said
  no $1 $2
  said=$($indy plan --with-companions "${@:2}" 2>&1) || die "plan ${*:2}: $said"
  echo "ok: $2: no $1"
}

interface() { basename $pci/$1/net/*; }

# What the host does with its devices.
nvme=0000:02:00.0 nic=0000:01:00.0 usb=0000:00:14.0 sound=0000:00:1b.0
home="/tmp/mnt on dm-1 (LVM vglab-home) on dm-0 (LUKS cryptlab) on nvme0n1"
swap="swap on dm-2 (LVM vglab-swap) on dm-0 (LUKS cryptlab) on nvme0n1"
# lvm COMMAND ARG...: there is no udev here to wait for.
lvm() {
  do_or_die $1 --config 'devices { use_devicesfile=0 } activation { udev_sync=0 udev_rules=0 monitoring=0 } backup { backup=0 archive=0 }' "${@:2}"
}
# route DEVICE NET: the default route is by DEVICE.
route() {
  local name=$(interface $1)
  do_or_die ip link set $name up
  do_or_die ip address add $2.15/24 dev $name
  do_or_die ip route add default via $2.2
}
# second 0|1: the keyboard on the other USB controller is switched off or on.
second() {
  local m
  echo $1 >$(echo $pci/0000:00:15.0/usb*/*-1/authorized) || die "the second keyboard"
  for m in $(seq 50); do
    [ "$(grep -c 'USB Keyboard' /proc/bus/input/devices)" = $((1 + $1)) ] && return
    sleep 0.1
  done
  die "the second keyboard: $(cat /proc/bus/input/devices)"
}

# busy: the host begins to need what it has. Two keyboards do not help it: that of the
# program that runs this, and one that is switched off.
busy() {
  local m
  for m in dm_crypt xts aes_generic algif_skcipher ext4; do do_or_die modprobe $m; done
  free host-disk $nvme
  mkdir -p /run/cryptsetup /run/lock/lvm /tmp/mnt
  echo -n key >/tmp/key
  do_or_die cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 /dev/nvme0n1 /tmp/key
  do_or_die cryptsetup open --key-file /tmp/key /dev/nvme0n1 cryptlab
  lvm vgcreate vglab /dev/mapper/cryptlab
  lvm lvcreate -y -Wn -Zn -L 16M -n home vglab
  lvm lvcreate -y -Wn -Zn -L 8M -n swap vglab
  do_or_die mkfs.ext4 -q /dev/vglab/home
  do_or_die mkswap /dev/vglab/swap
  do_or_die mount /dev/vglab/home /tmp/mnt
  do_or_die swapon /dev/vglab/swap
  refused host-disk "$home" $nvme
  refused host-disk "$swap" $nvme

  free default-route $nic
  route $nic 10.0.2
  refused default-route "$(interface $nic)" $nic

  free only-keyboard $usb $alone
  second 0
  no only-keyboard $usb
  printf none >/sys/devices/platform/i8042/serio0/drvctl || die "the keyboard on PS/2 stays"
  grep -q "lab's own keyboard" /proc/bus/input/devices || die "no keyboard of a program"
  refused only-keyboard "QEMU USB Keyboard" $usb

  sleep 600 </dev/snd/controlC$(basename $pci/$sound/sound/card* | tr -dc 0-9) >/dev/null 2>&1 &
}

# idle: one thing after the other, it needs them no longer.
idle() {
  local n
  do_or_die umount /tmp/mnt
  refused host-disk "$swap" $nvme
  ! $indy why $nvme | grep -F /tmp/mnt || die "why $nvme: what is no longer mounted"
  do_or_die swapoff /dev/vglab/swap
  refused host-disk "on nvme0n1" $nvme # its volumes are there for whoever mounts them next
  lvm vgchange -an vglab
  refused host-disk "on nvme0n1" $nvme
  do_or_die cryptsetup close cryptlab
  free host-disk $nvme

  do_or_die ip route del default
  do_or_die ip link set $(interface $nic) down
  free default-route $nic
  # A sound card that cannot go, because what goes along has the route.
  n=0000:04:01.0
  free default-route 0000:04:02.0
  route $n 10.0.3
  refused default-route $n 0000:04:02.0
  do_or_die ip link set $(interface $n) down # which takes the route along
  free default-route 0000:04:02.0

  second 1
  free only-keyboard $usb $alone
  free only-keyboard 0000:00:15.0 $alone
  second 0
  refused only-keyboard "QEMU USB Keyboard" $usb
  printf atkbd >/sys/devices/platform/i8042/serio0/drvctl || die "the keyboard on PS/2 is gone"
  free only-keyboard $usb $alone

  refused boot-display "the host's screen would go dark" 0000:00:0f.0
  free boot-display 0000:00:10.0 $alone

  resets
}

# resets: a function whose resets are taken away. Those on the root bus that have no way
# of their own cannot be reset at all.
resets() {
  local n=0000:05:00.0
  free no-reset $n
  echo >$pci/$n/reset_method || die "its reset cannot be taken away"
  refused no-reset $n $n
  echo default >$pci/$n/reset_method
  free no-reset $n
  refused no-reset $sound $sound
}
alone="--allow no-reset"

# vfio DEVICE: a guest is started with DEVICE on vfio-pci, to its end or that of VFIO.
vfio() {
  if [ "$(basename "$(readlink $pci/$1/driver)")" != vfio-pci ]; then
    echo vfio-pci >$pci/$1/driver_override
    echo $1 >$pci/$1/driver/unbind
    echo $1 >/sys/bus/pci/drivers_probe
  fi
  timeout 60 qemu-system-x86_64 -nodefaults -display none -machine q35,accel=tcg -m 64M -S \
    -device vfio-pci,host=$1 -monitor stdio <<<quit >/tmp/said 2>&1
}

# logged TEXT: the kernel said so.
logged() { dmesg | grep -F "$1" >/dev/null || die "the kernel does not say \"$1\": $(cat /tmp/said; dmesg | tail)"; }

# firmware: what the firmware did. The kernel of this machine cannot show more of
# pcie_acs_override than that it was asked for: it has no patch to obey it.
firmware() {
  local m unsafe=/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts
  for m in $nic $nvme $usb; do
    refused no-remapping "interrupts are not remapped" $m
    refused acs-override "pcie_acs_override=downstream,multifunction" $m
  done
  refused reserved-direct "0xf0000-0xf7fff" $nic
  no reserved-direct $nvme
  no reserved-direct $usb # relaxable: the kernel maps it for nobody but the host

  # The kernel refuses the same, with less to say.
  for m in $nvme $nic; do ! vfio $m || die "$m: VFIO does without interrupt remapping: $(cat /tmp/said)"; done
  logged "No interrupt remapping support"
  echo 1 >$unsafe
  vfio $nvme || die "$nvme: $(cat /tmp/said)"
  ! vfio $nic || die "$nic: VFIO hands over what the firmware has memory reserved for: $(cat /tmp/said)"
  logged "$nic: Firmware has requested this device have a 1:1 IOMMU mapping"
  vfio $usb || die "$usb: $(cat /tmp/said)"
  echo "ok: VFIO refuses the same"
  refused unsafe-interrupts "VFIO was told not to mind" $nvme
}

# without: a laptop without an IOMMU, where nothing goes and doctor says why.
without() {
  local m verb said status
  for m in $nic $nvme $usb; do
    said=$($indy why $m 2>&1) || die "why $m: $said"
    [[ $said == *"verdict: refused"*"no-iommu: the kernel made no IOMMU groups"* ]] || die "why $m: $said"
    for verb in plan assign; do
      said=$($indy $verb $m 2>&1); status=$?
      [ $status = 5 ] || die "$verb $m: exit status $status, not 5, which is that this host cannot: $said"
      [[ $said == *"no-iommu: the kernel made no IOMMU groups"* ]] || die "$verb $m: $said"
    done
    echo "ok: $m: no-iommu"
  done
  [ "$(basename "$(readlink $pci/$nvme/driver)")" = nvme ] || die "$nvme was taken from its driver"
  said=$($indy doctor 2>&1) && die "doctor: $said"
  grep -q "^problem  iommu  " <<<"$said" || die "doctor: $said"
  echo "ok: doctor names it"
}

$1
echo done
