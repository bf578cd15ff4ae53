package cli

import (
	"strings"
	"testing"
)

func TestParseROM(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	for _, c := range []struct {
		text, device, file string // no device: refused
	}{
		{"01:00.0=nic.rom,sha256=" + sum, "01:00.0", "nic.rom"},
		{"gpu=/roms/a=b,c.rom,sha256=" + sum, "gpu", "/roms/a=b,c.rom"},
		{"gpu=x,sha256=1,sha256=" + sum, "gpu", "x,sha256=1"},
		{"gpu=x", "", ""},
		{"gpu=,sha256=" + sum, "", ""},
		{"=x,sha256=" + sum, "", ""},
		{"gpu,sha256=" + sum, "", ""},
		{"gpu=x,sha256=", "", ""},
		{"gpu=x,sha256=" + sum + ",more", "", ""},
		{"", "", ""},
	} {
		device, rom, err := parseROM(c.text)
		if (err != nil) != (c.device == "") || device != c.device || rom.File != c.file {
			t.Errorf("%q: %q, %+v, %v", c.text, device, rom, err)
		}
		if err == nil && rom.SHA256.String() != sum {
			t.Errorf("%q: %s", c.text, rom.SHA256)
		}
	}
}
