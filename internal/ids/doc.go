// Package ids names vendors, devices, subsystems and classes from the system's
// pci.ids and usb.ids.
//
// The lists are sorted, so a name is found by bisecting the bytes of the file;
// nothing is parsed ahead, and a file is read when the first name is asked for. A
// list that is out of order somewhere costs time, not names.
//
// A list is input like any other: names come without control characters and of
// bounded length, whatever the bytes.
package ids
