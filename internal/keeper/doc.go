// Package keeper parts the process of a guest of root's in two: the runner, which speaks with
// QEMU and with whoever asks about the guest, has no rights; its keeper, which is root, reads
// nothing that either of those says. The runner asks it for what takes rights, by a few fixed
// verbs, on a socket that nobody else has; files are handed over open.
//
// The keeper does nothing for its runner that the guest's definition does not say: it opens the
// guest's own files, assigns the devices that it found for the guest's needs, and starts QEMU for
// this guest and no other. When the runner has ended, however it did, the keeper ends what it has
// started for it and gives the devices back.
package keeper
