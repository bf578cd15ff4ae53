package lab

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// values returns what follows each option in a command line.
func values(args []string, option string) []string {
	var all []string
	for i, a := range args[:len(args)-1] {
		if a == option {
			all = append(all, args[i+1])
		}
	}
	return all
}

func TestArguments(t *testing.T) {
	l := &Lab{kernel: "/l/vmlinuz-6"}
	plain := l.arguments(&Machine{})
	full := l.arguments(&Machine{
		NVMe: "/a,b/\"disk\",readonly=on", Out: "/o,path=/etc", Heard: "/h.wav", Memory: "2G",
		Topology: NoIOMMU, Kernel: "debug", Extra: []string{"-name", "x"},
	})
	device := func(args []string, driver string) (found []map[string]any) {
		t.Helper()
		for _, v := range values(args, "-device") {
			var d map[string]any
			if err := json.Unmarshal([]byte(v), &d); err != nil {
				t.Fatalf("%s: %v", v, err)
			}
			if d["driver"] == driver {
				found = append(found, d)
			}
		}
		return found
	}
	if n := len(device(plain, "intel-iommu")); n != 1 {
		t.Errorf("%d Intel IOMMUs", n)
	}
	if n := len(device(full, "intel-iommu")); n != 0 {
		t.Errorf("%d Intel IOMMUs where there should be none", n)
	}
	if n := len(device(full, "virtio-9p-pci")); n != 2 {
		t.Errorf("%d shares, wanted the root and Out", n)
	}
	var disk struct {
		File struct{ Driver, Filename string }
	}
	if err := json.Unmarshal([]byte(values(full, "-blockdev")[0]), &disk); err != nil ||
		disk.File.Filename != "/a,b/\"disk\",readonly=on" {
		t.Errorf("the disk is %+v, %v", disk, err)
	}
	if v := values(full, "-fsdev"); len(v) != 2 || !strings.Contains(v[0], "readonly=on") ||
		!strings.HasPrefix(v[1], "local,id=out,path=/o,,path=/etc,security_model=") {
		t.Errorf("the shares are %q", v)
	}
	if v := values(full, "-m"); !slices.Equal(v, []string{"2G"}) {
		t.Errorf("memory %q", v)
	}
	if v := values(full, "-netdev"); len(v) != 1 || !strings.Contains(v[0], `"restrict":true`) {
		t.Errorf("the network is %q", v)
	}
	if v := values(full, "-append"); len(v) != 1 || !strings.HasSuffix(v[0], " debug") {
		t.Errorf("the kernel is told %q", v)
	}
	if !slices.Equal(full[len(full)-2:], []string{"-name", "x"}) {
		t.Errorf("Extra does not come last: %q", full[len(full)-2:])
	}
}

func TestTopologies(t *testing.T) {
	l := &Lab{kernel: "/l/vmlinuz-6"}
	units := map[Topology]string{
		IntelIOMMU: "intel-iommu", NoIOMMU: "", AMDIOMMU: "amd-iommu", SwitchedIntel: "intel-iommu", VMDIntel: "intel-iommu",
		NestedIntel: "intel-iommu", NoRemappingIntel: "intel-iommu",
	}
	names := make(map[string]bool)
	for topology, unit := range units {
		if names[topology.String()] {
			t.Errorf("two topologies are %s", topology)
		}
		names[topology.String()] = true
		if err := (&Machine{Args: []string{"/bin/true"}, Topology: topology}).check(); err != nil {
			t.Error(err)
		}
		args := l.arguments(&Machine{Topology: topology})
		var found []string
		places, ids := make(map[string]bool), make(map[any]bool)
		for _, v := range values(args, "-device") {
			var d map[string]any
			if err := json.Unmarshal([]byte(v), &d); err != nil {
				t.Fatalf("%s: %v", v, err)
			}
			if driver := d["driver"].(string); strings.HasSuffix(driver, "-iommu") {
				found = append(found, driver)
			}
			if id, ok := d["id"]; ok && ids[id] {
				t.Errorf("%s: two devices %v", topology, id)
			}
			ids[d["id"]] = true
			if addr, ok := d["addr"]; ok {
				place := fmt.Sprint(d["bus"], " ", addr)
				if places[place] {
					t.Errorf("%s: two functions at %s", topology, place)
				}
				places[place] = true
			}
		}
		if got := strings.Join(found, " "); got != unit {
			t.Errorf("%s has the IOMMUs %q, wanted %q", topology, got, unit)
		}
		var b bytes.Buffer
		if err := l.writeCommand(&b, &Machine{Args: []string{"/bin/x"}, Topology: topology}); err != nil {
			t.Fatal(err)
		}
		all := entries(t, &b)
		if _, ok := all["lab/prepare"]; ok != (topology == VMDIntel) {
			t.Errorf("%s is prepared: %v", topology, ok)
		}
		if _, ok := all[reservingDMAR]; ok != (topology == NoRemappingIntel) {
			t.Errorf("%s has a table of its own: %v", topology, ok)
		}
	}
	if Topology(99).String() != "Topology(99)" {
		t.Errorf("topology 99 is %s", Topology(99))
	}
}

