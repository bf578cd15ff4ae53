package hostfs

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"
)

// A Saved is a saved machine. Close lets go of what it holds open; nothing may be
// read from it afterwards.
type Saved interface {
	fs.ReadFileFS
	fs.ReadDirFS
	fs.ReadLinkFS
	io.Closer
}

// Open opens the machine saved at path: a directory, a txtar, or a tar archive,
// plain or packed with gzip, zstd or bzip2. The content says which, not the name.
// A file is read whole and closed; see [ParseTxtar] and [ReadTar] for what it may
// hold. Errors begin with path.
func Open(path string) (Saved, error) { return OpenWith(path, nil) }

// OpenWith opens as [Open] does, and gives a file that is text and no txtar to
// report, which makes a machine of it or says why not. When report gives a machine and
// an error, the machine is what could be read, and both are returned.
func OpenWith(path string, report func(text []byte) (*Tree, error)) (Saved, error) {
	// A pipe is not waited for: it is refused below.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		return OpenDir(path)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %s; expected a directory, a txtar or a tar archive", path, kind(st.Mode()))
	}
	t, err := readSaved(f, report)
	if err != nil {
		err = fmt.Errorf("%s: %w", path, err)
	}
	if t == nil {
		return nil, err
	}
	return t, err
}

func kind(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "is a pipe"
	case m&fs.ModeDevice != 0:
		return "is a device node"
	}
	return "is not a regular file"
}

const wanted = "expected a directory, a txtar, or a tar archive, plain or packed with gzip, zstd or bzip2"

// readSaved finds by its first bytes what r holds, and reads it. The tree is nil if
// nothing of it could be read.
func readSaved(r io.Reader, report func([]byte) (*Tree, error)) (*Tree, error) {
	br := bufio.NewReaderSize(r, 64<<10)
	head, err := br.Peek(512)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if err := refuse(head); err != nil {
		return nil, err
	}
	if u, err := unpack(br, head); err != nil {
		return nil, err
	} else if u != nil {
		defer u.close()
		return u.readTar()
	}
	if isTar(head) {
		t, err := ReadTar(br)
		if err != nil {
			return nil, err
		}
		return t, nil
	}
	if bytes.IndexByte(head, 0) >= 0 {
		return nil, errors.New("is neither text nor a tar archive; " + wanted)
	}
	return readText(br, report)
}

// refuse says of what begins with head that it is no saved machine, if that is plain.
func refuse(head []byte) error {
	switch {
	case len(head) == 0:
		return errors.New("the file is empty; " + wanted)
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		return errors.New("packed with xz; unpack it, or pack it with zstd or gzip")
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		return errors.New("is a zip archive; " + wanted)
	case bytes.HasPrefix(head, []byte("\x7fELF")):
		return errors.New("is a program; " + wanted)
	}
	return nil
}

// An unpacker reads what is packed in a file.
type unpacker struct {
	*bufio.Reader
	packer string
	close  func()
}

// unpack opens what br holds if head, its first bytes, says that it is packed; else
// the unpacker is nil.
func unpack(br *bufio.Reader, head []byte) (*unpacker, error) {
	nothing := func() {}
	switch {
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		zr, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("gzip: %w; the archive is damaged, make it again", err)
		}
		return &unpacker{bufio.NewReader(zr), "gzip", nothing}, nil
	case bytes.HasPrefix(head, []byte("\x28\xb5\x2f\xfd")):
		// A window of 128 MiB is what zstd --ultra needs; the decoder holds no more.
		zr, err := zstd.NewReader(br, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(128<<20), zstd.WithDecoderMaxMemory(maxStream))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		return &unpacker{bufio.NewReader(zr), "zstd", zr.Close}, nil
	case bytes.HasPrefix(head, []byte("BZh")):
		return &unpacker{bufio.NewReader(bzip2.NewReader(br)), "bzip2", nothing}, nil
	}
	return nil, nil
}

// readTar reads the archive inside, which is all that may be packed.
func (u *unpacker) readTar() (*Tree, error) {
	head, err := u.Peek(512)
	if err != nil && err != io.EOF {
		return nil, unpackError(u.packer, err)
	}
	if !isTar(head) {
		return nil, fmt.Errorf("packed with %s, but not a tar archive inside; %s", u.packer, wanted)
	}
	t, err := ReadTar(u)
	if err != nil {
		return nil, unpackError(u.packer, err)
	}
	return t, nil
}

// readText reads a txtar, and gives any other text to report unless that is nil.
func readText(r io.Reader, report func([]byte) (*Tree, error)) (*Tree, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxStream+1))
	if err != nil {
		return nil, err
	}
	t, _, err := ParseTxtar(data)
	switch {
	case err != nil:
		return nil, err
	case len(t.root.children) > 0:
		return t, nil
	case report != nil:
		return report(data)
	}
	return nil, errors.New("is text without a line like \"-- sys/class/dmi/id/product_name --\"; " + wanted)
}

func unpackError(packed string, err error) error {
	var corrupt bzip2.StructuralError
	switch {
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		return fmt.Errorf("zstd: %w: %w", err, ErrTooLarge)
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, zstd.ErrCRCMismatch), errors.Is(err, zstd.ErrMagicMismatch), errors.As(err, &corrupt):
		return fmt.Errorf("%s: %w; the archive is damaged, make it again", packed, err)
	}
	return fmt.Errorf("%s: %w", packed, err)
}

// isTar says whether head is the first header of a tar archive, by its magic or,
// for archives older than that, by its checksum.
func isTar(head []byte) bool {
	if len(head) < 512 {
		return false
	}
	if string(head[257:262]) == "ustar" {
		return true
	}
	field := bytes.Trim(head[148:156], " \x00")
	want, err := strconv.ParseInt(string(field), 8, 64)
	if err != nil || want == 0 {
		return allZero(head)
	}
	sum := int64(0)
	for i, c := range head[:512] {
		if i >= 148 && i < 156 {
			c = ' '
		}
		sum += int64(c)
	}
	return sum == want
}

// allZero is true of an archive without entries.
func allZero(b []byte) bool { return len(bytes.Trim(b, "\x00")) == 0 }
