// Package journal keeps records in files that survive a crash at any instruction.
//
// A file is created whole, with its first record and a reserve of zero bytes that are
// allocated on the disk, and then only appended to in place. So an append changes
// nothing but the bytes after the last record, and cannot fail for want of space while
// the reserve lasts: what is begun can be noted to its end on a full disk. Append
// returns when the record is on the disk.
//
// One record is one line: 16 hexadecimal digits of the SHA-256 of its JSON, a blank, the
// JSON, a newline. What a crash leaves of a record that was being appended is no damage,
// the file is that of before. Anything else that is not as it was written is a
// [*DamageError], which comes with the records before it: a damaged file is never taken
// for one that says nothing.
//
// All that changes a disk goes through [Disk], so that a test can crash at each of them.
package journal
