package uevent_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/uevent"
)

// message joins what the kernel separates by NULs, and ends it by one.
func message(parts ...string) []byte { return []byte(strings.Join(parts, "\x00") + "\x00") }

// A webcam that has just been plugged in, as Linux 6.1 says it.
func webcam() []byte {
	return message("add@/devices/pci0000:00/0000:00:14.0/usb1/1-3", "ACTION=add", "DEVPATH=/devices/pci0000:00/0000:00:14.0/usb1/1-3",
		"SUBSYSTEM=usb", "MAJOR=189", "MINOR=6", "DEVNAME=bus/usb/001/007", "DEVTYPE=usb_device", "PRODUCT=46d/843/13", "TYPE=239/2/1",
		"BUSNUM=001", "DEVNUM=007", "SEQNUM=4711")
}

func TestParse(t *testing.T) {
	const device = "/devices/pci0000:00/0000:00:14.0/usb1/1-3"
	for _, tt := range []struct {
		name    string
		message []byte
		want    uevent.Event
	}{
		{"add", webcam(), uevent.Event{Action: uevent.Add, Path: device, Subsystem: "usb", DevType: "usb_device", DevName: "bus/usb/001/007", Seqnum: 4711}},
		{"bind", message("bind@"+device+"/1-3:1.0", "ACTION=bind", "DEVPATH="+device+"/1-3:1.0", "SUBSYSTEM=usb", "DEVTYPE=usb_interface",
			"DRIVER=uvcvideo", "MODALIAS=usb:v046Dp0843d0013dcEFdsc02dp01ic0Eisc01ip00in00", "SEQNUM=4720"),
			uevent.Event{Action: uevent.Bind, Path: device + "/1-3:1.0", Subsystem: "usb", DevType: "usb_interface", Driver: "uvcvideo",
				Modalias: "usb:v046Dp0843d0013dcEFdsc02dp01ic0Eisc01ip00in00", Seqnum: 4720}},
		{"an action of later", message("reset@/devices/x"), uevent.Event{Action: "reset", Path: "/devices/x"}},
		{"without the last NUL", []byte("change@/devices/x\x00SEQNUM=18446744073709551615"), uevent.Event{Action: uevent.Change, Path: "/devices/x", Seqnum: 1<<64 - 1}},
		{"header alone", []byte("move@/class/x"), uevent.Event{Action: uevent.Move, Path: "/class/x"}},
		{"the first counts", message("add@/devices/x", "SUBSYSTEM=pci", "SUBSYSTEM=usb"), uevent.Event{Action: uevent.Add, Path: "/devices/x", Subsystem: "pci"}},
	} {
		got, err := uevent.Parse(tt.message)
		got.Env = nil
		if d := cmp.Diff(tt.want, got); d != "" || err != nil {
			t.Errorf("%s: %v\n%s", tt.name, err, d)
		}
	}
}

