// Package broker makes calls into the kernel that may never return: writes to the files
// by which drivers let go of devices, take them, and reset them, and reads that wait for
// those. A driver whose unbind waits for a program to close its device waits for ever if
// the program does not, and neither a signal nor the end of the process stops it.
//
// Each call is made by a process of its own, which makes many, one after the other: a copy
// of this one that opens files, or, for what takes more than that, this program started
// anew. One that has not come back at its deadline is given up, with its process; the device it was
// about is not touched again, and calls about others go on. The process dies once the
// kernel lets go of it, whether anybody still waits for that or not.
package broker
