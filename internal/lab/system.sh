# Read by the first process when the laptop is to boot a root file system with an init of its own:
# mount the directories of the outer machine with a scratch layer over them, and become that
# init. Drivers are left to it, but for those that this takes.
if [ -e /lab/prepare ]; then
	sh /lab/prepare || fail "the machine cannot be prepared"
fi
for m in virtio_pci 9pnet_virtio 9p overlay; do
	modprobe "$m" || fail "module $m does not load"
done
. /lab/settings # lab_modules, lab_root
mount -t 9p -o ro,cache=loose,trans=virtio,version=9p2000.L,msize=512000 root /host ||
	fail "the outer machine's root cannot be mounted"
mount -t tmpfs scratch /scratch && mkdir /scratch/upper /scratch/work || fail "no scratch layer"
mount -t overlay -o "lowerdir=$lab_root,upperdir=/scratch/upper,workdir=/scratch/work" root /new ||
	fail "the root file system cannot be mounted"
modules="/new/lib/modules/$(uname -r)"
mkdir -p "$modules" && mount --bind "/host$lab_modules" "$modules" || fail "the modules cannot be mounted"
[ -x /new/sbin/init ] || [ -L /new/sbin/init ] || fail "no /sbin/init in the root file system"
for d in dev proc sys; do
	mkdir -p "/new/$d" && mount --move "/$d" "/new/$d" || fail "/$d cannot be mounted"
done
exec /bin/busybox switch_root -c /dev/console /new /sbin/init
