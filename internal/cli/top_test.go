package cli

import (
	"testing"

	"github.com/project-independence/indy/internal/runner"
)

func TestNetworkRates(t *testing.T) {
	use := func(n ...int64) (all []runner.NetworkUse) {
		for i := 0; i < len(n); i += 2 {
			u := runner.NetworkUse{ReceivedBytes: &n[i], SentBytes: &n[i+1]}
			if n[i] < 0 {
				u.ReceivedBytes = nil
			}
			all = append(all, u)
		}
		return all
	}
	for _, tt := range []struct {
		name        string
		before, now []runner.NetworkUse
		in, out     string
	}{
		{"none", nil, nil, "-", "-"},
		{"two", use(0, 0, 1024, 2048), use(2048, 4096, 1024, 4096), "1KiB", "3KiB"},
		{"one is not counted", use(0, 0, -1, 0), use(2048, 4096, -1, 0), "?", "2KiB"},
		{"it was not counted before", use(-1, 0), use(2048, 0), "?", "0"},
		{"another guest by now", nil, use(2048, 0), "?", "?"},
	} {
		if in, out := networkRates(tt.before, tt.now, 2); in != tt.in || out != tt.out {
			t.Errorf("%s: %s %s, want %s %s", tt.name, in, out, tt.in, tt.out)
		}
	}
}
