package qemu

import (
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/internal/jail"
	"github.com/project-independence/indy/pci"
)

// newCell returns the jail of a QEMU, of which command is the stage.
func newCell(m Machine, binary string, command []string) (*cell, error) {
	g, l := m.Guest, m.Layout
	var v view
	v.program(binary)
	v.firmware()
	for _, name := range [...]string{"null", "zero", "random", "urandom"} {
		v.device("/dev/" + name)
	}
	if l.Accelerator == KVM && l.KVM == 0 {
		v.device(kvmNode)
	}
	v.functions(g.Devices)
	for _, node := range g.Input.Evdev {
		v.device(node)
	}
	j := &cell{command: command, limits: cgroups()}
	j.limits.name, j.limits.memory = g.Name, memoryOf(g, l.Accelerator)
	for i, n := range g.NICs {
		// An isolated one reaches nobody, from whichever network.
		if n.Link == guest.LinkNAT && l.NICs[i].FD == 0 && !n.Isolated {
			j.network = true
			v.some("/etc/resolv.conf")
		}
	}
	v.sound(m)
	v.graphics(m)
	if v.err != nil {
		return nil, fmt.Errorf("confine QEMU: %w", v.err)
	}
	j.spec = v.spec()
	// QEMU finds some of what it inherits by this, and libusb which device it has.
	j.spec.Proc = len(l.ROMs) > 0 || len(l.Keys) > 0 || g.HasUSB() || g.Sound.Model != guest.NoSound || g.Graphics == guest.VirGL || g.Screen.Kind == guest.Window
	return j, nil
}

// A view collects what of the host is seen in a jail, each under its own name, with the
// symbolic links that lead to it.
type view struct {
	binds []jail.Bind
	links map[string]string
	err   error
}

// maxFollowed is how many links may lead to a file, as in the kernel.
const maxFollowed = 40

// real follows all links on the way to name, notes them, and returns what it leads to.
func (v *view) real(name string) (string, error) {
	done, left := "/", strings.Split(strings.Trim(filepath.Clean(name), "/"), "/")
	for followed := 0; len(left) > 0; {
		switch part := left[0]; part {
		case "", ".":
			left = left[1:]
			continue
		case "..":
			done, left = filepath.Dir(done), left[1:]
			continue
		}
		at := filepath.Join(done, left[0])
		info, err := os.Lstat(at)
		if err != nil {
			return "", err
		}
		left = left[1:]
		if info.Mode()&fs.ModeSymlink == 0 {
			done = at
			continue
		}
		target, err := os.Readlink(at)
		if err != nil {
			return "", err
		}
		if followed++; followed > maxFollowed {
			return "", &fs.PathError{Op: "open", Path: name, Err: unix.ELOOP}
		}
		if v.links == nil {
			v.links = make(map[string]string)
		}
		v.links[at] = target
		left = append(strings.Split(strings.Trim(target, "/"), "/"), left...)
		if strings.HasPrefix(target, "/") {
			done = "/"
		}
	}
	return done, nil
}

// add makes name seen, which must be there.
func (v *view) add(name string, device bool) {
	at, err := v.real(name)
	if err != nil {
		v.err = errors.Join(v.err, err)
		return
	}
	v.binds = append(v.binds, jail.Bind{From: at, Device: device})
}

// some makes those of the names seen that are there.
func (v *view) some(names ...string) {
	for _, name := range names {
		if _, err := os.Stat(name); err == nil {
			v.add(name, false)
		}
	}
}

func (v *view) device(name string) { v.add(name, true) }

