package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMarkdown(t *testing.T) {
	report := Report{
		Processor: "one CPU", Kernel: "6.12", Go: "go1.26", Rounds: 3, Versions: map[string]string{"driverctl": "0.1"},
		Targets: []Target{{Name: "NVMe", Contenders: []Contender{
			{Name: "shell loop", Assign: 60, Release: 40, Both: 100, Least: 90},
			{Name: "indy", Assign: 70, Release: 50, Both: 120, Least: 110},
			{Name: "package assign", Both: 105, Least: 104, Kernel: 100},
			{Name: "driverctl", Both: 400, Least: 400},
		}}},
		Failed: map[string]string{"virsh": "not installed"},
	}
	var b strings.Builder
	if err := report.markdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"one CPU, emulated in software; inside Linux 6.12, go1.26, driverctl 0.1; 3 rounds\n", "| ratio of medians | NVMe | target |\n| --- | ---: | ---: |\n",
		"| indy / shell loop | 1.20 | 1.0 |", "| indy / driverctl | 0.30 | 0.15 |", "| indy / virsh | - | 0.12 |", "| package assign / its writes | 1.05 | 1.10 |",
		"| indy | 70.0 | 50.0 | 120.0 | 110.0 | 1.20 | - |", "| package assign | 0.0 | 0.0 | 105.0 | 104.0 | 1.05 | 100.0 |",
		"virsh was not measured: not installed",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	report.Counted = true
	b.Reset()
	if err := report.markdown(&b); err != nil || !strings.Contains(b.String(), "; an instruction takes 4 ns; 3 rounds\n") {
		t.Errorf("%v; not said that time is counted in\n%s", err, b.String())
	}
}

// The loop is of the writes that were made, and of no others.
func TestScript(t *testing.T) {
	name := filepath.Join(t.TempDir(), "script")
	writes := []written{{"sys/a/reset", "1"}, {"sys/b", "\n"}, {"sys/c", "0000:02:00.0"}}
	if err := script(name, writes, func(w written) bool { return w.name != "sys/c" }); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if want := "set -e\necho 1 >/sys/a/reset 2>/dev/null || :\necho  >/sys/b\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}
