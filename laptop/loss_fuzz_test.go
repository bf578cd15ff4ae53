package laptop

import (
	"os"
	"strings"
	"testing"

	"github.com/project-independence/indy/internal/plain"
)

// own adds to the seeds what the machine that tests run on says, if it says anything.
func own(f *testing.F, name string) {
	if text, err := os.ReadFile("/" + name); err == nil && len(text) < 1<<16 {
		f.Add(string(text))
	}
}

// FuzzRoutes: whatever the tables of routes hold, interfaces come from them, each once.
func FuzzRoutes(f *testing.F) {
	own(f, "proc/net/route")
	own(f, "proc/net/ipv6_route")
	f.Add("Iface\tDestination\ntun0\t00000000\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\ntun0\t00000080\t00000000\t0001\t0\t0\t0\t00000080\t0\t0\t0\n")
	f.Add(strings.Repeat("0", 32) + " 01 0 00 0 400 1 0 00000001 a\n8" + strings.Repeat("0", 31) + " 01 0 00 0 400 1 0 00000001 b\n")
	f.Add("*\t00000000\t0\t0200\t0\t0\t0\t00000000\t0\t0\t0\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, found := range [][]string{parseRoutes(text), parseIPv6Routes(text)} {
			seen := map[string]bool{}
			for _, name := range found {
				if name == "" || name == "*" || seen[name] || !strings.Contains(text, name) {
					t.Errorf("%q", found)
				}
				seen[name] = true
			}
		}
		for _, a := range append(parseConnected(text), parseIPv6Addresses(text)...) {
			if a.name == "" || !a.prefix.IsValid() {
				t.Errorf("%+v", a)
			}
		}
		if tables := defaultTables(text); len(tables) > maxNamed {
			t.Errorf("%d tables", len(tables))
		}
	})
}

// FuzzSwaps also reads what says where the host hibernates to.
func FuzzSwaps(f *testing.F) {
	own(f, "proc/swaps")
	own(f, "proc/cmdline")
	f.Add("Filename\tType\tSize\n/dev/dm-1 partition 1 0 -2\n/swap\\040file file 1 0 -3\n")
	f.Add("259:3")
	f.Add("resume=UUID=4f resume_offset=77 -- resume=/dev/sda")
	f.Add("noresume resume=4294967296:1")
	f.Fuzz(func(t *testing.T, text string) {
		for _, s := range parseSwaps(text) {
			if s.source == "" {
				t.Errorf("%+v", s)
			}
			if m := holding([]mount{{what: "/"}, {what: "/x"}}, s.source); m.what != "" && !strings.HasPrefix(s.source, "/") {
				t.Errorf("%q is on %q", s.source, m.what)
			}
		}
		if number, ok := parseResume(text); ok && number != "" {
			if again, ok := parseResume(number); !ok || again != number {
				t.Errorf("%q, again %q", number, again)
			}
		}
		if place, _ := resumeArgument(text); strings.ContainsAny(place, " \n\t") {
			t.Errorf("%q", place)
		}
		_ = mapperKind(text)
	})
}

// FuzzConsoles also reads the other files of /proc that processes have a part in.
func FuzzConsoles(f *testing.F) {
	own(f, "proc/consoles")
	own(f, "proc/self/maps")
	own(f, "proc/self/stat")
	f.Add("tty0                 -WU (EC p  )    4:1\nttyUSB0 -W- (E) 188:0\n../x -W- (E) 1:1\n")
	f.Add("7f00-7f01 rw-s 00000000 00:05 131 /dev/dri/card0\n7f00-7f01 rw-s 00000000 00:05 131 /dev/zero (deleted)\n")
	f.Add("2 (kthread) d) S 0 0 0 0 -1 2129984 0 0")
	f.Fuzz(func(t *testing.T, text string) {
		names := parseConsoles(text)
		if len(names) > maxConsoles {
			t.Errorf("%d consoles", len(names))
		}
		for _, n := range names {
			if n == "" || strings.Contains(n, "/") || plain.Printable(n) != n {
				t.Errorf("%q", n)
			}
		}
		for _, n := range parseMaps(text) {
			if !strings.HasPrefix(n, "dev/") || strings.Contains(n, "..") && strings.Contains(n, "/../") || plain.Printable(n) != n {
				t.Errorf("%q", n)
			}
		}
		_ = kernelThread(text)
	})
}

// FuzzInputDevice: what an input device says of itself is a name of one line and bits.
func FuzzInputDevice(f *testing.F) {
	f.Add("PRODUCT=11/1/1/ab83\nNAME=\"AT Translated Set 2 keyboard\"\nPHYS=\"isa0060/serio0/input0\"\nPROP=0\nEV=120013\nKEY=402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe\nMSC=10\nLED=7\n")
	f.Add("NAME=\"\x1b[2J\"\nEV=17\nKEY=ffff0000 0 0 0 0\nREL=1943\n")
	f.Add("EV=zz\nKEY=" + strings.Repeat("f ", 100))
	f.Fuzz(func(t *testing.T, text string) {
		bits, name, ok := parseInput(text)
		if len([]rune(name)) > 128 || plain.Printable(name) != name {
			t.Errorf("%q", name)
		}
		if ok && !strings.Contains(text, "EV=") {
			t.Error("bits of nothing")
		}
		if kind := bits.kind(); !ok && kind == "keyboard" && !strings.Contains(text, "KEY=") {
			t.Error(kind)
		}
	})
}
