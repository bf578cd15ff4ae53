package laptop

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/plain"
)

// label returns what a person calls a block device: dm-1 (LVM vg-home), md0 (raid1).
// It reads what the device says of itself once.
func (b *blocks) label(name string) string {
	if s, ok := b.labels[name]; ok {
		return s
	}
	read := func(attribute string) string {
		s, err := hostfs.ReadString(b.fsys, b.dir+"/"+name+"/"+attribute)
		if err != nil {
			b.unread("name of "+name, err)
		}
		return plain.Line(s, 128)
	}
	var words []string
	switch {
	case strings.HasPrefix(name, "dm-"):
		words = []string{mapperKind(read("dm/uuid")), read("dm/name")}
	case strings.HasPrefix(name, "md") && b.byName[name] != nil && b.byName[b.byName[name].parent] == nil: // no partition
		words = []string{read("md/level")}
	}
	s := name
	if what := strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " "); what != "" {
		s += " (" + what + ")"
	}
	b.labels[name] = s
	return s
}

// mapperKind says what made a device of the device mapper, from its UUID: each program
// puts its own name before, and kpartx the number of the partition. It is empty for one
// that is not known.
func mapperKind(uuid string) string {
	if number, rest, ok := strings.Cut(uuid, "-"); ok && numbered(number, "part") {
		if kind := mapperKind(rest); kind != "" {
			return "partition of " + kind
		}
		return "partition"
	}
	for _, k := range []struct{ prefix, kind string }{
		{"CRYPT-LUKS", "LUKS"}, {"CRYPT-PLAIN-", "dm-crypt"}, {"CRYPT-VERITY-", "verity"}, {"CRYPT-INTEGRITY-", "integrity"},
		{"CRYPT-BITLK-", "BitLocker"}, {"CRYPT-TCRYPT-", "TrueCrypt"}, {"CRYPT-FVAULT2-", "FileVault"}, {"CRYPT-", "dm-crypt"},
		{"LVM-", "LVM"}, {"mpath-", "multipath"}, {"DMRAID-", "firmware RAID"}, {"stratis-", "Stratis"},
	} {
		if strings.HasPrefix(uuid, k.prefix) {
			return k.kind
		}
	}
	return ""
}

// hibernation adds to h where the host would put its hibernation image: what
// /sys/power/resume says, or where that names nothing, what the command line does.
func (h *hostUses) hibernation(b *blocks) error {
	h.imageKnown = true
	text, err := hostfs.ReadString(b.fsys, "sys/power/resume")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.imageKnown = false
		return fmt.Errorf("place of the hibernation image: %w", err)
	}
	number, ok := "", true
	if err == nil {
		number, ok = parseResume(text)
	}
	use := Use{Code: Hibernation, Via: []string{"hibernation image"}, Evidence: "sys/power/resume"}
	name := ""
	switch {
	case !ok:
		h.imageKnown = false
		return fmt.Errorf("place of the hibernation image: sys/power/resume is %q", plain.Short(text))
	case number != "":
		if name, ok = b.numbered(number); !ok {
			h.imageKnown = false
			return nil
		}
		offset, err := hostfs.ReadString(b.fsys, "sys/power/resume_offset")
		if err != nil {
			b.unread("place of the hibernation image", err)
		} else if n, err := strconv.ParseUint(offset, 10, 64); err == nil && n != 0 {
			use.Via[0] = "hibernation image in a swap file"
		}
	default:
		cmdline, err := fs.ReadFile(b.fsys, "proc/cmdline")
		if err != nil {
			b.unread("place of the hibernation image", err)
			h.imageKnown = errors.Is(err, fs.ErrNotExist)
			return nil
		}
		place, offset := resumeArgument(string(cmdline))
		if place == "" {
			return nil
		}
		if name, ok = b.named(place); !ok {
			// The kernel writes an image only to swap space in use, which is
			// followed by itself; that it would look there at the next start is
			// no use of a disk now.
			h.imageName = place
			return nil
		}
		use.Evidence = "proc/cmdline"
		if offset {
			use.Via[0] = "hibernation image in a swap file"
		}
	}
	if !h.follow(b, name, use, map[string]bool{}) {
		h.imageKnown = false
	}
	return nil
}

// parseResume reads /sys/power/resume, MAJOR:MINOR. The number is empty for 0:0, by
// which the kernel says that no device is set.
func parseResume(text string) (number string, ok bool) {
	major, minor, found := strings.Cut(text, ":")
	high, err1 := strconv.ParseUint(major, 10, 12)
	low, err2 := strconv.ParseUint(minor, 10, 20)
	if !found || err1 != nil || err2 != nil {
		return "", false
	}
	if high == 0 && low == 0 {
		return "", true
	}
	return fmt.Sprintf("%d:%d", high, low), true
}

// resumeArgument returns the last resume= of a command line, empty when there is none
// or the kernel is told not to resume, and whether it is a file on that device.
func resumeArgument(cmdline string) (place string, offset bool) {
	for _, arg := range strings.Fields(cmdline) {
		key, value, _ := strings.Cut(arg, "=")
		switch {
		case key == "--": // what follows is for init
			return place, offset
		case key == "resume":
			place = strings.Trim(value, `"`)
		case key == "resume_offset":
			offset = value != "0"
		case arg == "noresume", arg == "nohibernate", arg == "hibernate=no", arg == "hibernate=noresume":
			return "", false
		}
	}
	return place, offset
}

// named returns the block device that a kernel argument such as resume= names: a path,
// a number, or an identity of which udev made a link.
func (b *blocks) named(place string) (name string, ok bool) {
	if number, ok := parseResume(place); ok && number != "" {
		return b.numbered(number)
	}
	if strings.HasPrefix(place, "/dev/") {
		return b.below(mount{source: place})
	}
	kind, id, ok := strings.Cut(place, "=")
	switch kind {
	case "UUID", "PARTUUID", "LABEL", "PARTLABEL":
		if ok && !strings.ContainsAny(id, "/") {
			return b.linked("disk/by-" + strings.ToLower(kind) + "/" + id)
		}
	}
	return "", false
}

// usesElsewhere is what is mounted where the reader of a mount table does not see it.
type usesElsewhere struct {
	uses    []Use
	unknown []unknownMount
	errs    []error
}

// An unknownMount is one of which the disks are not known, and the file that says so.
type unknownMount struct{ what, table string }

// elsewhere follows mounts in the namespaces of others to the disks, but for those that
// are mounted for the reader, too.
func (b *blocks) elsewhere(mounted map[string]bool, mounts []mountElsewhere) usesElsewhere {
	var found usesElsewhere
	h := hostUses{}
	seen := map[string]bool{}
	before := len(b.errs)
	for _, m := range mounts {
		name, known := b.below(m.mount)
		where := fmt.Sprintf("%s in the mount namespace of process %d", m.what, m.pid)
		switch {
		case name != "" && !mounted[name] && !seen[name]:
			known = h.follow(b, name, Use{Code: HostDisk, Via: []string{where}, Evidence: m.table}, map[string]bool{})
		case name != "":
			continue
		}
		if !known && !seen[m.source] {
			found.unknown = append(found.unknown, unknownMount{oneLine(where + ": " + b.why(m.mount)), m.table})
		}
		seen[name], seen[m.source] = true, true
	}
	found.uses, found.errs = h.uses, slices.Concat(h.errs, b.errs[before:])
	for i := range found.uses {
		u := &found.uses[i]
		u.What, u.Node = oneLine(u.What), oneLine(u.Node)
	}
	return found
}
