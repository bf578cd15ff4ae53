package ioctl

// The bits of a request, as in asm-generic/ioctl.h.
const (
	sizeShift = 16
	sizeMask  = 1<<14 - 1
)

// IO returns the request of number nr of the driver of the given type, for which
// the kernel's headers write _IO(type, nr).
func IO(typ, nr uint8) uint { return ioNone | uint(typ)<<8 | uint(nr) }

// encodedSize returns how many bytes the request itself says it copies. Requests
// without a direction say 0, and tell the kernel in the data, as VFIO's argsz.
func encodedSize(req uint) int { return int(req >> sizeShift & sizeMask) }
