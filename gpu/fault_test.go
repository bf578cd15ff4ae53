package gpu_test

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/internal/hosttest"
)

func TestFailures(t *testing.T) {
	tr, functions := desk(t)
	bare := strings.NewReplacer("[dev/dri/card1 dev/dri/renderD128] HDMI-A-1:disconnected Writeback-1:unknown eDP-1:connected:panel", "[]", "panel true", "panel false",
		"[dev/dri/card2]", "[]", "[dev/dri/card3 dev/dri/renderD130] DP-1:connected", "[]").Replace(deskLines)
	for _, tt := range []struct {
		name  string
		fail  string // the name, and what is below it
		err   error
		found string // in the error, empty for none
		want  string
	}{
		{"dock pulled after listing", "sys/class/drm/card3-DP-1", syscall.ENOENT, "", strings.Replace(deskLines, " DP-1:connected", "", 1)},
		{"dock pulled after the link", "sys/class/drm/card3-DP-1/", syscall.ENOENT, "", strings.Replace(deskLines, " DP-1:connected", " DP-1:unknown", 1)},
		{"status", "sys/class/drm/card1-eDP-1/status", syscall.EIO, "read card1-eDP-1: ", strings.Replace(deskLines, "eDP-1:connected", "eDP-1:unknown", 1)},
		{"boot_vga", "sys/bus/pci/devices/0000:01:00.0/boot_vga", syscall.ENODEV, "read boot_vga of 0000:01:00.0: ", strings.Replace(deskLines, "boot no", "boot unknown", 1)},
		{"class", "sys/class/drm", syscall.EACCES, "list graphics cards: ", bare},
	} {
		displays, err := gpu.Displays(hosttest.Failing{Tree: tr, Fail: func(name string) error {
			if rest, ok := strings.CutPrefix(name, tt.fail); ok && (rest == "" || rest[0] == '/' || strings.HasSuffix(tt.fail, "/")) {
				return tt.err
			}
			return nil
		}}, functions)
		var op *gpu.OpError
		if tt.found == "" && err != nil || tt.found != "" && (!errors.Is(err, tt.err) || !errors.As(err, &op) || !strings.Contains(err.Error(), tt.found)) {
			t.Errorf("%s: error %v", tt.name, err)
		}
		if got := lines(displays); got != tt.want {
			t.Errorf("%s: got\n%swant\n%s", tt.name, got, tt.want)
		}
	}
}

// TestGarbage puts nonsense into each file and link, one after another: nothing
// panics, every function stays, and those the name is not about stay as they were.
func TestGarbage(t *testing.T) {
	nonsense := [][]byte{nil, []byte("\n"), []byte("\x00\xff\xfe1"), []byte("2\n"), bytes.Repeat([]byte("connected/-"), 9000)}
	old, functions := desk(t)
	before, err := gpu.Displays(old, functions)
	must(t, err)
	seen := 0
	err = fs.WalkDir(old, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		seen++
		about := name
		if e.Type() == fs.ModeSymlink {
			target, err := old.ReadLink(name)
			must(t, err)
			about += "/" + target
		}
		for _, data := range nonsense {
			tr := old.Clone()
			if e.Type() == fs.ModeSymlink {
				must(t, tr.Remove(name))
				must(t, tr.Symlink("x"+string(data), name))
			} else {
				must(t, tr.WriteFile(name, data))
			}
			after, _ := gpu.Displays(tr, functions)
			if len(after) != len(before) {
				t.Fatalf("%.20q in %s: %d displays", data, name, len(after))
			}
			for i, d := range before {
				if !strings.Contains(about, d.Function.String()) && lines(after[i:i+1]) != lines(before[i:i+1]) {
					t.Errorf("%.20q in %s changed %v", data, name, d.Function)
				}
			}
			if strings.HasSuffix(name, "0000:00:02.0/boot_vga") && after[0].BootVGA != gpu.Unknown {
				t.Errorf("%.20q was taken as an answer", data)
			}
		}
		return nil
	})
	if err != nil || seen < 20 {
		t.Errorf("%d names, %v", seen, err)
	}
}
