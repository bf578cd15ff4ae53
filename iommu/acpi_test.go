package iommu_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/iommu"
)

// decodedTable is a line of decode.jsonl: what another program made of a table.
type decodedTable struct {
	File   string
	Sig    string
	Decode struct {
		Rev       uint8
		OEM       string
		OEMTable  string `json:"oem_table"`
		HostWidth int    `json:"host_addr_width"`
		Flags     struct {
			IntrRemap    bool `json:"intr_remap"`
			X2APICOptOut bool `json:"x2apic_opt_out"`
			DMACtrlOptIn bool `json:"dma_ctrl_opt_in"`
		}
		Structs []map[string]any
		IVInfo  string `json:"ivinfo"`
		Blocks  []map[string]any
	}
}

// decodedTables returns the real tables of a kind with what is said of each.
func decodedTables(t testing.TB, sig string, use func(d decodedTable, data []byte)) (tables int) {
	t.Helper()
	dir := hosttest.Shared(t, "hwdata", "acpi")
	f, err := os.Open(filepath.Join(dir, "decode.jsonl"))
	must(t, err)
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var d decodedTable
		must(t, json.Unmarshal(lines.Bytes(), &d))
		if d.Sig != sig {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(d.File)))
		must(t, err)
		use(d, data)
		tables++
	}
	must(t, lines.Err())
	files, err := filepath.Glob(filepath.Join(dir, strings.ToLower(sig), "*.bin"))
	if err != nil || len(files) != tables || tables < 100 {
		t.Errorf("%d tables are decoded, %d files are there, %v", tables, len(files), err)
	}
	return tables
}

// realTables returns all real tables of a kind.
func realTables(t testing.TB, sig string) (all [][]byte) {
	decodedTables(t, sig, func(_ decodedTable, data []byte) { all = append(all, data) })
	return all
}

// acpiTable makes a table of a body, with a length and checksum that are right.
func acpiTable(sig string, body ...byte) []byte {
	b := make([]byte, 36, 36+len(body))
	copy(b, sig)
	b[8] = 1
	copy(b[10:], "OEM\x1b[2")
	copy(b[16:], "TABLE")
	copy(b[28:], "CMPL")
	b = append(b, body...)
	return rightTable(b)
}

func rightTable(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)))
	b[9] = 0
	var sum byte
	for _, c := range b {
		sum += c
	}
	b[9] = -sum
	return b
}

// parse decodes a table and writes what came of it.
func parse(sig string, data []byte) (string, error) {
	if sig == "DMAR" {
		d, err := iommu.ParseDMAR(data)
		var b strings.Builder
		fmt.Fprintln(&b, d.Header, d.Flags, d.Units, d.Reserved, d.RootPorts, d.Affinities, d.Namespace, d.Caches, d.Properties, d.Unknown)
		return b.String(), err
	}
	d, err := iommu.ParseIVRS(data)
	var b strings.Builder
	fmt.Fprintln(&b, d.Header, d.Info, d.Units, d.Memory, d.Unknown)
	for _, u := range d.Units {
		fmt.Fprintln(&b, u.Flags, u.Entries, u.Ranges())
	}
	return b.String(), err
}

// No table that is cut off, at any byte, panics or passes for whole; none with a byte
// changed panics or grows beyond what its size allows.
func TestTablesBroken(t *testing.T) {
	for _, sig := range []string{"DMAR", "IVRS"} {
		cut, flipped, wrong := 0, 0, 0
		seen := map[string]bool{}
		for _, data := range realTables(t, sig) {
			if seen[string(data)] {
				continue
			}
			seen[string(data)] = true
			for n := range data {
				if _, err := parse(sig, data[:n]); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("%s cut to %d of %d: %v", sig, n, len(data), err)
				}
				cut++
			}
			b := append([]byte(nil), data...)
			for i := range b {
				for _, v := range []byte{0, 7, 0xff} {
					if b[i] = v; v == data[i] {
						continue
					}
					if text, err := parse(sig, b); err != nil {
						wrong++
					} else if i >= 8 && !strings.Contains(text, "with a wrong checksum") {
						t.Fatalf("%s with byte %d changed: the checksum is right: %s", sig, i, text)
					}
					flipped++
				}
				b[i] = data[i]
			}
		}
		t.Logf("%s: %d different tables, %d cut, %d changed, of which %d are in error", sig, len(seen), cut, flipped, wrong)
		if cut < 10000 || flipped < 50000 || wrong == 0 {
			t.Error("too few")
		}
	}
}

