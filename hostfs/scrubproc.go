package hostfs

import (
	"path"
	"slices"
	"strings"
)

// proc gives what stands for the content of a file below /proc.
func (s *scrubber) proc(name, text string) string {
	switch name {
	case "proc/sys/kernel/hostname":
		v := strings.TrimSpace(text)
		return strings.Replace(text, v, s.host(v), 1)
	case "proc/cmdline":
		return s.cmdline(text)
	case "proc/self/mountinfo":
		return lines(text, s.mount)
	case "proc/self/mounts":
		return lines(text, s.mounted)
	case "proc/swaps":
		return lines(text, s.swap)
	case "proc/net/route":
		return lines(text, s.route)
	case "proc/net/ipv6_route":
		return lines(text, s.route6)
	case "proc/net/fib_trie":
		return lines(text, s.trie)
	case "proc/net/if_inet6":
		return lines(text, s.inet6)
	case "proc/version":
		text = patterns().mail.ReplaceAllString(text, "(builder@host)")
	case "proc/iomem": // where the running kernel lies helps whoever attacks it
		text = patterns().kernel.ReplaceAllString(text, "")
	case "proc/modules":
		text = patterns().pointer.ReplaceAllString(text, "0x0000000000000000")
	case "proc/cpuinfo":
		text = patterns().cpuSerial.ReplaceAllStringFunc(text, func(line string) string {
			m := patterns().cpuSerial.FindStringSubmatch(line)
			return m[1] + s.shaped(m[2])
		})
	}
	if strings.HasPrefix(name, "proc/asound/") {
		text = s.withoutWords(text, s.words)
	}
	return s.forms(text)
}

