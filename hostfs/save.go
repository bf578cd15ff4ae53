package hostfs

import (
	"compress/gzip"
	"fmt"
	"io"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/klauspost/compress/zstd"
)

// Save writes t to the file path, in the form that the end of path names: .txtar,
// .tar, .tar.gz (or .tgz) or .tar.zst; any other is an error. comment says which
// machine it is and what it shows. The file appears whole or not at all, and only its
// owner may read it. An older saved machine and an empty file are replaced; another
// file, a link, a directory or a device at path is left as it is, and the error is
// [fs.ErrExist]. [Open] reads what was saved.
func Save(path string, t *Tree, comment string) error {
	write, ok := saver(path)
	if !ok {
		return fmt.Errorf("%s: the name says no known form; end it in .txtar, .tar, .tar.gz or .tar.zst", path)
	}
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o600))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer f.Cleanup()
	if err := write(f, t, comment); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := replaceable(path); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func saver(path string) (write func(io.Writer, *Tree, string) error, ok bool) {
	for _, form := range []struct {
		end   string
		write func(io.Writer, *Tree, string) error
	}{
		{".txtar", func(w io.Writer, t *Tree, comment string) error {
			data, err := FormatTxtar(t, comment)
			if err == nil {
				_, err = w.Write(data)
			}
			return err
		}},
		{".tar", writeTar},
		{".tar.gz", saveGzip},
		{".tgz", saveGzip},
		{".tar.zst", func(w io.Writer, t *Tree, comment string) error {
			zw, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderConcurrency(1))
			if err != nil {
				return err
			}
			return finish(zw, t, comment)
		}},
	} {
		if strings.HasSuffix(path, form.end) {
			return form.write, true
		}
	}
	return nil, false
}

func saveGzip(w io.Writer, t *Tree, comment string) error {
	return finish(gzip.NewWriter(w), t, comment)
}

func finish(w io.WriteCloser, t *Tree, comment string) error {
	if err := writeTar(w, t, comment); err != nil {
		w.Close()
		return err
	}
	return w.Close()
}
