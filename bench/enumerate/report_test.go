package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

var small = Report{Processor: "one <CPU>", Processors: 2, Kernel: "6.12", Go: "go1.26", Machines: []Machine{{
	Name: "this host", Functions: 6,
	Processes: []Process{
		{Name: "lspci -nnk", Median: 10, Least: 9, Ratio: 1, Memory: 6144, SystemCalls: 784},
		{Name: "indy devices", Median: 2.5, Least: 2, Ratio: 0.25, Memory: 8192},
	},
	Slow:    []Process{{Name: "lshw & co", Failed: "not installed"}},
	Library: []Scan{{"C floor", 0.07, 1}, {"pci.Functions", 0.08, 1.14}},
}, {Name: "30 functions", Functions: 30}}}

func TestMarkdown(t *testing.T) {
	var b strings.Builder
	if err := small.markdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"### this host (6 functions)\n", "| lspci -nnk | 10.00 | 9.00 | 1.00 | 784 | 6.0 |", "| indy devices | 2.50 | 2.00 | 0.25 | - | 8.0 |",
		"| lshw & co | not installed |", "| pci.Functions | 0.0800 | 1.14 |", "### 30 functions\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

// TestPicture: well-formed whatever there is to draw, and a bar for each program that ran.
func TestPicture(t *testing.T) {
	for name, r := range map[string]Report{"small": small, "empty": {}, "one": {Machines: small.Machines[1:]}} {
		bars := 0
		for dec := xml.NewDecoder(strings.NewReader(string(picture(r)))); ; {
			token, err := dec.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, picture(r))
			}
			if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
				bars++
			}
		}
		want := 1 // the background
		for _, m := range r.Machines {
			want += len(timed(m))
		}
		if bars != want {
			t.Errorf("%s: %d bars, want %d", name, bars, want)
		}
	}
}

func TestParseSizes(t *testing.T) {
	if got, err := parseSizes("30, 300"); err != nil || len(got) != 2 || got[1] != 300 {
		t.Errorf("parseSizes = %v, %v", got, err)
	}
	if got, err := parseSizes(""); err != nil || len(got) != 0 {
		t.Errorf("parseSizes of nothing = %v, %v", got, err)
	}
	for _, bad := range []string{"x", "0", "-1", "1000000"} {
		if _, err := parseSizes(bad); err == nil {
			t.Errorf("parseSizes(%q) took it", bad)
		}
	}
}
