#!/bin/bash
# peers.sh [ROUNDS]: indy beside other programs that list hardware, in one run, as
# Markdown. Every round runs each program once; what counts is the ratio of the
# medians. Nothing here passes or fails.
#
# As root it installs what is missing (Debian), and also measures machines of 30,
# 3,000 and 30,000 PCI functions, mounted over /sys in a mount namespace of its own.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
rounds=${1:-21}
root=false
[ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null && root=true

missing=()
for pair in lspci:pciutils lsusb:usbutils lshw:lshw hwinfo:hwinfo strace:strace cc:gcc; do
	command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
	if $root && command -v apt-get >/dev/null; then
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >&2
	else
		echo "peers.sh: missing, and left out: ${missing[*]}" >&2
	fi
fi

where=/dev/shm
[ -w $where ] || where=${TMPDIR:-/tmp}
work=$(mktemp -d "$where/indy-peers.XXXXXX")
trap 'rm -rf "$work"' EXIT
CGO_ENABLED=0 go build -trimpath -o "$work" ./cmd/indy ./bench/gensysfs ./bench/sidebyside ./bench/enumerate
printf 'package main\n\nfunc main() {}\n' >"$work/empty.go"
CGO_ENABLED=0 go build -o "$work/empty" "$work/empty.go"
floor=false
cc -O2 -o "$work/floor" bench/floor.c && floor=true

# beside ROUNDS COMMAND...: a table of the programs that are there.
beside() {
	local n=$1 all=() c
	shift
	for c in "$@"; do
		command -v "$(set -- ${c#*=}; echo "$1")" >/dev/null && all+=("$c")
	done
	printf '| program | least ms | median ms | x first | peak MiB | |\n| --- | ---: | ---: | ---: | ---: | --- |\n'
	"$work/sidebyside" "$n" "${all[@]}"
}

indy="$work/indy"
quick=("lspci -nnk=lspci -nnk" "indy devices=$indy devices" "indy devices --json=$indy devices --json" "indy groups=$indy groups"
	"lspci -n=lspci -n" "indy version=$indy version" "empty Go program=$work/empty")
if $floor; then quick+=("C floor, one scan=$work/floor /sys 1"); fi
# Some of these take minutes for thousands of functions: "exit status 124" is one.
slow=("lspci -nnk=lspci -nnk" "indy devices=$indy devices" "lshw=timeout 60 lshw -short" "hwinfo --pci=timeout 60 hwinfo --pci --short")

calls() { # COMMAND...: how many system calls
	strace -f -qq -c -o "$work/calls" "$@" >/dev/null 2>&1 || true
	awk '$NF == "total" { print $4 }' "$work/calls"
}

library() { # ROUNDS: the library in a process of its own beside the C floor, in turn
	$floor || return 0
	local i c=() g=()
	for i in 1 2 3 4 5; do
		c+=("$("$work/floor" /sys "$1" | cut -d' ' -f1)")
		g+=("$("$work/enumerate" "$1" | cut -d' ' -f1)")
	done
	printf '%s\n' "${c[@]}" | sort -n | sed -n 3p >"$work/c"
	printf '%s\n' "${g[@]}" | sort -n | sed -n 3p >"$work/g"
	awk -v c="$(cat "$work/c")" -v g="$(cat "$work/g")" 'BEGIN {
		printf "\nLibrary: pci.Functions %.3f ms a scan, C floor %.3f ms: %.2f x\n", g / 1e6, c / 1e6, g / c }'
}

counts() {
	command -v strace >/dev/null || return 0
	printf '\nSystem calls: indy devices %s, lspci -nnk %s\n' "$(calls "$indy" devices)" "$(calls lspci -nnk)"
}

measure() { # TITLE ROUNDS ROUNDS-OF-SLOW-ONES ROUNDS-OF-LIBRARY
	printf '\n## %s\n\n' "$1"
	beside "$2" "${quick[@]}"
	if [ "$3" -gt 0 ]; then
		printf '\n'
		beside "$3" "${slow[@]}"
	fi
	library "$4"
	counts
}

printf '# indy beside its peers\n\n%s, %s processors, Linux %s, %s\n' \
	"$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1)" "$(nproc)" "$(uname -r)" "$(go env GOVERSION)"
measure "This host" "$rounds" $((rounds / 4 + 1)) 200

$root || { printf '\nLarger machines: not measured; making a mount namespace needs root.\n'; exit; }
export -f measure beside library counts calls
for n in 30 3000 30000; do
	"$work/gensysfs" "$work/tree" "$n" 12
	many=$rounds few=0 loops=200
	case $n in
	30) few=$((rounds / 4 + 1)) ;;
	3000) many=$((rounds / 2 + 1)) few=1 loops=15 ;;
	30000) many=3 loops=3 ;;
	esac
	(
		# The functions and arrays of this script go into the namespace with it.
		declare -p quick slow floor work indy >"$work/state"
		unshare -m bash -euo pipefail -c 'mount --bind "$0/tree/sys" /sys && . "$0/state" && measure "$@"' \
			"$work" "$n functions, 12 USB devices" "$many" "$few" "$loops"
	)
	rm -rf "$work/tree"
done