// TestDMAR looks at what the kernel looks at before it takes a table for the firmware's.
func TestDMAR(t *testing.T) {
	table := dmar()
	var sum byte
	for _, b := range table {
		sum += b
	}
	if n := binary.LittleEndian.Uint32(table[4:]); string(table[:4]) != "DMAR" || int(n) != len(table) || sum != 0 {
		t.Errorf("table %q of %d bytes says it has %d, and its sum is %d", table[:4], len(table), n, sum)
	}
	var kinds []uint16
	for rest := table[48:]; len(rest) > 0; {
		n := int(binary.LittleEndian.Uint16(rest[2:]))
		if n < 4 || n > len(rest) {
			t.Fatalf("an entry of %d bytes, with %d to come", n, len(rest))
		}
		kinds, rest = append(kinds, binary.LittleEndian.Uint16(rest)), rest[n:]
	}
	if !slices.Equal(kinds, []uint16{0, 1, 1}) {
		t.Errorf("its entries are of the kinds %d", kinds)
	}
}

func TestCheck(t *testing.T) {
	good := Machine{Args: []string{"/bin/true"}}
	if err := good.check(); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]Machine{
		"no command":  {},
		"relative":    {Args: []string{"true"}},
		"equals":      {Args: []string{"/a=b"}},
		"zero":        {Args: []string{"/bin/true", "\x00"}},
		"environment": {Args: []string{"/bin/true"}, Env: []string{"X"}},
		"directory":   {Args: []string{"/bin/true"}, Dir: "x"},
		"memory":      {Args: []string{"/bin/true"}, Memory: "4G,slots=2"},
		"topology":    {Args: []string{"/bin/true"}, Topology: 99},
		"kernel":      {Args: []string{"/bin/true"}, Kernel: "quiet\npanic=0"},
	} {
		if status, err := (&Lab{}).Run(t.Context(), bad); err == nil || status != -1 {
			t.Errorf("%s: status %d, no error", name, status)
		}
	}
}

func TestShellQuote(t *testing.T) {
	for _, want := range []string{"", "a b", "'", "''x'", "$(id)`id`\\", "a\nb", "\xff\x81\x88"} {
		got, err := exec.Command("/bin/sh", "-c", "printf %s "+shellQuote(want)).Output()
		if err != nil || string(got) != want {
			t.Errorf("%q became %q, %v", want, got, err)
		}
	}
}

func TestWriteCommand(t *testing.T) {
	l := &Lab{modules: "/it's/modules"}
	var b bytes.Buffer
	if err := l.writeCommand(&b, &Machine{Args: []string{"/bin/x", "it's"}, Out: "/out"}); err != nil {
		t.Fatal(err)
	}
	if b.Len()%4 != 0 {
		t.Errorf("%d bytes: what follows would not be aligned", b.Len())
	}
	all := entries(t, &b)
	if !strings.HasSuffix(all["lab/run"], ` '/bin/x' 'it'\''s'`+"\n") {
		t.Errorf("lab/run is %q", all["lab/run"])
	}
	if want := "lab_modules='/it'\\''s/modules'\nlab_out=yes\n"; !strings.HasSuffix(all["lab/settings"], want) {
		t.Errorf("lab/settings is %q", all["lab/settings"])
	}
}

func TestParseVerdict(t *testing.T) {
	for in, want := range map[string]int{
		"status 0\n": 0, "status 255\n": 255, "status 7\nstatus 0\n": 7,
		"": -1, "status 0": -1, "status 256\n": -1, "status -1\n": -1, "error no disk\nstatus 0\n": -1, "x\nstatus 0\n": -1,
	} {
		if got, err := parseVerdict(in); got != want || (err == nil) != (want >= 0) {
			t.Errorf("%q: %d, %v; wanted %d", in, got, err, want)
		}
	}
}

func TestTail(t *testing.T) {
	w := &tail{max: 10}
	for range 100 {
		if n, err := w.Write([]byte("0123456789abc")); n != 13 || err != nil {
			t.Fatal(n, err)
		}
	}
	if s := w.String(); len(s) > 20 || !strings.HasSuffix(s, "3456789abc") {
		t.Errorf("the tail is %q", s)
	}
}

// TestRunFails runs programs that are no QEMU: Run says why, and leaves nothing.
func TestRunFails(t *testing.T) {
	l := fakeLab(t)
	descriptors := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	l.qemu = filepath.Join(l.dir, "qemu")
	m := Machine{Args: []string{"/bin/true"}}
	before := descriptors()
	if _, err := l.Run(t.Context(), m); err == nil {
		t.Error("no error without QEMU")
	}
	script := "#!/bin/sh\necho no such device >&2\necho Kernel panic >&3\nexit 1\n"
	if err := os.WriteFile(l.qemu, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := l.Run(t.Context(), m)
	if err == nil || !strings.Contains(err.Error(), "no such device") || !strings.Contains(err.Error(), "Kernel panic") {
		t.Errorf("error %v does not quote QEMU and the console", err)
	}
	if after := descriptors(); after != before {
		t.Errorf("%d open files, there were %d", after, before)
	}
}
