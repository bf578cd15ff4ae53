package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/project-independence/indy/laptop"
)

// maxLosses is how many losses are written for a person; JSON has them all.
const maxLosses = 24

// writeLosses writes what the host no longer does without some devices, but for what
// the findings that stand above it say already, and for what no saved machine says.
func (m *machine) writeLosses(env *Env, losses []laptop.Loss, said []laptop.Finding) {
	losses = slices.DeleteFunc(slices.Clone(losses), func(loss laptop.Loss) bool {
		return m.saved && loss.Kind == laptop.NodeOpen && loss.Severity == laptop.Gap || slices.ContainsFunc(said, func(f laptop.Finding) bool { return f.Code == loss.Kind })
	})
	if len(losses) == 0 {
		return
	}
	fmt.Fprintln(env.Stdout, "\nwhat the host loses")
	for _, loss := range losses[:min(len(losses), maxLosses)] {
		c := plain
		switch loss.Severity {
		case laptop.Block:
			c = red
		case laptop.Warning, laptop.Gap:
			c = yellow
		}
		env.labelled("  "+env.paint(c, string(loss.Kind))+": ", len(loss.Kind)+4, loss.What)
		if len(loss.Via) > 1 {
			env.labelled("    by way of: ", 15, strings.Join(loss.Via, ", "))
		}
		env.labelled("    seen in: ", 13, loss.Evidence)
		if loss.Remedy != "" {
			env.labelled("    remedy:  ", 13, loss.Remedy)
		}
	}
	if more := len(losses) - maxLosses; more > 0 {
		fmt.Fprintf(env.Stdout, "  and %d more\n", more)
	}
}
