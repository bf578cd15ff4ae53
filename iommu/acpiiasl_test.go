package iommu_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/iommu"
)

// iaslFields returns the numbers that ACPI's own disassembler shows, by field.
func iaslFields(t testing.TB, file string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	lines := regexp.MustCompile(`(?m)^\[[0-9A-F]+h \d+ +\d+\] +([^:]+) : ([0-9A-F,]+|"[^"]*")`)
	fields := map[string][]string{}
	for _, m := range lines.FindAllStringSubmatch(string(text), -1) {
		value := m[2]
		if n, err := strconv.ParseUint(value, 16, 64); err == nil {
			value = fmt.Sprintf("%x", n)
		}
		fields[m[1]] = append(fields[m[1]], value)
	}
	return fields
}

// What another program still says of the tables, and the first does not: proximity,
// attributes, features, and every number of a scope once more.
func TestTablesAgainstIASL(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "acpi", "iasl"), "*.dsl"))
	must(t, err)
	compared, tables := 0, 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".dsl")
		sig := strings.TrimPrefix(filepath.Ext(name), ".")
		data, err := os.ReadFile(hosttest.Shared(t, "hwdata", "acpi", sig, name+".bin"))
		must(t, err)
		theirs, ours := iaslFields(t, file), map[string][]string{}
		add := func(field string, n uint64) { ours[field] = append(ours[field], fmt.Sprintf("%x", n)) }
		if sig == "dmar" {
			d, err := iommu.ParseDMAR(data)
			must(t, err)
			if len(d.Caches)+len(d.Properties) > 0 {
				continue // it is too old for them, and shows less
			}
			dmarFields(d, add, func(path string) { ours["PCI Path"] = append(ours["PCI Path"], path) })
		} else {
			v, err := iommu.ParseIVRS(data)
			must(t, err)
			// Blocks that it does not know it leaves out.
			v.Units = slices.DeleteFunc(v.Units, func(u iommu.IVHD) bool { return u.Type == iommu.IVHD40 })
			ivrsFields(v, add)
		}
		tables++
		for _, field := range slices.Sorted(maps.Keys(ours)) {
			slices.Sort(ours[field])
			slices.Sort(theirs[field])
			compared += len(ours[field])
			if diff := cmp.Diff(theirs[field], ours[field]); diff != "" {
				t.Errorf("%s: %s: %s", name, field, diff)
			}
		}
	}
	t.Logf("%d tables, %d numbers compared", tables, compared)
	if tables < 35 || compared < 1500 {
		t.Error("too few")
	}
}

func dmarFields(d iommu.DMAR, add func(string, uint64), path func(string)) {
	scopes := func(all []iommu.Scope) {
		for _, s := range all {
			add("Enumeration ID", uint64(s.EnumerationID))
			add("PCI Bus Number", uint64(s.StartBus))
			add("Device Scope Type", uint64(s.Type))
			for _, p := range s.Path {
				path(fmt.Sprintf("%02X,%02X", p.Device, p.Function))
			}
		}
	}
	add("Host Address Width", uint64(d.HostAddressWidth-1))
	add("Oem Revision", uint64(d.Header.OEMRevision))
	add("Asl Compiler Revision", uint64(d.Header.CompilerRevision))
	for _, u := range d.Units {
		add("Register Base Address", u.Base)
		add("PCI Segment Number", uint64(u.Segment))
		scopes(u.Scopes)
	}
	for _, r := range d.Reserved {
		add("Base Address", r.Base)
		add("End Address (limit)", r.Limit)
		add("PCI Segment Number", uint64(r.Segment))
		scopes(r.Scopes)
	}
	for _, p := range d.RootPorts {
		add("PCI Segment Number", uint64(p.Segment))
		scopes(p.Scopes)
	}
	for _, a := range d.Affinities {
		add("Base Address", a.Base)
		add("Proximity Domain", uint64(a.Proximity))
	}
	for _, n := range d.Namespace {
		add("Device Number", uint64(n.Number))
	}
}

func ivrsFields(v iommu.IVRS, add func(string, uint64)) {
	add("Virtualization Info", uint64(v.Info))
	for _, u := range v.Units {
		add("Capability Offset", uint64(u.Capability))
		add("Base Address", u.Base)
		add("PCI Segment Group", uint64(u.Segment))
		add("Virtualization Info", uint64(u.Info))
		if u.Type == iommu.IVHD10 {
			add("Feature Reporting", uint64(u.Attributes))
		} else {
			add("Attributes", uint64(u.Attributes))
			add("EFR Image", uint64(u.Features))
		}
		for _, e := range u.Entries {
			add("Entry Type", uint64(e.Kind))
			add("Data Setting", uint64(e.Settings))
			if e.Kind == iommu.EntrySpecial {
				add("Handle", uint64(e.Handle))
				add("Variety", uint64(e.Special))
			}
		}
	}
	for _, m := range v.Memory {
		add("Start Address", m.Start)
		add("Memory Length", m.Length)
	}
}
