// Package cli is the command indy: its words, flags, text, JSON and exit codes.
// It is the only package that prints, reads the environment or knows exit codes.
package cli
