#!/bin/bash
# usage: children.sh PART INDY [PID]
# Drivers that do not let go, nodes that come late, and hand-overs that nobody confirms.
# Each line of output is a step that went as it should; the first that does not ends it.
set -u
indy=$2 holder=${3-}
pci=/sys/bus/pci/devices
nvme=0000:02:00.0 igb=0000:05:00.0 sound=0000:00:1b.0 usb=0000:00:14.0 vga=0000:00:0f.0
trace=/tmp/trace

die() { echo "FAILED: $*"; ps -eo pid,ppid,stat,comm,wchan:30,args | grep -v '\[' | tail -20; $indy leases; dmesg | tail -5; exit 1; }
driver() { basename "$(readlink $pci/$1/driver)" 2>/dev/null; }
is() { [ "$(driver $1)" = "$2" ] || die "$1 is with $(driver $1), not $2"; }
# becomes DEVICE DRIVER SECONDS
becomes() {
  local n
  for n in $(seq $((10 * $3))); do [ "$(driver $1)" = "$2" ] && return; sleep 0.1; done
  die "$1 is with $(driver $1) after $3 s, not $2"
}
# expect STATUS TEXT COMMAND...: the command ends with STATUS and says TEXT
expect() {
  local want=$1 text=$2 said status
  shift 2
  # Not through a pipe, which whoever outlives the command would keep open.
  "$@" >/tmp/said 2>&1 </dev/null; status=$?
  said=$(</tmp/said)
  [ $status = "$want" ] || die "$*: exit status $status, not $want: $said"
  [[ $said == *"$text"* ]] || die "$*: does not say \"$text\": $said"
  local line="${*//$indy/indy}"
  echo "ok: indy${line##*indy} -> $status: $text"
}
# within SECONDS COMMAND...
within() {
  local began=$(date +%s) took
  "${@:2}"
  took=$(($(date +%s) - began))
  [ $took -le $1 ] || die "$* took $took s"
}
# asides N: there are N processes in a call.
asides() {
  local n
  for n in $(seq 50); do [ "$(pgrep -cx 'indy aside')" = $1 ] && return; sleep 0.1; done
  die "$(pgrep -cx 'indy aside') processes in a call, not $1"
}
# written N: the traced command opened N files of sysfs to write to them. One that is in
# the kernel is still traced, and so is not waited for (-D).
written() {
  local n=$(cat $trace.* | grep -c 'openat(.*"/sys/.*O_WRONLY')
  rm -f $trace.*
  [ "$n" = $1 ] || die "$n writes, not $1"
  echo "ok: $1 writes"
}
traced() { strace -D -ff -qq -e trace=openat -o $trace "$@"; }
# other DEVICE DRIVER: another device goes and comes back meanwhile.
other() {
  expect 0 "assigned $1" $indy assign $1
  is $1 vfio-pci
  expect 0 "released $1" $indy release $1
  is $1 $2
}

# hang: a host's driver that waits for a program to close its device, as those of sound
# cards do.
hang() {
  local card=$(ls -d $pci/$sound/sound/card*) sleeper
  sleep 1000 <"/dev/snd/controlC${card##*card}" >/dev/null 2>&1 &
  sleeper=$!
  expect 0 "sleep (process $sleeper) has /dev/snd/controlC0 open" $indy plan --allow no-reset $sound
  is $sound snd_hda_intel
  within 20 expect 3 "it waits for sleep (process $sleeper) with /dev/snd/controlC0" traced $indy assign --deadline 2s --allow no-reset $sound
  written 2 # the override, and the unbind that hangs
  asides 1
  expect 0 "stuck" $indy leases
  other $nvme nvme
  # Whatever is tried, nothing more is written to it.
  within 10 expect 3 "sleep (process $sleeper)" traced $indy release --deadline 2s $sound
  written 0
  within 10 expect 3 "sleep (process $sleeper)" traced $indy recover --deadline 2s
  written 0
  expect 4 "is held by guest" $indy assign --allow no-reset $sound
  asides 1
  # It lets go: the kernel comes back, and the rest is done.
  kill $sleeper
  asides 0
  expect 0 "$sound" $indy recover
  is $sound snd_hda_intel
  [ "$(cat $pci/$sound/driver_override)" = "(null)" ] || die "the override is left"
  expect 0 "no device is handed out" $indy leases
}

