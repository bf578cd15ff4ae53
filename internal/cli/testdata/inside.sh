#!/bin/bash
# usage: inside.sh INDY OUT
# A user's day in the emulated laptop, with everything that goes wrong in it. Each
# line of output is a step that went as it should; the first that does not ends it.
set -u
indy=$1 out=$2
nvme=0000:02:00.0
pci=/sys/bus/pci/devices

die() { echo "FAILED: $*"; exit 1; }
driver() { basename "$(readlink $pci/$1/driver)"; }
is() { [ "$(driver $1)" = "$2" ] || die "$1 is with $(driver $1), not $2"; }
# expect STATUS TEXT COMMAND...: the command ends with STATUS and says TEXT
expect() {
  local want=$1 text=$2 said status
  shift 2
  said=$("$@" 2>&1 </dev/null); status=$?
  [ $status = "$want" ] || die "$*: exit status $status, not $want: $said"
  [[ $said == *"$text"* ]] || die "$*: does not say \"$text\": $said"
  echo "ok: ${*/$indy/indy} -> $status"
}
nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }

# A saved machine is a host.
$indy capture "$out/lab.txtar" || die "capture"
$indy devices --json >"$out/devices.json" || die "devices"
$indy groups --json >"$out/groups.json" || die "groups"

# Without root one can look, and nothing else.
expect 0 "0000:02:00.0" nobody $indy devices
expect 0 "verdict: assignable" nobody $indy why $nvme
expect 0 "is in what only root may read; sudo indy groups tells it" nobody $indy groups
expect 0 "0000:04:01.0 and 0000:04:02.0 share the group of 0000:03:00.0 because they sit on the conventional PCI bus" $indy groups
expect 1 "remedy: run it as root" nobody $indy assign $nvme
is $nvme nvme

# There is no KVM inside the emulation, and all else that guests need.
expect 1 "ok       iommu                14 groups, 1 unit (intel); dmar0: intel," $indy doctor
expect 1 "ok       interrupt-remapping" $indy doctor
expect 1 "problem  kvm" $indy doctor
expect 1 '"id": "acs-override"' nobody $indy doctor --json

# Every kind of device there is goes and comes back to its driver: wired network, USB
# controller with keyboard and tablet, sound, SATA with its group, display. Of those on
# the root bus the kernel knows no reset, and they go only if that is overridden.
for d in 0000:01:00.0 0000:05:00.0 0000:00:14.0 0000:00:1b.0 0000:00:1f.2 0000:00:10.0; do
  was=$(driver $d)
  case $d in
    0000:00:10.0) allow="--allow boot-unknown,no-reset" ;; # nobody says which display the firmware used
    0000:00:*) allow="--allow no-reset" ;;
    *) allow= ;;
  esac
  [ -z "$allow" ] || expect 4 "no-reset: the kernel knows no way to reset" $indy assign --with-companions $d
  expect 0 "$d" $indy assign --with-companions $allow $d
  is $d vfio-pci
  expect 0 "$d" $indy release $d
  is $d $was
done

# A disk in use stays, unless its refusal is overridden by name.
dd if=/dev/nvme0n1 of=/tmp/boot bs=512 count=1 status=none && modprobe ext4 && mkfs.ext4 -q /dev/nvme0n1 &&
  dd if=/tmp/boot of=/dev/nvme0n1 bs=512 count=1 conv=notrunc status=none && # which ext4 has no use for
  mkdir -p /tmp/mnt && mount /dev/nvme0n1 /tmp/mnt || die "mount"
expect 4 "/tmp/mnt on nvme0n1" $indy assign $nvme
expect 4 "/tmp/mnt on nvme0n1" $indy run --device $nvme
umount /tmp/mnt
expect 0 "assigned $nvme" $indy assign --guest work $nvme
is $nvme vfio-pci
expect 4 'held by guest "work"' $indy assign --guest other $nvme
expect 4 'held by guest "work"' $indy run --name other --accel tcg --device $nvme
expect 0 "released $nvme" $indy release --all
is $nvme nvme

# A disk that comes back is the disk that went.
mount /dev/nvme0n1 /tmp/mnt && umount /tmp/mnt || die "the file system did not survive"

# So does one that something else uses without a mount of ours: another mount
# namespace, an open mapping, a guest.
unshare -m bash -c "mount /dev/nvme0n1 /tmp/mnt && touch /tmp/mounted && sleep 60" &
for i in $(seq 50); do [ -e /tmp/mounted ] && break; sleep 0.1; done
expect 4 "/tmp/mnt in the mount namespace of process" $indy assign $nvme
expect 1 "the host uses this disk" $indy run --accel tcg --disk raw:/dev/nvme0n1
kill %% ; wait %% 2>/dev/null
for i in $(seq 50); do $indy assign $nvme >/dev/null 2>&1 && break; sleep 0.1; done
expect 0 "released $nvme" $indy release $nvme
is $nvme nvme

