package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
)

// picture draws, for each machine, how long each program took, as SVG: one bar a
// program, on a scale of powers of ten, since lspci and lshw are a hundred times apart.
func picture(r Report) []byte {
	const (
		width, left, right = 860, 190, 90
		bar, gap, head     = 15, 5, 34
	)
	least, most := math.Inf(1), 0.0
	rows := 0
	for _, m := range r.Machines {
		for _, p := range timed(m) {
			least, most = min(least, p.Median), max(most, p.Median)
			rows++
		}
	}
	if rows == 0 {
		least, most = 1, 10
	}
	low, high := math.Floor(math.Log10(least)), math.Ceil(math.Log10(most))
	if high <= low {
		high = low + 1
	}
	x := func(ms float64) float64 {
		return left + (width-left-right)*(math.Log10(ms)-low)/(high-low)
	}
	height := 70 + len(r.Machines)*head + rows*(bar+gap)
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">
<style>
  .back { fill: #ffffff } .text { fill: #1c2430 } .dim { fill: #68707c } .grid { stroke: #dde1e6 }
  .peer { fill: #9aa7b8 } .ours { fill: #1f7a5a } .floor { fill: #c9ced6 }
  @media (prefers-color-scheme: dark) {
    .back { fill: #14181e } .text { fill: #e4e8ee } .dim { fill: #98a1ad } .grid { stroke: #2c333d }
    .peer { fill: #5d6a7c } .ours { fill: #3fb58a } .floor { fill: #3a424e }
  }
</style>
<rect class="back" width="%d" height="%d"/>
<text class="text" x="12" y="24" font-size="15" font-weight="bold">Listing hardware: milliseconds, whole process, median</text>
`, width, height, width, height)
	for e := low; e <= high; e++ {
		at := x(math.Pow(10, e))
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="44" y2="%d"/><text class="dim" x="%.1f" y="40" text-anchor="middle">%g</text>`+"\n",
			at, at, height-10, at, math.Pow(10, e))
	}
	y := 50
	for _, m := range r.Machines {
		title := m.Name
		if title == "this host" {
			title = fmt.Sprintf("this host, %d functions", m.Functions)
		}
		fmt.Fprintf(&b, `<text class="text" x="12" y="%d" font-weight="bold">%s</text>`+"\n", y+20, html.EscapeString(title))
		y += head
		for _, p := range timed(m) {
			class := "peer"
			switch {
			case len(p.Name) > 5 && p.Name[:5] == "indy ":
				class = "ours"
			case p.Name == "C floor, one scan" || p.Name == "an empty Go program":
				class = "floor"
			}
			end := x(p.Median)
			fmt.Fprintf(&b, `<text class="text" x="%d" y="%d" text-anchor="end">%s</text><rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/><text class="dim" x="%.1f" y="%d">%s</text>`+"\n",
				left-8, y+bar-3, html.EscapeString(p.Name), class, left, y, max(1, end-left), bar, end+6, y+bar-3, milliseconds(p.Median))
			y += bar + gap
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func milliseconds(ms float64) string {
	if ms >= 100 {
		return fmt.Sprintf("%.0f", ms)
	}
	return fmt.Sprintf("%.3g", ms)
}

// timed are the programs that ran, each once.
func timed(m Machine) []Process {
	var all []Process
	seen := map[string]bool{}
	for _, p := range append(append([]Process{}, m.Processes...), m.Slow...) {
		if p.Failed == "" && p.Median > 0 && !seen[p.Name] {
			seen[p.Name] = true
			all = append(all, p)
		}
	}
	return all
}
