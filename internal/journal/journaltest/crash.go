package journaltest

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
)

// A Crash is one state in which a crash may leave a disk.
type Crash struct {
	Kind string
	Disk *Disk // nobody has it open, or locked; what is on it stays there
}

// Crashes returns what may be on the disk when everything ends before op, or in the midst
// of it, each state once. A program that is killed leaves what it wrote; when the power
// fails, what was not synced may be lost in whole or in part, and not in the order in
// which it was written. The kinds are
//
//	killed         all is there
//	torn 1, 2, 3   and the first byte of the write that op is, half of it, all but one byte
//	unsynced lost  only what was synced is there
//	names kept     names are as they were last given, of the files what was synced
//	data kept      the files are as written, of the names what was synced
//	later kept     of each file the last write, and not those before it; or of a
//	               single one its second half
//
// The zero Op stands for a crash after all that was done.
func (d *Disk) Crashes(op Op) []Crash {
	d.mu.Lock()
	defer d.mu.Unlock()
	whole := func(f *inode) []byte { return f.data }
	synced := func(f *inode) []byte { return f.saved }
	all := []Crash{{"killed", d.left(d.names, whole)}}
	add := func(kind string, names map[string]*inode, data func(*inode) []byte) {
		c := Crash{kind, d.left(names, data)}
		if !slices.ContainsFunc(all, func(b Crash) bool { return b.Disk.Same(c.Disk) }) {
			all = append(all, c)
		}
	}
	if op.file != nil {
		for i, n := range []int{1, len(op.Data) / 2, len(op.Data) - 1} {
			torn := inode{data: op.file.data}
			torn.write(op.Data[:max(n, 0)], op.off)
			add("torn "+strconv.Itoa(i+1), d.names, func(f *inode) []byte {
				if f == op.file {
					return torn.data
				}
				return f.data
			})
		}
	}
	add("unsynced lost", d.saved, synced)
	add("names kept", d.names, synced)
	add("data kept", d.saved, whole)
	add("later kept", d.names, later)
	return all
}

// later returns what is in f if only its last write reached the disk.
func later(f *inode) []byte {
	if len(f.pending) == 0 {
		return f.saved
	}
	last := f.pending[len(f.pending)-1]
	if len(f.pending) == 1 {
		half := len(last.data) / 2
		last = patch{last.off + int64(half), last.data[half:]}
	}
	part := inode{data: f.saved}
	part.write(last.data, last.off)
	return part.data
}

// left returns a disk with those names, of files with that content, all of it saved.
func (d *Disk) left(names map[string]*inode, data func(*inode) []byte) *Disk {
	c := New()
	c.full, c.made, c.dirs = d.full, d.made, maps.Clone(d.dirs)
	for name, f := range names {
		b := data(f)
		c.names[name] = &inode{data: b, saved: b}
	}
	c.saved = maps.Clone(c.names)
	return c
}

// Same reports whether the same files are on two disks that nobody uses meanwhile.
func (d *Disk) Same(b *Disk) bool {
	return maps.EqualFunc(d.names, b.names, func(f, g *inode) bool { return bytes.Equal(f.data, g.data) })
}

// Clone returns the disk as it is, as if nobody had it open.
func (d *Disk) Clone() *Disk { return d.Crashes(Op{})[0].Disk }

// Files returns the files by path, with their contents.
func (d *Disk) Files() map[string][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	files := map[string][]byte{}
	for name, f := range d.names {
		files[name] = bytes.Clone(f.data)
	}
	return files
}

// Put replaces the content of a file, or makes one, as somebody else's change of it that
// is on the disk.
func (d *Disk) Put(name string, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b := bytes.Clone(data)
	d.names[name] = &inode{data: b, saved: b}
	saved := maps.Clone(d.saved)
	saved[name] = d.names[name]
	d.saved = saved
}
