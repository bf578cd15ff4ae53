package importer

import (
	"fmt"
	"strings"
)

// lspciRecords reads lspci -vmm: lines of a key, a colon, a tab and a value, with an
// empty line between functions.
func (b *builder) lspciRecords(data []byte) {
	var all []function
	var f *function
	finish := func() {
		if f != nil {
			all = b.keep(all, f)
		}
		f = nil
	}
	for n, line := range textLines(data) {
		if b.bound != nil {
			return
		}
		key, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch {
		case len(line) > maxLine:
			b.addf(n, "%d bytes in one line, at most %d are allowed", len(line), maxLine)
		case strings.TrimSpace(line) == "":
			finish()
		case key == "Slot":
			finish()
			if !b.record() {
				return
			}
			a, isAddress := parseAddress(value)
			if !isAddress {
				b.addf(n, "slot %s; expected an address such as 00:1f.3", quote(value))
				continue
			}
			f = &function{line: n, address: a}
		case f == nil: // somebody's words, or the rest of a broken record
		case !ok:
			if !isNoise(line) {
				b.addf(n, "%s: %s; expected KEY: VALUE", f.address, quote(line))
			}
		default:
			if err := f.parseField(key, value); err != nil {
				b.addf(n, "%s: %w", f.address, err)
			}
		}
	}
	finish()
	b.groupsNotStated()
	b.putFunctions(all)
}

// parseField reads one line of a record. Ids are the four digits that the value is,
// or has in brackets at its end.
func (f *function) parseField(key, value string) error {
	id := func(into *string) {
		if digits, ok := numberOf(value); ok {
			*into = digits
		}
	}
	var err error
	switch key {
	case "Class":
		class, ok := numberOf(value)
		if ok {
			f.ids.class = class + "00"
		}
	case "ProgIf":
		digits := strings.ToLower(value)
		if len(digits) != 2 || !isDigits(digits) {
			return fmt.Errorf("field ProgIf %s; expected two hexadecimal digits", quote(value))
		}
		if f.ids.class != "" {
			f.ids.class = f.ids.class[:4] + digits
		}
	case "Rev":
		digits := strings.ToLower(value)
		if len(digits) != 2 || !isDigits(digits) {
			return fmt.Errorf("field Rev %s; expected two hexadecimal digits", quote(value))
		}
		f.revision = digits
	case "Vendor":
		id(&f.ids.vendor)
	case "Device":
		id(&f.ids.device)
	case "SVendor":
		id(&f.ids.subVendor)
	case "SDevice":
		id(&f.ids.subDevice)
	case "Driver":
		f.driver = value
	case "IOMMUGroup":
		f.group, err = groupNumber(value)
	case "NUMANode":
		if n, ok := groupDigits(value); ok {
			f.node = n
		}
	}
	return err
}
