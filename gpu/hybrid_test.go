package gpu_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ulikunitz/xz"

	"github.com/project-independence/indy/gpu"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/pci"
)

// A laptop is made of lines: "PATH CLASS VENDOR:DEVICE DRIVER" below
// sys/devices, "drm PATH STATUS" for cards and connectors, "NAME=CONTENT" for files.
func machine(t testing.TB, text string) *hostfs.Tree {
	t.Helper()
	tr := new(hostfs.Tree)
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if name, content, ok := strings.Cut(line, "="); ok {
			must(t, tr.Put(name, []byte(strings.ReplaceAll(content, `\n`, "\n")+"\n")))
			continue
		}
		f := strings.Fields(line)
		switch {
		case len(f) == 0:
		case f[0] == "drm":
			name := f[1][strings.LastIndexByte(f[1], '/')+1:]
			must(t, tr.Mkdir("sys/devices/"+f[1]))
			must(t, tr.Symlink("../../devices/"+f[1], "sys/class/drm/"+name))
			if len(f) > 2 {
				must(t, tr.Put("sys/devices/"+f[1]+"/status", []byte(f[2]+"\n")))
			}
		default:
			name := f[0][strings.LastIndexByte(f[0], '/')+1:]
			uevent := fmt.Sprintf("PCI_CLASS=%s\nPCI_ID=%s\n", f[1], f[2])
			if len(f) > 3 {
				uevent = "DRIVER=" + f[3] + "\n" + uevent
			}
			must(t, tr.Put("sys/devices/"+f[0]+"/uevent", []byte(uevent)))
			must(t, tr.Symlink("../../../devices/"+f[0], "sys/bus/pci/devices/"+name))
		}
	}
	return tr
}

func hybridOf(t testing.TB, tr *hostfs.Tree) (gpu.Facts, gpu.Graphics) {
	t.Helper()
	functions, err := pci.Functions(tr)
	must(t, err)
	facts, err := gpu.ReadFacts(tr, functions)
	must(t, err)
	return facts, gpu.Hybrid(facts)
}

func hybridLines(g gpu.Graphics) string {
	var b strings.Builder
	for _, x := range g.GPUs {
		fmt.Fprintf(&b, "%v integrated %v panel %v boot %v\n", x.Function, x.Integrated.Answer, x.Panel.Answer, x.Boot.Answer)
	}
	fmt.Fprintf(&b, "%v\n", g.Wiring)
	return b.String()
}

const (
	intelGPU = "pci0000:00/0000:00:02.0 30000 8086:46A6 i915\n"
	intelDRM = "drm pci0000:00/0000:00:02.0/drm/card0\n drm pci0000:00/0000:00:02.0/drm/card0/card0-eDP-1 connected\n"
	rootPort = "pci0000:00/0000:00:01.0 60400 8086:460D pcieport\n"
	nvidia   = "pci0000:00/0000:00:01.0/0000:01:00.0 30000 10DE:25A0 "
	nvidia3D = "pci0000:00/0000:00:01.0/0000:01:00.0 30200 10DE:1F99 "
	nvCard   = "drm pci0000:00/0000:00:01.0/0000:01:00.0/drm/card1\n"
	bootIGPU = "sys/devices/pci0000:00/0000:00:02.0/boot_vga=1\n sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/boot_vga=0\n"
)

