package hostfs

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// ReadTar reads a saved machine from a tar archive: files, directories and links;
// hard links to an earlier file become copies, device nodes, pipes and sockets are
// left out. A leading ./ is cut. Absolute names, names with .. and names that occur
// twice are errors. The result is within [MaxSaved], [MaxEntries] and [MaxFile],
// else the error is [ErrTooLarge]; what would be over a bound is not read. An
// archive without its end mark is cut off, which is an error; r is read to its end,
// so that one which checks a sum at the end does so.
func ReadTar(r io.Reader) (*Tree, error) {
	b := newBuilder()
	in := &bounded{r: r, left: maxStream}
	tr := tar.NewReader(in)
	for n := 1; ; n++ {
		in.mark()
		h, err := tr.Next()
		if err == io.EOF {
			err := in.end()
			if err == io.ErrUnexpectedEOF {
				err = fmt.Errorf("the archive is cut off after %d entries; make it again", n-1)
			}
			if err != nil {
				return nil, err
			}
			return b.tree(), nil
		}
		if err == nil {
			if n > MaxEntries {
				return nil, fmt.Errorf("more than %d entries: %w", MaxEntries, ErrTooLarge)
			}
			err = b.addTar(h, tr)
		}
		if err != nil {
			if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = fmt.Errorf("%w; the archive is damaged or cut short, make it again", err)
			}
			return nil, fmt.Errorf("entry %d: %w", n, err)
		}
	}
}

func (b *builder) addTar(h *tar.Header, r io.Reader) error {
	name := cleanTarName(h.Name)
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		if err := checkName(name); err != nil {
			return err
		}
		if err := b.reserve(name, h.Size); err != nil {
			return err
		}
		data := make([]byte, h.Size)
		if _, err := io.ReadFull(r, data); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("file %s: %w", quoteShort(name), err)
		}
		return b.add(name, &node{data: data})
	case tar.TypeDir:
		name = strings.TrimRight(name, "/")
		if name == "" && !strings.HasPrefix(h.Name, "/") || name == "." {
			return nil // the root
		}
		return b.add(name, &node{children: map[string]*node{}})
	case tar.TypeSymlink:
		if err := checkTarget(name, h.Linkname); err != nil {
			return err
		}
		return b.add(name, &node{target: h.Linkname})
	case tar.TypeLink:
		target := cleanTarName(h.Linkname)
		if err := checkName(target); err != nil {
			return fmt.Errorf("hard link %s: %w", quoteShort(name), err)
		}
		first := b.file(target)
		if first == nil {
			return fmt.Errorf("hard link %s to %s, which is no file before it in the archive", quoteShort(name), quoteShort(target))
		}
		if err := b.reserve(name, int64(len(first.data))); err != nil {
			return err
		}
		return b.add(name, &node{data: first.data})
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo, tar.TypeXGlobalHeader:
		return nil
	}
	return fmt.Errorf("entry %s is of the unknown type %q; make the archive of files, directories and links", quoteShort(name), h.Typeflag)
}

func cleanTarName(name string) string {
	for strings.HasPrefix(name, "./") {
		name = strings.TrimLeft(name[2:], "/")
	}
	return name
}

// WriteTar writes t as a tar archive that [ReadTar] reads: entries in the order of
// their names, without times and owners, so the same tree gives the same bytes.
func WriteTar(w io.Writer, t *Tree) error { return writeTar(w, t, "") }

func writeTar(w io.Writer, t *Tree, comment string) error {
	tw := tar.NewWriter(w)
	if comment != "" {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": comment}}); err != nil {
			return fmt.Errorf("comment: %w", err)
		}
	}
	err := t.visit(func(name string, n *node) error {
		if err := checkName(name); err != nil {
			return err
		}
		h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(n.data))}
		switch {
		case n.children != nil:
			h.Name, h.Typeflag, h.Mode = name+"/", tar.TypeDir, 0o755
		case n.target != "":
			h.Typeflag, h.Mode, h.Linkname = tar.TypeSymlink, 0o777, n.target
		}
		if err := tw.WriteHeader(h); err != nil {
			return fmt.Errorf("%s: %w", quoteShort(name), err)
		}
		_, err := tw.Write(n.data)
		return err
	})
	if err != nil {
		return err
	}
	return tw.Close()
}

// A bounded reader fails once more than left bytes were read from it. It knows
// whether a tar archive that seems to end has its end mark.
type bounded struct {
	r     io.Reader
	left  int64
	read  int64
	next  int64 // where the header after the entry before begins
	zeros int64 // how many of the bytes read last are zero
}

const tarBlock = 512

// mark is called when the data of an entry was read, before the next header is.
func (b *bounded) mark() { b.next = (b.read + tarBlock - 1) / tarBlock * tarBlock }

// end reads what follows the end of an archive. The error is [io.ErrUnexpectedEOF]
// if that has no end mark, which is two blocks of zeros, of which some writers
// leave out the second.
func (b *bounded) end() error {
	marked := b.zeros >= tarBlock && b.read-b.next >= tarBlock
	if _, err := io.Copy(io.Discard, b); errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("after the last entry: %w; the archive is damaged or cut short, make it again", err)
	} else if err != nil {
		return fmt.Errorf("after the last entry: %w", err)
	}
	if !marked {
		return io.ErrUnexpectedEOF
	}
	return nil
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("more than %d bytes unpacked: %w", maxStream, ErrTooLarge)
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	b.read += int64(n)
	if zeros := n - len(bytes.TrimRight(p[:n], "\x00")); zeros < n {
		b.zeros = int64(zeros)
	} else {
		b.zeros += int64(zeros)
	}
	return n, err
}
