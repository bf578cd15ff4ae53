// Package journaltest is a disk in memory that can crash: it keeps apart what is on the
// disk and what a program has only been told, and says what a crash at each of its
// operations may leave.
package journaltest
