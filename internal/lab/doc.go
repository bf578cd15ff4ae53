// Package lab is the emulated laptop: a real Linux kernel with a real IOMMU, real
// IOMMU groups and real VFIO, started under QEMU's software emulation on any
// machine, with no need for virtualisation, for root or for special hardware.
//
// [Open] finds what it is made of, [Lab.Run] boots it, runs one command inside as
// root on this machine's own files, and returns the command's exit status. Nothing
// the command writes reaches this machine, except into [Machine.Out].
//
// # What is inside
//
//	01:00.0                   e1000e behind a root port; resets: pm, bus
//	02:00.0                   NVMe behind a root port; resets: flr, bus
//	03:00.0, 04:01.0, 04:02.0 PCIe-to-PCI bridge, e1000, HD Audio: one group of three
//	05:00.0                   igb with 7 virtual functions; resets: flr, pm, bus
//	00:10.0                   virtio GPU
//	00:14.0                   xHCI with a keyboard and a tablet
//	00:1b.0                   HD Audio
//	00:1f.0, 00:1f.2, 00:1f.3 LPC, AHCI, SMBus: one group of three
//
// That is with an Intel IOMMU; [Topology] tells the others, with an AMD IOMMU, with
// none, with a PCIe switch and without ACS, and with a second PCI domain.
//
// There is one processor: with two, emulated kernels have been seen to hang. The
// network is QEMU's user network, restricted, so nothing is reached through it.
//
// # How it works
//
// The initial file system is busybox, the kernel's modules and a script. It mounts
// this machine's root over 9p, read-only, puts a scratch layer in memory over it
// and runs the command there. Three serial lines lead out: the console, the
// command's output, and its exit status, so nothing that the command prints can
// be taken for its status.
//
// [SelfTest] uses it to prove that devices go to a guest and come back.
package lab
