package hostfs

import (
	"bytes"
	"io"
	"io/fs"
)

// Open opens name for reading. The content is read at once, so a file that grows
// shows what it held then.
func (h *Host) Open(name string) (fs.File, error) {
	st, err := h.Stat(name)
	if err != nil {
		return nil, err
	}
	return openFile(h, name, st)
}

type reader interface {
	fs.ReadFileFS
	fs.ReadDirFS
}

// openFile makes an fs.File of what ReadFile or ReadDir gives, which is how every
// door here opens: attributes are small and are read whole.
func openFile(fsys reader, name string, st fs.FileInfo) (fs.File, error) {
	if st.IsDir() {
		entries, err := fsys.ReadDir(name)
		if err != nil {
			return nil, err
		}
		return &dirFile{st, entries}, nil
	}
	data, err := fsys.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return &file{st, *bytes.NewReader(data)}, nil
}

type file struct {
	st fs.FileInfo
	bytes.Reader
}

func (f *file) Stat() (fs.FileInfo, error) { return f.st, nil }
func (f *file) Close() error               { return nil }

type dirFile struct {
	st   fs.FileInfo
	rest []fs.DirEntry
}

func (d *dirFile) Stat() (fs.FileInfo, error) { return d.st, nil }
func (d *dirFile) Close() error               { return nil }
func (d *dirFile) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.st.Name(), Err: fs.ErrInvalid}
}

func (d *dirFile) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 || n > len(d.rest) {
		if n > 0 && len(d.rest) == 0 {
			return nil, io.EOF
		}
		n = len(d.rest)
	}
	entries := d.rest[:n]
	d.rest = d.rest[n:]
	return entries, nil
}