# vfio: somebody opens the group between the look at it and the unbind. Here the look is
# misled: the group has no node any more.
vfio() {
  local node=/dev/vfio/$(basename $(readlink $pci/$igb/iommu_group))
  expect 4 "still runs" $indy release $igb
  is $igb vfio-pci
  rm $node
  expect 3 "(process $holder) with $node" traced $indy release --deadline 2s $igb
  written 4 # the reset by its first method, which takes three, and the unbind that hangs
  asides 1
  expect 0 "stuck" $indy leases
  other $nvme nvme
  within 10 expect 3 "(process $holder)" traced $indy recover --deadline 2s
  written 0
}
# gone: who had it open has closed it.
gone() {
  asides 0
  expect 0 "$igb" $indy recover
  is $igb igb
  expect 0 "no device is handed out" $indy leases
}

# late: below /dev nobody makes nodes but a slow udev, or nobody at all.
late() {
  local slow='mount -t tmpfs none /dev/vfio && mknod /dev/vfio/vfio c 10 196; make=$1; shift
    if [ $make = yes ]; then
      for n in $(seq 600); do for g in /sys/class/vfio/*/dev; do [ -e $g ] && break 2; done; sleep 0.05; done &&
        sleep 1 && mknod /dev/vfio/$(basename $(dirname $g)) c $(tr : " " <$g) &
    fi
    exec "$@"'
  within 20 expect 0 "assigned $nvme" unshare -m bash -c "$slow" - yes $indy assign $nvme
  is $nvme vfio-pci
  expect 0 "released $nvme" $indy release $nvme
  within 20 expect 1 "mknod /dev/vfio/" unshare -m bash -c "$slow" - no $indy assign $nvme
  is $nvme nvme
  expect 0 "no device is handed out" $indy leases
}

# watchdogs N: N processes watch the time.
watchdogs() {
  local n
  for n in $(seq 50); do [ "$(pgrep -fc undo-unless-confirmed)" = $1 ] && return; sleep 0.1; done
  die "$(pgrep -fc undo-unless-confirmed) processes watch the time, not $1"
}

# unconfirmed: the only keyboard and the display go, and nobody says that this is well.
unconfirmed() {
  local n mine="--guest desk --allow only-keyboard,no-reset,boot-display"
  printf none >/sys/devices/platform/i8042/serio0/drvctl || die "the keyboard on PS/2 stays"
  expect 2 "from 5s to 1h" $indy assign --confirm-within 2s $mine $usb
  expect 2 "from 5s to 1h" $indy assign --confirm-within 2h $mine $usb
  expect 4 "only-keyboard" $indy assign --confirm-within 8s --allow no-reset $usb
  watchdogs 0
  is $usb xhci_hcd

  expect 0 "undone in 6s" $indy assign --confirm-within 6s $mine $usb
  is $usb vfio-pci
  watchdogs 1
  becomes $usb xhci_hcd 20
  watchdogs 0
  expect 0 "no device is handed out" $indy leases
  expect 1 "not handed out" $indy confirm $usb

  expect 0 "unless you run: indy confirm $usb" $indy assign --confirm-within 6s $mine $usb
  expect 0 "confirmed $usb" $indy confirm $usb
  watchdogs 0
  sleep 8
  expect 0 "nothing to recover" $indy recover
  is $usb vfio-pci
  expect 0 "released $usb" $indy release $usb
  is $usb xhci_hcd

  # Who asked for it is killed, with the terminal and all that is in it, at about the time
  # when the device has gone.
  setsid script -qefc "$indy assign --confirm-within 6s $mine $usb; sleep 1000" /dev/null </dev/null >/dev/null 2>&1 &
  becomes $usb vfio-pci 20
  pkill -KILL -f "^script -qefc"; pkill -KILL -f "assign --confirm-within"; pkill -KILL -x sleep
  watchdogs 1
  becomes $usb xhci_hcd 40
  watchdogs 0
  expect 0 "no device is handed out" $indy leases

  # So is the one that watches: then it is for "indy recover".
  expect 0 "undone in 5s" $indy assign --confirm-within 5s $mine $usb
  pkill -KILL -f undo-unless-confirmed
  sleep 6
  is $usb vfio-pci
  expect 1 "time to confirm it is over" $indy confirm $usb
  expect 0 "$usb" $indy recover
  is $usb xhci_hcd

  n=$(driver $vga)
  expect 4 "boot-display" $indy assign --confirm-within 5s --allow no-reset $vga
  expect 0 "undone in 5s" $indy assign --confirm-within 5s $mine $vga
  is $vga vfio-pci
  becomes $vga "$n" 20
  expect 0 "no device is handed out" $indy leases
  printf atkbd >/sys/devices/platform/i8042/serio0/drvctl
}

$1
echo done
