// Package plain makes text plain that was written by others: devices, their firmware,
// the kernel, or whoever made a saved machine. Such text may be endless, in many
// lines, or hold escape codes and marks that turn the direction of writing; what this
// package returns is safe to print on a terminal.
//
// Printable is what [unicode.IsPrint] says: letters, marks, numbers, punctuation,
// symbols, and the ASCII blank as the only blank. Bytes that are no UTF-8 are not.
package plain
