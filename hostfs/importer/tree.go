package importer

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/project-independence/indy/hostfs"
)

// A builder puts a tree together. Files come first and links last, so that no file
// is written through a link.
type builder struct {
	problems
	tree    *hostfs.Tree
	made    map[string]bool // directories and files
	links   []link
	entries int
	bytes   int
	records int
	found   int // devices that the report tells of
	bound   error
}

type link struct{ name, target string }

func newBuilder() *builder { return &builder{tree: new(hostfs.Tree), made: map[string]bool{}} }

// record counts one more record of the report and says whether it may be read.
func (b *builder) record() bool {
	if b.records++; b.records > maxRecords {
		b.exceed("more than %d records", maxRecords)
	}
	return b.bound == nil
}

func (b *builder) exceed(format string, args ...any) {
	if b.bound == nil {
		b.bound = fmt.Errorf(format+": %w", append(args, hostfs.ErrTooLarge)...)
	}
}

// mkdir makes a directory and those above it.
func (b *builder) mkdir(name string) {
	if b.bound != nil || b.made[name] {
		return
	}
	for dir := name; dir != "." && !b.made[dir]; dir = path.Dir(dir) {
		b.made[dir] = true
		b.count(0)
	}
	if b.bound == nil {
		b.check(b.tree.Mkdir(name))
	}
}

// put writes an attribute, as the kernel with a newline at its end.
func (b *builder) put(name, value string) { b.file(name, value+"\n") }

func (b *builder) file(name, content string) {
	b.mkdir(path.Dir(name))
	if !b.made[name] {
		b.made[name] = true
		b.count(len(content))
	}
	if b.bound == nil {
		b.check(b.tree.Put(name, []byte(content)))
	}
}

// putKnown writes an attribute unless it is empty.
func (b *builder) putKnown(name, value string) {
	if value != "" {
		b.put(name, value)
	}
}

// link notes a link from one place of the machine to another.
func (b *builder) link(name, target string) { b.links = append(b.links, link{name, target}) }

func (b *builder) count(size int) {
	b.entries++
	b.bytes += size
	switch {
	case size > hostfs.MaxFile, b.bytes > hostfs.MaxSaved:
		b.exceed("more than %d bytes of attributes", hostfs.MaxSaved)
	case b.entries > maxEntries:
		b.exceed("more than %d files, links and directories", maxEntries)
	}
}

// check notes a file that is where a directory has to be, which only a path made up
// by somebody asks for.
func (b *builder) check(err error) {
	if err != nil {
		b.add(0, err)
	}
}

// bind links a device to its driver and back.
func (b *builder) bind(bus, dir, driver string) error {
	if driver == "" {
		return nil
	}
	if err := checkElement(driver); err != nil {
		return fmt.Errorf("driver: %w", err)
	}
	drivers := "sys/bus/" + bus + "/drivers/" + driver
	b.link(dir+"/driver", drivers)
	b.link(drivers+"/"+path.Base(dir), dir)
	return nil
}

// onBus links a device from the bus it is on.
func (b *builder) onBus(bus, dir string) {
	b.link("sys/bus/"+bus+"/devices/"+path.Base(dir), dir)
	b.link(dir+"/subsystem", "sys/bus/"+bus)
}

// ofClass links a device from the class it is in.
func (b *builder) ofClass(class, dir string) {
	b.link("sys/class/"+class+"/"+path.Base(dir), dir)
	b.link(dir+"/subsystem", "sys/class/"+class)
}

// finish makes the links. A name that two devices claim stays with the first.
func (b *builder) finish() (*hostfs.Tree, error) {
	made := make(map[string]string, len(b.links))
	for _, l := range b.links {
		if b.bound != nil {
			break
		}
		if other, ok := made[l.name]; ok || b.made[l.name] {
			if other != l.target {
				b.addf(0, "%s belongs to two devices; the first has it", quote(l.name))
			}
			continue
		}
		made[l.name] = l.target
		b.mkdir(path.Dir(l.name))
		b.count(0)
		b.check(b.tree.Symlink(relative(path.Dir(l.name), l.target), l.name))
	}
	if b.bound != nil {
		return nil, b.bound
	}
	if b.found == 0 {
		return nil, errors.Join(b.err(), errors.New("no device in it"))
	}
	return b.tree, b.err()
}

// relative returns the way from the directory dir to target, as the kernel writes
// links.
func relative(dir, target string) string {
	from, to := strings.Split(dir, "/"), strings.Split(target, "/")
	for len(from) > 0 && len(to) > 1 && from[0] == to[0] {
		from, to = from[1:], to[1:]
	}
	return strings.Repeat("../", len(from)) + strings.Join(to, "/")
}
