#!/bin/sh
# The first process of the emulated laptop: load the modules, mount the outer
# machine's root read-only with a scratch layer over it, run one command there,
# report its status, power off. ttyS0 is the console, ttyS1 takes the command's
# output, ttyS2 its status. /lab is put here anew for each run.
export PATH=/bin

fail() {
	echo "lab: $*"
	echo "error $*" >/dev/ttyS2
	sync
	poweroff -f
}

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec </dev/null >/dev/ttyS0 2>&1
stty -F /dev/ttyS1 raw -echo clocal -hupcl
stty -F /dev/ttyS2 raw -echo clocal -hupcl
[ ! -e /lab/system ] || . /lab/system # does not come back
mkdir -p /dev/pts /dev/shm
mount -t devpts -o mode=620,ptmxmode=666 pts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t cgroup2 cgroup /sys/fs/cgroup

if [ -e /lab/prepare ]; then
	sh /lab/prepare || fail "the machine cannot be prepared"
fi
while read -r m; do
	modprobe "$m" || echo "lab: module $m does not load"
done </etc/modules
ip link set lo up

. /lab/settings # lab_modules, lab_out, lab_hostname
hostname "$lab_hostname"
p9=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o "ro,cache=loose,$p9" root /host || fail "the outer machine's root cannot be mounted"
mount -t tmpfs scratch /scratch && mkdir /scratch/upper /scratch/work || fail "no scratch layer"
mount -t overlay -o lowerdir=/host,upperdir=/scratch/upper,workdir=/scratch/work root /new ||
	fail "the scratch layer cannot be mounted"
for d in dev proc sys; do
	mkdir -p "/new/$d" && mount --rbind "/$d" "/new/$d" || fail "/$d cannot be mounted"
done
mount -t tmpfs -o mode=755 run /new/run || fail "/run cannot be mounted"
mkdir -p /new/run/lock /new/run/indy-lab/out
ln /bin/busybox /new/run/indy-lab/busybox 2>/dev/null || cp /bin/busybox /new/run/indy-lab/busybox
if [ -n "$lab_out" ]; then
	mount -t 9p -o "rw,cache=none,$p9" out /new/run/indy-lab/out || fail "Out cannot be mounted"
fi
# All modules of this kernel, so that modprobe inside finds those not loaded yet.
modules="/new/lib/modules/$(uname -r)"
if [ -d "/new$lab_modules" ] && mkdir -p "$modules"; then
	mount --bind "/new$lab_modules" "$modules"
fi

sh /lab/run >/dev/ttyS1 2>&1 3>/dev/ttyS2
status=$?
stty -F /dev/ttyS1 raw -echo clocal -hupcl # waits until all output is out
umount /new/run/indy-lab/out 2>/dev/null
echo "status $status" >/dev/ttyS2
poweroff -f
