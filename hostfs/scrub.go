package hostfs

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"path"
	"slices"
	"strings"
)

// A scrubber replaces what names a person or one machine, by values derived from
// it with a secret: what was equal is equal still.
//
// Serial numbers and names are what a device or a person says, and may be any text:
// they are looked for only in files that are known to repeat them and on which no
// decision rests. In all else, and in names of files, only what has the form of an
// identity is replaced (see forms).
type scrubber struct {
	salt    []byte
	root    *node
	serials map[string][]string // the serial numbers of each directory that are found as words
	words   []string            // all of them, longest first
	plain   map[string]string   // what they are without signs, to what they are
	macs    map[string]bool     // the addresses of interfaces, twelve digits each
	kinds   map[string]bool     // UUIDs that name a kind of thing, in lower case
	hosts   []string            // names of this host, in lower case, longest first
}

// Files whose whole content is an identity.
var identityFiles = map[string]bool{
	"serial": true, "product_serial": true, "board_serial": true, "chassis_serial": true, "product_uuid": true,
	"board_asset_tag": true, "chassis_asset_tag": true, "wwid": true, "nguid": true, "eui": true, "cid": true,
	"subsysnqn": true, "hostnqn": true, "hostid": true, "unique_id": true, "guid": true, "serial_number": true, "uniq": true,
}

// Files that say in words what the device in the same directory is.
var productFiles = map[string]bool{
	"product": true, "manufacturer": true, "configuration": true, "interface": true, "name": true, "model": true,
	"device_name": true, "vendor_name": true, "model_name": true, "id": true, "label": true,
}

// Serial numbers that are none.
var noSerial = map[string]bool{
	"": true, "0": true, "none": true, "n/a": true, "default string": true, "not specified": true, "not applicable": true,
	"system serial number": true, "to be filled by o.e.m.": true, "unknown": true, "no asset tag": true, "0123456789": true,
}

// Names of hosts that are words of their own, too.
var commonHosts = map[string]bool{
	"(none)": true, "localhost": true, "dev": true, "sys": true, "proc": true, "run": true, "home": true, "mnt": true,
	"boot": true, "tmp": true, "var": true, "usr": true, "etc": true, "root": true, "swap": true, "disk": true,
	"media": true, "srv": true, "opt": true, "efi": true, "mapper": true,
}

func newScrubber(salt []byte, root *node) *scrubber {
	s := &scrubber{salt: salt, root: root, serials: map[string][]string{}, plain: map[string]string{}, macs: map[string]bool{}, kinds: map[string]bool{}}
	_ = root.visit("", func(name string, n *node) error {
		if kind := kindUUID(name); kind != "" {
			s.kinds[kind] = true
		}
		v := strings.TrimSpace(string(n.data))
		switch {
		case n.children != nil || n.target != "":
		case name == "proc/sys/kernel/hostname":
			s.addHost(v)
		case name == "proc/cmdline":
			for _, arg := range splitArgs(v) {
				if key, host, _ := strings.Cut(arg, "="); isHostArg(key) {
					s.addHost(host)
				}
			}
		case isIdentity(name, n.data) && looksSerial(v):
			s.addWord(path.Dir(name), v)
		case path.Base(name) == "ieee1284_id":
			for _, f := range strings.Split(v, ";") {
				if key, id, _ := strings.Cut(f, ":"); isSerialField(key) && looksSerial(strings.TrimSpace(id)) {
					s.addWord(path.Dir(path.Dir(name)), strings.TrimSpace(id))
				}
			}
		case path.Base(name) == "address" || path.Base(name) == "macaddress":
			if digits := strings.ReplaceAll(v, ":", ""); len(digits) == 12 && strings.Trim(digits, "0") != "" && patterns().mac.FindString(v) == v {
				s.macs[strings.ToLower(digits)] = true
			}
		}
		return nil
	})
	s.words, s.hosts = longestFirst(s.words), longestFirst(s.hosts)
	return s
}

