package daemon

import (
	"regexp"
	"strings"
	"testing"
)

// TestMetrics holds that the metrics are of the format that Prometheus reads: each line a
// figure with a name that was described before, and no two the same.
func TestMetrics(t *testing.T) {
	f := newFixture(t)
	f.Version = "1 \"odd\"\\\nmore"
	f.run(t, "free")
	f.ask(t, User, "GET", "/v1/guests/secret/screenshot", "")
	text := f.ask(t, User, "GET", "/v1/metrics", "").Body.String()
	line := regexp.MustCompile(`^([a-z_]+)((?:\{(?:[a-z]+="(?:[^"\\\n]|\\[\\"n])*",?)+\})?) (-?[0-9.]+(?:e[+-][0-9]+)?)$`)
	described, seen := map[string]bool{}, map[string]bool{}
	for l := range strings.Lines(text) {
		l = strings.TrimSuffix(l, "\n")
		if f := strings.Fields(l); strings.HasPrefix(l, "# TYPE ") {
			if described[f[2]] || len(f) != 4 {
				t.Errorf("described twice: %s", l)
			}
			described[f[2]] = true
			if counts := strings.HasSuffix(f[2], "_total"); counts != (f[3] == "counter") {
				t.Errorf("%s", l)
			}
			continue
		} else if strings.HasPrefix(l, "# HELP ") {
			continue
		}
		m := line.FindStringSubmatch(l)
		if m == nil || !described[m[1]] || seen[m[1]+m[2]] {
			t.Errorf("%q", l)
			continue
		}
		seen[m[1]+m[2]] = true
	}
	for _, want := range []string{
		`indy_guest_state{guest="free",state="running"} 1`, `indy_guest_state{guest="secret",state="stopped"} 1`, `indy_guest_state{guest="free",state="failed"} 0`,
		`indy_guest_cpu_seconds_total{guest="free"} 1.5`, `indy_guest_disk_read_bytes_total{guest="free",disk="0"} 512`, "indy_guests 2",
		`indy_daemon_refused_total{verb="guests-screenshot"} 1`, `indy_daemon_requests_total{verb="metrics"} 1`, `indy_daemon_info{version="1 \"odd\"\\\nmore"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s in:\n%s", want, text)
		}
	}
}
