package hostfs

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// A scrubber replaces what names a person or one machine, by values derived from
// it with a secret: what was equal is equal still.
type scrubber struct {
	salt    []byte
	root    *node
	serials map[string]string // each serial number found, and what it becomes
	order   []string          // the serials that are replaced wherever they occur, longest first
	hosts   map[string]string
}

// Files whose whole content is an identity.
var identityFiles = map[string]bool{
	"serial": true, "product_serial": true, "board_serial": true, "chassis_serial": true, "product_uuid": true,
	"board_asset_tag": true, "chassis_asset_tag": true, "wwid": true, "nguid": true, "eui": true, "cid": true,
	"subsysnqn": true, "hostnqn": true, "hostid": true, "unique_id": true, "guid": true, "serial_number": true, "uniq": true,
}

// Serial numbers that are none.
var noSerial = map[string]bool{
	"": true, "0": true, "none": true, "n/a": true, "default string": true, "not specified": true, "not applicable": true,
	"system serial number": true, "to be filled by o.e.m.": true, "unknown": true, "no asset tag": true, "0123456789": true,
}

func newScrubber(salt []byte, root *node) *scrubber {
	s := &scrubber{salt: salt, root: root, serials: map[string]string{}, hosts: map[string]string{}}
	_ = root.visit("", func(name string, n *node) error {
		switch {
		case n.children != nil || n.target != "":
		case isIdentity(name, n.data):
			s.addSerial(strings.TrimSpace(string(n.data)))
		case name == "proc/sys/kernel/hostname":
			s.addHost(strings.TrimSpace(string(n.data)))
		case name == "proc/cmdline":
			for _, m := range patterns().hostArg.FindAllSubmatch(n.data, -1) {
				s.addHost(string(m[1]))
			}
		case path.Base(name) == "uevent":
			for _, m := range patterns().uevent.FindAllSubmatch(n.data, -1) {
				s.addSerial(strings.TrimSpace(string(m[2])))
			}
		}
		return nil
	})
	for serial := range s.serials {
		// A short one would be found in what has nothing to do with it.
		if len(serial) >= 8 && strings.ContainsAny(serial, "0123456789") {
			s.order = append(s.order, serial)
		}
	}
	slices.SortFunc(s.order, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return s
}

// isIdentity says whether the content of the file name is an identity as a whole.
// The serial number of a root hub is its controller's address and stays.
func isIdentity(name string, data []byte) bool {
	v := strings.TrimSpace(string(data))
	if strings.HasSuffix(name, "/md/uuid") {
		return true // four numbers with colons; other files of that name have UUIDs
	}
	return strings.HasPrefix(name, "sys/") && identityFiles[path.Base(name)] && !noSerial[strings.ToLower(v)] &&
		!patterns().address.MatchString(v) && !strings.HasPrefix(path.Base(path.Dir(name)), "usb")
}

func (s *scrubber) addSerial(v string) {
	if noSerial[strings.ToLower(v)] || patterns().mac.MatchString(v) || patterns().uuid.MatchString(v) || patterns().address.MatchString(v) {
		return // those have patterns of their own, or are none
	}
	s.serials[v] = "SCRUBBED" + strings.ToUpper(s.hash(v, 12))
}

func (s *scrubber) addHost(h string) {
	if h != "" && h != "(none)" && h != "localhost" {
		s.hosts[h] = "host-" + s.hash(h, 8)
	}
}

// hash gives n hexadecimal digits that stand for v.
func (s *scrubber) hash(v string, n int) string {
	m := hmac.New(sha256.New, s.salt)
	m.Write([]byte(v))
	return hex.EncodeToString(m.Sum(nil))[:n]
}

// scrub returns the tree with everything replaced, in names and targets too.
func (s *scrubber) scrub() (*builder, error) {
	b := newBuilder()
	err := s.root.visit("", func(name string, n *node) error {
		c := &node{}
		switch {
		case n.children != nil:
			c.children = map[string]*node{}
		case n.target != "":
			c.target = s.text(n.target)
		default:
			c.data = s.content(name, n.data)
		}
		name = s.text(name)
		if err := b.reserve(name, int64(len(c.data))); err != nil {
			return err
		}
		return b.add(name, c)
	})
	return b, err
}

func (s *scrubber) content(name string, data []byte) []byte {
	base := path.Base(name)
	switch {
	case len(data) == 0 || base == "descriptors" || base == "config" || strings.HasPrefix(name, "sys/firmware/acpi/tables/"):
		return data // binary, without identities
	case base == "edid":
		return s.edid(data)
	case name == "proc/net/ipv6_route":
		return patterns().ipv6.ReplaceAllFunc(data, func(a []byte) []byte { return []byte(s.ipv6(string(a))) })
	case isIdentity(name, data):
		v := strings.TrimSpace(string(data))
		if to, ok := s.serials[v]; ok {
			return bytes.Replace(data, []byte(v), []byte(to), 1)
		}
	}
	text := string(data)
	if base == "uevent" {
		text = patterns().uevent.ReplaceAllStringFunc(text, func(line string) string {
			m := patterns().uevent.FindStringSubmatch(line)
			if to, ok := s.serials[strings.TrimSpace(m[2])]; ok {
				return m[1] + to
			}
			return line
		})
	}
	if strings.HasPrefix(name, "proc/") || strings.Contains(name, "/dm/") || strings.HasSuffix(name, "/backing_file") {
		for _, pattern := range []*regexp.Regexp{patterns().home, patterns().media} {
			text = pattern.ReplaceAllStringFunc(text, func(p string) string {
				m := pattern.FindStringSubmatch(p)
				return m[1] + s.hash(m[2], 8)
			})
		}
		for _, h := range slices.Sorted(maps.Keys(s.hosts)) {
			text = replaceWord(text, h, s.hosts[h])
		}
	}
	switch name {
	case "proc/version":
		text = patterns().mail.ReplaceAllString(text, "(builder@host)")
	case "proc/iomem": // where the running kernel lies helps whoever attacks it
		text = patterns().kernel.ReplaceAllString(text, "")
	case "proc/modules":
		text = patterns().pointer.ReplaceAllString(text, "0x0000000000000000")
	}
	return []byte(s.text(text))
}

// replaceWord replaces word in text where no letter, digit or _ is beside it.
func replaceWord(text, word, to string) string {
	inWord := func(c byte) bool {
		return c == '_' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
	}
	var b strings.Builder
	for at := 0; ; {
		i := strings.Index(text[at:], word)
		if i < 0 {
			b.WriteString(text[at:])
			return b.String()
		}
		i += at
		end := i + len(word)
		b.WriteString(text[at:i])
		if i > 0 && inWord(text[i-1]) || end < len(text) && inWord(text[end]) {
			b.WriteString(word)
		} else {
			b.WriteString(to)
		}
		at = end
	}
}

// text replaces what has a form of its own, and every serial number.
func (s *scrubber) text(v string) string {
	for _, serial := range s.order {
		v = strings.ReplaceAll(v, serial, s.serials[serial])
	}
	v = patterns().mac.ReplaceAllStringFunc(v, s.mac)
	v = patterns().macName.ReplaceAllStringFunc(v, func(m string) string { return m[:3] + s.macDigits(m[3:]) })
	v = patterns().uuid.ReplaceAllStringFunc(v, s.uuid)
	v = patterns().lvm.ReplaceAllStringFunc(v, func(m string) string { return "LVM-" + s.hash(m, 32) + s.hash(m[4:], 32) })
	v = patterns().id.ReplaceAllStringFunc(v, func(m string) string { return m[:len(m)-32] + s.hash(m[len(m)-32:], 32) })
	return patterns().short.ReplaceAllStringFunc(v, func(m string) string {
		at := strings.IndexAny(m, "=/") + 1
		if patterns().uuid.MatchString(m) {
			return m // replaced above
		}
		return m[:at] + shaped(m[at:], s.hash(strings.ToLower(m[at:]), 64))
	})
}

// mac replaces an address by a locally administered one, in the case it had. The
// addresses of nobody and of everybody stay.
func (s *scrubber) mac(m string) string {
	digits := strings.ToLower(strings.ReplaceAll(m, ":", ""))
	if strings.Trim(digits, "0") == "" || strings.Trim(digits, "f") == "" {
		return m
	}
	to := s.macDigits(digits)
	if m != strings.ToLower(m) {
		to = strings.ToUpper(to)
	}
	var b strings.Builder
	for i := 0; i < len(to); i += 2 {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(to[i : i+2])
	}
	return b.String()
}

func (s *scrubber) macDigits(digits string) string { return "02" + s.hash(digits, 62)[:len(digits)-2] }

func (s *scrubber) uuid(v string) string {
	if strings.Trim(v, "0-") == "" {
		return v
	}
	to := shaped(v, s.hash(strings.ToLower(v), 64))
	if v != strings.ToLower(v) {
		to = strings.ToUpper(to)
	}
	return to
}

// shaped puts digits where v has any, and keeps v's dashes.
func shaped(v, digits string) string {
	out := []byte(v)
	for i, n := 0, 0; i < len(out) && n < len(digits); i++ {
		if out[i] != '-' {
			out[i] = digits[n]
			n++
		}
	}
	return string(out)
}

// ipv6 keeps what kind of address it is: none, loopback, link-local, multicast.
func (s *scrubber) ipv6(a string) string {
	const zeros = "00000000000000000000000000000000"
	switch {
	case a[:31] == zeros[:31], strings.HasPrefix(a, "ff"):
		return a
	case a[16:] == zeros[16:] && strings.HasPrefix(a, "fe80"):
		return a
	case strings.HasPrefix(a, "fe80"):
		return a[:16] + s.hash(a[16:], 16)
	}
	return "fd" + s.hash(a, 30)
}
