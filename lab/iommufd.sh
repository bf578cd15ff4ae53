#!/bin/bash
# usage: lab/iommufd.sh
# Makes another emulated laptop, .lab/iommufd, whose kernel has iommufd and VFIO's nodes
# for devices, which Debian's kernels have not (CONFIG_IOMMUFD, CONFIG_VFIO_DEVICE_CDEV).
# The kernel is that of .lab with the modules of VFIO and iommufd built anew from the
# same version's source. Nothing is installed. It takes 170 MB of downloads and a minute or two.
set -euo pipefail
cd "$(dirname "$0")/.."
lab=$(realpath "${INDY_LAB:-.lab}")
PATH=$PATH:/usr/sbin:/sbin

say() { echo "lab: $*" >&2; }
die() { say "$*"; exit 1; }

image=$(ls "$lab"/kernel/boot/vmlinuz-* 2>/dev/null | tail -1)
[ -n "$image" ] || die "no kernel in $lab: make lab"
release=${image##*/vmlinuz-}
series=$(cut -d. -f1,2 <<<"$release")
version=$(apt-cache madison "linux-headers-$release" | awk -F'|' '{gsub(/ /, "", $2); print $2; exit}')
[ -n "$version" ] || die "apt knows no linux-headers-$release"
for tool in make gcc depmod; do
  command -v $tool >/dev/null || die "$tool is missing"
done

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
chmod 777 "$tmp" # apt downloads as a user of its own
common=$(apt-cache depends "linux-headers-$release=$version" | awk '/Depends: linux-headers-.*-common/ {print $2}')
kbuild=$(apt-cache depends "linux-headers-$release=$version" | awk '/Depends: linux-kbuild-/ {print $2}')
say "downloading the source of $release"
(cd "$tmp" && apt-get -qq download "linux-headers-$release=$version" "$common=$version" "$kbuild=$version" "linux-source-$series=$version")
for package in "$tmp"/*.deb; do
  dpkg -x "$package" "$tmp/root"
done
source=linux-source-$series
tar -C "$tmp" -xf "$tmp/root/usr/src/$source.tar.xz" \
  $source/drivers/vfio $source/drivers/iommu/iommufd $source/drivers/iommu/iommu-priv.h $source/lib/interval_tree.c

# Both are built as modules outside of the kernel's tree. What iommufd selects of the
# kernel itself is a part of lib/interval_tree.c, which goes into its module.
build=$tmp/build
mkdir "$build"
mv "$tmp/$source/drivers/iommu/iommufd" "$tmp/$source/drivers/iommu/iommu-priv.h" "$tmp/$source/drivers/vfio" "$build"
{
  printf '#include <linux/%s>\n' interval_tree.h interval_tree_generic.h compiler.h export.h
  sed -n '/#ifdef CONFIG_INTERVAL_TREE_SPAN_ITER/,/#endif/p' "$tmp/$source/lib/interval_tree.c" | sed '/EXPORT_SYMBOL/d'
} >"$build/iommufd/span.c"
sed -i 's/vfio_compat.o/vfio_compat.o span.o/; /iova_bitmap/d' "$build/iommufd/Makefile"
sed -i -E '/platform|mdev|fsl-mc|cdx|spapr/d' "$build/vfio/Makefile"
echo 'obj-m += iommufd/ vfio/' >"$build/Kbuild"
headers=$tmp/root/usr/src/linux-headers-$release
sed -i "s#/usr/src/#$tmp/root/usr/src/#" "$headers/Makefile"
rm -f "$headers/vmlinux" # no type information for modules, which needs another tool
say "building the modules"
make -s -C "$headers" M="$build" CC=gcc CONFIG_IOMMUFD=m CONFIG_VFIO_DEVICE_CDEV=y \
  KCFLAGS="-DCONFIG_IOMMUFD_MODULE=1 -DCONFIG_VFIO_DEVICE_CDEV=1 -DCONFIG_INTERVAL_TREE_SPAN_ITER=1" modules >"$tmp/log" 2>&1 ||
  { cat "$tmp/log" >&2; die "the modules cannot be built"; }

mkdir "$tmp/lab"
cp -a "$lab/kernel" "$tmp/lab/kernel"
modules=$tmp/lab/kernel/lib/modules/$release
mkdir -p "$modules/updates"
find "$build" -name '*.ko' | while read -r module; do
  find "$modules/kernel" -name "$(basename "$module").xz" -delete
  cp "$module" "$modules/updates/"
done
depmod -b "$tmp/lab/kernel" "$release"
rm -rf "$lab/iommufd"
cp -a "$tmp/lab" "$lab/iommufd"
say "ready: $lab/iommufd"