func TestHybrid(t *testing.T) {
	const vfioBound = "0000:00:02.0 integrated yes panel yes boot yes\n0000:01:00.0 integrated no panel no boot no\nunknown\n"
	for _, tt := range []struct{ name, machine, want string }{
		{"one GPU", intelGPU + intelDRM + bootIGPU, "0000:00:02.0 integrated yes panel yes boot yes\none-gpu\n"},
		{"muxless, nouveau", intelGPU + intelDRM + rootPort + nvidia + "nouveau\n" + nvCard +
			"drm pci0000:00/0000:00:01.0/0000:01:00.0/drm/card1/card1-HDMI-A-1 disconnected\n" + bootIGPU,
			"0000:00:02.0 integrated yes panel yes boot yes\n0000:01:00.0 integrated no panel no boot no\nmuxless\n"},
		// Traps 22 and 25: no boot_vga for 0302, and a GPU without DRM is one.
		{"muxless, 3D controller", intelGPU + intelDRM + rootPort + nvidia3D + "nouveau\n" + nvCard + strings.SplitAfter(bootIGPU, "\n")[0],
			"0000:00:02.0 integrated yes panel yes boot yes\n0000:01:00.0 integrated no panel no boot unknown\nmuxless\n"},
		{"waits for a guest", intelGPU + intelDRM + rootPort + nvidia + "vfio-pci\n" + bootIGPU, vfioBound},
		{"no driver", intelGPU + intelDRM + rootPort + nvidia + "\n" + bootIGPU, vfioBound},
		{"nvidia without modeset", intelGPU + intelDRM + rootPort + nvidia3D + "nvidia\n" + nvCard + bootIGPU,
			strings.Replace(vfioBound, "panel no boot no", "panel no boot unknown", 1)},
		{"saved without connectors", intelGPU + "drm pci0000:00/0000:00:02.0/drm/card0\n", "0000:00:02.0 integrated yes panel unknown boot unknown\nunknown\n"},
		{"both wired", intelGPU + intelDRM + rootPort + nvidia + "nvidia\n" + nvCard +
			"drm pci0000:00/0000:00:01.0/0000:01:00.0/drm/card1/card1-eDP-2 disconnected\n",
			"0000:00:02.0 integrated yes panel yes boot unknown\n0000:01:00.0 integrated no panel no boot unknown\nmux-possible\n"},
		{"both wired, panel on the other", intelGPU + strings.Replace(intelDRM, "connected", "disconnected", 1) + rootPort + nvidia + "nvidia\n" + nvCard +
			"drm pci0000:00/0000:00:01.0/0000:01:00.0/drm/card1/card1-eDP-2 connected\n",
			"0000:00:02.0 integrated yes panel no boot unknown\n0000:01:00.0 integrated no panel yes boot unknown\nmux-possible\n"},
		{"MUX", intelGPU + intelDRM + rootPort + nvidia + "vfio-pci\n" + bootIGPU + "sys/devices/platform/asus-nb-wmi/gpu_mux_mode=1\n",
			strings.Replace(vfioBound, "unknown", "mux", 1)},
		{"the panel does not say", intelGPU + strings.Replace(intelDRM, "connected", "unknown", 1), "0000:00:02.0 integrated yes panel unknown boot unknown\none-gpu\n"},
		{"the panel is off, two GPUs", intelGPU + strings.Replace(intelDRM, "connected", "disconnected", 1) + rootPort + nvidia3D + "nouveau\n" + nvCard,
			"0000:00:02.0 integrated yes panel no boot unknown\n0000:01:00.0 integrated no panel no boot unknown\nunknown\n"},
		{"a second function", intelGPU + intelDRM + "pci0000:00/0000:00:02.1 38000 8086:2A43\n",
			"0000:00:02.0 integrated yes panel yes boot unknown\n0000:00:02.1 integrated yes panel no boot unknown\none-gpu\n"},
		{"a desktop", rootPort + nvidia + "nouveau\n" + nvCard + "drm pci0000:00/0000:00:01.0/0000:01:00.0/drm/card1/card1-DP-1 connected\n",
			"0000:01:00.0 integrated no panel no boot unknown\nno-panel\n"},
		{"no GPU", rootPort, "unknown\n"},
		// The panel is on a GPU of class 0380, which has no boot_vga, and boot_vga of the other is 0.
		{"AMD of class 0380 by boot_display", "pci0000:00/0000:00:08.1 60400 1022:14EB pcieport\n pci0000:00/0000:00:08.1/0000:65:00.0 38000 1002:150E amdgpu\n" +
			"pci0000:00/0000:00:08.1/0000:65:00.2 108000 1022:17E0 ccp\n drm pci0000:00/0000:00:08.1/0000:65:00.0/drm/card0\n" +
			"drm pci0000:00/0000:00:08.1/0000:65:00.0/drm/card0/card0-eDP-1 connected\n sys/devices/pci0000:00/0000:00:08.1/0000:65:00.0/drm/card0/boot_display=1\n" +
			rootPort + nvidia + "vfio-pci\n sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0/boot_vga=0\n",
			"0000:01:00.0 integrated no panel no boot no\n0000:65:00.0 integrated yes panel yes boot yes\nunknown\n"},
		// Trap 21: the firmware's framebuffer lies in the BAR of a GPU without its driver.
		{"simpledrm below the function", intelGPU + "drm pci0000:00/0000:00:02.0/simple-framebuffer.0/drm/card0\n" +
			"drm pci0000:00/0000:00:02.0/simple-framebuffer.0/drm/card0/card0-Unknown-1 connected\n",
			"0000:00:02.0 integrated yes panel unknown boot yes\nunknown\n"},
		{"simpledrm by iomem", strings.Replace(intelGPU, "i915", "", 1) + rootPort + nvidia + "\n drm platform/simple-framebuffer.0/drm/card0\n" +
			"proc/iomem=c0000000-dfffffff : PCI Bus 0000:00\\n  c0000000-cfffffff : 0000:00:02.0\\n    c0000000-c07e8fff : BOOTFB\n",
			"0000:00:02.0 integrated yes panel unknown boot yes\n0000:01:00.0 integrated no panel unknown boot no\nunknown\n"},
		{"told by the firmware", "pci0000:00/0000:00:08.1 60400 1022:14EB pcieport\n pci0000:00/0000:00:08.1/0000:03:00.0 30000 1002:15D8 amdgpu\n" +
			rootPort + "pci0000:00/0000:00:01.0/0000:01:00.0 30000 1002:6900\n sys/kernel/debug/vgaswitcheroo/switch=" +
			`0:IGD:+:Pwr:0000:03:00.0\n1:DIS: :DynOff:0000:01:00.0\n2:DIS-Audio: :Off:0000:01:00.1` + "\n",
			"0000:01:00.0 integrated no panel unknown boot unknown\n0000:03:00.0 integrated yes panel unknown boot unknown\nunknown\n"},
	} {
		facts, g := hybridOf(t, machine(t, tt.machine))
		if diff := cmp.Diff(tt.want, hybridLines(g)); diff != "" {
			t.Errorf("%s: %s\n%+v", tt.name, diff, g)
		}
		grounded(t, tt.name, facts, g)
	}
}

