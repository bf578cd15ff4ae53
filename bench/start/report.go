package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/project-independence/indy/bench/internal/peers"
)

// A Report is one run.
type Report struct {
	Processor  string            `json:"processor"`
	Kernel     string            `json:"kernel"`
	Go         string            `json:"go"`
	Versions   map[string]string `json:"versions"`
	Rounds     int               `json:"rounds"`
	Contenders []Contender       `json:"contenders"`
	Ratios     []Ratio           `json:"ratios"`
	Failed     map[string]string `json:"failed,omitempty"` // peers that were not measured, and why
}

// A Contender is one way to start the guest.
type Contender struct {
	Name    string `json:"name"`
	QMP     Times  `json:"qmp"`     // until QEMU answers; empty if that cannot be seen
	Running Times  `json:"running"` // until it was told to go on, or the command has ended
	Serial  Times  `json:"serial"`  // until the first byte on the serial port
}

// Times are in milliseconds.
type Times struct {
	Median float64   `json:"median_ms"`
	Least  float64   `json:"least_ms"`
	All    []float64 `json:"all_ms"` // by rounds
}

// A Ratio compares two contenders, round by round.
type Ratio struct {
	Name   string  `json:"name"`
	What   string  `json:"what"` // which of the times
	Median float64 `json:"median"`
	Low    float64 `json:"low"` // with High the 95 % confidence interval of the median
	High   float64 `json:"high"`
	Target string  `json:"target"`
}

func (c *Contender) add(t timing) {
	for _, one := range []struct {
		to *Times
		d  time.Duration
	}{{&c.QMP, t.qmp}, {&c.Running, t.running}, {&c.Serial, t.serial}} {
		if one.d > 0 {
			one.to.All = append(one.to.All, peers.Milliseconds(one.d))
		}
	}
}

func (c *Contender) sum() {
	for _, t := range []*Times{&c.QMP, &c.Running, &c.Serial} {
		if len(t.All) > 0 {
			t.Median, t.Least = median(t.All), slices.Min(t.All)
		}
	}
}

func median(of []float64) float64 {
	s := slices.Sorted(slices.Values(of))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// against are the ratios that are shown, and the targets of the design.
func against() []Ratio {
	return []Ratio{
		{Name: packageQEMU + " / " + bareQEMU, What: "QMP", Target: "1.05"},
		{Name: indyStart + " / " + bareQEMU, What: "QMP", Target: "1.05"},
		{Name: packageQEMU + " / " + bareQEMU, What: "first byte", Target: "1.05"},
		{Name: indyStart + " / " + bareQEMU, What: "first byte", Target: "1.05"},
		{Name: indyStart + " / " + virshStart, What: "runs", Target: "0.15"},
		{Name: indyStart + " / " + virshStart, What: "first byte", Target: "0.15"},
	}
}

func ratios(all []Contender) (out []Ratio) {
	times := func(name, what string) []float64 {
		i := slices.IndexFunc(all, func(c Contender) bool { return c.Name == name })
		if i < 0 {
			return nil
		}
		return map[string]Times{"QMP": all[i].QMP, "runs": all[i].Running, "first byte": all[i].Serial}[what].All
	}
	for _, r := range against() {
		var a, b string
		for _, x := range all {
			for _, y := range all {
				if r.Name == x.Name+" / "+y.Name {
					a, b = x.Name, y.Name
				}
			}
		}
		mine, theirs := times(a, r.What), times(b, r.What)
		if len(mine) == 0 || len(mine) != len(theirs) {
			continue // one was not measured
		}
		pairs := make([]float64, len(mine))
		for i := range mine {
			pairs[i] = mine[i] / theirs[i]
		}
		r.Median = median(pairs)
		r.Low, r.High = interval(pairs)
		out = append(out, r)
	}
	return out
}

// interval is where the median is with 95 % confidence, by drawing from the pairs again and
// again (the percentile bootstrap). The draws are the same each time.
func interval(pairs []float64) (low, high float64) {
	const draws = 4000
	r := rand.New(rand.NewPCG(1, 2))
	medians := make([]float64, draws)
	again := make([]float64, len(pairs))
	for i := range medians {
		for k := range again {
			again[k] = pairs[r.IntN(len(pairs))]
		}
		medians[i] = median(again)
	}
	slices.Sort(medians)
	return medians[draws*25/1000], medians[draws*975/1000]
}

// markdown writes the report as tables.
func (r Report) markdown(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s, Linux %s, %s", r.Processor, r.Kernel, r.Go)
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(&b, ", %s %s", name, r.Versions[name])
	}
	fmt.Fprintf(&b, "; software emulation; %d rounds\n\n| ratio | of | median | 95 %% | target |\n| --- | --- | ---: | ---: | ---: |\n", r.Rounds)
	for _, a := range r.Ratios {
		fmt.Fprintf(&b, "| %s | %s | %.2f | %.2f to %.2f | %s |\n", a.Name, a.What, a.Median, a.Low, a.High, a.Target)
	}
	b.WriteString("\n| median (least) ms until | QMP answers | it runs | first byte on the serial port |\n| --- | ---: | ---: | ---: |\n")
	for _, c := range r.Contenders {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", c.Name, c.QMP, c.Running, c.Serial)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Failed)) {
		fmt.Fprintf(&b, "\n%s was not measured: %s\n", name, r.Failed[name])
	}
	_, err := b.WriteTo(w)
	return err
}

// String writes the median, and the least in parentheses.
func (t Times) String() string {
	if len(t.All) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f (%.1f)", t.Median, t.Least)
}
