package cli

import (
	"fmt"
	"strings"

	"github.com/project-independence/indy/laptop"
)

// maxAlike is how many devices are named of which the same is said.
const maxAlike = 8

// alike makes one of the findings that say the same of several devices, as of the members
// of a group: it names the others. JSON has each by itself.
func alike(findings []laptop.Finding) []laptop.Finding {
	type sentence struct {
		code           laptop.Code
		severity       laptop.Severity
		detail, remedy string
	}
	var first []laptop.Finding
	var others [][]string
	at := map[sentence]int{}
	for _, f := range findings {
		_, where, _ := strings.Cut(f.Device, ":")
		plain := func(s string) string {
			if where == "" {
				return s
			}
			return strings.ReplaceAll(s, where, "\x00")
		}
		s := sentence{f.Code, f.Severity, plain(f.Detail), plain(f.Remedy)}
		i, ok := at[s]
		if !ok {
			at[s] = len(first)
			first, others = append(first, f), append(others, nil)
			continue
		}
		if s.detail != f.Detail { // else it is about none of them more than another
			others[i] = append(others[i], where)
		}
	}
	for i, names := range others {
		if len(names) == 0 {
			continue
		}
		first[i].Detail += "; the same of " + strings.Join(names[:min(len(names), maxAlike)], ", ")
		if more := len(names) - maxAlike; more > 0 {
			first[i].Detail += fmt.Sprintf(" and %d more", more)
		}
	}
	return first
}