// grounded fails unless each conclusion says why, with a file.
func grounded(t testing.TB, name string, f gpu.Facts, g gpu.Graphics) {
	t.Helper()
	all := [][]gpu.Reason{g.Because}
	for _, x := range g.GPUs {
		all = append(all, x.Integrated.Because, x.Panel.Because, x.Boot.Because)
	}
	for _, reasons := range all {
		if len(reasons) == 0 {
			t.Errorf("%s: a conclusion without a reason: %+v", name, g)
		}
		for _, r := range reasons {
			if r.Detail == "" || !strings.HasPrefix(r.File, "/sys/") && !strings.HasPrefix(r.File, "/proc/") || strings.Contains(r.File, "//") {
				t.Errorf("%s: %+v", name, r)
			}
		}
	}
	if len(g.GPUs) != len(f.Displays) {
		t.Errorf("%s: %d GPUs of %d displays", name, len(g.GPUs), len(f.Displays))
	}
}

func TestIntegrated(t *testing.T) {
	const amdPort = "pci0000:00/0000:00:01.1 60400 1022:1633 pcieport\n"
	for _, tt := range []struct {
		name, machine string
		want          gpu.Answer
	}{
		{"Intel", intelGPU, gpu.Yes},
		{"Intel's card", "pci0000:00/0000:00:06.0 60400 8086:A73D\n pci0000:00/0000:00:06.0/0000:03:00.0 30000 8086:5690\n", gpu.No},
		{"Intel on another device of bus 0", "pci0000:00/0000:00:03.0 30000 8086:46A6\n", gpu.Unknown},
		{"a virtual machine's", "pci0000:00/0000:00:02.0 30000 1234:1111\n", gpu.Unknown},
		{"NVIDIA in a virtual machine", "pci0000:00/0000:00:05.0 30000 10DE:25A0\n", gpu.Unknown},
		{"NVIDIA", rootPort + nvidia, gpu.No},
		{"NVIDIA's chipset", "pci0000:00/0000:00:10.0 60400 10DE:0AA0\n pci0000:00/0000:00:10.0/0000:02:00.0 30000 10DE:0863\n", gpu.Unknown},
		{"NVIDIA behind an unknown bridge", nvidia, gpu.Unknown},
		{"AMD before Zen", "pci0000:00/0000:00:01.0 30000 1002:9874\n", gpu.Yes},
		{"AMD since Zen", "pci0000:00/0000:00:08.1 60400 1022:1635\n pci0000:00/0000:00:08.1/0000:04:00.0 30000 1002:1636\n pci0000:00/0000:00:08.1/0000:04:00.2 108000 1022:15DF\n", gpu.Yes},
		{"AMD behind an internal bridge, alone", "pci0000:00/0000:00:08.1 60400 1022:1635\n pci0000:00/0000:00:08.1/0000:04:00.0 30000 1002:1636\n", gpu.Unknown},
		{"AMD's card with a switch", amdPort + "pci0000:00/0000:00:01.1/0000:01:00.0 60400 1002:1478\n pci0000:00/0000:00:01.1/0000:01:00.0/0000:02:00.0 60400 1002:1479\n" +
			"pci0000:00/0000:00:01.1/0000:01:00.0/0000:02:00.0/0000:03:00.0 30000 1002:73DF\n", gpu.No},
		{"AMD's card without", amdPort + "pci0000:00/0000:00:01.1/0000:01:00.0 38000 1002:699F\n", gpu.No},
		{"AMD's card with Intel", rootPort + "pci0000:00/0000:00:01.0/0000:01:00.0 38000 1002:699F\n", gpu.No},
		{"AMD's chipset", "pci0000:00/0000:00:01.0 60400 1022:9602\n pci0000:00/0000:00:01.0/0000:01:05.0 30000 1002:9612\n", gpu.Unknown},
		{"another maker", rootPort + "pci0000:00/0000:00:01.0/0000:01:00.0 30000 1A03:2000\n", gpu.Unknown},
	} {
		facts, g := hybridOf(t, machine(t, tt.machine))
		if len(g.GPUs) != 1 || g.GPUs[0].Integrated.Answer != tt.want {
			t.Errorf("%s: %+v", tt.name, g.GPUs)
		}
		grounded(t, tt.name, facts, g)
	}
	unknown := gpu.Hybrid(gpu.Facts{Displays: []gpu.Display{{Function: pci.NewAddress(0, 0, 2, 0)}}})
	if got := hybridLines(unknown); got != "0000:00:02.0 integrated unknown panel unknown boot unknown\nunknown\n" {
		t.Error(got)
	}
	if got := hybridLines(gpu.Hybrid(gpu.Facts{})); got != "unknown\n" {
		t.Error(got)
	}
}

