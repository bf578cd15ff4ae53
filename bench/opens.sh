#!/bin/bash
# opens.sh [FUNCTIONS [USB]]: what `indy devices` opens on a machine of 3,000 PCI
# functions, by attribute; fails if that is more than it needs. Of each function it
# may open uevent, once, and read the link iommu_group; of one that nothing else speaks
# against reset_method, secondary_bus_number and virtfn0, once each; of a VGA controller
# also boot_vga, and list its directory if it shares its slot. Of each group it may open
# reserved_regions, once. It may never open config, which wakes a sleeping device. Of what
# the kernel made of devices it may list each class and read the links there; of a
# Bluetooth device on USB it may open removable, of a USB device that usb.ids does not
# know product.
#
# Looks at the machine twice: saved (--from), and as the running host, with the tree
# mounted over /sys in a mount namespace of its own, which only root may make.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
functions=${1:-3000} usb=${2:-12}
command -v strace >/dev/null || { echo "opens.sh: no strace; install the package strace" >&2; exit 1; }

# The tree goes where memory is, if there is room; programs may not run from there.
shm=/dev/shm
[ -w $shm ] && [ "$(df --output=avail $shm | tail -1)" -gt 1000000 ] || shm=${TMPDIR:-/tmp}
work=$(mktemp -d) trees=$(mktemp -d "$shm/indy-opens.XXXXXX")
trap 'rm -rf "$work" "$trees"' EXIT
tree=$trees/tree
CGO_ENABLED=0 go build -trimpath -o "$work" ./cmd/indy ./bench/gensysfs
"$work/gensysfs" "$tree" "$functions" "$usb"