// program makes QEMU seen, and the directories that its libraries come from: it loads
// more of them while it runs than it names.
func (v *view) program(binary string) {
	at, err := v.real(binary)
	if err != nil {
		v.err = errors.Join(v.err, err)
		return
	}
	v.add(binary, false)
	f, err := elf.Open(at)
	if err != nil { // a script in QEMU's place, which may run anything
		v.some("/usr", "/bin", "/sbin", "/lib", "/lib64")
		return
	}
	defer f.Close()
	for _, store := range [...]string{"/nix/store", "/gnu/store"} {
		if strings.HasPrefix(at, store+"/") {
			v.some(store)
		}
	}
	libraries, _ := f.ImportedLibraries() // none in a static one
	if len(libraries) == 0 {
		return
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP && p.Filesz < unix.PathMax {
			name := make([]byte, p.Filesz)
			if _, err := p.ReadAt(name, 0); err == nil {
				v.directory(strings.TrimRight(string(name), "\x00"))
			}
		}
	}
	for _, name := range libraries {
		for _, dir := range [...]string{"/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64", "/lib64", "/usr/lib", "/lib", "/usr/local/lib"} {
			if file := filepath.Join(dir, name); exists(file) {
				v.directory(file)
				break
			}
		}
	}
	v.some("/etc/ld.so.cache")
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// directory makes the directory seen in which the file is that name leads to.
func (v *view) directory(name string) {
	at, err := v.real(name)
	if err != nil {
		v.err = errors.Join(v.err, err)
		return
	}
	v.add(filepath.Dir(at), false)
}

// firmware makes seen what QEMU loads by itself, where distributions have it.
func (v *view) firmware() {
	v.some("/usr/share/qemu", "/usr/share/seabios", "/usr/share/vgabios", "/usr/share/seavgabios", "/usr/share/sgabios",
		"/usr/share/ipxe", "/usr/lib/ipxe", "/usr/share/qemu-kvm", "/usr/local/share/qemu")
}

// functions makes the nodes seen of the groups that the functions are in, and of the
// functions what the kernel says of them.
func (v *view) functions(devices []pci.Address) {
	if len(devices) == 0 {
		return
	}
	v.device("/dev/vfio/vfio")
	groups := make(map[string]bool)
	for _, a := range devices {
		dir := "/sys/bus/pci/devices/" + a.String()
		group, err := os.Readlink(dir + "/iommu_group")
		if err != nil {
			v.err = errors.Join(v.err, err)
			continue
		}
		v.add(dir, false)
		if name := filepath.Base(group); !groups[name] {
			groups[name] = true
			v.device("/dev/vfio/" + name)
		}
	}
}

// sound makes seen what carries the guest's sound.
func (v *view) sound(m Machine) {
	if m.Guest.Sound.Model == guest.NoSound {
		return
	}
	switch m.Layout.Sound {
	case PipeWire, PulseAudio:
		v.some("/usr/share/pipewire", "/etc/pipewire", "/usr/share/alsa", "/etc/pulse")
		for _, name := range [...]string{pipeWire, pulse} {
			if m.Seat.has(name) {
				v.add(filepath.Join(m.Seat.RuntimeDir, name), false)
			}
		}
	case ALSA:
		v.some("/usr/share/alsa", "/etc/alsa", "/etc/asound.conf")
		v.devices("/dev/snd/*")
	}
}

// graphics makes seen what draws the guest's picture on the host.
func (v *view) graphics(m Machine) {
	g := m.Guest
	if g.Graphics == guest.VirGL {
		v.some("/usr/share/glvnd", "/usr/share/drirc.d", "/etc/drirc", "/usr/share/libdrm", "/sys/dev/char")
		node := m.RenderNode
		if node == "" || g.Screen.Kind == guest.Window {
			node = "/dev/dri/*"
		}
		v.devices(node)
		v.some("/sys/devices")
	}
	if g.Screen.Kind != guest.Window {
		return
	}
	v.some("/usr/share", "/etc/fonts", "/etc/gtk-3.0", "/etc/machine-id", "/tmp/.X11-unix")
	if m.Seat.XAuthority != "" {
		v.some(m.Seat.XAuthority)
	}
	if w := m.Seat.Wayland; w != "" {
		v.some(filepath.Join(m.Seat.RuntimeDir, w))
	}
}

// devices makes the character devices seen that match.
func (v *view) devices(pattern string) {
	names, err := filepath.Glob(pattern)
	v.err = errors.Join(v.err, err)
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.Mode()&fs.ModeCharDevice != 0 {
			v.device(name)
		}
	}
}

// spec returns what has been collected, each once, and none inside of another.
func (v *view) spec() (s jail.Spec) {
	slices.SortFunc(v.binds, func(a, b jail.Bind) int { return strings.Compare(a.From+"/", b.From+"/") })
	for _, b := range v.binds {
		if !within(s.Binds, b.From) {
			s.Binds = append(s.Binds, b)
		}
	}
	for name, target := range v.links {
		if !within(s.Binds, name) {
			s.Links = append(s.Links, jail.Link{Name: name, Target: target})
		}
	}
	slices.SortFunc(s.Links, func(a, b jail.Link) int { return strings.Compare(a.Name, b.Name) })
	return s
}

// within reports whether one of the binds is name or above it.
func within(binds []jail.Bind, name string) bool {
	return slices.ContainsFunc(binds, func(b jail.Bind) bool {
		return name == b.From || strings.HasPrefix(name, b.From+"/")
	})
}

// cgroups returns where this process's control group is.
func cgroups() (l limits) {
	const root = "/sys/fs/cgroup"
	var st unix.Statfs_t
	if err := unix.Statfs(root, &st); err != nil || st.Type != unix.CGROUP2_SUPER_MAGIC {
		return l
	}
	l.systemd = exists("/run/systemd/system") // sd_booted(3)
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return l
	}
	for line := range strings.Lines(string(text)) {
		if own, ok := strings.CutPrefix(line, "0::/"); ok {
			l.root, l.own = root, "/"+strings.TrimSpace(own)
		}
	}
	return l
}
