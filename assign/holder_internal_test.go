package assign

import (
	"strings"
	"testing"
)

func TestParseGuest(t *testing.T) {
	for cmdline, want := range map[string]string{
		"/usr/bin/qemu-system-x86_64\x00-name\x00guest=work,debug-threads=on\x00": "work",
		"qemu-kvm\x00-name\x00debug-threads=on,guest=w-1\x00":                     "w-1",
		"qemu-kvm\x00-name\x00plain\x00":                                          "plain",
		"qemu-kvm\x00-name\x00":                                                   "",
		"qemu-kvm\x00-S\x00-name":                                                 "",
		"vim\x00-name\x00guest=work\x00":                                          "",
		"qemu-kvm\x00-name\x00guest=a\x1b[2Jb\x00":                                "",
		"qemu-kvm\x00-name\x00" + strings.Repeat("a", 65) + "\x00":                "",
		"": "",
	} {
		if got := parseGuest(cmdline); got != want {
			t.Errorf("%q: %q, not %q", cmdline, got, want)
		}
	}
}

func FuzzParseGuest(f *testing.F) {
	f.Add("/usr/bin/qemu-system-x86_64\x00-name\x00guest=work,debug-threads=on\x00")
	f.Add("qemu\x00-name\x00\x00-name")
	f.Fuzz(func(t *testing.T, cmdline string) {
		got := parseGuest(cmdline)
		if len(got) > maxGuest || strings.ContainsFunc(got, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("%q of %q", got, cmdline)
		}
	})
}
