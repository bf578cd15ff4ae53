package importer

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// An lspciReader reads what lspci writes for people: a line for each function, with -v
// lines that begin with white space, with -x lines of hexadecimal.
type lspciReader struct {
	*builder
	all     []function
	f       *function // the one being read
	hexOver bool      // its dump has ended
	verbose bool      // it has lines of -v
	terse   int       // the first line without a programming interface
}

func (b *builder) lspci(data []byte) {
	r := &lspciReader{builder: b}
	for n, line := range textLines(data) {
		if b.bound != nil || !r.line(n, line) {
			return
		}
	}
	r.finish()
	if r.terse > 0 {
		b.addf(r.terse, "programming interfaces are not stated and taken for 00, so a USB4 host looks like a USB controller; expected lspci -nnvk or -xxxx")
	}
	b.groupsNotStated()
	b.putFunctions(r.all)
}

// line reads one line and says whether more may be read.
func (r *lspciReader) line(n int, line string) bool {
	first, rest, _ := strings.Cut(line, " ")
	a, isHeader := parseAddress(first)
	switch {
	case len(line) > maxLine:
		r.addf(n, "%d bytes in one line, at most %d are allowed", len(line), maxLine)
	case isHeader:
		r.finish()
		if !r.record() {
			return false
		}
		r.f = &function{line: n, address: a}
		r.hexOver, r.verbose = false, false
		r.f.parseHeader(rest)
	case strings.TrimSpace(line) == "":
		r.hexOver = r.f != nil && r.f.config != nil
	case r.f == nil, isNoise(line): // somebody's words above, what lspci complains of
	case line[0] == ' ' || line[0] == '\t':
		detail := strings.TrimSpace(line)
		// -k writes details, too, but only -v the programming interface.
		r.verbose = r.verbose || strings.HasPrefix(detail, "Flags:") || strings.HasPrefix(detail, "Control:")
		if err := r.f.parseDetail(detail); err != nil {
			r.addf(n, "%s: %w", r.f.address, err)
		}
	case r.hexOver:
		r.addf(n, "%s; expected an address such as 00:1f.3", quote(line))
	default:
		if err := r.f.parseHexLine(line); err != nil {
			r.addf(n, "%s: %w", r.f.address, err)
			r.hexOver = true
		}
	}
	return true
}

// finish takes the function that was being read.
func (r *lspciReader) finish() {
	f := r.f
	if f == nil {
		return
	}
	if f.config != nil && len(f.config) < configHeader {
		r.addf(f.line, "%s: config space of %d bytes; expected %d, 256 or 4096", f.address, len(f.config), configHeader)
		f.config = nil
	}
	f.fromConfig()
	if f.ids.class != "" && f.config == nil && !r.verbose && r.terse == 0 {
		r.terse = f.line
	}
	r.all = r.keep(r.all, f)
	r.f = nil
}

// keep takes a function that the report tells enough of.
func (b *builder) keep(all []function, f *function) []function {
	if f.ids.vendor == "" || f.ids.device == "" || f.ids.class == "" {
		b.addf(f.line, "%s: its ids and class are not stated; expected lspci with -nn, -n or -x", f.address)
		return all
	}
	return append(all, *f)
}

// isNoise knows what lspci writes to standard error.
func isNoise(line string) bool {
	return strings.HasPrefix(line, "lspci:") || strings.HasPrefix(line, "pcilib:") || strings.HasPrefix(line, "#")
}

// parseHeader reads what follows the address:
//
//	Audio device [0403]: Intel Corporation Device [8086:51ca] (rev 01) (prog-if 80)
//	0403: 8086:51ca (rev 01)
//	Class 0403: Device 8086:51ca (rev 01)
//
// and leaves unknown what is in words only.
func (f *function) parseHeader(s string) {
	s, progIf := cutNote(s, " (prog-if ")
	s, f.revision = cutNote(s, " (rev ")
	class, device, bracket := strings.Cut(s, "]: ")
	if bracket {
		class += "]"
	} else {
		class, device, _ = strings.Cut(s, ": ")
	}
	f.ids.vendor, f.ids.device = idPair(device)
	if class, ok := numberOf(strings.TrimPrefix(class, "Class ")); ok {
		f.ids.class = class + "00"
		if progIf != "" {
			f.ids.class = class + progIf
		}
	}
}

