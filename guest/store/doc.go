// Package store keeps definitions of guests in a directory: each guest has a folder of
// its name with guest.yaml, which is the text as its owner wrote it, and with the disks and
// the UEFI variables that were made for it.
//
// A definition is replaced in one rename, by who has the lock of the directory. What is
// there is read strictly each time; one that is damaged hides no other.
package store
