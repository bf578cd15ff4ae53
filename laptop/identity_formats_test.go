package laptop_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/hostfs/importer"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
	"github.com/project-independence/indy/pci"
)

// lspciOf writes what lspci -Dnnvk does of a machine.
func lspciOf(t *testing.T, fsys fs.FS) string {
	t.Helper()
	all, err := pci.Functions(fsys)
	must(t, err)
	behind := map[pci.Address]uint8{} // the bus of a bridge, by what sits there
	for _, f := range all {
		above, err := pci.Bridges(fsys, f.Address)
		must(t, err)
		if len(above) > 0 {
			behind[above[len(above)-1]] = f.Address.Bus()
		}
	}
	var b strings.Builder
	for _, f := range all {
		class := f.Class.String()
		fmt.Fprintf(&b, "%v Some class [%s]: Maker Device [%v:%v]", f.Address, class[:4], f.Vendor, f.Device)
		if revision, err := pci.Revision(fsys, f.Address); err == nil && revision > 0 {
			fmt.Fprintf(&b, " (rev %02x)", revision)
		}
		fmt.Fprintf(&b, " (prog-if %s [Some])\n\tFlags: fast devsel\n", class[4:])
		if f.SubsystemVendor.Known() {
			fmt.Fprintf(&b, "\tSubsystem: Maker [%v:%v]\n", f.SubsystemVendor, f.SubsystemDevice)
		}
		if bus, ok := behind[f.Address]; ok {
			fmt.Fprintf(&b, "\tBus: primary=00, secondary=%02x, subordinate=ff, sec-latency=0\n", bus)
		}
		if f.Driver != "" {
			fmt.Fprintf(&b, "\tKernel driver in use: %s\n", f.Driver)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// TestIdentityFormats has one machine in two formats: the PCI functions of a saved one
// are the same in what lspci says of it, which has nothing else.
func TestIdentityFormats(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	must(t, err)
	count := 0
	for _, file := range files {
		saved := open(t, file)
		text, _, err := importer.Parse([]byte(lspciOf(t, saved)))
		must(t, err)
		before := slices.DeleteFunc(identify(t, saved), func(id laptop.Identity) bool { return !strings.HasPrefix(id.ID, "pci:") })
		after := identify(t, text)
		rows := laptop.Match(before, after)
		checkMatch(t, before, after, rows)
		for _, r := range rows {
			if r.Outcome != laptop.Same || r.Before != r.After || r.Score != 100 {
				t.Errorf("%s: %+v", filepath.Base(file), r)
			}
		}
		count += len(rows)
	}
	if count < 500 {
		t.Errorf("only %d functions", count)
	}
}

// TestIdentityCaptures has a machine with everything, as it is and in captures of it,
// scrubbed with two secrets: nothing in them is another thing.
func TestIdentityCaptures(t *testing.T) {
	capture := func(fsys fs.FS, salt string) *hostfs.Tree {
		tr, err := hostfs.Capture(fsys, hostfs.CaptureOptions{Salt: []byte(salt)})
		must(t, err)
		return tr
	}
	machines := map[string]hostfs.Saved{"workstation": workstation(t, firstStart).Tree}
	labs, err := filepath.Glob(filepath.Join(hosttest.Root(t), "testdata", "hosts", "*.txtar"))
	must(t, err)
	if len(labs) == 0 {
		t.Error("no captures of the emulated laptop")
	}
	for _, file := range labs {
		machines[filepath.Base(file)] = open(t, file)
	}
	for name, fsys := range machines {
		sides := map[string][]laptop.Identity{"as it is": identify(t, fsys)}
		for _, salt := range []string{"a", "b"} {
			sides["captured with "+salt] = identify(t, capture(fsys, salt))
		}
		sides["captured twice"] = identify(t, capture(capture(fsys, "a"), "b"))
		others := slices.ContainsFunc(sides["captured with a"], func(id laptop.Identity) bool {
			return !strings.HasPrefix(id.ID, "pci:") && !strings.HasPrefix(id.ID, "usb:")
		})
		if !others {
			t.Errorf("%s: nothing on neither bus was captured", name)
		}
		for from, before := range sides {
			for to, after := range sides {
				rows := laptop.Match(before, after)
				checkMatch(t, before, after, rows)
				for _, r := range rows {
					if r.Outcome != laptop.Same || r.Suspicious {
						t.Errorf("%s, %s and %s: %s %s %s", name, from, to, r.Outcome, r.Before, r.After)
					}
				}
			}
		}
	}
}
