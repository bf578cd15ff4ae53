// Package qemu runs a [guest.Guest] under QEMU, in the foreground of the program
// that starts it: no daemon, no libvirt, and QEMU ends when the program does.
//
// [Start] opens what the guest needs, starts QEMU without rights of its own, and
// returns when the guest's processors run; [VM.Stop] ends it, whatever state it is
// in. [Probe] says whether KVM can be used, by running a guest on it. [Args] is
// the command line as a pure function.
//
// # Confinement
//
// QEMU never runs as root. It has no capabilities, no environment but that of a
// [Seat] it uses, no terminal and QEMU's own system call filter. Disks, UEFI firmware,
// QMP, the serial console, USB devices, tap interfaces and each viewer's connection
// are descriptors that were opened for it, so beyond what everybody may read it
// needs the devices in /dev/vfio alone; see [Options.User]. What it opens by itself
// besides: the sockets of a seat, the node that draws for guest.VirGL, the nodes of
// guest.Input, and for ALSA those of the sound card.
//
// With [Options.Jail] it does not see what everybody may read either: it has a root
// with its own files and the guest's devices, no other process, no network but what it
// inherits open, and limits of memory where the host lets them be set. [VM.Confinement]
// says what is in force.
//
// # Helpers
//
// passt, swtpm and virtiofsd run beside QEMU, one each for what they serve, as the
// same user and with no more rights. They end with the guest. What this host or its
// QEMU lacks is told before anything is started; see [CheckHost] and [Ask].
//
// # Arguments
//
// What QEMU takes as JSON is given as JSON. The options that have no such form are
// written in one place, which doubles commas. Formats of disks are given and never
// probed, and no file that an image refers to is opened.
package qemu