func TestEnv(t *testing.T) {
	e, err := uevent.Parse(message("add@/devices/x", "HID_NAME=\x1b[2JPad\n\u202e\xff", "EMPTY=", "A=B=C", "HID_NAMES=2"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"HID_NAME=\ufffd[2JPad\ufffd\ufffd\ufffd", "EMPTY=", "A=B=C", "HID_NAMES=2"}
	if d := cmp.Diff(want, e.Env); d != "" {
		t.Error(d)
	}
	for key, value := range map[string]string{"HID_NAME": "\ufffd[2JPad\ufffd\ufffd\ufffd", "EMPTY": "", "A": "B=C", "HID_NAMES": "2"} {
		if got, ok := e.Lookup(key); got != value || !ok {
			t.Errorf("%s: %q, %v", key, got, ok)
		}
	}
	for _, key := range []string{"", "HID", "B", "A=B", "hid_name"} {
		if got, ok := e.Lookup(key); got != "" || ok {
			t.Errorf("%s: %q, %v", key, got, ok)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	var many []string
	for i := range 257 {
		many = append(many, fmt.Sprintf("K%d=V", i))
	}
	for _, tt := range []struct {
		name, message, says string
	}{
		{"nothing", "", "instead of ACTION@DEVPATH"},
		{"NULs", "\x00\x00\x00", "instead of ACTION@DEVPATH"},
		{"udev's format", "libudev\x00\xfe\xed\xca\xfe\x28\x00\x00\x00", "udev's format"},
		{"udev's format, cut", "libudev", "udev's format"},
		{"no action", "@/devices/x\x00", "instead of"},
		{"an action in capitals", "ADD@/devices/x\x00", "instead of"},
		{"an endless action", strings.Repeat("a", 33) + "@/devices/x\x00", "instead of"},
		{"no path", "add@\x00", "no path"},
		{"a path that climbs", "add@/devices/../../etc\x00", "no path"},
		{"a path with a line", "add@/devices/x\ny\x00", "no path"},
		{"a relative path", "add@devices/x\x00", "no path"},
		{"the root", "add@/\x00", "no path"},
		{"the root, said otherwise", "add@/.\x00", "no path"},
		{"not a variable", "add@/devices/x\x00ACTION", "KEY=VALUE"},
		{"a variable without a name", "add@/devices/x\x00=1\x00", "KEY=VALUE"},
		{"a gap", "add@/devices/x\x00A=1\x00\x00B=2\x00", "KEY=VALUE"},
		{"another action", "add@/devices/x\x00ACTION=remove\x00", "in the first line"},
		{"another path", "add@/devices/x\x00DEVPATH=/devices/y\x00", "in the first line"},
		{"an odd number", "add@/devices/x\x00SEQNUM=-1\x00", "SEQNUM"},
		{"too many variables", "add@/devices/x\x00" + strings.Join(many, "\x00"), "more than 256 variables"},
		{"too long", "add@/devices/x\x00A=" + strings.Repeat("x", 17<<10), "more than 16384"},
	} {
		e, err := uevent.Parse([]byte(tt.message))
		if !errors.Is(err, uevent.ErrMalformed) || !strings.Contains(err.Error(), tt.says) || len(err.Error()) > 600 {
			t.Errorf("%s: %v", tt.name, err)
		}
		if d := cmp.Diff(uevent.Event{}, e); d != "" {
			t.Errorf("%s: an event all the same:\n%s", tt.name, d)
		}
	}
}

// What is said of a message that is wrong twice is the same each time.
func TestParseRefusesTheSame(t *testing.T) {
	for range 50 {
		_, err := uevent.Parse(message("add@/devices/x", "DEVPATH=/devices/y", "ACTION=remove"))
		if err == nil || !strings.Contains(err.Error(), "ACTION is") {
			t.Fatal(err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(webcam())
	f.Add([]byte("libudev\x00\xfe\xed\xca\xfe"))
	f.Add([]byte("remove@/devices/x"))
	f.Add(message("change@/devices/virtual/mem/null", "ACTION=change", "DEVPATH=/devices/virtual/mem/null", "SUBSYSTEM=mem",
		"SYNTH_UUID=fe4d7c9d-b8c6-4a70-9ef1-3d8a58d18eed", "SYNTH_ARG_A=1", "MAJOR=1", "MINOR=3", "DEVNAME=null", "DEVMODE=0666", "SEQNUM=925"))
	f.Add([]byte("add@/\x00\x00=\x00\xff=\xff"))
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(f, "hwdata", "usb"), "*", "*.umockdev")) // recordings of real devices
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for record := range strings.SplitSeq(string(text), "\n\n") {
			path, env := "", []string{"ACTION=add", "SEQNUM=7"}
			for line := range strings.Lines(record) {
				switch kind, rest, _ := strings.Cut(strings.TrimSpace(line), ": "); kind {
				case "P":
					path = rest
					env = append(env, "DEVPATH="+path)
				case "E":
					env = append(env, rest)
				}
			}
			f.Add(message(append([]string{"add@" + path}, env...)...))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := uevent.Parse(data)
		if err != nil {
			if !errors.Is(err, uevent.ErrMalformed) || len(err.Error()) > 4096 {
				t.Errorf("%v", err)
			}
			return
		}
		if !fs.ValidPath("sys"+e.Path) || strings.ContainsAny(e.Path, "\x00\n\x1b") || e.Action == "" || len(e.Env) > 256 {
			t.Errorf("%+v", e)
		}
		text := string(e.Action) + "@" + e.Path
		for _, v := range e.Env {
			if !utf8.ValidString(v) || strings.ContainsAny(v, "\x00\n\r\x1b") || strings.IndexByte(v, '=') < 1 {
				t.Errorf("%q", v)
			}
			text += "\x00" + v
		}
		if len(text) >= 16<<10 {
			return // replaced characters take more room
		}
		again, err := uevent.Parse([]byte(text + "\x00"))
		if d := cmp.Diff(e, again); d != "" || err != nil {
			t.Errorf("%q reads otherwise than it was written: %v\n%s", text, err, d)
		}
	})
}

func TestSeqnum(t *testing.T) {
	const name = "sys/kernel/uevent_seqnum"
	if n, err := uevent.Seqnum(fstest.MapFS{name: {Data: []byte("4711\n")}}); n != 4711 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := uevent.Seqnum(fstest.MapFS{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the file: %v", err)
	}
	if n, err := uevent.Seqnum(fstest.MapFS{name: {Data: []byte("many\n")}}); n != 0 || err == nil {
		t.Errorf("of no number: %d, %v", n, err)
	}
}

func BenchmarkParse(b *testing.B) {
	m := webcam()
	b.ReportAllocs()
	for b.Loop() {
		_, _ = uevent.Parse(m)
	}
}
