#!/bin/bash
# usage: lab/setup.sh
# Makes this machine ready to build and test indy: the Debian packages that are
# needed, and the kernel of the emulated laptop and Debian's shim, unpacked into .lab
# (or $INDY_LAB), not installed. Installs only what is missing; when nothing is, it needs neither
# root nor a network and is done in a moment.
set -euo pipefail
cd "$(dirname "$0")/.."
lab=${INDY_LAB:-.lab}
PATH=$PATH:/usr/local/go/bin:/usr/sbin:/sbin

say() { echo "lab: $*" >&2; }
die() { say "$*"; exit 1; }

packages="busybox-static kmod ca-certificates gcc libc6-dev pkg-config libusb-1.0-0-dev pci.ids usb.ids strace cryptsetup-bin lvm2 iproute2 patch passt swtpm tpm2-tools systemd dbus-daemon debootstrap pulseaudio pulseaudio-utils xvfb openbox"
newer="qemu-system-x86 qemu-system-common qemu-system-gui qemu-system-modules-spice qemu-utils ovmf" # from backports on Debian 12
qemu_least=1:10

. /etc/os-release
suite=${VERSION_CODENAME:-}
[ "${ID:-}" = debian ] && [ -n "$suite" ] ||
  die "this is ${PRETTY_NAME:-not Debian}. Install what Debian calls $packages $newer (QEMU 10 or newer) and Go," \
    "and unpack a kernel with its modules.dep to $lab/kernel"
[ "$suite" != bookworm ] || suite=bookworm-backports

# missing_packages sets $missing.
missing_packages() {
  local have name status version
  have=$(dpkg-query -W -f='${Package} ${db:Status-Status} ${Version}\n' $packages $newer golang-go 2>/dev/null || true)
  missing=
  for name in $packages $newer; do
    read -r status version <<<"$(awk -v n="$name" '$1 == n {print $2, $3}' <<<"$have")"
    if [ "$status" != installed ]; then
      missing+=" $name"
    elif [[ $name = qemu-system-* ]] && dpkg --compare-versions "$version" lt "$qemu_least"; then
      missing+=" $name"
    fi
  done
  # From 1.21 on, Go fetches the release that go.mod asks for by itself.
  case $(cd / && GOTOOLCHAIN=local go version 2>/dev/null) in
  *" go1."[0-9]" "* | *" go1."[0-9]"."* | *" go1.1"[0-9]* | *" go1.20"* | "") missing+=" golang-go" ;;
  esac
}

kernel_missing() {
  local image
  for image in "$lab"/kernel/boot/vmlinuz-*; do
    [ ! -e "$lab/kernel/lib/modules/${image##*/vmlinuz-}/modules.dep" ] || return 1
  done
}

# add_suite configures $suite with the mirror of the suite that is installed.
add_suite() {
  local from=/etc/apt/sources.list.d to=/etc/apt/sources.list.d/$suite
  ! grep -rqsE "^[^#]*[[:space:]]$suite([[:space:]]|$)" /etc/apt/sources.list $from/*.list $from/*.sources || return 0
  say "adding the package source $suite"
  if grep -qsE "^Suites:.*[[:space:]]$VERSION_CODENAME([[:space:]]|$)" $from/*.sources; then
    awk -v RS= -v have="[ \t]$VERSION_CODENAME([ \t\n]|$)" -v suite="$suite" \
      '$0 ~ "Suites:[^\n]*" have { sub(/Suites:[^\n]*/, "Suites: " suite); print; exit }' $from/*.sources >"$to.sources"
  else
    awk -v have="$VERSION_CODENAME" -v suite="$suite" \
      '$1 == "deb" { for (i = 2; i <= NF; i++) if ($i == have) { $i = suite; print; exit } }' \
      /etc/apt/sources.list $from/*.list 2>/dev/null >"$to.list"
    [ -s "$to.list" ] || { rm -f "$to.list"; die "no package source for $VERSION_CODENAME to take the mirror from"; }
  fi
}

updated=
update() {
  [ -z "$updated" ] || return 0
  add_suite
  say "reading the lists of packages"
  apt-get -qq update
  updated=yes
}

# kernel_package prints the name of the package that holds the kernel.
kernel_package() {
  local version
  version=$(apt-cache madison linux-image-amd64 2>/dev/null | awk -F'|' -v s=" $suite/" 'index($3, s) {print $2; exit}')
  [ -z "$version" ] || apt-cache depends "linux-image-amd64=${version// /}" | awk '/Depends:/ {print $2; exit}'
}

missing_packages
no_kernel=
kernel_missing && no_kernel=yes
signed=$lab/shim/usr/lib/shim/shimx64.efi.signed
[ -n "$missing$no_kernel" ] || [ ! -e "$signed" ] || exit 0

mkdir -p "$lab"
exec 9>"$lab/.setup.lock"
flock 9

missing_packages # another set-up may have come first
if [ -n "$missing" ]; then
  [ "$(id -u)" = 0 ] || die "not root, and these packages are missing:$missing" \
    "(QEMU 10 is in $suite). As root: lab/setup.sh, or apt-get install -t $suite$missing"
  update
  say "installing$missing"
  older=
  for p in $missing; do
    case " $newer golang-go " in *" $p "*) ;; *) older+=" $p" ;; esac
  done
  export DEBIAN_FRONTEND=noninteractive
  get="apt-get -qq install -y --no-install-recommends -o Dpkg::Use-Pty=0"
  [ -z "$older" ] || $get $older >/dev/null
  [ "$older" = "$missing" ] || $get -t "$suite" ${missing} >/dev/null
  missing_packages
  [ -z "$missing" ] || die "still missing:$missing"
fi

if kernel_missing; then
  package=$(kernel_package)
  if [ -z "$package" ]; then
    [ "$(id -u)" = 0 ] || die "not root, and apt knows no kernel of $suite. As root: lab/setup.sh"
    update
    package=$(kernel_package)
  fi
  [ -n "$package" ] || die "apt knows no kernel of $suite"
  tmp=$(mktemp -d)
  trap 'rm -rf "$tmp"' EXIT
  chmod 777 "$tmp" # apt downloads as a user of its own
  say "unpacking $package into $lab/kernel"
  if ! (cd "$tmp" && apt-get -qq download "$package"); then
    [ "$(id -u)" = 0 ] || die "$package cannot be downloaded"
    update # the lists were old
    (cd "$tmp" && apt-get -qq download "$(kernel_package)")
  fi
  dpkg -x "$tmp"/*.deb "$tmp/kernel"
  depmod -b "$tmp/kernel" "$(ls "$tmp/kernel/lib/modules")"
  rm -rf "$lab/kernel" "$lab/kernel.new"
  cp -a "$tmp/kernel" "$lab/kernel.new"
  mv "$lab/kernel.new" "$lab/kernel"
fi
# A program that Microsoft has signed, for the test of Secure Boot.
if [ ! -e "$signed" ]; then
  shim=$(mktemp -d)
  trap 'rm -rf "$shim" "${tmp:-}"' EXIT
  chmod 777 "$shim"
  say "unpacking shim-signed into $lab/shim"
  download_shim() { (cd "$shim" && apt-get -qq download shim-signed); }
  if download_shim || { [ "$(id -u)" = 0 ] && update && download_shim; }; then
    dpkg -x "$shim"/*.deb "$shim/unpacked"
    rm -rf "$lab/shim"
    cp -a "$shim/unpacked" "$lab/shim"
  else
    say "shim-signed cannot be downloaded; that a signed program starts with Secure Boot is not tested"
  fi
fi
say "ready"
