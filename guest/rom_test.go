package guest

import (
	"strings"
	"testing"

	"github.com/project-independence/indy/pci"
)

func TestParseDigest(t *testing.T) {
	const text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	d, err := ParseDigest(strings.ToUpper(text))
	if err != nil || d.String() != text {
		t.Errorf("%s, %v", d, err)
	}
	for _, bad := range []string{"", "e3", text[1:], text + "00", "g" + text[1:], " " + text} {
		if d, err := ParseDigest(bad); err == nil || d != (Digest{}) {
			t.Errorf("%q: %s, %v", bad, d, err)
		}
	}
}

func TestValidateROMs(t *testing.T) {
	nic, other := pci.NewAddress(0, 1, 0, 0), pci.NewAddress(0, 2, 0, 0)
	good := ROM{nic, "nic.rom", Digest{1}}
	for _, c := range []struct {
		name string
		roms []ROM
		want string
	}{
		{"one", []ROM{good}, ""},
		{"twice", []ROM{good, good}, "given twice"},
		{"another's", []ROM{{other, "nic.rom", Digest{1}}}, "not among the devices"},
		{"no file", []ROM{{nic, "", Digest{1}}}, "no file name"},
		{"zero byte", []ROM{{nic, "a\x00b", Digest{1}}}, "no file name"},
		{"no digest", []ROM{{nic, "nic.rom", Digest{}}}, "no sha256"},
	} {
		g := Guest{Name: "a", Memory: 1 << 30, Devices: []pci.Address{nic}, ROMs: c.roms}
		err := g.Validate()
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