# An override for another driver, set by hand while its own has the function.
echo vfio-pci >$pci/$nvme/driver_override
expect 0 "assigned $nvme" $indy assign $nvme
expect 0 "released $nvme" $indy release $nvme
is $nvme nvme
[ "$(cat $pci/$nvme/driver_override)" = vfio-pci ] || die "the override did not come back"
echo >$pci/$nvme/driver_override

# No QEMU: said before a device is touched.
expect 5 "qemu-system-x86" env PATH=/nonexistent $indy run --device $nvme
is $nvme nvme

# A guest that cannot start gives its device back.
expect 1 "/nonexistent.raw" $indy run --accel tcg --disk /nonexistent.raw --device $nvme
is $nvme nvme
expect 0 "no device is handed out" $indy leases

# guest NAME COMMAND...: runs a guest with the NVMe in the background and waits for it
# to run; its output is in /tmp/guest.
guest() {
  local name=$1
  shift
  "$@" $indy run --name $name --accel tcg --memory 128MiB --powerdown 0s --device $nvme >/tmp/guest 2>&1 </dev/null &
  run=$!
  for i in $(seq 300); do grep -q "on the disk" /tmp/guest && return; sleep 0.2; done
  die "guest $name does not run: $(cat /tmp/guest)"
}
gone() {
  for i in $(seq 300); do pgrep -x qemu-system-x86 >/dev/null || return; sleep 0.1; done
  die "QEMU outlived indy"
}

# What a guest runs with is not taken from it, nor given to another.
guest one
expect 4 "still runs" $indy release $nvme
expect 4 "held by guest" $indy run --name one --accel tcg --memory 128MiB --device $nvme
expect 4 "held by guest" $indy assign --guest two $nvme
is $nvme vfio-pci
kill -INT $run; wait $run
[ $? = 130 ] || die "interrupt: exit status $?"
gone; is $nvme nvme

# indy killed in the middle of a run: QEMU goes with it, and the device comes back, by
# hand or when the same guest has run again.
guest killed
kill -9 $run; wait $run 2>/dev/null
gone; is $nvme vfio-pci
expect 0 "killed" $indy leases
expect 0 "gave back $nvme (guest killed, assigned)" $indy recover
is $nvme nvme
expect 0 "nothing to recover" $indy recover
guest killed
kill -9 $run; wait $run 2>/dev/null
gone; is $nvme vfio-pci
expect 4 "held by guest" $indy run --name other --accel tcg --memory 128MiB --device $nvme
guest killed
kill -INT $run; wait $run
gone; is $nvme nvme
expect 0 "no device is handed out" $indy leases

# Every way a terminal has of saying enough gives the device back.
for signal in HUP QUIT TERM; do
  guest signalled
  kill -$signal $run; wait $run
  [ $? = 130 ] || die "SIG$signal: exit status $?"
  gone; is $nvme nvme
done
echo "ok: signals"
timeout 60 $indy run --accel tcg --memory 128MiB --powerdown 0s --device $nvme 2>/dev/null </dev/null | head -c 3 >/dev/null
status=${PIPESTATUS[0]}; [ $status = 130 ] || die "a reader that goes: exit status $status"
gone; is $nvme nvme
echo "ok: a reader that goes"

# A lease that cannot be ended is said, and keeps nobody's device.
guest lost
mv /run/indy /run/indy.gone && : >/run/indy
kill -INT $run; wait $run; status=$?
rm /run/indy; mv /run/indy.gone /run/indy
[ $status != 0 ] && grep -q lease /tmp/guest || die "exit status $status: $(cat /tmp/guest)"
$indy release $nvme >/dev/null 2>&1
gone; is $nvme nvme
expect 0 "no device is handed out" $indy leases

# A function with virtual ones in use stays where it is.
echo 2 >$pci/0000:05:00.0/sriov_numvfs || die "no virtual functions"
expect 4 "virtual functions" $indy assign 0000:05:00.0
expect 0 "virtual function of" $indy why 0000:05:10.0
echo 0 >$pci/0000:05:00.0/sriov_numvfs

# Unplugged while assigned: the lease can be ended.
expect 0 "assigned $nvme" $indy assign --guest unplugged $nvme
echo 1 >$pci/$nvme/remove
expect 0 "released $nvme" $indy release $nvme
echo 1 >/sys/bus/pci/rescan
for i in $(seq 50); do [ -e $pci/$nvme/driver ] && break; sleep 0.1; done
is $nvme nvme

# What could not be reset is for the guest that had it.
expect 4 "used-by" $indy assign $nvme

# Without the module vfio-pci.
modprobe -r vfio_pci || die "modprobe -r vfio_pci"
expect 5 "modprobe vfio-pci" $indy assign --guest unplugged $nvme
is $nvme nvme
expect 0 "no device is handed out" $indy leases
echo done
