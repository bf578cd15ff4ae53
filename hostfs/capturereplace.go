package hostfs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// replaceable says whether [Save] may put a file in the place of what is at path: of
// nothing, of an empty file, or of an older saved machine, by how it begins. All
// else is somebody's.
func replaceable(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case st.IsDir():
		return fmt.Errorf("%s: is a directory; name a file: %w", path, fs.ErrExist)
	case st.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%s: is a link; name the file itself: %w", path, fs.ErrExist)
	case !st.Mode().IsRegular():
		return fmt.Errorf("%s: %s; name a file: %w", path, kind(st.Mode()), fs.ErrExist)
	case st.Size() == 0:
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if !beginsSaved(f) {
		return fmt.Errorf("%s: is no saved machine; remove it or give another name: %w", path, fs.ErrExist)
	}
	return nil
}

// beginsSaved says whether r begins as a file does that [Save] writes. It reads no
// more than is needed for that.
func beginsSaved(r io.Reader) bool {
	const most = 1 << 20 // a comment is shorter
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return false
	}
	r = io.MultiReader(bytes.NewReader(head), r)
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		zr, err := gzip.NewReader(r)
		if err != nil {
			return false
		}
		r = zr
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		zr, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err != nil {
			return false
		}
		defer zr.Close()
		r = zr
	}
	start, err := io.ReadAll(io.LimitReader(r, most))
	if err != nil && len(start) == 0 {
		return false
	}
	if len(start) >= tarBlock && isTar(start[:tarBlock]) {
		tr := tar.NewReader(bytes.NewReader(start))
		h, err := tr.Next()
		for err == nil && h.Typeflag == tar.TypeXGlobalHeader {
			h, err = tr.Next()
		}
		return err == nil && ofMachine(cleanTarName(h.Name)) || allZero(start) // or one of nothing
	}
	for line := range bytes.Lines(start) {
		if name, ok, _ := marker(bytes.TrimSuffix(line, []byte("\n"))); ok {
			return ofMachine(name)
		}
	}
	return false
}

// ofMachine says whether name is below a directory that the kernel fills.
func ofMachine(name string) bool {
	top, _, _ := strings.Cut(name, "/")
	return top == "dev" || top == "proc" || top == "sys"
}
