package ids

import (
	"io"
	"os"
)

// pageSize is how much of a file is read at once: one system call, and few enough
// bytes that a search by halves does not read what it skips.
const pageSize = 16 << 10

// pages reads a file by and by into the place that its bytes have in data: the names
// of one laptop need a fraction of a list.
type pages struct {
	file io.ReaderAt
	have []bool // by page
}

// openPages is nil when a file cannot be read so; it is then read whole.
func openPages(f *os.File) (*pages, int) {
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || st.Size() <= 0 || st.Size() > maxFile {
		return nil, 0
	}
	size := int(st.Size())
	return &pages{f, make([]bool, (size+pageSize-1)/pageSize)}, size
}

// load makes data good from lo to hi. What cannot be read stays zero, which names
// nothing: a list is replaced as a whole, not written to, so only a broken disk does that.
func (l *list) load(lo, hi int) {
	if l.pages == nil {
		return
	}
	for page := lo / pageSize; page*pageSize < hi; page++ {
		if !l.pages.have[page] {
			l.pages.have[page] = true
			at := page * pageSize
			_, _ = l.pages.file.ReadAt(l.data[at:min(at+pageSize, len(l.data))], int64(at))
		}
	}
}