// lines replaces each line of text by what f gives for it, without its end.
func lines(text string, f func(line string) string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line, ended := strings.CutSuffix(line, "\n")
		b.WriteString(f(line))
		if ended {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// What stands for a value that nobody needs.
const dropped = "..."

// Mount options whose values say nothing of a person.
var keptOptions = map[string]bool{
	"size": true, "nr_inodes": true, "mode": true, "ptmxmode": true, "uid": true, "gid": true, "umask": true, "fmask": true,
	"dmask": true, "errors": true, "commit": true, "compress": true, "discard": true, "data": true, "barrier": true,
	"stripe": true, "sunit": true, "swidth": true, "logbufs": true, "logbsize": true, "xino": true, "redirect_dir": true,
	"index": true, "metacopy": true, "msize": true, "access": true, "trans": true, "cache": true, "rsize": true,
	"wsize": true, "proto": true, "vers": true, "timeo": true, "retrans": true, "codepage": true, "iocharset": true,
	"shortname": true, "user_id": true, "group_id": true, "max_read": true, "blksize": true, "subvolid": true,
	"huge": true, "pagesize": true,
}

// Sources of file systems that are on no disk; so is the kind itself.
var virtualSources = map[string]bool{
	"none": true, "udev": true, "dev": true, "devtmpfs": true, "tmpfs": true, "proc": true, "sysfs": true, "sys": true,
	"run": true, "shm": true, "pts": true, "devpts": true, "cgroup": true, "overlay": true, "root": true, "rootfs": true,
	"systemd-1": true, "sunrpc": true, "binfmt": true, "portal": true, "nsfs": true, "efivarfs": true, "tmp": true,
}

// mount gives what stands for a line of proc_pid_mountinfo(5). One that is none
// stays none.
func (s *scrubber) mount(line string) string {
	f := strings.Fields(line)
	if len(f) == 0 {
		return line
	}
	sep := -1
	for i := 6; i < len(f) && sep < 0; i++ {
		if f[i] == "-" {
			sep = i
		}
	}
	if sep < 0 || len(f) < sep+3 {
		return dropped
	}
	if !patterns().nsfs.MatchString(f[3]) {
		f[3] = s.path(f[3])
	}
	f[4], f[5] = s.path(f[4]), s.options(f[5])
	f[sep+2] = s.mountSource(f[sep+2], f[sep+1])
	for i := sep + 3; i < len(f); i++ {
		f[i] = s.options(f[i])
	}
	return strings.Join(f, " ")
}

// mounted gives what stands for a line of /proc/self/mounts: source, mount point,
// kind, options, and two numbers.
func (s *scrubber) mounted(line string) string {
	f := strings.Fields(line)
	if len(f) < 4 {
		return dropped
	}
	f[0], f[1], f[3] = s.mountSource(f[0], f[2]), s.path(f[1]), s.options(f[3])
	return strings.Join(f, " ")
}

// mountSource gives what stands for where a file system of that kind comes from.
func (s *scrubber) mountSource(source, kind string) string {
	switch {
	case strings.HasPrefix(source, "/dev/"):
		return s.source(source)
	case virtualSources[source], source == kind:
		return source
	}
	return "source-" + s.hash(source, 8)
}

func (s *scrubber) options(v string) string {
	options := strings.Split(v, ",")
	for i, o := range options {
		name, _, hasValue := strings.Cut(o, "=")
		switch {
		case !patterns().option.MatchString(name):
			options[i] = dropped
		case hasValue && !keptOptions[name]:
			options[i] = name + "=" + dropped
		}
	}
	return strings.Join(options, ",")
}

// swap gives what stands for a line of /proc/swaps.
func (s *scrubber) swap(line string) string {
	from, rest := line, ""
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		from, rest = line[:i], line[i:]
	}
	if !strings.HasPrefix(from, "/") {
		return line // the header
	}
	return s.source(from) + rest
}

// source gives what stands for the path of a disk or of a file used as one. Names
// that the kernel gives stay: on them rests which disks the host needs.
func (s *scrubber) source(v string) string {
	below, ok := strings.CutPrefix(v, "/dev/")
	if !ok {
		return s.path(v)
	}
	elems := strings.Split(below, "/")
	switch {
	case len(elems) == 1, s.isBlock(strings.Join(elems, "!")):
		return s.forms(v)
	case elems[0] == "disk" && len(elems) == 3 && strings.HasSuffix(elems[1], "uuid"):
		elems[2] = s.anyUUID(elems[2])
	case elems[0] == "disk" && len(elems) == 3 || elems[0] == "md" && len(elems) == 2:
		elems[len(elems)-1] = s.hash(elems[len(elems)-1], 12)
	case elems[0] == "mapper" && len(elems) == 2:
		elems[1] = s.mapped(elems[1])
	default: // a volume group and a volume
		for i, elem := range elems {
			elems[i] = s.mapped(elem)
		}
	}
	return "/dev/" + strings.Join(elems, "/")
}

func (s *scrubber) isBlock(name string) bool {
	n := s.root
	for _, elem := range []string{"sys", "class", "block", name} {
		if n = n.children[elem]; n == nil {
			return false
		}
	}
	return true
}

// Directories below / that every machine may have; of those with false, what is in
// them was named by a person.
var systemDirs = map[string]bool{
	"boot": true, "efi": true, "dev": true, "proc": true, "sys": true, "run": true, "var": true, "usr": true,
	"lib": true, "lib64": true, "bin": true, "sbin": true, "etc": true, "opt": true, "snap": true, "nix": true, "gnu": true,
	"sysroot": true, "ostree": true, "swap": true, "swapfile": true, "swap.img": true, "@": true, "@root": true, "@var": true, "@swap": true,
	"home": false, "root": false, "tmp": false, "mnt": false, "media": false, "srv": false, "net": false, "@home": false, "Users": false, "export": false,
}

// Directories in /var/lib in which programs keep guests and containers, and images and
// pools of disks for them, by the names that people gave.
var guestDirs = map[string]bool{
	"libvirt": true, "lxc": true, "lxd": true, "incus": true, "machines": true, "docker": true, "containers": true,
	"kubelet": true, "indy": true,
}

// keepsGuests says whether the last of elems is such a directory. Where /var is a file
// system or a subvolume of its own, paths in it begin with /lib, as in /@/var/lib;
// what a program from a snap keeps is in /var/snap/NAME/common.
func keepsGuests(elems []string) bool {
	n := len(elems) - 1
	return n >= 2 && elems[n-1] == "lib" && guestDirs[elems[n]] ||
		n >= 3 && elems[n-2] == "snap" && elems[n] == "common"
}

// path gives what stands for a path: what is below directories that people fill is
// replaced element by element, as are first elements that are not known.
func (s *scrubber) path(v string) string {
	if !strings.HasPrefix(v, "/") {
		return s.hash(v, 8)
	}
	elems := strings.Split(v, "/")
	hide := false
	for i, elem := range elems {
		kept, known := systemDirs[elem]
		switch {
		case elem == "":
		case hide:
			elems[i] = s.hash(elem, 8)
		case known && !kept, elem == "user" && elems[i-1] == "run":
			hide = true
		case i == 1 && !known:
			hide = true
			elems[i] = s.hash(elem, 8)
		case keepsGuests(elems[:i+1]):
			hide = true
		default:
			elems[i] = s.hostName(s.forms(s.withoutWords(elem, s.words)))
		}
	}
	return strings.Join(elems, "/")
}

// hostName replaces elem if it is a name of this host.
func (s *scrubber) hostName(elem string) string {
	for _, h := range s.hosts {
		if strings.EqualFold(elem, h) {
			return s.host(h)
		}
	}
	return elem
}

// Arguments of the kernel whose values are kept: those that begin with a word of
// keptPrefixes, and those of keptArgs.
var (
	keptPrefixes = []string{"iommu", "intel_iommu", "amd_iommu", "vfio", "pci", "kvm", "mitigations", "console",
		"i915.", "xe.", "amdgpu.", "radeon.", "nouveau.", "nvidia", "nvme", "usbcore.", "usbhid.", "snd_", "thunderbolt.",
		"hugepages", "default_hugepagesz", "acpi", "intremap", "x2apic", "irqpoll", "nolapic", "noapic"}
	keptArgs = map[string]bool{"quiet": true, "ro": true, "rw": true, "splash": true, "rootfstype": true, "nomodeset": true,
		"module_blacklist": true, "modprobe.blacklist": true, "rd.driver.blacklist": true, "rd.driver.pre": true,
		"initcall_blacklist": true, "video": true, "efifb": true, "lockdown": true, "mem_sleep_default": true,
		"loglevel": true, "panic": true, "isolcpus": true, "nohz_full": true, "rcu_nocbs": true, "iomem": true, "debug": true}
)

// cmdline keeps of the kernel's arguments the values on which the fate of devices
// depends. All other arguments keep their names; those of init, after --, are one.
func (s *scrubber) cmdline(text string) string {
	args := splitArgs(strings.TrimSpace(text))
	end := slices.Index(args, "--")
	if end >= 0 && end < len(args)-1 {
		args = append(args[:end+1], dropped)
	}
	for i, arg := range args {
		key, v, ok := strings.Cut(strings.Trim(arg, `"`), "=")
		plain := strings.ReplaceAll(key, "-", "_")
		v = strings.Trim(v, `"`)
		kept := keptArgs[key] || slices.ContainsFunc(keptPrefixes, func(prefix string) bool { return strings.HasPrefix(plain, prefix) })
		switch {
		case !ok && kept:
			args[i] = s.forms(key)
		case !ok:
			args[i] = s.hostName(s.forms(key))
		case isHostArg(key):
			args[i] = key + "=" + s.host(v)
		case key == "root" || key == "resume":
			args[i] = key + "=" + s.rootArg(v)
		case key == "BOOT_IMAGE":
			if !strings.HasPrefix(v, "/boot/") {
				v = path.Base(v)
			}
			args[i] = key + "=" + s.forms(v)
		case kept:
			args[i] = s.forms(arg)
		default:
			args[i] = s.forms(key) + "=" + dropped
		}
	}
	out := strings.Join(args, " ")
	if strings.HasSuffix(text, "\n") {
		out += "\n"
	}
	return out
}

func (s *scrubber) rootArg(v string) string {
	kind, id, ok := strings.Cut(v, "=")
	switch {
	case strings.HasPrefix(v, "/dev/"):
		return s.source(v)
	case ok && (kind == "UUID" || kind == "PARTUUID"):
		id, rest, _ := strings.Cut(id, "/") // PARTUUID=ID/PARTNROFF=1
		return strings.TrimSuffix(kind+"="+s.anyUUID(id)+"/"+rest, "/")
	case ok && (kind == "LABEL" || kind == "PARTLABEL" || kind == "ZFS"):
		return kind + "=" + s.hash(id, 8)
	}
	return dropped
}

// splitArgs splits a command line at blanks that are not in double quotes.
func splitArgs(text string) []string {
	quoted := false
	return strings.FieldsFunc(text, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ' ' || r == '\t' || r == '\n')
	})
}
