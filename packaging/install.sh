#!/bin/bash
# usage: packaging/install.sh install|uninstall     (make install, make uninstall)
# Copies what is in $BIN and in this repository to where Debian has such files, below
# $DESTDIR, or removes it. Nothing is started, stopped or enabled. What was put where is in
# $PREFIX/lib/indy/installed: a line for each file, and for each directory that was not there.
set -euo pipefail
cd "$(dirname "$0")/.."
verb=${1:-} BIN=${BIN:-bin} DESTDIR=${DESTDIR:-} PREFIX=${PREFIX:-/usr}
umask 022

die() { echo "$verb: $*" >&2; exit 1; }

# It is written into the units, where other characters mean something.
[[ $PREFIX =~ ^(/[A-Za-z0-9_+-][A-Za-z0-9._+-]*)+$ ]] ||
  die "PREFIX is $PREFIX; it has to be as /usr or /opt/indy are, of letters, digits and . _ + -"
DESTDIR=${DESTDIR%/}
list=$PREFIX/lib/indy/installed
before=
[ ! -e "$DESTDIR$list" ] || before=$(cat "$DESTDIR$list")

uninstall() {
  [ -n "$before" ] || { echo "$verb: there is no $DESTDIR$list, so there is nothing to remove"; return; }
  local kind name
  while read -r kind name; do
    [ "$kind" != f ] || rm -f "$DESTDIR$name" "$DESTDIR$name.indy-new"
  done <<<"$before"
  # What is below a directory before it, and nothing that somebody else has files in.
  while read -r kind name; do
    [ "$kind" != d ] || [ ! -d "$DESTDIR$name" ] || rmdir --ignore-fail-on-non-empty "$DESTDIR$name"
  done < <(sort -r <<<"$before")
  [ -n "$DESTDIR" ] || echo "$verb: /var/lib/indy, with the guests, and the user and the groups indy-* are left"
}

# folder makes a directory and those above it, and notes those that were not there.
folder() {
  [ ! -d "$DESTDIR$1" ] || return 0
  folder "${1%/*}"
  mkdir "$DESTDIR$1"
  made+="d $1"$'\n'
}

# note writes down what is there by now, of this time and of those before.
note() { printf '%s\n%s' "$before" "$made" | awk 'NF && !seen[$0]++' >"$DESTDIR$list"; }

# put MODE NAME FILE makes NAME a copy of FILE: whole or not at all, and as a file of its own,
# as the one before may be running.
put() {
  if [ -e "$DESTDIR$2" ] || [ -L "$DESTDIR$2" ]; then
    grep -Fqx "f $2" <<<"$before" || die "$DESTDIR$2 is there, but not by make install; remove it, or install with another PREFIX"
  fi
  folder "${2%/*}"
  made+="f $2"$'\n'
  note # before it is there, so that whatever happens it will be removed
  rm -f "$DESTDIR$2.indy-new"
  cp "$3" "$DESTDIR$2.indy-new"
  chmod "$1" "$DESTDIR$2.indy-new"
  mv -f "$DESTDIR$2.indy-new" "$DESTDIR$2"
}

install() {
  local program
  for program in indy indy-jail; do
    [ -x "$BIN/$program" ] || die "there is no $BIN/$program; run make build first"
  done
  # systemd looks for its files in no other prefixes.
  local system=/etc
  case $PREFIX in /usr | /usr/local) system=$PREFIX/lib ;; esac
  local share=$PREFIX/share zsh=$PREFIX/share/zsh/site-functions
  [ "$PREFIX" != /usr ] || zsh=$share/zsh/vendor-completions

  mkdir -p "$DESTDIR/"
  made=
  folder "${list%/*}"
  made+="f $list"$'\n'
  put 755 "$PREFIX/bin/indy" "$BIN/indy"
  put 755 "$PREFIX/bin/indy-jail" "$BIN/indy-jail"
  local shell file
  for shell in bash zsh fish; do "$BIN/indy" completion $shell >"$work/$shell"; done
  put 644 "$share/bash-completion/completions/indy" "$work/bash"
  put 644 "$zsh/_indy" "$work/zsh"
  put 644 "$share/fish/vendor_completions.d/indy.fish" "$work/fish"
  for file in packaging/systemd/*; do
    sed "s|/usr/bin/indy\b|$PREFIX/bin/indy|g" "$file" >"$work/unit"
    put 644 "$system/systemd/system/${file##*/}" "$work/unit"
  done
  for file in packaging/{sysusers,tmpfiles,modules-load}.d/*; do
    put 644 "$system/${file#packaging/}" "$file"
  done
  for file in README.md CHANGELOG.md LICENSE docs/*; do put 644 "$share/doc/indy/$file" "$file"; done

  # What was installed before and is there no more, such as a page that has been renamed.
  local kind name
  while read -r kind name; do
    [ "$kind" != f ] || grep -Fqx "f $name" <<<"$made" || rm -f "$DESTDIR$name"
  done <<<"$before"
  before=$(sed -n '/^d /p' <<<"$before")
  note
  cat <<-END
	$verb: indy is in $DESTDIR$PREFIX/bin. Nothing of it is started yet. For the daemon, as root, where it is installed:
	    systemctl daemon-reload
	    systemd-sysusers
	    systemd-tmpfiles --create
	    modprobe vfio-pci
	    systemctl enable --now indy-broker.socket indy-daemon.socket indy-daemon.service indy-guests.service
	    usermod -aG indy-users NAME    # from the next login on, see docs/roles.md
	END
}

case $verb in
install)
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  install
  ;;
uninstall) uninstall ;;
*) die "usage: packaging/install.sh install|uninstall" ;;
esac
