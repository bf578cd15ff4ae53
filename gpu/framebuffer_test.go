package gpu_test

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

const seenByRoot = `00000000-00000fff : Reserved
90000000-dfffffff : PCI Bus 0000:00
  b0000000-bfffffff : PCI Bus 0000:01
    b0000000-bfffffff : 0000:01:00.0
  c0000000-cfffffff : 0000:00:02.0
    c0000000-c07e8fff : BOOTFB
  d0000000-d0ffffff : 0000:00:02.0
fec00000-fec003ff : IOAPIC 0
`

// blind is what who is not root sees.
func blind(iomem string) string {
	var b strings.Builder
	for line := range strings.Lines(iomem) {
		rest := strings.TrimLeft(line, " ")
		_, name, _ := strings.Cut(rest, " : ")
		b.WriteString(line[:len(line)-len(rest)] + "00000000-00000000 : " + name)
	}
	return b.String()
}

func TestFramebuffer(t *testing.T) {
	igpu := pci.NewAddress(0, 0, 2, 0)
	without := strings.Replace(seenByRoot, "BOOTFB", "i915", 1)
	deep := "c0000000-dfffffff : PCI Bus 0000:00\n c0000000-dfffffff : a\n"
	for i := 2; i < 5; i++ {
		deep += strings.Repeat("  ", i) + "c0000000-cfffffff : PCI Bus 0000:0" + string(rune('0'+i)) + "\n"
	}
	deep += strings.Repeat("  ", 5) + "c0000000-cfffffff : 0000:05:00.0\n"
	deep += strings.Repeat("  ", 5) + "c8000000-c80fffff : efifb\n" // deeper than the kernel writes
	for _, tt := range []struct {
		name  string
		iomem string // empty for none
		links map[string]string
		want  gpu.Framebuffer // without reasons
		files int             // how many reasons
	}{
		{"nothing is known", "", nil, gpu.Framebuffer{}, 0},
		{"BOOTFB", seenByRoot, nil, gpu.Framebuffer{Held: gpu.Yes, Holder: "BOOTFB", Function: igpu}, 1},
		{"none", without, nil, gpu.Framebuffer{Held: gpu.No}, 1},
		{"hidden, none", blind(without), nil, gpu.Framebuffer{}, 1},
		{"hidden, by its name", blind(seenByRoot), nil, gpu.Framebuffer{Held: gpu.Yes, Holder: "BOOTFB", Function: igpu}, 1},
		{"deep", deep, nil, gpu.Framebuffer{Held: gpu.Yes, Holder: "efifb", Function: pci.NewAddress(0, 5, 0, 0)}, 1},
		{"deep and hidden", blind(deep), nil, gpu.Framebuffer{Held: gpu.Yes, Holder: "efifb"}, 1},
		{"in no function", "c0000000-cfffffff : efifb\n", nil, gpu.Framebuffer{Held: gpu.Yes, Holder: "efifb"}, 1},
		{"beside a function", "c0000000-cfffffff : 0000:00:02.0\nd0000000-dfffffff : efifb\n", nil, gpu.Framebuffer{Held: gpu.Yes, Holder: "efifb"}, 1},
		{"hidden, beside a function", blind("c0000000-cfffffff : 0000:00:02.0\nd0000000-dfffffff : efifb\n"), nil, gpu.Framebuffer{Held: gpu.Yes, Holder: "efifb"}, 1},
		{"simpledrm", "", map[string]string{"drm/card0": "platform/simple-framebuffer.0/drm/card0", "drm/card0-Unknown-1": "platform/simple-framebuffer.0/drm/card0/card0-Unknown-1",
			"drm/card1": "pci0000:00/0000:00:02.0/drm/card1"},
			gpu.Framebuffer{Held: gpu.Yes, Holder: "simple-framebuffer.0", Card: "card0"}, 1},
		{"simpledrm of Linux 6.9", blind(seenByRoot), map[string]string{"drm/card0": "pci0000:00/0000:00:02.0/simple-framebuffer.0/drm/card0"},
			gpu.Framebuffer{Held: gpu.Yes, Holder: "simple-framebuffer.0", Card: "card0", Function: igpu}, 2},
		{"efifb", "", map[string]string{"graphics/fb0": "platform/efi-framebuffer.0/graphics/fb0", "graphics/fbcon": "virtual/graphics/fbcon"},
			gpu.Framebuffer{Held: gpu.Yes, Holder: "efi-framebuffer.0"}, 1},
		{"by the device tree", "", map[string]string{"drm/card0": "platform/chosen/bd58dc000.framebuffer/drm/card0"},
			gpu.Framebuffer{Held: gpu.Yes, Holder: "bd58dc000.framebuffer", Card: "card0"}, 1},
		{"a GPU's own", without, map[string]string{"drm/card1": "pci0000:00/0000:00:02.0/drm/card1", "graphics/fb0": "pci0000:00/0000:00:02.0/graphics/fb0"},
			gpu.Framebuffer{Held: gpu.No}, 1},
	} {
		tr := new(hostfs.Tree)
		if tt.iomem != "" {
			must(t, tr.Put("proc/iomem", []byte(tt.iomem)))
		}
		for name, target := range tt.links {
			must(t, tr.Symlink("../../devices/"+target, "sys/class/"+name))
		}
		got, err := gpu.ReadFramebuffer(tr)
		if err != nil || len(got.Because) != tt.files {
			t.Errorf("%s: %v, %v", tt.name, got.Because, err)
		}
		got.Because = nil
		if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b pci.Address) bool { return a == b })); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}

