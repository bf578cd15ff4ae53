package laptop_test

import (
	"strings"
	"testing"

	"github.com/project-independence/indy/laptop"
)

// TestAllowing: a refusal that is overridden by its name refuses nothing to a need, and the
// machine itself is judged as before.
func TestAllowing(t *testing.T) {
	t.Parallel()
	l, err := laptop.Read(notebook(t))
	must(t, err)
	at, err := laptop.ReadPlaces(notebook(t), l)
	must(t, err)
	states := func(codes ...laptop.Code) string {
		var all []string
		for _, n := range laptop.Resolve(l.Allowing(codes...), at, wants(t, "gpu integrated assign", "gpu discrete assign")) {
			all = append(all, string(n.State)+" "+strings.Join(n.Devices, " "))
		}
		return strings.Join(all, ", ")
	}
	const boot, discrete = "pci:0000:00:02.0", "matched pci:0000:01:00.0 pci:0000:01:00.1"
	for _, test := range []struct {
		codes []laptop.Code
		want  string
	}{
		{nil, "missing , " + discrete},
		{[]laptop.Code{laptop.NoReset, "nonsense"}, "missing , " + discrete},
		{[]laptop.Code{laptop.NoReset, laptop.BootDisplay}, "matched " + boot + ", " + discrete},
		{nil, "missing , " + discrete}, // still
	} {
		if got := states(test.codes...); got != test.want {
			t.Errorf("allowing %v: %s, want %s", test.codes, got, test.want)
		}
	}
	refused := 0
	for _, d := range l.Allowing(laptop.Bridge, laptop.NoIOMMU).Devices { // which may not be overridden
		if d.Verdict == laptop.Refused {
			refused++
		}
	}
	for _, d := range l.Devices {
		if d.Verdict == laptop.Refused {
			refused--
		}
	}
	if refused != 0 {
		t.Errorf("%d devices more are refused", refused)
	}
}
