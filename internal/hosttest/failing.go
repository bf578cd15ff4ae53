package hosttest

import (
	"io/fs"

	"github.com/project-independence/indy/hostfs"
)

// A Failing is a tree on which reading fails where Fail says so, with the error it gives.
type Failing struct {
	*hostfs.Tree
	Fail func(name string) error
}

// ReadFile gives the content of name, or what Fail does.
func (f Failing) ReadFile(name string) ([]byte, error) {
	if err := f.Fail(name); err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return f.Tree.ReadFile(name)
}

// ReadDir gives the entries of name, or what Fail does.
func (f Failing) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := f.Fail(name); err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	return f.Tree.ReadDir(name)
}

// ReadLink gives the target of name, or what Fail does.
func (f Failing) ReadLink(name string) (string, error) {
	if err := f.Fail(name); err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return f.Tree.ReadLink(name)
}

// Stat gives the description of name, or what Fail does.
func (f Failing) Stat(name string) (fs.FileInfo, error) {
	if err := f.Fail(name); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return f.Tree.Stat(name)
}
