package hostfs

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
)

// CaptureOptions says what [Capture] takes and what it hides. The zero value takes
// what the reading commands need and hides what names a person or one machine.
type CaptureOptions struct {
	// Config also takes the configuration space of every function, and with Raw its
	// vital product data, which is little but serial numbers. Reading them may wake a
	// sleeping device; without root config space is 64 bytes.
	Config bool
	// Wake also takes what the kernel says of a sleeping function only after it has
	// woken it: the speed of its link, sizes of its BARs, its codecs. Of functions
	// that are awake these are always taken. A saved machine is awake.
	Wake bool
	// Raw keeps everything as it is, serial numbers, addresses and names among it.
	Raw bool
	// Salt keys the replacements: the same salt gives the same ones in every
	// capture. Empty means a random one that is thrown away.
	Salt []byte
}

// Comment says, for the beginning of the saved machine, what a capture with these
// options holds and hides.
func (o CaptureOptions) Comment() string {
	if o.Raw {
		return "Nothing is hidden: serial numbers, MAC addresses, UUIDs and host names are the machine's own.\n"
	}
	return `Replaced: serial numbers, MAC and IP addresses, UUIDs, identifiers of machines and disks,
host names, labels of disks, names of partitions, of Bluetooth devices and of other
computers, where network file systems come from, and in paths what people name: what
is below /home, /media, /mnt, /srv, /tmp and the like. What was equal is equal still.
Left out: where the kernel lies in memory, vital product data and ROMs of functions,
and of mount options and kernel arguments the values that say nothing of devices.
Kept: models, addresses on buses, drivers, groups, mount points of the system, which
interface has which kind of route, names of interfaces and of volumes otherwise.
`
}

// Capture copies from fsys what the reading commands and the simulated kernel need
// of a machine: no more than [MaxSaved] bytes and [MaxEntries] entries, attributes
// that wake no function, device nodes and attributes that can only be written as
// empty files. Unless opts.Raw is set, what names a person or this one machine is
// replaced; see [CaptureOptions.Comment]. Option ROMs are never taken.
//
// It may block: for some attributes, as driver_override, sriov_numvfs and a USB
// device's configuration, kernels take the device's lock, and whoever reads them
// waits while a driver is bound to the device or taken off it, for ever if that hangs.
//
// Like a directory listing it gives what could be read, with an error joined from
// an [*fs.PathError] for each name that could not be; who is not root may not read
// some. What is not there is no error. Over a bound the tree is nil and the error
// is [ErrTooLarge].
func Capture(fsys fs.FS, opts CaptureOptions) (*Tree, error) {
	c := &capturer{fsys: fsys, b: newBuilder(), noted: map[string]bool{}}
	for _, r := range captureRules {
		c.rule(r)
	}
	c.wakes, c.wake = true, opts.Wake || opts.Config
	for _, r := range wakingRules {
		c.rule(r)
	}
	c.wakes = false
	c.instead()
	c.above()
	if opts.Config {
		c.rule(captureRule{dir: "sys/bus/pci/devices/*", names: "config"})
		if opts.Raw {
			c.rule(captureRule{dir: "sys/bus/pci/devices/*", names: "vpd"})
		}
	}
	if c.bound != nil {
		return nil, c.bound
	}
	if !opts.Raw {
		salt := slices.Clone(opts.Salt)
		if len(salt) == 0 {
			salt = make([]byte, 32)
			_, _ = rand.Read(salt) // never fails
		}
		b, err := newScrubber(salt, &c.b.root).scrub()
		if err != nil {
			return nil, err
		}
		c.b = b
	}
	return c.b.tree(), errors.Join(c.errs...)
}

type capturer struct {
	fsys  fs.FS
	b     *builder
	wakes bool // what is taken now may wake a function
	wake  bool // and that is wanted

	listed  string // the directory listed last
	entries []fs.DirEntry

	noted map[string]bool
	errs  []error
	bound error // set when a bound was passed: nothing more is read
}

