#!/bin/bash
# usage: lab/system.sh
# Makes .lab/root (or $INDY_LAB/root): a Debian root file system with systemd and QEMU, which
# the tests boot in the emulated laptop with indy's units in it. It takes root, a network,
# 350 MB and two minutes the first time; after that it is done in a moment.
set -euo pipefail
cd "$(dirname "$0")/.."
lab=${INDY_LAB:-.lab}
PATH=$PATH:/usr/sbin:/sbin

say() { echo "lab: $*" >&2; }
die() { say "$*"; exit 1; }

. /etc/os-release
suite=${VERSION_CODENAME:-}
[ "${ID:-}" = debian ] && [ -n "$suite" ] || die "this is ${PRETTY_NAME:-not Debian}, which $lab/root is not made on"
newer=$suite
[ "$suite" != bookworm ] || newer=bookworm-backports # for QEMU 10

# What it is made of; when that changes it is made anew.
packages=systemd,systemd-sysv,udev,kmod,dbus
guests=qemu-system-x86
recipe="$suite $packages $newer $guests"
[ "$(cat "$lab/root/etc/indy-lab" 2>/dev/null)" != "$recipe" ] || exit 0

mkdir -p "$lab"
exec 9>"$lab/.system.lock"
flock 9
[ "$(cat "$lab/root/etc/indy-lab" 2>/dev/null)" != "$recipe" ] || exit 0 # another one came first
[ "$(id -u)" = 0 ] || die "not root, and $lab/root is missing. As root: lab/system.sh"
command -v debootstrap >/dev/null || die "no debootstrap; run lab/setup.sh"

# The mirror and the proxy of this machine.
mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' | awk -v s="$suite" '$1 == s && !n++ {print $2}')
eval "$(apt-config shell proxy Acquire::http::Proxy)"
[ -z "${proxy:-}" ] || export http_proxy=$proxy

say "making $lab/root from ${mirror:=http://deb.debian.org/debian}"
new=$lab/root.new
log=$lab/system.log
trap 'rm -rf "$new"' EXIT
rm -rf "$new"
failed() { tail -n 20 "$log" >&2; die "$new is not complete, see $lab/system.log"; }
# In a mount namespace of its own, so that nothing stays mounted there whatever happens.
apart=
! unshare --mount true 2>/dev/null || apart="unshare --mount"
$apart debootstrap --variant=minbase --include="$packages" "$suite" "$new" "$mirror" >"$log" 2>&1 || failed
[ "$newer" = "$suite" ] || echo "deb $mirror $newer main" >"$new/etc/apt/sources.list.d/newer.list"
cp /etc/resolv.conf "$new/etc/resolv.conf"
inside() { DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 chroot "$new" "$@" >>"$log" 2>&1; }
{ inside apt-get -qq update && inside apt-get -qq install -y --no-install-recommends -t "$newer" "$guests"; } || failed

# What a notebook has of its own is not the laptop's that it is made on.
rm -rf "$new"/etc/{resolv.conf,hostname,machine-id} "$new"/var/cache/apt/*.bin "$new"/var/cache/apt/archives/*.deb \
  "$new"/var/lib/apt/lists/* "$new"/usr/share/{doc,man,locale} "$new"/dev/*
mkdir -p "$new"/var/cache/apt/archives/partial "$new"/var/lib/apt/lists/partial
echo "$recipe" >"$new/etc/indy-lab"
rm -rf "$lab/root"
mv "$new" "$lab/root"
say "$lab/root is ready"
