package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/laptop"
)

// resolveNeeds finds the devices of the machine that meet the needs of a guest, of which
// known had them before, when refusals are overridden by the names in allow, and where they
// all are. What could not be read is noted.
func (m *machine) resolveNeeds(d guest.Definition, known knownDevices, allow ...string) (laptop.Resolution, laptop.Places) {
	at, err := laptop.ReadPlaces(m.fsys, m.Laptop)
	m.err = errors.Join(m.err, err)
	needs := make([]laptop.Wanted, len(d.Devices))
	for i, key := range keys(d.Devices) {
		needs[i] = laptop.Wanted{Need: d.Devices[i], Known: known.of(key)}
	}
	codes := make([]laptop.Code, len(allow))
	for i, name := range allow {
		codes[i] = laptop.Code(name)
	}
	return laptop.Resolve(m.Laptop.Allowing(codes...), at, needs), at
}

// guestNeedsJSON is a guest with what became of its needs on a machine.
type guestNeedsJSON struct {
	Name      string     `json:"name"`
	Startable bool       `json:"startable"` // no required need is in the way
	Needs     []needJSON `json:"needs"`
}

type needJSON struct {
	Want    guest.Want       `json:"want"`
	Which   guest.Which      `json:"which"` // empty for any, as the next three
	Port    guest.Port       `json:"port"`
	IDs     string           `json:"ids"`
	Class   guest.Class      `json:"class"`
	How     guest.How        `json:"how"`
	Need    string           `json:"need"` // required or optional
	State   laptop.NeedState `json:"state"`
	Devices []string         `json:"devices"`
	Reason  string           `json:"reason"`
}

func needsJSON(name string, needs laptop.Resolution) guestNeedsJSON {
	out := guestNeedsJSON{Name: name, Startable: needs.Startable() == nil, Needs: []needJSON{}}
	for _, n := range needs {
		out.Needs = append(out.Needs, needJSON{
			n.Want, n.Which, n.Port, n.IDs.String(), n.Class, n.How, needWord(n.Need), n.State, append([]string{}, n.Devices...), n.Reason,
		})
	}
	return out
}

func needWord(n guest.Need) string {
	if n.Optional {
		return "optional"
	}
	return "required"
}

// writeNeeds shows a person what became of the needs of a guest: one line each, and
// below them what is to be said of some.
func writeNeeds(env *Env, m *machine, needs laptop.Resolution) {
	w := env.Stdout
	if len(needs) == 0 {
		fmt.Fprintln(w, "no devices are needed")
		return
	}
	t := table{least: []int{8, 0, 0, 13, 10}}
	t.add("NEED", "HOW", "STATE", "ADDRESS", "DEVICE")
	t.colours = []func(int, string) colour{2: func(row int, cell string) colour {
		if row == 0 {
			return plain
		}
		return stateColour(laptop.NeedState(strings.TrimSpace(cell)))
	}}
	for _, n := range needs {
		how := string(n.How)
		if n.Optional {
			how += ", optional"
		}
		where, name := "-", ""
		if len(n.Devices) > 0 {
			d := m.Device(n.Devices[0])
			where, name = d.Where(), m.names.Name(d)
			if more := len(n.Devices) - 1; more > 0 {
				word := " with "
				if n.State == laptop.NeedAmbiguous {
					word, name = " or ", ""
				}
				where += word + count(more, "other")
			}
		}
		t.add(n.Need.String(), how, string(n.State), where, name)
	}
	t.narrow(env, 3)
	t.write(env, w)
	said := false
	for _, n := range needs {
		if n.Reason == "" {
			continue
		}
		if !said {
			fmt.Fprintln(w)
			said = true
		}
		name := printable(n.Need.String())
		fmt.Fprintln(w, env.paint(bold, name))
		env.indented("  ", n.Reason)
	}
	fmt.Fprintln(w)
	if err := needs.Startable(); err != nil {
		var unmet *laptop.NeedsError
		errors.As(err, &unmet)
		fmt.Fprintf(w, "it cannot start here: %s in the way\n", countVerb(len(unmet.Needs), "required need", "stands", "stand"))
		return
	}
	fmt.Fprintln(w, "it can start here, as far as its devices go")
}

func countVerb(n int, what, one, many string) string {
	verb := many
	if n == 1 {
		verb = one
	}
	return count(n, what) + " " + verb
}

func stateColour(s laptop.NeedState) colour {
	switch s {
	case laptop.NeedMatched:
		return green
	case laptop.NeedSubstituted, laptop.NeedAmbiguous:
		return yellow
	case laptop.NeedMissing:
		return red
	}
	return plain
}
