package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
)

// A Report is one run.
type Report struct {
	Processor string            `json:"processor"` // of the machine that emulates
	Kernel    string            `json:"kernel"`    // of the emulated laptop
	Go        string            `json:"go"`
	Versions  map[string]string `json:"versions"`
	Rounds    int               `json:"rounds"`
	Counted   bool              `json:"counted"` // time is instructions, 4 ns each
	Targets   []Target          `json:"targets"`
	Failed    map[string]string `json:"failed,omitempty"` // peers that were not measured, and why
}

// A Target is what was handed over and taken back as one.
type Target struct {
	Name       string      `json:"name"`
	Devices    []string    `json:"devices"`
	Contenders []Contender `json:"contenders"`
}

// A Contender is one way to do it. Times are medians in milliseconds.
type Contender struct {
	Name    string  `json:"name"`
	Assign  float64 `json:"assign_ms"`
	Release float64 `json:"release_ms"`
	Both    float64 `json:"both_ms"`
	Least   float64 `json:"least_ms"`  // of both
	Kernel  float64 `json:"kernel_ms"` // of both, in writes to sysfs; 0 if not known
}

// against are the ratios that the design has targets for.
var against = []struct{ ours, theirs, target string }{
	{"indy", "shell loop", "1.0"},
	{"indy", "shell loop with reset", "1.0"},
	{"indy", "driverctl", "0.15"},
	{"indy", "virsh", "0.12"},
	{"package assign", "its writes", "1.10"},
	{"package assign", "shell loop", ""},
}

// both returns the median of a contender's hand-over and taking back together.
func (t Target) both(name string) float64 {
	for _, c := range t.Contenders {
		if c.Name == name {
			return c.Both
		}
		if name == "its writes" && c.Kernel > 0 {
			return c.Kernel
		}
	}
	return 0
}

// markdown writes the report as tables.
func (r Report) markdown(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s, emulated in software; inside Linux %s, %s", r.Processor, r.Kernel, r.Go)
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(&b, ", %s %s", name, r.Versions[name])
	}
	if r.Counted {
		b.WriteString("; an instruction takes 4 ns")
	}
	fmt.Fprintf(&b, "; %d rounds\n\n| ratio of medians |", r.Rounds)
	rule := "\n| --- |"
	for _, t := range r.Targets {
		fmt.Fprintf(&b, " %s |", t.Name)
		rule += " ---: |"
	}
	b.WriteString(" target |" + rule + " ---: |\n")
	for _, a := range against {
		fmt.Fprintf(&b, "| %s / %s |", a.ours, a.theirs)
		for _, t := range r.Targets {
			b.WriteString(" " + ratio(t.both(a.ours), t.both(a.theirs)) + " |")
		}
		fmt.Fprintf(&b, " %s |\n", a.target)
	}
	for _, t := range r.Targets {
		fmt.Fprintf(&b, "\n| %s: median ms | assign | release | both | least | x first | in its writes |\n"+
			"| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n", t.Name)
		for _, c := range t.Contenders {
			kernel := "-"
			if c.Kernel > 0 {
				kernel = fmt.Sprintf("%.1f", c.Kernel)
			}
			fmt.Fprintf(&b, "| %s | %.1f | %.1f | %.1f | %.1f | %s | %s |\n",
				c.Name, c.Assign, c.Release, c.Both, c.Least, ratio(c.Both, t.Contenders[0].Both), kernel)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Failed)) {
		fmt.Fprintf(&b, "\n%s was not measured: %s\n", name, r.Failed[name])
	}
	_, err := b.WriteTo(w)
	return err
}

func ratio(a, b float64) string {
	if a == 0 || b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", a/b)
}
