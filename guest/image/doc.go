// Package image reads the headers of disk images and refuses those that are more than
// they seem: that refer to other files of the host, that need what is not known here, or whose
// tables are made to keep a reader busy.
//
// What an image is is always stated and never guessed: [Check] tells whether it is that. Only
// a few bounded pieces of the file are read, nothing else is opened, and nothing
// is believed that can be checked. A header that passes is no proof that the data are in
// order; QEMU, which reads those, does so confined.
package image