func (c *capturer) rule(r captureRule) {
	names := strings.Fields(r.names)
	first, rest, _ := strings.Cut(r.dir, "/")
	switch {
	case first == "proc" && !strings.Contains(r.dir, "*"):
		// Links there are the reader's own (proc/self); the names are what counts.
		for _, name := range names {
			c.file(r.dir + "/" + name)
		}
	case rest == "":
		c.names(first, names)
	default:
		c.expand(first, strings.Split(rest, "/"), names)
	}
}

// instead takes what other saved machines have in place of what is read here.
func (c *capturer) instead() {
	if !c.b.has("proc/self/mountinfo") {
		c.file("proc/self/mounts")
	}
	const class, old = "sys/class/block/*", "sys/block/*"
	if c.b.has("sys/class/block") || !c.b.has("sys/block") {
		return
	}
	for _, r := range captureRules {
		if below, ok := strings.CutPrefix(r.dir, class); ok {
			c.rule(captureRule{dir: old + below, names: r.names})
		}
	}
	c.rule(captureRule{dir: old + "/*[0-9]", names: "uevent dev size ro partition holders/*"})
}

// above takes of every device on the way to what was taken which one it is and what
// drives it: class devices hang on buses that have no rule, as platform and I2C.
func (c *capturer) above() {
	devices := c.b.find("sys/devices")
	if devices == nil {
		return
	}
	var dirs []string
	_ = devices.visit("sys/devices/", func(name string, n *node) error {
		if n.children != nil && !strings.HasPrefix(name, "sys/devices/system/") {
			dirs = append(dirs, name)
		}
		return nil
	})
	for _, dir := range dirs {
		c.names(dir, []string{"uevent", "modalias", "driver", "subsystem", "path", "firmware_node/path"})
	}
}

// asleep says whether what rules of wakingRules name in dir, a path without links,
// would wake a function or find it without power.
func (c *capturer) asleep(dir string) bool {
	function, codec := dir, true
	switch {
	case strings.HasPrefix(dir, "proc/"):
		function = "sys/class/sound/" + path.Base(dir) + "/device"
	case strings.Contains(path.Base(dir), "hdaudio"): // hdaudioC0D0, ehdaudio0D0
		function = path.Dir(dir)
	default:
		codec = false
	}
	read := func(name string) string {
		s, _ := ReadString(c.fsys, function+"/"+name) // unknown when it cannot be read
		return s
	}
	state := read("power_state")
	switch {
	case codec:
		return state == "D3cold"
	case state == "D0":
		return false
	case strings.HasPrefix(state, "D"):
		return true
	}
	return strings.HasPrefix(read("power/runtime_status"), "suspend")
}

// expand finds the directories below dir that match elems and takes names in each.
// dir is a path without links.
func (c *capturer) expand(dir string, elems, names []string) {
	if len(elems) == 0 {
		switch {
		case !c.wakes || c.wake || !c.asleep(dir):
			c.names(dir, names)
		case slices.Contains(names, bridgeMark):
			c.mark(dir + "/" + bridgeMark)
		}
		return
	}
	for _, base := range c.match(dir, elems[0]) {
		if at, ok := c.enter(dir, base); ok {
			c.expand(at, elems[1:], names)
		}
	}
}

// match lists what in dir matches pattern; a pattern without wildcards is not
// looked for.
func (c *capturer) match(dir, pattern string) []string {
	if !strings.ContainsAny(pattern, "*[") {
		return []string{pattern}
	}
	if c.listed != dir {
		entries, err := fs.ReadDir(c.fsys, dir)
		c.note(err)
		c.listed, c.entries = dir, entries
	}
	var found []string
	for _, e := range c.entries {
		if ok, _ := path.Match(pattern, e.Name()); ok {
			found = append(found, e.Name())
		}
	}
	return found
}

// enter takes the directory base in dir, or the link and the directory it points
// to, and returns that directory's path.
func (c *capturer) enter(dir, base string) (string, bool) {
	if c.bound != nil {
		return "", false
	}
	name := dir + "/" + base
	for range maxLinks {
		st, err := fs.Lstat(c.fsys, name)
		if err != nil {
			c.note(err)
			return "", false
		}
		switch {
		case st.IsDir():
			c.add(name, &node{children: map[string]*node{}})
			return name, true
		case st.Mode()&fs.ModeSymlink == 0:
			return "", false
		}
		target := c.link(name)
		if target == "" {
			return "", false
		}
		if !strings.HasPrefix(target, "/") {
			target = path.Join("/", path.Dir(name), target)
		}
		if name = strings.TrimPrefix(path.Clean(target), "/"); !fs.ValidPath(name) {
			return "", false
		}
	}
	return "", false
}

