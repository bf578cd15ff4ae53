//go:build mips || mipsle || mips64 || mips64le || ppc64 || ppc64le || sparc64

package ioctl

// These architectures have three bits of direction, and one of them means none.
const ioNone = 1 << 29
