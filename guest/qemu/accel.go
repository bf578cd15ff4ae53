package qemu

import "fmt"

// An Accelerator is what runs the guest's processors.
type Accelerator int

// The accelerators.
const (
	// Auto is what Probe finds.
	Auto Accelerator = iota
	// KVM is the processor itself.
	KVM
	// TCG is emulation by QEMU, which works everywhere and is ten times slower or more.
	TCG
)

// String returns "auto", "kvm" or "tcg".
func (a Accelerator) String() string {
	switch a {
	case Auto:
		return "auto"
	case KVM:
		return "kvm"
	case TCG:
		return "tcg"
	}
	return fmt.Sprintf("Accelerator(%d)", int(a))
}
