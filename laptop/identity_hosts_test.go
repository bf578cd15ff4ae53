package laptop_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/laptop"
)

func identify(t testing.TB, fsys hostfs.Saved) []laptop.Identity {
	t.Helper()
	l, err := laptop.Read(fsys)
	if err != nil {
		t.Log(err)
	}
	ids, err := laptop.Identify(fsys, l)
	must(t, err)
	if len(ids) != len(l.Devices) {
		t.Fatalf("%d identities of %d devices", len(ids), len(l.Devices))
	}
	return ids
}

// tally counts outcomes and checks what holds for any two readings.
func tally(t testing.TB, before, after []laptop.Identity) map[laptop.Outcome]int {
	t.Helper()
	rows := laptop.Match(before, after)
	checkMatch(t, before, after, rows)
	counts := map[laptop.Outcome]int{}
	for _, r := range rows {
		counts[r.Outcome]++
	}
	return counts
}

// TestIdentityHosts matches real machines with themselves, with scrubbed captures of
// themselves, and with each other.
func TestIdentityHosts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hosts"), "*.txtar"))
	must(t, err)
	snapshots, err := filepath.Glob(filepath.Join(hosttest.Shared(t, "hwdata", "sysfs", "ghw"), "*.tar.gz"))
	must(t, err)
	if len(files) < 10 || len(snapshots) < 5 {
		t.Fatalf("%d machines, %d snapshots", len(files), len(snapshots))
	}
	var all [][]laptop.Identity
	kinds := map[laptop.Kind]int{}
	for _, file := range append(files, snapshots...) {
		saved := open(t, file)
		ids := identify(t, saved)
		for _, id := range ids {
			for _, e := range id.Evidence {
				kinds[e.Kind]++
			}
		}
		counts := tally(t, ids, ids)
		if counts[laptop.Same] != len(ids) {
			t.Errorf("%s, %d devices: %v", filepath.Base(file), len(ids), counts)
		}
		first, err := hostfs.Capture(saved, hostfs.CaptureOptions{Salt: []byte("a")})
		if err != nil {
			t.Log(err)
		}
		second, err := hostfs.Capture(saved, hostfs.CaptureOptions{Salt: []byte("b")})
		if err != nil {
			t.Log(err)
		}
		if counts := tally(t, identify(t, first), identify(t, second)); counts[laptop.Same] != len(ids) {
			t.Errorf("%s, scrubbed differently: %v", filepath.Base(file), counts)
		}
		if strings.HasSuffix(file, ".txtar") {
			if counts := tally(t, ids, identify(t, first)); counts[laptop.Same] != len(ids) {
				t.Errorf("%s, scrubbed: %v", filepath.Base(file), counts)
			}
		}
		all = append(all, ids)
	}
	t.Logf("%d machines, evidence %v", len(all), kinds)
	sum := map[laptop.Outcome]int{}
	for _, before := range all {
		for _, after := range all {
			for o, n := range tally(t, before, after) {
				sum[o] += n
			}
		}
	}
	t.Logf("each with each: %v", sum)
}