func TestTableHeaders(t *testing.T) {
	whole := map[string][]byte{
		"DMAR": acpiTable("DMAR", []byte{38, 1, 11: 0}...),
		"IVRS": acpiTable("IVRS", []byte{0x41, 0x30, 0x20, 11: 0}...),
	}
	for sig, data := range whole {
		read := func(b []byte) (iommu.TableHeader, error) {
			if sig == "DMAR" {
				d, err := iommu.ParseDMAR(b)
				return d.Header, err
			}
			d, err := iommu.ParseIVRS(b)
			return d.Header, err
		}
		change := func(f func(b []byte) []byte) []byte { return f(append([]byte(nil), data...)) }
		for _, tt := range []struct {
			name     string
			data     []byte
			checksum iommu.Answer
			err      string // part of it
		}{
			{"whole", data, iommu.Yes, ""},
			{"a wrong checksum is a fact, no error", change(func(b []byte) []byte { b[9]++; return b }), iommu.No, ""},
			{"bytes behind it are not its own", append(change(func(b []byte) []byte { return b }), 1, 2, 3), iommu.Yes, ""},
			{"another table", change(func(b []byte) []byte { b[0] = 'X'; return b }), iommu.Unknown, "signature"},
			{"empty", nil, iommu.Unknown, "no header"},
			{"half a header", data[:20], iommu.Unknown, "no header"},
			{"no length", change(func(b []byte) []byte { b[4] = 0; return b }), iommu.Unknown, "a length of 0 is less"},
			{"a length of the header alone", rightTable(change(func(b []byte) []byte { return b[:36] })), iommu.Yes, "ends before its first"},
			{"longer than it is", change(func(b []byte) []byte { b[4]++; return b }), iommu.Unknown, "48 of 49 bytes"},
			{"much longer than it is", change(func(b []byte) []byte { b[7] = 0xff; return b }), iommu.Unknown, "48 of "},
			{"longer than any", rightTable(append(change(func(b []byte) []byte { return b }), make([]byte, 1<<20)...)), iommu.Unknown, "longer than any"},
		} {
			h, err := read(tt.data)
			if h.Checksum != tt.checksum || tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("%s, %s: %+v, %v", sig, tt.name, h, err)
			}
		}
		h, err := read(data)
		must(t, err)
		want := iommu.TableHeader{Signature: sig, Length: 48, Revision: 1, OEM: "OEM [2", OEMTable: "TABLE", Compiler: "CMPL", Checksum: iommu.Yes}
		if h != want {
			t.Errorf("%+v", h)
		}
		h.Checksum = iommu.No
		if s := h.String(); s != sig+" revision 1 of OEM [2 TABLE, with a wrong checksum" {
			t.Error(s)
		}
	}
}

