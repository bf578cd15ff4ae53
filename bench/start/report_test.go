package main

import (
	"strings"
	"testing"
	"time"
)

func TestMarkdown(t *testing.T) {
	all := []Contender{{Name: bareQEMU}, {Name: packageQEMU}, {Name: indyStart}, {Name: virshStart}}
	for round := range 9 {
		for i := range all {
			d := time.Duration(10*(i+1)*(round+1)) * time.Millisecond // each round slower for all alike
			took := timing{qmp: d, running: 2 * d, serial: 3 * d}
			if all[i].Name == virshStart {
				took.qmp = 0
			}
			all[i].add(took)
		}
	}
	for i := range all {
		all[i].sum()
	}
	report := Report{
		Processor: "one CPU", Kernel: "6.12", Go: "go1.26", Rounds: 9, Versions: map[string]string{"QEMU": "10"},
		Contenders: all, Ratios: ratios(all), Failed: map[string]string{"another": "not installed"},
	}
	var b strings.Builder
	if err := report.markdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"one CPU, Linux 6.12, go1.26, QEMU 10; software emulation; 9 rounds\n",
		"| package qemu, in a jail / bare QEMU | QMP | 2.00 | 2.00 to 2.00 | 1.05 |", "| indy guest start / bare QEMU | first byte | 3.00 | 3.00 to 3.00 | 1.05 |",
		"| indy guest start / virsh start | runs | 0.75 | 0.75 to 0.75 | 0.15 |",
		"| bare QEMU | 50.0 (10.0) | 100.0 (20.0) | 150.0 (30.0) |", "| virsh start | - | 400.0 (80.0) | 600.0 (120.0) |",
		"another was not measured: not installed",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

// What was not measured is compared with nothing.
func TestRatios(t *testing.T) {
	all := []Contender{{Name: bareQEMU}, {Name: packageQEMU}}
	all[0].add(timing{qmp: 2 * time.Millisecond})
	all[1].add(timing{qmp: 3 * time.Millisecond})
	if got := ratios(all); len(got) != 1 || got[0].Median != 1.5 || got[0].What != "QMP" {
		t.Errorf("%+v", got)
	}
}

func TestInterval(t *testing.T) {
	low, high := interval([]float64{1, 1, 1, 1, 2, 1, 1, 1, 1})
	if low != 1 || high != 1 {
		t.Errorf("%v to %v: one of nine moves the median", low, high)
	}
	low, high = interval([]float64{1, 2, 3, 4, 5, 6, 7, 8, 9})
	if low >= 5 || high <= 5 || low < 1 || high > 9 {
		t.Errorf("%v to %v", low, high)
	}
}