# judge TITLE TRACE ROOT: counts what a trace opened below ROOT and checks it.
judge() {
	awk -v title="$1" -v root="$3" -v functions="$functions" '
	function fail(why) { bad = 1; if (said++ < 20) print "FAIL: " why > "/dev/stderr" }
	BEGIN {
		address = "[0-9a-f]+:[0-9a-f][0-9a-f]:[0-9a-f][0-9a-f][.][0-7]"
		# What else may be opened: links and lists of a class or bus, the little each class
		# needs, what the host uses, what the machine is, and what every Go program reads.
		allowed["^sys/bus/(pci|usb)/devices$"]; allowed["^sys/bus/usb/devices/[^/]+(/uevent)?$"]
		allowed["^sys/kernel/iommu_groups(/N/devices)?$"]; allowed["^sys/class/(iommu|sound|drm|net|block|dmi/id)(/[^/]+)?$"]
		allowed["^sys/class/sound/card[^/]*/(id|device/driver)$"]; allowed["^sys/class/drm/card[^/]*-[^/]*/status$"]
		allowed["^sys/module/(vfio_iommu_type1|iommufd)/parameters/allow_unsafe_interrupts$"]
		allowed["^sys/(class|bus)$"]; allowed["^sys/bus/(iio|media|thunderbolt|firewire)/devices(/[^/]+)?$"]
		allowed["^sys/class/(ieee80211|rfkill|bluetooth|wwan|usbmisc|tty|video4linux|input|hidraw|spidev|nvme|mmc_host|tpm|tpmrm|mei|power_supply|backlight|typec)(/[^/]+)?$"]
		allowed["^sys/bus/usb/devices/PORTPATH/(removable|product)$"]
		allowed["^sys/class/dmi/id/[a-z_]+$"]; allowed["^sys/power/resume$"]; allowed["^sys/dev/block/[^/]+$"]; allowed["^sys/(block|fs/btrfs)$"]
		allowed["^proc/(self/mountinfo|self/mounts|swaps|interrupts|cmdline|net/route|net/ipv6_route|asound/cards)$"]
		runtime["^sys/kernel/mm/transparent_hugepage/hpage_pmd_size$"]; runtime["^(proc/self/|sys/fs/)cgroup"]
		runtime["^proc/self/(mountinfo|auxv)$"]
	}
	match($0, /(open|openat|openat2|readlink|readlinkat)\(/) {
		call = substr($0, RSTART, RLENGTH - 1); rest = substr($0, RSTART + RLENGTH)
		dir = ""
		if (match(rest, /^[0-9A-Z_]+<[^>]*>, /)) { # a directory, as strace -y shows it
			dir = substr(rest, 1, RLENGTH - 3); sub(/^[^<]*</, "", dir); rest = substr(rest, RLENGTH + 1)
		}
		if (!match(rest, /"[^"]*"/)) next
		name = substr(rest, RSTART + 1, RLENGTH - 2); flags = substr(rest, RSTART + RLENGTH)
		if (name == "") next # the link that was opened just before
		path = name ~ /^\// ? name : dir "/" name
		gsub(/\/+/, "/", path)
		if (index(path, root "/") == 1 || root == "") path = substr(path, length(root) + 2)
		else { # not of the machine we look at
			path = substr(path, 2)
			if (path !~ /^(sys|proc)\// || path ~ /^proc\/self\/fd\/[0-9]+$/) next # the latter: what was opened just before
			ok = 0; for (r in runtime) ok = ok || path ~ r
			if (!ok) fail(title ": opened the running host: /" path)
			next
		}
		if (path !~ /^(sys|proc)\//) next
		link = call ~ /^readlink/ || flags ~ /O_PATH/ && flags ~ /O_NOFOLLOW/
		kind = link ? "link" : flags ~ /O_DIRECTORY/ ? "list" : "file"
		shown = path; gsub(address, "ADDRESS", shown)
		sub(/iommu_groups\/[0-9]+/, "iommu_groups/N", shown)
		sub(/usb\/devices\/[0-9][^\/:]*:[^\/]*/, "usb/devices/INTERFACE", shown); sub(/usb\/devices\/[0-9][^\/]*/, "usb/devices/PORTPATH", shown)
		count[kind " " shown]++
		if (path ~ "(^|/)" address "/[^/]*$" && path !~ /^sys\/kernel/) { # an attribute of a function
			attribute = path; sub(/.*\//, "", attribute)
			of = substr(path, 1, length(path) - length(attribute) - 1); sub(/.*\//, "", of)
			if (attribute == "config") fail(title ": opened " path)
			else if (kind == "link" && attribute == "iommu_group") links++
			else if (kind == "file" && attribute == "uevent") { uevents++; if (seen[of]++) fail(title ": opened twice: " path) }
			else if (kind == "file" && attribute == "boot_vga") vga++
			else if (kind == "file" && attribute == "reset_method") { if (reset[of]++) fail(title ": opened twice: " path) }
			else if (attribute == "secondary_bus_number") { if (forwards[of]++) fail(title ": opened twice: " path) }
			else if (attribute == "virtfn0") { if (virtual[of]++) fail(title ": opened twice: " path) }
			else fail(title ": opened an attribute that is not needed: " path)
			next
		}
		if (kind == "list" && path ~ "^sys/bus/pci/devices/" address "$") { slots++; next }
		if (path ~ "^sys/kernel/iommu_groups/[0-9]+/reserved_regions$") { if (reserved[path]++) fail(title ": opened twice: " path); next }
		ok = 0; for (a in allowed) ok = ok || shown ~ a
		for (r in runtime) ok = ok || path ~ r
		if (!ok) fail(title ": opened what is not needed: " path)
	}
	END {
		print "\n## " title "\n\n| what | path | times |\n| --- | --- | ---: |"
		for (c in count) { split(c, f, " "); printf "| %s | %s | %d |\n", f[1], f[2], count[c] | "sort -t\"|\" -k4,4nr -k3,3" }
		close("sort -t\"|\" -k4,4nr -k3,3")
		if (uevents != functions) fail(title ": uevent opened " uevents + 0 " times for " functions " functions")
		if (links != functions) fail(title ": iommu_group read " links + 0 " times for " functions " functions")
		if (vga > 1) fail(title ": boot_vga opened " vga " times; one function is a VGA controller")
		if (slots > 1) fail(title ": " slots " functions listed; one function is a VGA controller")
		exit bad
	}' "$2"
}

calls=open,openat,openat2,readlink,readlinkat
status=0
over=() # what runs a command with the tree over /sys

# Not all of the synthetic machine can be read from a program's point of view, such
# as who uses the disk; exit 1 says so and is as good.
trace() { # FILE COMMAND...
	local file=$1 code=0
	shift
	"${over[@]}" strace -f -qq -y -o "$file" "$@" >/dev/null 2>"$file.err" || code=$?
	[ $code -le 1 ] || { cat "$file.err" >&2; return 1; }
}

trace "$work/saved" -e trace=$calls "$work/indy" devices --from "$tree"
judge "Saved, $functions functions" "$work/saved" "$tree" || status=1
trace "$work/saved.calls" -c "$work/indy" devices --from "$tree"
printf '\nSystem calls: %s\n' "$(awk '$NF == "total" { print $4 }' "$work/saved.calls")"

if unshare -m true 2>/dev/null; then
	over=(unshare -m bash -c 'mount --bind "$0/sys" /sys && exec "$@"' "$tree")
	trace "$work/live" -e trace=$calls "$work/indy" devices
	judge "Over /sys, $functions functions" "$work/live" "" || status=1
	trace "$work/live.calls" -c "$work/indy" devices
	printf '\nSystem calls: %s\n' "$(awk '$NF == "total" { print $4 }' "$work/live.calls")"
else
	printf '\nOver /sys: not measured; making a mount namespace needs root.\n'
fi
exit $status