// cutNote cuts a note such as " (rev 01)" or " (prog-if 10 [CXL Memory Device (CXL 2.x)])"
// off the end of s and returns its two digits.
func cutNote(s, begin string) (rest, digits string) {
	i := strings.LastIndex(s, begin)
	if i < 0 || !strings.HasSuffix(s, ")") || len(s) < i+len(begin)+3 {
		return s, ""
	}
	digits, after := strings.ToLower(s[i+len(begin):][:2]), s[i+len(begin)+2:]
	if !isDigits(digits) || after != ")" && !strings.HasPrefix(after, " [") {
		return s, ""
	}
	return s[:i], digits
}

// numberOf returns the four digits that s is or has in brackets at its end: 0403, or
// Audio device [0403].
func numberOf(s string) (string, bool) {
	s = strings.ToLower(s)
	if i := strings.LastIndexByte(s, '['); i >= 0 && strings.HasSuffix(s, "]") {
		s = s[i+1 : len(s)-1]
	}
	return s, len(s) == 4 && isDigits(s)
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdef") == ""
}

// idPair returns the two ids at the end of s: "Intel Corporation Device [8086:51ca]",
// "Device 8086:51ca" or "8086:51ca".
func idPair(s string) (vendor, device string) {
	s = strings.TrimSuffix(strings.ToLower(strings.TrimSpace(s)), "]")
	i := strings.LastIndexAny(s, "[ ") + 1
	v, d, ok := strings.Cut(s[i:], ":")
	if !ok || len(v) != 4 || len(d) != 4 || !isDigits(v) || !isDigits(d) {
		return "", ""
	}
	return v, d
}

// parseDetail reads the lines of -v and -k that matter. Others are of no use here.
func (f *function) parseDetail(s string) error {
	key, value, _ := strings.Cut(s, ": ")
	var err error
	switch key {
	case "Subsystem":
		f.ids.subVendor, f.ids.subDevice = idPair(value)
	case "Kernel driver in use":
		f.driver = value
	case "IOMMU group":
		f.group, err = groupNumber(value)
	case "NUMA node":
		if _, ok := groupDigits(value); ok {
			f.node = value
		}
	case "DeviceName":
		f.label = clean(value)
	case "Bus":
		err = f.parseBus(value)
	}
	return err
}

// parseBus reads "primary=00, secondary=01, subordinate=01, sec-latency=0".
func (f *function) parseBus(s string) error {
	for part := range strings.SplitSeq(s, ",") {
		digits, ok := strings.CutPrefix(strings.TrimSpace(part), "secondary=")
		if !ok {
			continue
		}
		n, ok := parseHex(digits, 2)
		if !ok {
			return fmt.Errorf("secondary bus %s; expected two hexadecimal digits", quote(digits))
		}
		f.bridge, f.behind = true, n
	}
	return nil
}

// groupNumber reads the number of an IOMMU group.
func groupNumber(s string) (string, error) {
	if n, ok := groupDigits(s); ok {
		return n, nil
	}
	return "", fmt.Errorf("IOMMU group %s; expected a decimal number", quote(s))
}

func groupDigits(s string) (string, bool) {
	ok := len(s) > 0 && len(s) < 10 && strings.Trim(s, "0123456789") == "" && (s == "0" || s[0] != '0')
	return s, ok
}

// parseHexLine reads "10: 00 00 00 00", which must follow what was read before.
func (f *function) parseHexLine(line string) error {
	offset, rest, ok := strings.Cut(line, ":")
	at, isHex := parseHex(offset, 3)
	if !ok || !isHex {
		return fmt.Errorf("%s; expected a line of -v, or of -x such as 00: 86 80", quote(line))
	}
	digits := strings.ReplaceAll(strings.TrimSpace(rest), " ", "")
	data, err := hex.DecodeString(digits)
	if err != nil || len(data) == 0 || len(data) > 16 {
		return fmt.Errorf("%s; expected one to 16 bytes in hexadecimal", quote(line))
	}
	if int(at) != len(f.config) || len(f.config)+len(data) > maxConfig {
		return fmt.Errorf("bytes at %03x; expected those at %03x", at, len(f.config))
	}
	f.config = append(f.config, data...)
	return nil
}
