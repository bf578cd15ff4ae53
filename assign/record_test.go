package assign_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/project-independence/indy/assign"
	"github.com/project-independence/indy/internal/journal"
	"github.com/project-independence/indy/internal/sim"
)

// records returns what a lease that was assigned and given back halfway has noted, and its
// file's name.
func records(t *testing.T) (name string, lines [][]byte) {
	t.Helper()
	k := emulated(t, sim.Options{})
	store := &assign.Store{Dir: t.TempDir()}
	if _, err := store.Assign(t.Context(), &assign.Host{FS: k}, take(mustPlan(t, k, "0000:04:01.0"))); err != nil {
		t.Fatal(err)
	}
	killed(func() {
		_, _ = store.Release(t.Context(), &assign.Host{FS: &dying{k, 3, true}}, address(t, "0000:04:01.0"))
	})
	names, _ := filepath.Glob(filepath.Join(store.Dir, "*.lease"))
	if len(names) != 1 {
		t.Fatalf("%q", names)
	}
	data, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(bytes.TrimRight(data, "\x00")) {
		lines = append(lines, bytes.TrimSpace(line[17:]))
	}
	return names[0], lines
}

// Of each beginning of a lease's records it is known how far it had come.
func TestReplay(t *testing.T) {
	name, lines := records(t)
	var raw []json.RawMessage
	last := -1
	var states []string
	for i, line := range lines {
		raw = append(raw, line)
		l, begun, err := assign.Replay(name, raw, false)
		if err != nil || begun < last || l.Plan != nil && begun > len(l.Plan.Steps) {
			t.Fatalf("%d records: %+v, %d begun, %v", i+1, l, begun, err)
		}
		last = begun
		if len(states) == 0 || states[len(states)-1] != string(l.State) {
			states = append(states, string(l.State))
		}
		// Of a step that somebody was about to note nobody knows whether it was made.
		if _, more, err := assign.Replay(name, raw, true); err != nil || l.State == assign.Assigning && begun < len(l.Plan.Steps) && more != begun+1 {
			t.Errorf("%d records and a part of one: %d begun, %v", i+1, more, err)
		}
	}
	if got := strings.Join(states, " "); got != "planning assigning assigned releasing" {
		t.Errorf("states: %s", got)
	}
	if _, _, err := assign.Replay(name, append(raw, raw[3]), false); err == nil {
		t.Error("a record out of its order")
	}
	if _, _, err := assign.Replay("other.lease", raw, false); err == nil {
		t.Error("the lease of another file")
	}
	// What is no JSON is damage, whatever its checksum.
	for i := 1; i < len(raw); i++ {
		broken := slices.Clone(raw[:i+1])
		broken[i] = broken[i][:len(broken[i])-1]
		var damage *journal.DamageError
		if _, _, err := assign.Replay(name, broken, false); !errors.As(err, &damage) {
			t.Errorf("half of record %d: %v", i+1, err)
		}
	}
}

func FuzzReplay(f *testing.F) {
	f.Add([]byte(`{"format":1,"boot_id":"b","seq":0,"op":"lease","lease":{"id":"x","guest":"g","devices":["0000:02:00.0"],"groups":[],"claims":["group 1"],"state":"planning"}}
{"boot_id":"b","seq":1,"op":"plan","plan":{"guest":"g","devices":["0000:02:00.0"],"groups":[1],"steps":[{"device":"0000:02:00.0","prior":{"what":"driver","is":""},"do":{"file":"sys/x","value":"v","after":{"what":"driver","is":"v"}},"undo":[]}],"findings":[]}}
{"boot_id":"b","seq":2,"op":"do"}
{"boot_id":"b","seq":3,"op":"state","state":"assigned","process":{"pid":1,"started":"2"}}`), false)
	f.Add([]byte(`{"format":1,"op":"lease","lease":{"id":"x"}}
{"seq":1,"op":"do","step":-1}`), true)
	f.Add([]byte(`{"format":2}`), false)
	f.Add([]byte(`null`), true)
	f.Fuzz(func(t *testing.T, data []byte, torn bool) {
		var raw []json.RawMessage
		for line := range bytes.Lines(data) {
			if line = bytes.TrimSpace(line); len(raw) < 100 {
				raw = append(raw, line)
			}
		}
		l, begun, err := assign.Replay("x.lease", raw, torn)
		switch {
		case err == nil && l == nil:
			t.Fatal("no lease, and no error")
		case l != nil && l.Plan == nil && begun != 0:
			t.Fatalf("%d steps begun of no plan", begun)
		case l != nil && l.Plan != nil && (begun < 0 || begun > len(l.Plan.Steps)):
			t.Fatalf("%d steps begun of %d", begun, len(l.Plan.Steps))
		}
	})
}