// Each structure stands for a way to make a parser read on for ever or beyond its end.
func TestTableEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		data []byte
		err  string
		want string // part of what is read all the same
	}{
		{"DMAR, a structure of no length", acpiTable("DMAR", []byte{38, 0, 11: 0, 12: 4, 14: 14, 19: 3, 20: '\\', 21: '_', 22: 'S', 26: 0, 29: 0}...), "byte 62: a structure of 0 bytes in 4", `ACPI device 3 is \_S`},
		{"DMAR, one that is longer than the table", acpiTable("DMAR", []byte{38, 0, 11: 0, 14: 200, 15: 0}...), "byte 48: a structure of 200 bytes in 4", ""},
		{"DMAR, too little for one", acpiTable("DMAR", []byte{38, 0, 11: 0, 12: 9, 13: 0}...), "byte 48: 2 bytes where a structure", ""},
		{"DMAR, shorter than its kind", acpiTable("DMAR", []byte{38, 0, 11: 0, 14: 8, 19: 0}...), "type 0 has 8 of at least 16", ""},
		{"DMAR, unknown kinds are kept", acpiTable("DMAR", []byte{38, 0, 11: 0, 12: 0x34, 13: 0x12, 14: 6, 17: 0}...), "", "structure of unknown type 0x1234, 6 bytes at byte 48"},
		{"DMAR, a scope of no length", acpiTable("DMAR", []byte{38, 0, 11: 0, 14: 24, 16: 0, 24: 0, 28: 1, 35: 0}...), "byte 64: a device scope of 0 bytes in 8", "unit at 0x0"},
		{"DMAR, a scope that is longer than its structure", acpiTable("DMAR", []byte{38, 0, 11: 0, 14: 24, 28: 1, 29: 10, 35: 0}...), "byte 64: a device scope of 10 bytes in 8", "unit at 0x0"},
		{"DMAR, half a scope", acpiTable("DMAR", []byte{38, 0, 11: 0, 14: 20, 28: 1, 29: 8, 31: 0}...), "byte 64: 4 bytes where a device scope", "unit at 0x0"},
		{"DMAR, a scope with half a path", acpiTable("DMAR", []byte{38, 0, 11: 0, 14: 25, 28: 1, 29: 9, 34: 2, 35: 0, 36: 1}...), "no path of pairs", "unit at 0x0 for endpoint 0000:00:02.0"},
		{"DMAR, a scope without a path", acpiTable("DMAR", []byte{38, 0, 11: 0, 14: 22, 28: 2, 29: 6, 33: 0}...), "no path of pairs", "bridge 0000:00:?"},
		{"IVRS, a block of no length", acpiTable("IVRS", []byte{0, 0, 11: 0, 12: 0x10, 15: 0}...), "byte 48: a block of 0 bytes in 4", ""},
		{"IVRS, one that is longer than the table", acpiTable("IVRS", []byte{0, 0, 11: 0, 12: 0x10, 14: 24, 15: 0}...), "byte 48: a block of 24 bytes in 4", ""},
		{"IVRS, too little for one", acpiTable("IVRS", []byte{0, 0, 11: 0, 12: 0x10}...), "byte 48: 1 bytes where a block", ""},
		{"IVRS, shorter than its kind", acpiTable("IVRS", []byte{0, 0, 11: 0, 12: 0x40, 14: 39, 50: 0}...), "type 40h has 39 of at least 40", ""},
		{"IVRS, unknown kinds are kept", acpiTable("IVRS", []byte{0, 0, 11: 0, 12: 0x50, 14: 8, 19: 0}...), "", "structure of unknown type 0x50, 8 bytes at byte 48"},
		{"IVRS, an entry that is longer than its unit", acpiTable("IVRS", []byte{0, 0, 11: 0, 12: 0x10, 14: 28, 36: 0x48, 39: 0}...), "byte 72: entry 48h does not fit into the 4 bytes", "unit 0000:00:00.0 at 0x0, form 10h"},
		{"IVRS, an ACPI device that is longer than its unit", acpiTable("IVRS", []byte{0, 0, 11: 0, 12: 0x10, 14: 46, 36: 0xf0, 57: 1}...), "byte 72: entry f0h does not fit", "form 10h"},
		{"IVRS, an entry of no known length", acpiTable("IVRS", []byte{0, 0, 11: 0, 12: 0x10, 14: 60, 36: 0xf1, 71: 0}...), "byte 72: entry f1h does not fit", "form 10h"},
		{"IVRS, entries that are unknown but have a length", acpiTable("IVRS", []byte{0, 0, 11: 0, 12: 0x10, 14: 76, 36: 0x80, 52: 0xc0, 84: 0x02, 85: 8, 87: 0}...), "", "[unknown entry 80h unknown entry c0h device 0000:00:01.0]"},
	} {
		text, err := parse(tt.name[:4], tt.data)
		if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) || !strings.Contains(text, tt.want) {
			t.Errorf("%s: %v\n%s", tt.name, err, text)
		}
		if tt.err == "" && strings.Contains(text, "wrong checksum") {
			t.Errorf("%s: the test's own table is wrong: %s", tt.name, text)
		}
	}
}

// A table full of errors gives some of them, not all.
func TestTableManyErrors(t *testing.T) {
	body := make([]byte, 12)
	for range 60000 {
		body = append(body, 0, 0, 4, 0)
	}
	_, err := iommu.ParseDMAR(acpiTable("DMAR", body...))
	if err == nil || strings.Count(err.Error(), "\n") > 20 {
		t.Errorf("%.200v", err)
	}
}

// Who may not read a table does not know it; who has none knows that.
func TestReadTables(t *testing.T) {
	tr := new(hostfs.Tree)
	for name, read := range map[string]func(fs.FS) error{
		"DMAR": func(h fs.FS) error { _, err := iommu.ReadDMAR(h); return err },
		"IVRS": func(h fs.FS) error { _, err := iommu.ReadIVRS(h); return err },
	} {
		path := "sys/firmware/acpi/tables/" + name
		var op *iommu.OpError
		if err := read(tr); !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &op) || op.Op != "read the "+name+" table" {
			t.Error(err)
		}
		locked := hosttest.Failing{Tree: tr, Fail: func(name string) error {
			if name == path {
				return fs.ErrPermission
			}
			return nil
		}}
		if err := read(locked); !errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		put(t, tr, path, string(acpiTable(name, []byte{11: 0}...)))
		must(t, read(tr))
		put(t, tr, path, string(acpiTable(name, []byte{11: 0}...)[:47]))
		if err := read(tr); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Error(err)
		}
	}
}

func fuzzTable(f *testing.F, sig string) {
	for _, data := range realTables(f, sig) {
		f.Add(data)
	}
	f.Add(acpiTable(sig, []byte{11: 0}...))
	f.Add(acpiTable(sig, []byte{11: 0, 15: 0}...))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, err := parse(sig, data)
		if len(text) > 100*len(data)+1000 {
			t.Errorf("%d bytes give %d", len(data), len(text))
		}
		if err == nil && len(data) < 48 {
			t.Errorf("%d bytes pass for a table", len(data))
		}
		again, _ := parse(sig, data)
		if text != again {
			t.Error("read twice, it is not the same")
		}
	})
}

func FuzzDMAR(f *testing.F) { fuzzTable(f, "DMAR") }
func FuzzIVRS(f *testing.F) { fuzzTable(f, "IVRS") }