// What only root may read is not known; what fails is said.
func TestReadFactsFailures(t *testing.T) {
	tr := machine(t, intelGPU+intelDRM+bootIGPU+"sys/kernel/debug/vgaswitcheroo/switch=0:IGD:+:Pwr:0000:00:02.0\n proc/iomem=0-1 : a\n"+
		"sys/devices/pci0000:00/0000:00:02.0/drm/card0/boot_display=1\n sys/devices/platform/asus-nb-wmi/gpu_mux_mode=1\n")
	functions, err := pci.Functions(tr)
	must(t, err)
	for _, name := range []string{"sys/kernel/debug/vgaswitcheroo/switch", "proc/iomem", "sys/class/drm/card0/boot_display",
		"sys/bus/pci/devices/0000:00:02.0", "sys/devices/platform/asus-nb-wmi/gpu_mux_mode", "sys/class/graphics"} {
		for _, cause := range []error{syscall.EACCES, syscall.EIO} {
			host := hosttest.Failing{Tree: tr, Fail: func(n string) error {
				if n == name {
					return cause
				}
				return nil
			}}
			facts, err := gpu.ReadFacts(host, functions)
			if denied := cause == syscall.EACCES; denied != (err == nil) || !denied && !errors.Is(err, cause) {
				t.Errorf("%s: %v gives %v", name, cause, err)
			}
			g := gpu.Hybrid(facts)
			if len(g.GPUs) != 1 || g.GPUs[0].Panel.Answer != gpu.Yes || g.GPUs[0].Boot.Answer != gpu.Yes {
				t.Errorf("%s: %+v", name, g)
			}
		}
	}
}

// One that may not be read does not hide one that fails.
func TestReadFactsJoins(t *testing.T) {
	tr := machine(t, intelGPU+"proc/iomem=0-1 : a\n")
	functions, err := pci.Functions(tr)
	must(t, err)
	_, err = gpu.ReadFacts(hosttest.Failing{Tree: tr, Fail: func(n string) error {
		return map[string]error{"proc/iomem": syscall.EACCES, "sys/class/graphics": syscall.EIO}[n]
	}}, functions)
	if !errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EACCES) {
		t.Error(err)
	}
}

// TestHybridHosts holds the rules against machines whose GPUs are known.
func TestHybridHosts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	must(t, err)
	ghw, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "sysfs", "ghw"), "linux-amd64-*.tar.gz"))
	must(t, err)
	gpus := 0
	for _, file := range append(files, ghw...) {
		base := filepath.Base(file)
		host, err := hostfs.Open(file)
		must(t, err)
		functions, err := pci.Functions(host)
		if err != nil && strings.Contains(base, "offlineCPUs") {
			continue // saved without a PCI bus
		}
		must(t, err)
		facts, err := gpu.ReadFacts(host, functions)
		must(t, err)
		g := gpu.Hybrid(facts)
		grounded(t, base, facts, g)
		want := gpu.Yes // what a notebook with one GPU has
		switch {
		case strings.Contains(base, "b550"), strings.Contains(base, "61797caf"): // Radeon cards
			want = gpu.No
		case strings.Contains(base, "hetzner"), strings.Contains(base, "accel"): // a server's ASPEED, a virtual machine's
			want = gpu.Unknown
		}
		if strings.Contains(base, "61797caf") && facts.Displays[0].Card() != "card0" { // the only one saved with a card
			t.Errorf("%s: %+v", base, facts.Displays)
		}
		for _, x := range g.GPUs {
			gpus++
			if x.Integrated.Answer != want || x.Panel.Answer != gpu.Unknown {
				t.Errorf("%s: %+v", base, x)
			}
		}
		must(t, host.Close())
	}
	t.Logf("machines: %d, GPUs: %d", len(files)+len(ghw), gpus)
	if gpus < len(files) {
		t.Errorf("only %d GPUs", gpus)
	}
}