// names takes what names match in dir, which is a path without links.
func (c *capturer) names(dir string, names []string) {
	for _, pattern := range names {
		pattern, isDir := strings.CutSuffix(pattern, "/")
		elems := strings.Split(pattern, "/")
		c.below(dir, elems, isDir)
	}
}

func (c *capturer) below(dir string, elems []string, isDir bool) {
	for _, base := range c.match(dir, elems[0]) {
		name := dir + "/" + base
		switch {
		case c.bound != nil:
			return
		case len(elems) > 1:
			st, err := fs.Lstat(c.fsys, name)
			c.note(err)
			switch {
			case err != nil:
			case st.IsDir():
				c.below(name, elems[1:], isDir)
			case st.Mode()&fs.ModeSymlink != 0: // as firmware_node
				if to, ok := c.enter(dir, base); ok {
					c.below(to, elems[1:], isDir)
				}
			}
		case isDir:
			if st, err := fs.Lstat(c.fsys, name); err == nil && st.IsDir() {
				c.add(name, &node{children: map[string]*node{}})
			}
		default:
			c.take(name)
		}
	}
}

// take takes name itself: a link as a link, an attribute with what it says.
func (c *capturer) take(name string) {
	if c.b.has(name) {
		return
	}
	st, err := fs.Lstat(c.fsys, name)
	switch {
	case err != nil:
		c.note(err)
	case st.Mode()&fs.ModeSymlink != 0:
		c.link(name)
	case st.IsDir():
		c.add(name, &node{children: map[string]*node{}})
	case !st.Mode().IsRegular(), st.Mode().Perm()&0o444 == 0:
		c.add(name, &node{})
	default:
		c.file(name)
	}
}

// Functions with this attribute are bridges, whatever it says.
const bridgeMark = "secondary_bus_number"

// mark takes only that name is there.
func (c *capturer) mark(name string) {
	if _, err := fs.Lstat(c.fsys, name); err == nil {
		c.add(name, &node{})
	} else {
		c.note(err)
	}
}

func (c *capturer) link(name string) string {
	target, err := fs.ReadLink(c.fsys, name)
	if err != nil {
		c.note(err)
		return ""
	}
	c.add(name, &node{target: target})
	return target
}

func (c *capturer) file(name string) {
	data, err := fs.ReadFile(c.fsys, name)
	if err != nil {
		c.note(err)
		return
	}
	c.add(name, &node{data: data})
}

// add places n unless an earlier rule did.
func (c *capturer) add(name string, n *node) {
	if c.bound != nil || c.b.has(name) {
		return
	}
	err := c.b.reserve(name, int64(len(n.data)))
	if err == nil {
		err = c.b.add(name, n)
	}
	switch {
	case errors.Is(err, ErrTooLarge):
		c.bound = fmt.Errorf("capture: %w", err)
	case err != nil:
		c.note(&fs.PathError{Op: "capture", Path: name, Err: err})
	}
}

// note keeps an error unless it says that something is not there or has no value
// now, as the speed of an interface that is down.
func (c *capturer) note(err error) {
	for _, harmless := range []error{fs.ErrNotExist, syscall.ENOTDIR, syscall.EINVAL, syscall.ENODEV, syscall.ENXIO, syscall.ENODATA, syscall.EOPNOTSUPP} {
		if err == nil || errors.Is(err, harmless) {
			return
		}
	}
	if what := err.Error(); !c.noted[what] { // two rules may meet the same
		c.noted[what] = true
		c.errs = append(c.errs, err)
	}
}

func (b *builder) has(name string) bool { return b.find(name) != nil }

// find returns what stands at name, a path without links; nil for nothing.
func (b *builder) find(name string) *node {
	n := &b.root
	for elem := range strings.SplitSeq(name, "/") {
		if n = n.children[elem]; n == nil {
			return nil
		}
	}
	return n
}
