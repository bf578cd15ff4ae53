package runner

import (
	"bytes"
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A tape keeps the last of what is written to it, in memory and in a file, and passes it on
// to whoever listens. Writing to it never waits for a listener, and never fails: a file that
// cannot be written is behind, and nothing else.
type tape struct {
	mu      sync.Mutex
	most    int  // bytes that are kept
	lines   bool // what is kept begins with a whole line
	kept    []byte
	file    *os.File
	written int
	lost    int64 // bytes that the file has not got
	ears    map[*ear]struct{}
	closed  bool
}

// An ear is somebody who listens. c is closed at the end of the tape, or when the listener
// was too slow.
type ear struct{ c chan []byte }

// rest returns what is there and was not listened to yet.
func (e *ear) rest() (text []byte) {
	for {
		select {
		case chunk, ok := <-e.c:
			if ok {
				text = append(text, chunk...)
				continue
			}
		default:
		}
		return text
	}
}

// earQueue is how many writes wait for a listener before it is given up.
const earQueue = 1024

// newTape makes a tape with the file name, which is made or emptied.
func newTape(name string, most int, lines bool) (*tape, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	return &tape{most: most, lines: lines, file: f, ears: map[*ear]struct{}{}}, nil
}

// Write keeps p.
func (t *tape) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || len(p) == 0 {
		return len(p), nil
	}
	t.kept = append(t.kept, p...)
	if len(t.kept) > 2*t.most { // not at each write
		t.kept = append(t.kept[:0], t.tail()...)
	}
	t.save(p)
	if len(t.ears) == 0 {
		return len(p), nil
	}
	copied := bytes.Clone(p)
	for e := range t.ears {
		select {
		case e.c <- copied:
		default:
			delete(t.ears, e)
			close(e.c)
		}
	}
	return len(p), nil
}

// tail is the last of what is kept.
func (t *tape) tail() []byte {
	if len(t.kept) <= t.most {
		return t.kept
	}
	tail := t.kept[len(t.kept)-t.most:]
	if i := bytes.IndexByte(tail, '\n'); t.lines && i >= 0 {
		tail = tail[i+1:]
	}
	return tail
}

// save writes p to the file, and begins it anew when it has become too long.
func (t *tape) save(p []byte) {
	if t.written += len(p); t.written > 2*t.most {
		p = t.tail()
		t.written = len(p)
		if err := t.file.Truncate(0); err != nil {
			t.lost += int64(len(p))
			return
		}
		if _, err := t.file.Seek(0, 0); err != nil {
			t.lost += int64(len(p))
			return
		}
	}
	n, _ := t.file.Write(p) // which fails as when the disk is full
	t.lost += int64(len(p) - n)
}

// unsaved is how many bytes the file has not got.
func (t *tape) unsaved() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lost
}

// text returns what is kept.
func (t *tape) text() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.tail())
}

// listen returns what is kept, and what comes after it. Who listens must call hangUp.
func (t *tape) listen() (past []byte, e *ear) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e = &ear{make(chan []byte, earQueue)}
	if t.closed {
		close(e.c)
	} else {
		t.ears[e] = struct{}{}
	}
	return bytes.Clone(t.tail()), e
}

func (t *tape) hangUp(e *ear) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.ears[e]; ok {
		delete(t.ears, e)
		close(e.c)
	}
}

// close ends the tape for all who listen.
func (t *tape) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	for e := range t.ears {
		delete(t.ears, e)
		close(e.c)
	}
	return errors.Join(t.file.Close())
}
