package journaltest

import "syscall"

// A handle is an open file. Its lock is its own, as that of an open file description is.
type handle struct {
	disk   *Disk
	file   *inode
	name   string
	closed bool
}

func (f *inode) write(b []byte, off int64) {
	data := make([]byte, max(int64(len(f.data)), off+int64(len(b))))
	copy(data, f.data)
	copy(data[off:], b)
	f.data = data
	f.pending = append(f.pending[:len(f.pending):len(f.pending)], patch{off, append([]byte(nil), b...)})
}

func (h *handle) ReadAll(limit int64) ([]byte, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if h.closed {
		return nil, fail("read", h.name, syscall.EBADF)
	}
	return append([]byte(nil), h.file.data[:min(int64(len(h.file.data)), limit+1)]...), nil
}

func (h *handle) WriteAt(b []byte, off int64) error {
	op := Op{Name: "write", Path: h.name, Data: b, off: off, file: h.file}
	return h.disk.do(op, off+int64(len(b)) > h.size(), h.use(func() { h.file.write(b, off) }))
}

func (h *handle) Allocate(size int64) error {
	more := size - h.size()
	return h.disk.do(Op{Name: "allocate", Path: h.name}, more > 0, h.use(func() {
		if more > 0 {
			h.file.write(make([]byte, more), size-more)
		}
	}))
}

func (h *handle) Sync() error {
	return h.disk.do(Op{Name: "sync", Path: h.name}, false, h.use(func() {
		h.file.saved, h.file.pending = h.file.data, nil
	}))
}

func (h *handle) TryLock() (ok bool, err error) {
	err = h.disk.do(Op{Name: "lock", Path: h.name}, false, h.use(func() {
		holder := h.disk.held[h.file]
		ok = holder == nil || holder == h
		if ok {
			h.disk.held[h.file] = h
		}
	}))
	return ok, err
}

func (h *handle) Linked() (bool, error) {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	return h.disk.names[h.name] == h.file, nil
}

func (h *handle) Close() error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if h.closed {
		return fail("close", h.name, syscall.EBADF)
	}
	h.closed = true
	if h.disk.held[h.file] == h {
		delete(h.disk.held, h.file)
	}
	return nil
}

func (h *handle) size() int64 {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	return int64(len(h.file.data))
}

func (h *handle) use(f func()) func() error {
	return func() error {
		if h.closed {
			return syscall.EBADF
		}
		f()
		return nil
	}
}