// addWord notes a serial number of the device in dir. Sound cards are named after
// devices without the signs in their names.
func (s *scrubber) addWord(dir, v string) {
	found := []string{v}
	if plain := onlyAlnum(v); plain != v && looksSerial(plain) {
		s.plain[plain] = v
		found = append(found, plain)
	}
	s.serials[dir] = append(s.serials[dir], found...)
	s.words = append(s.words, found...)
}

func onlyAlnum(v string) string {
	return strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' || 'a' <= r|0x20 && r|0x20 <= 'z' {
			return r
		}
		return -1
	}, v)
}

// kindUUID returns the UUID in the last element of a name when it is one that says
// what a thing is, the same on all machines: of a WMI interface, as in
// wmi_bus-PNP0C14:00/9DBB5994-A997-11DA-B012-B622A1EF5492, or of a client of the
// management engine, 0000:00:16.0-UUID.
func kindUUID(name string) string {
	dir, base := path.Split(name)
	at := patterns().uuid.FindStringIndex(base)
	if at == nil {
		return ""
	}
	before, isClient := strings.CutSuffix(base[:at[0]], "-")
	if isClient && patterns().address.MatchString(before) || at[0] == 0 && strings.HasPrefix(path.Base(dir), "wmi_bus") {
		return strings.ToLower(base[at[0]:at[1]])
	}
	return ""
}

func longestFirst(words []string) []string {
	slices.SortFunc(words, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	return slices.Compact(words)
}

// addHost adds the name of a host and, of one with a domain, the short name.
func (s *scrubber) addHost(h string) {
	h = strings.ToLower(strings.Trim(h, `"`))
	short, _, _ := strings.Cut(h, ".")
	for _, name := range []string{h, short} {
		if name != "" && !commonHosts[name] {
			s.hosts = append(s.hosts, name)
		}
	}
}

func isHostArg(key string) bool { return key == "hostname" || key == "systemd.hostname" }

// host gives the name that stands for the host h. It has no dash, which LVM would double.
func (s *scrubber) host(h string) string {
	if h == "" || h == "(none)" || strings.EqualFold(h, "localhost") {
		return h
	}
	return "host" + s.hash(strings.ToLower(h), 8)
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

// looksSerial says whether v can be told from other words where it is repeated.
func looksSerial(v string) bool {
	if len(v) < 6 || !patterns().serial.MatchString(v) || !strings.ContainsAny(v, "0123456789") {
		return false
	}
	if patterns().number.MatchString(v) && (len(v) < 10 || strings.ContainsAny(v, ":.-xX")) {
		return false // a number, an address
	}
	distinct := map[rune]bool{}
	for _, r := range v {
		distinct[r] = true
	}
	return len(distinct) >= 4
}

// hash gives n hexadecimal digits that stand for v.
func (s *scrubber) hash(v string, n int) string {
	m := hmac.New(sha256.New, s.salt)
	m.Write([]byte(v))
	return hex.EncodeToString(m.Sum(nil))[:n]
}

// serial gives what stands for the identity v. What is a UUID or a MAC address as
// a whole keeps its form, because others repeat it in that form, as adapters do that
// have the address of their interface, without colons, for a serial number.
func (s *scrubber) serial(v string) string {
	if whole, ok := s.plain[v]; ok {
		return s.serial(whole)
	}
	switch {
	case s.macs[strings.ToLower(v)]:
		if v != strings.ToLower(v) {
			return strings.ToUpper(s.macDigits(strings.ToLower(v)))
		}
		return s.macDigits(v)
	case noSerial[strings.ToLower(v)], patterns().address.MatchString(v):
		return v
	case patterns().mac.FindString(v) == v && !strings.HasSuffix(v, "_"), patterns().uuid.FindString(v) == v:
		return s.forms(v)
	}
	return "SCRUBBED" + strings.ToUpper(s.hash(v, 12))
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
			c.target = s.name(n.target)
		default:
			c.data = s.content(name, n.data)
		}
		name = s.name(name)
		if err := b.reserve(name, int64(len(c.data))); err != nil {
			return err
		}
		return b.add(name, c)
	})
	return b, err
}

