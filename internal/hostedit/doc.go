// Package hostedit changes a few words in the host's own configuration files and takes
// exactly that back: a kernel parameter in /etc/default/grub, a module in a list.
//
// An [Edit] says which words belong into which file. [Editor.Prepare] reads the files
// and says what would change, [Change.Diff] shows it, and [Editor.Apply] does it: what
// was there is recorded and on disk before the file is replaced, in one rename, with its
// mode, owner and attributes kept. [Editor.PrepareUndo] and [Editor.Undo] take back what
// is recorded. When a file was changed by others since, they take out only the words
// that were added and keep the rest.
//
// What a record stands for is told from the file itself: a crash between record and
// edit, or between undo and record, leaves nothing to be repaired, and the next Apply or
// Undo drops the record. Processes take turns by a lock.
//
// Files are parsed strictly, by their [Kind]. One that is not understood in full, such
// as a shell file with logic in it, is left alone: the error is a *[NotUnderstoodError]
// that names the line.
//
// Files are below Root, and so are the targets of their links, as in a chroot.
package hostedit
