package hostfs

import (
	"errors"
	"io/fs"
	"strings"
)

// An FS is a host that can be changed. Its reads are those of the underlying
// [fs.FS]; WriteFile writes data to the existing file name in one write(2), never
// creates and never truncates.
type FS interface {
	fs.FS
	WriteFile(name string, data []byte) error
}

// MaxFile is the most that is read of one file, in bytes. Attributes have at most
// a page; tables and lists of names a few megabytes.
const MaxFile = 16 << 20

// ErrTooLarge is the cause when a file or a saved machine is over its bound.
var ErrTooLarge = errors.New("larger than allowed")

// ReadString reads the attribute name and cuts the white space around it, which
// for most attributes is one newline.
func ReadString(fsys fs.FS, name string) (string, error) {
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}

// ReadLinkBase returns the last element of what the link name points to, which is
// how sysfs names drivers, groups and parents.
func ReadLinkBase(fsys fs.FS, name string) (string, error) {
	target, err := fs.ReadLink(fsys, name)
	if err != nil {
		return "", err
	}
	return target[strings.LastIndexByte(target, '/')+1:], nil
}