func TestFramebufferFailures(t *testing.T) {
	tr := new(hostfs.Tree)
	must(t, tr.Put("proc/iomem", []byte(seenByRoot)))
	must(t, tr.Symlink("../../devices/platform/simple-framebuffer.0/drm/card0", "sys/class/drm/card0"))
	for _, name := range []string{"proc/iomem", "sys/class/drm", "sys/class/graphics"} {
		f, err := gpu.ReadFramebuffer(hosttest.Failing{Tree: tr, Fail: func(n string) error {
			if n == name {
				return syscall.EIO
			}
			return nil
		}})
		var op *gpu.OpError
		if !errors.Is(err, syscall.EIO) || !errors.As(err, &op) || f.Held != gpu.Yes {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
	must(t, tr.WriteFile("proc/iomem", []byte("nonsense\n"+seenByRoot)))
	if f, err := gpu.ReadFramebuffer(tr); err == nil || f.Function != pci.NewAddress(0, 0, 2, 0) {
		t.Errorf("%+v, %v", f, err)
	}
	many := strings.Repeat("00000001-00000001 : BOOTFB\n", 1<<16)
	must(t, tr.WriteFile("proc/iomem", []byte(many)))
	if f, err := gpu.ReadFramebuffer(tr); err != nil || len(f.Because) > 16 {
		t.Errorf("%d reasons, %v", len(f.Because), err)
	}
	if regions, err := gpu.ParseIOMem([]byte(many + "1-2 : x\n")); !errors.Is(err, hostfs.ErrTooLarge) || len(regions) != 1<<16 {
		t.Errorf("%d regions, %v", len(regions), err)
	}
}

func TestParseIOMem(t *testing.T) {
	regions, err := gpu.ParseIOMem([]byte("00000000-00000fff : Reserved\n  100-1ff : a : b\x1b\n\nx-y : z\n5-4 : back\n1 : 2\n7-8\n"))
	want := []gpu.Region{{End: 0xfff, Name: "Reserved"}, {Start: 0x100, End: 0x1ff, Name: "a : b", Depth: 1}}
	if diff := cmp.Diff(want, regions); diff != "" || err == nil || !strings.Contains(err.Error(), `"x-y : z"`) {
		t.Errorf("%v %s", err, diff)
	}
	// Of this machine, whoever runs the test.
	data, err := hostfs.Live().ReadFile("proc/iomem")
	if err != nil {
		t.Fatalf("every Linux has /proc/iomem: %v", err)
	}
	regions, err = gpu.ParseIOMem(data)
	if err != nil || len(regions) != strings.Count(string(data), "\n") {
		t.Errorf("%d regions of %d lines, %v", len(regions), strings.Count(string(data), "\n"), err)
	}
}

func FuzzParseIOMem(f *testing.F) {
	f.Add([]byte(seenByRoot))
	f.Add([]byte(blind(seenByRoot)))
	f.Add([]byte("0-0 : efifb\n          0-0 : efifb\n"))
	lab, err := hostfs.Open(filepath.Join(hosttest.Root(f), "testdata", "hosts", "lab-intel.txtar")) // as a kernel wrote them
	must(f, err)
	data, err := lab.ReadFile("proc/iomem")
	must(f, err)
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		regions, _ := gpu.ParseIOMem(data)
		for _, r := range regions {
			oneLine(t, r.Name)
			if r.Start > r.End || r.Depth < 0 {
				t.Fatalf("%+v", r)
			}
		}
		tr := new(hostfs.Tree)
		if tr.Put("proc/iomem", data) != nil {
			return
		}
		fb, _ := gpu.ReadFramebuffer(tr)
		if fb.Held == gpu.Yes != (fb.Holder != "") || fb.Function.IsValid() && fb.Held != gpu.Yes || len(fb.Because) == 0 {
			t.Fatalf("%+v", fb)
		}
	})
}
