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
	Processor  string            `json:"processor"`
	Processors int               `json:"processors"`
	Kernel     string            `json:"kernel"`
	Go         string            `json:"go"`
	Versions   map[string]string `json:"versions"`
	Machines   []Machine         `json:"machines"`
}

// markdown writes the report as tables.
func (r Report) markdown(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s, %d processors, Linux %s, %s", r.Processor, r.Processors, r.Kernel, r.Go)
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(&b, ", %s %s", name, r.Versions[name])
	}
	b.WriteString("\n")
	for _, m := range r.Machines {
		fmt.Fprintf(&b, "\n### %s", m.Name)
		if m.Name == "this host" {
			fmt.Fprintf(&b, " (%d functions)", m.Functions)
		}
		b.WriteString("\n")
		table(&b, m.Processes)
		table(&b, m.Slow)
		if len(m.Library) > 0 {
			b.WriteString("\n| in one process | median ms a scan | x floor |\n| --- | ---: | ---: |\n")
			for _, s := range m.Library {
				fmt.Fprintf(&b, "| %s | %.4f | %s |\n", s.Name, s.Median, ratio(s.Ratio))
			}
		}
	}
	_, err := b.WriteTo(w)
	return err
}

func table(b *bytes.Buffer, processes []Process) {
	if len(processes) == 0 {
		return
	}
	b.WriteString("\n| whole process | median ms | least ms | x first | system calls | peak MiB |\n| --- | ---: | ---: | ---: | ---: | ---: |\n")
	for _, p := range processes {
		if p.Failed != "" {
			fmt.Fprintf(b, "| %s | %s | | | | |\n", p.Name, p.Failed)
			continue
		}
		calls := "-"
		if p.SystemCalls > 0 {
			calls = fmt.Sprint(p.SystemCalls)
		}
		fmt.Fprintf(b, "| %s | %.2f | %.2f | %s | %s | %.1f |\n", p.Name, p.Median, p.Least, ratio(p.Ratio), calls, float64(p.Memory)/1024)
	}
}

func ratio(r float64) string {
	switch {
	case r == 0:
		return "-"
	case r >= 10:
		return fmt.Sprintf("%.0f", r)
	}
	return fmt.Sprintf("%.2f", r)
}
