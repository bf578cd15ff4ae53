package hostfs

import "strings"

// forms replaces in v what has a form of its own: MAC addresses, UUIDs, and the
// like. No number or address that the kernel writes has one of these forms.
func (s *scrubber) forms(v string) string {
	p := patterns()
	v = s.macsIn(v)
	v = p.macName.ReplaceAllStringFunc(v, func(m string) string { return m[:3] + s.macDigits(m[3:]) })
	v = p.uuid.ReplaceAllStringFunc(v, s.uuid)
	v = p.lvm.ReplaceAllStringFunc(v, func(m string) string { return "LVM-" + s.hash(m, 32) + s.hash(m[4:], 32) })
	v = p.id.ReplaceAllStringFunc(v, func(m string) string { return m[:len(m)-32] + s.hash(m[len(m)-32:], 32) })
	v = p.wwn.ReplaceAllStringFunc(v, func(m string) string {
		at := strings.LastIndexAny(m, "x.") + 1
		return m[:at] + s.hash(strings.ToLower(m[at:]), len(m)-at)
	})
	return p.short.ReplaceAllStringFunc(v, func(m string) string {
		at := strings.IndexAny(m, "=/") + 1
		if p.uuid.MatchString(m) {
			return m // replaced above
		}
		return m[:at] + s.shaped(m[at:])
	})
}

// name replaces the forms in a file's name or a link's target.
func (s *scrubber) name(v string) string {
	elems := strings.Split(v, "/")
	for i, elem := range elems {
		if i > 0 && strings.HasPrefix(elems[i-1], "by-") && strings.HasSuffix(elems[i-1], "uuid") {
			elems[i] = s.anyUUID(elem)
		} else {
			elems[i] = s.element(elem)
		}
	}
	return strings.Join(elems, "/")
}

// element does that for one element, which may be a network interface with a MAC
// address or another long number in its name, as enx0a1b2c3d4e5f and its lower_ link.
func (s *scrubber) element(v string) string {
	if to := s.forms(v); to != v || patterns().uuid.MatchString(v) {
		return to
	}
	for _, kind := range []string{"hid-", "steam-controller-"} { // named after their serial numbers
		if id, ok := strings.CutPrefix(v, kind); ok && strings.HasSuffix(id, "-battery") {
			return kind + s.hash(id, 12) + "-battery"
		}
	}
	return patterns().macRun.ReplaceAllStringFunc(v, s.macDigits)
}

// macsIn replaces the addresses in v beside which is no letter or digit; _ may be, as
// in names of batteries.
func (s *scrubber) macsIn(v string) string {
	alnum := func(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' }
	found := patterns().mac.FindAllStringIndex(v, -1)
	if found == nil {
		return v
	}
	var b strings.Builder
	last := 0
	for _, at := range found {
		if v[at[1]-1] == '_' {
			at[1]--
		}
		if at[0] > 0 && alnum(v[at[0]-1]) {
			continue
		}
		b.WriteString(v[last:at[0]])
		b.WriteString(s.mac(v[at[0]:at[1]]))
		last = at[1]
	}
	b.WriteString(v[last:])
	return b.String()
}

// mac replaces an address by a locally administered one, in the case it had. The
// addresses of nobody and of everybody stay.
func (s *scrubber) mac(m string) string {
	sep := m[2:3]
	digits := strings.ToLower(strings.ReplaceAll(m, sep, ""))
	if strings.Trim(digits, "f") == "" {
		return m
	}
	to := s.macDigits(digits)
	if m != strings.ToLower(m) {
		to = strings.ToUpper(to)
	}
	var b strings.Builder
	for i := 0; i < len(to); i += 2 {
		if i > 0 {
			b.WriteString(sep)
		}
		b.WriteString(to[i : i+2])
	}
	return b.String()
}

func (s *scrubber) macDigits(digits string) string {
	if strings.Trim(digits, "0") == "" {
		return digits
	}
	out := []byte(digits) // one longer than a hash keeps nothing of itself either
	for at := 0; at < len(out); at += 62 {
		copy(out[at:], s.hash(digits, 62))
	}
	return "02" + string(out[:len(out)-2])
}

func (s *scrubber) uuid(v string) string {
	if strings.Trim(v, "0-") == "" || s.kinds[strings.ToLower(v)] {
		return v
	}
	to := s.shaped(v)
	if v != strings.ToLower(v) {
		to = strings.ToUpper(to)
	}
	return to
}

// anyUUID replaces what stands where a UUID does: FAT and DOS have shorter ones.
func (s *scrubber) anyUUID(v string) string {
	if patterns().uuid.FindString(v) == v {
		return s.uuid(v)
	}
	return s.shaped(v)
}

// shaped puts digits where v has any sign, and keeps v's dashes.
func (s *scrubber) shaped(v string) string {
	digits := s.hash(strings.ToLower(v), 64)
	out := []byte(v)
	for i, n := 0, 0; i < len(out); i++ {
		if out[i] != '-' {
			out[i] = digits[n%len(digits)]
			n++
		}
	}
	return string(out)
}

// withoutWords replaces the serial numbers words in text.
func (s *scrubber) withoutWords(text string, words []string) string {
	for _, w := range words {
		text = replaceWord(text, w, s.serial(w))
	}
	return text
}

// replaceWord replaces word in text, in whatever case, where no letter, digit or _
// is beside it. Both are ASCII where they match.
func replaceWord(text, word, to string) string {
	inWord := func(c byte) bool {
		return c == '_' || '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || c >= 0x80
	}
	if len(word) == 0 {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		end := i + len(word)
		if end > len(text) || !strings.EqualFold(text[i:end], word) ||
			i > 0 && inWord(text[i-1]) || end < len(text) && inWord(text[end]) {
			b.WriteByte(text[i])
			i++
			continue
		}
		b.WriteString(to)
		i = end
	}
	return b.String()
}

// mapped replaces what names the machine in a name of the device mapper, which may
// be that of a volume group and a volume, with dashes doubled.
func (s *scrubber) mapped(v string) string {
	v = s.forms(s.withoutWords(v, s.words))
	for _, h := range s.hosts {
		v = replaceWord(v, strings.ReplaceAll(h, "-", "--"), s.host(h))
		v = replaceWord(v, h, s.host(h))
	}
	return v
}

// mappedID keeps of the UUID of a mapped device who made it, as CRYPT-LUKS2-.
func (s *scrubber) mappedID(v string) string {
	if to := s.forms(v); strings.HasPrefix(v, "LVM-") && to != v {
		return to
	}
	if m := patterns().crypted.FindStringSubmatch(v); m != nil {
		if m[2] != "" {
			m[2] = s.hash(m[2], 32) + "-"
		}
		return m[1] + m[2] + s.mapped(m[3])
	}
	maker, _, _ := strings.Cut(v, "-")
	if len(maker) > 12 || maker == v {
		maker = "id"
	}
	return maker + "-" + s.hash(v, 16)
}