// dumps gives what udevadm info --export-db says on real laptops.
func dumps(t testing.TB) map[string][]byte {
	dir := hosttest.Shared(t, "hwdata", "udevadm")
	files, err := filepath.Glob(filepath.Join(dir, "checkbox", "*.txt"))
	must(t, err)
	found := map[string][]byte{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		must(t, err)
		found[filepath.Base(file)] = data
	}
	packed, err := os.ReadFile(filepath.Join(dir, "checkbox_all_others.tar.xz"))
	must(t, err)
	xr, err := xz.NewReader(bytes.NewReader(packed))
	must(t, err)
	for tr := tar.NewReader(xr); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		if !strings.HasSuffix(h.Name, ".txt") {
			continue
		}
		data, err := io.ReadAll(tr)
		must(t, err)
		found[filepath.Base(h.Name)] = data
	}
	return found
}

// TestHybridDumps goes over the laptops of a certification lab, 2010 to 2024. A
// dump tells no status, so which GPU has the panel is told by the backlight that the
// kernel hangs below a panel's connector.
func TestHybridDumps(t *testing.T) {
	machines, count := 0, map[string]int{}
	for name, data := range dumps(t) {
		var b strings.Builder
		cards := map[string]bool{}
		for _, record := range strings.Split(string(data), "\n\n") {
			field := map[string]string{}
			for line := range strings.Lines(record) {
				if kv, ok := strings.CutPrefix(strings.TrimSpace(line), "E: "); ok {
					key, value, _ := strings.Cut(kv, "=")
					field[key] = value
				}
			}
			path, ok := strings.CutPrefix(field["DEVPATH"], "/devices/")
			if !ok || strings.ContainsAny(path, "= ") {
				continue
			}
			elem := strings.Split(path, "/")
			switch last := elem[len(elem)-1]; {
			case field["SUBSYSTEM"] == "pci":
				fmt.Fprintln(&b, path, field["PCI_CLASS"], field["PCI_ID"], field["DRIVER"])
			case field["SUBSYSTEM"] == "drm" && strings.HasPrefix(last, "card"):
				fmt.Fprintln(&b, "drm", path)
				cards[path] = true
			case field["SUBSYSTEM"] == "backlight" && cards[strings.TrimSuffix(path, "/"+last)] && strings.Contains(elem[len(elem)-2], "-"):
				fmt.Fprintln(&b, "drm", strings.TrimSuffix(path, "/"+last), "connected")
			}
		}
		tr := machine(t, b.String())
		if b.Len() == 0 {
			continue
		}
		functions, err := pci.Functions(tr)
		if err != nil {
			continue // a tablet without a PCI bus
		}
		facts, err := gpu.ReadFacts(tr, functions)
		must(t, err)
		g := gpu.Hybrid(facts)
		grounded(t, name, facts, g)
		machines++
		integrated := 0
		for _, x := range g.GPUs {
			count["GPU integrated "+x.Integrated.Answer.String()]++
			count["GPU panel "+x.Panel.Answer.String()]++
			i := slices.IndexFunc(functions, func(f pci.Function) bool { return f.Address == x.Function })
			switch x.Integrated.Answer {
			case gpu.Yes:
				if x.Function.Function() == 0 {
					integrated++
				}
				if functions[i].Vendor.Uint16() == 0x10de {
					t.Errorf("%s: NVIDIA integrated: %+v", name, x)
				}
			case gpu.Unknown:
				t.Logf("%s: %v %v:%v: %s", name, x.Function, functions[i].Vendor, functions[i].Device, x.Integrated.Because[0].Detail)
			}
		}
		if integrated > 1 {
			t.Errorf("%s: two integrated GPUs: %s", name, hybridLines(g))
		}
		count["wiring "+g.Wiring.String()]++
	}
	t.Logf("machines: %d, %v", machines, count)
	if machines < 30 || count["GPU panel yes"] == 0 {
		t.Errorf("%d machines, %v", machines, count)
	}
}
