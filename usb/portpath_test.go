package usb_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/project-independence/indy/usb"
)

func TestParsePortPath(t *testing.T) {
	for _, s := range []string{"1-4", "1-4.2", "255-255.255.255.255.255.255.255", "10-1.10.3", "2-1.1.1.1.1.1"} {
		p, err := usb.ParsePortPath(s)
		if err != nil || !p.IsValid() || p.String() != s {
			t.Errorf("%s: %v, %v", s, p, err)
		}
	}
	for _, s := range []string{
		"", "1", "1-", "-1", "0-1", "1-0", "01-4", "1-04", "1-4.", "1-4..2", "1-4.0", "1-4-2", "1.4", "1.4-2", "256-1", "1-256",
		"1-4.1.1.1.1.1.1.1", "usb1", "1-4:1.0", "1-0:1.0", " 1-4", "1-4\n", "+1-4", "1-+4", "1-4.2 ", "１-4", "1-99999999999999999999999",
	} {
		if p, err := usb.ParsePortPath(s); err == nil || p.IsValid() {
			t.Errorf("%q parsed as %v", s, p)
		}
	}
	if _, err := usb.ParsePortPath(strings.Repeat("9", 1<<16)); err == nil || len(err.Error()) > 200 {
		t.Errorf("a long text: %.100v", err)
	}
}

func TestPortPath(t *testing.T) {
	p := path("3-4.2.11")
	if p.Bus() != 3 {
		t.Errorf("Bus: %d", p.Bus())
	}
	var up []string
	for q := p.Parent(); q.IsValid(); q = q.Parent() {
		up = append(up, q.String())
	}
	if got := strings.Join(up, " "); got != "3-4.2 3-4" {
		t.Errorf("parents: %s", got)
	}
	var zero usb.PortPath
	if zero.IsValid() || zero.Parent().IsValid() || zero.Bus() != 0 || zero.String() != "invalid port path" {
		t.Error("the zero PortPath is not an invalid one")
	}
	ordered := []usb.PortPath{zero, path("1-2"), path("1-2.1"), path("1-2.10"), path("1-3"), path("1-10"), path("2-1"), path("10-1")}
	for i, p := range ordered {
		for j, q := range ordered {
			if got := p.Compare(q); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("%v against %v: %d", p, q, got)
			}
		}
	}
	if n := testing.AllocsPerRun(10, func() { _, _ = usb.ParsePortPath("3-4.2.11") }); n != 0 {
		t.Errorf("parsing allocates %v times", n)
	}
	buf := make([]byte, 0, 64)
	if n := testing.AllocsPerRun(10, func() { _ = p.AppendTo(buf) }); n != 0 {
		t.Errorf("AppendTo allocates %v times", n)
	}
}

func TestPortPathText(t *testing.T) {
	type holder struct {
		At  usb.PortPath
		Map map[usb.PortPath]int
	}
	in := holder{path("1-4.2"), map[usb.PortPath]int{path("1-2"): 1, {}: 0}}
	b, err := json.Marshal(in)
	if err != nil || string(b) != `{"At":"1-4.2","Map":{"":0,"1-2":1}}` {
		t.Fatalf("%s, %v", b, err)
	}
	var out holder
	if err := json.Unmarshal(b, &out); err != nil || out.At != in.At || out.Map[path("1-2")] != 1 || len(out.Map) != 2 {
		t.Errorf("%+v, %v", out, err)
	}
	out.At = path("9-9")
	if err := out.At.UnmarshalText([]byte("nonsense")); err == nil || out.At != path("9-9") {
		t.Errorf("a bad text gave %v, %v", out.At, err)
	}
	if err := out.At.UnmarshalText(nil); err != nil || out.At.IsValid() {
		t.Errorf("an empty text gave %v, %v", out.At, err)
	}
}

func TestInPath(t *testing.T) {
	for in, want := range map[string]string{
		"../../devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4.2/1-4.2:1.0/sound/card1":               "1-4.2",
		"../../../devices/pci0000:00/0000:00:14.0/usb3/3-9":                                        "3-9",
		"../../devices/pci0000:00/0000:00:0d.0/dwc3.1.auto/xhci-hcd.2.auto/usb2/2-1/2-1:1.0/net/x": "2-1",
		"../../../devices/platform/dummy_hcd.0/usb5/5-1":                                           "5-1",
		"../../../devices/pci0000:00/0000:00:14.0/usb3":                                            "",
		"../../../devices/pci0000:00/0000:00:14.0/usb3/3-0:1.0":                                    "",
		"../../devices/pci0000:00/0000:00:15.0/i2c_designware.0/i2c-1/1-4":                         "",
		"../../devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0/i2c-7/7-5":                         "1-4",
		"../../devices/pci0000:00/0000:00:14.0/usb1/1-4/1-4:1.0/0003:046D:C52B.0001/input/input5":  "1-4",
		"usb0/0-1": "", "usb01/1-1": "", "usb/1-1": "", "usb300/300-1": "", "": "", "/": "",
	} {
		p, ok := usb.InPath(in)
		if ok != (want != "") || ok && p.String() != want || p.IsValid() != ok {
			t.Errorf("%s: %v, %v; want %q", in, p, ok, want)
		}
	}
}

func FuzzPortPath(f *testing.F) {
	for _, s := range []string{"1-4.2", "255-255.255.255.255.255.255.255", "1-0", "01-1", "1-4:1.0", "usb1", "1-4..2", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		usb.InPath(s)
		p, err := usb.ParsePortPath(s)
		if err != nil {
			if p.IsValid() {
				t.Errorf("%q: %v with an error", s, p)
			}
			return
		}
		if p.String() != s {
			t.Errorf("%q became %q", s, p)
		}
		var q usb.PortPath
		if b, err := p.MarshalText(); err != nil || q.UnmarshalText(b) != nil || q != p {
			t.Errorf("%q: text round trip gave %v", s, q)
		}
		if parent := p.Parent(); parent.IsValid() && (parent.Bus() != p.Bus() || parent.Compare(p) >= 0) {
			t.Errorf("%q has parent %v", s, parent)
		}
		if got, ok := usb.InPath("usb" + s[:strings.IndexByte(s, '-')] + "/" + s); !ok || got != p {
			t.Errorf("%q not found in its path: %v", s, got)
		}
	})
}

func path(s string) usb.PortPath {
	p, err := usb.ParsePortPath(s)
	if err != nil {
		panic(err)
	}
	return p
}
