package cli

import (
	"io"
	"testing"
	"time"

	"github.com/project-independence/indy/internal/broker"
)

// Only what the user says bounds a reset, too: the flag's own value does not.
func TestDeadlineOfResets(t *testing.T) {
	for _, c := range []struct {
		args []string
		want time.Duration
	}{
		{nil, 0},
		{[]string{"--deadline", "10s"}, 10 * time.Second},
		{[]string{"--deadline=2m"}, 2 * time.Minute},
	} {
		env := &Env{Broker: &broker.Broker{}, LeaseDir: t.TempDir() + "/none", Stdout: io.Discard, Stderr: io.Discard}
		cmd := newRecoverCommand(env)
		cmd.SetArgs(c.args)
		if err := cmd.ParseFlags(c.args); err != nil {
			t.Fatal(err)
		}
		if err := cmd.PreRunE(cmd, nil); err != nil {
			t.Fatal(err)
		}
		if env.Broker.Deadline != c.want {
			t.Errorf("%q: %s, want %s", c.args, env.Broker.Deadline, c.want)
		}
	}
}
