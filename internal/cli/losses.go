package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/project-independence/indy/laptop"
)

// maxLosses is how many losses are written for a person; JSON has them all.
const maxLosses = 24

// unsaid leaves out the losses that the findings which stand above them say already, what
// is named as going along, and what no saved machine says.
func (m *machine) unsaid(losses []laptop.Loss, said []laptop.Finding) []laptop.Loss {
	return slices.DeleteFunc(slices.Clone(losses), func(loss laptop.Loss) bool {
		if loss.Kind == laptop.NodeOpen && loss.Severity == laptop.Gap {
			return m.saved
		}
		return slices.ContainsFunc(said, func(f laptop.Finding) bool {
			return f.Code == loss.Kind && (loss.Kind == laptop.OnlyKeyboard || loss.Kind == laptop.Carries || strings.Contains(f.Detail, loss.What))
		})
	})
}

// writeLosses writes what the host no longer does without some devices.
func writeLosses(env *Env, losses []laptop.Loss) {
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