// content gives what stands for the content of the file name.
func (s *scrubber) content(name string, data []byte) []byte {
	base, dir, text := path.Base(name), path.Dir(name), string(data)
	v := strings.TrimSpace(text)
	whole := func(to string) []byte { return bytes.Replace(data, []byte(v), []byte(to), 1) }
	switch {
	case len(data) == 0 || base == "descriptors" || strings.HasPrefix(name, "sys/firmware/acpi/tables/"):
		return data // binary, without identities
	case base == "config":
		return withoutSerial(data)
	case base == "edid":
		return s.edid(data)
	case base == "bos_descriptors":
		return s.bos(data)
	case strings.HasPrefix(name, "proc/"):
		return []byte(s.proc(name, text))
	case v == "":
		return data
	case isIdentity(name, data):
		return whole(s.serial(v))
	case base == "address" && strings.Contains(v, "="):
		return whole(s.fabric(v))
	case base == "uevent":
		return []byte(s.uevent(dir, text))
	case strings.HasSuffix(name, "/dm/name"):
		return whole(s.mapped(v))
	case strings.HasSuffix(name, "/dm/uuid"):
		return whole(s.mappedID(v))
	case strings.HasSuffix(name, "/loop/backing_file"), base == "backing_dev":
		return whole(s.source(v))
	case base == "ieee1284_id":
		return whole(s.printer(v, s.near(dir)))
	case base == "name" && s.isBluetooth(dir), (base == "device_name" || base == "vendor_name") && s.isPeer(dir):
		return whole(base + " " + s.hash(v, 8))
	case productFiles[base]:
		return []byte(s.forms(s.withoutWords(text, s.near(dir))))
	}
	return []byte(s.forms(text))
}

// uevent replaces in the lines KEY=VALUE of the directory dir what the keys say
// is an identity or a name.
func (s *scrubber) uevent(dir, text string) string {
	bluetooth := s.isBluetooth(dir) || strings.Contains(text, "HID_ID=0005:")
	var b strings.Builder
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		plain := strings.TrimSpace(strings.Trim(value, `"`))
		to := plain
		switch named := key == "NAME" || key == "HID_NAME"; {
		case !ok || plain == "":
			to = ""
		case patterns().serialKey.MatchString(key):
			to = s.serial(plain)
		case strings.HasPrefix(key, "NVME_") && key != "NVME_TRTYPE":
			to = s.fabricField(strings.ToLower(strings.TrimPrefix(key, "NVME_")), plain)
		case key == "PARTNAME":
			to = "part" + s.hash(plain, 8)
		case key == "INTERFACE" || key == "POWER_SUPPLY_NAME": // the name of dir
			to = s.element(plain)
		case named && bluetooth:
			to = "name " + s.hash(plain, 8)
		case named:
			to = s.forms(s.withoutWords(plain, s.near(dir)))
		default:
			to = ""
		}
		if to == "" {
			b.WriteString(s.forms(line))
			continue
		}
		b.WriteString(strings.Replace(line, "="+value, "="+strings.Replace(value, plain, to, 1), 1))
	}
	return b.String()
}

// near returns the serial numbers of the device that dir belongs to: of the nearest
// directory that has any, no further than the device on USB.
func (s *scrubber) near(dir string) []string {
	for ; strings.Contains(dir, "/"); dir = path.Dir(dir) {
		if words := s.serials[dir]; len(words) > 0 || s.value(dir+"/idVendor") != "" {
			return longestFirst(slices.Clone(words))
		}
	}
	return nil
}

// isBluetooth says whether dir is an input device on that bus, which a person named.
func (s *scrubber) isBluetooth(dir string) bool { return s.value(dir+"/id/bustype") == "0005" }

// isPeer says whether dir is another computer on Thunderbolt.
func (s *scrubber) isPeer(dir string) bool {
	return strings.Contains(s.value(dir+"/uevent"), "DEVTYPE=thunderbolt_xdomain")
}

// value returns what the file name says, empty when there is none.
func (s *scrubber) value(name string) string {
	n := s.root
	for elem := range strings.SplitSeq(name, "/") {
		if n = n.children[elem]; n == nil {
			return ""
		}
	}
	return strings.TrimSpace(string(n.data))
}
