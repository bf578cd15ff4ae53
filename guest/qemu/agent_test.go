package qemu

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stream returns both ends of a socket as QEMU and we have them.
func stream(t testing.TB) (ours, theirs net.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socket")
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
		t.Cleanup(func() { ends[i].Close() })
	}
	return ends[0], ends[1]
}

// anAgent answers what it is asked by say, of which %d is the number that it was given.
func anAgent(conn net.Conn, sync, ping string) {
	for r := bufio.NewReader(conn); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		var id int64
		if _, args, ok := strings.Cut(line, `"id":`); ok {
			if _, err := fmt.Sscanf(args, "%d", &id); err != nil {
				return
			}
			_, _ = io.WriteString(conn, strings.ReplaceAll(sync, "ID", fmt.Sprint(id)))
		} else if strings.Contains(line, `"guest-ping"`) {
			_, _ = io.WriteString(conn, ping)
		}
	}
}

// TestAgent holds what is an answer of an agent and what is not.
func TestAgent(t *testing.T) {
	const sync, ping = "\xff{\"return\": ID}\n", "{\"return\": {}}\n"
	for name, test := range map[string]struct {
		before     string // what the guest says unasked
		sync, ping string
		want       bool
	}{
		"an agent":               {sync: sync, ping: ping, want: true},
		"one with more to say":   {before: "{\"return\": {\"x\": 1}}\n\xff", sync: "{\"event\": 1}\n" + sync, ping: ping, want: true},
		"half an answer before":  {before: "{\"return\": [[[", sync: sync, ping: ping, want: true},
		"one that forbids it":    {sync: sync, ping: "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"x\\u001b[2J\"}}\n", want: true},
		"a long line before":     {before: strings.Repeat("x", maxAnswer+1) + "\n", sync: sync, ping: ping, want: true},
		"nobody":                 {},
		"another number":         {sync: "\xff{\"return\": 1ID}\n", ping: ping},
		"a number in a text":     {sync: "\xff{\"return\": \"ID\"}\n", ping: ping},
		"an echo":                {sync: "\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":ID}}\n", ping: ping},
		"no answer to the ping":  {sync: sync},
		"no object":              {sync: sync, ping: "{\"return\": 7}\n{\"return\": [{}]}\n"},
		"nothing":                {sync: sync, ping: "{}\nnull\n[]\n{\"return\": null, \"error\": null}\n{\"x\": {}}\n"},
		"deeper than it is long": {sync: sync, ping: "{\"return\": " + strings.Repeat("[", maxAnswer-20) + "\n"},
		"an answer in a long line": {
			sync: sync, ping: strings.Repeat(" ", maxAnswer) + ping,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ours, theirs := stream(t)
			if _, err := io.WriteString(theirs, test.before); err != nil {
				t.Fatal(err)
			}
			go anAgent(theirs, test.sync, test.ping)
			within := 10 * time.Second
			if !test.want {
				within = 250 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), within)
			defer cancel()
			err := awaitAgent(ctx, ours, 1000, 50*time.Millisecond)
			if test.want && err != nil || !test.want && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
		})
	}
}

// An agent that is there late finds all that was said before, and is believed whichever it answers.
func TestAgentIsLate(t *testing.T) {
	ours, theirs := stream(t)
	time.AfterFunc(200*time.Millisecond, func() { anAgent(theirs, "\xff{\"return\": ID}\n", "{\"return\": {}}\n") })
	if err := awaitAgent(t.Context(), ours, 1, 10*time.Millisecond); err != nil {
		t.Error(err)
	}
}

// TestHostileAgent holds that what never ends is not heard to its end, and that nobody waits for
// who neither says nor hears anything.
func TestHostileAgent(t *testing.T) {
	for name, text := range map[string]string{
		"noise": "\xff\x00\x1b[2J", "a line": strings.Repeat("x", 64<<10), "answers": "{\"return\":{}}\n{\"return\":0}\n", "lines": "\n\n\n\n",
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := stream(t)
			go func() {
				for {
					if _, err := io.WriteString(theirs, text); err != nil {
						return
					}
				}
			}()
			if err := awaitAgent(t.Context(), ours, 1, 50*time.Millisecond); err == nil || !strings.Contains(err.Error(), "that are no answer") {
				t.Errorf("%v", err)
			}
		})
	}
	ours, _ := stream(t)
	for err := error(nil); err == nil; { // until nothing more goes in
		_ = ours.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
		_, err = ours.Write(make([]byte, 4096))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := awaitAgent(ctx, ours, 1, 20*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	ours, theirs := stream(t)
	theirs.Close()
	if err := awaitAgent(t.Context(), ours, 1, 20*time.Millisecond); err == nil || !strings.Contains(err.Error(), "QEMU has closed it") {
		t.Errorf("%v", err)
	}
}

// TestNoAgent shows what a guest without a port for one is told.
func TestNoAgent(t *testing.T) {
	vm := startTest(t, guestOf(), Options{PowerdownTimeout: -1})
	for _, err := range []error{vm.AwaitAgent(t.Context()), vm.Reach(t.Context(), 22)} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%v", err)
		}
	}
}

// FuzzAgentAnswers gives any bytes, in two parts, as what an agent says.
func FuzzAgentAnswers(f *testing.F) {
	f.Add([]byte("\xff{\"return\": 7}\n"), []byte("{\"return\": {}}\n"))
	f.Add([]byte("{\"error\": {\"class\": \"x\"}}\n\xff\xff"), []byte("{\"return\": [[[[[["))
	f.Add([]byte(strings.Repeat("[", maxAnswer+1)), []byte("\n{\"return\": 1e999}\n{\"return\": null}\n"))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var parts, whole agentAnswers
		got := append(parts.add(a), parts.add(b)...)
		want := whole.add(append(append([]byte{}, a...), b...))
		if len(got) != len(want) || len(parts.line) > maxAnswer {
			t.Errorf("%d answers in two parts, %d in one; a line of %d bytes", len(got), len(want), len(parts.line))
		}
		for i := range got {
			n, isNumber := got[i].number()
			if m, ok := want[i].number(); n != m || ok != isNumber || got[i].done() != want[i].done() {
				t.Errorf("%v, %v", got[i], want[i])
			}
			if isNumber && got[i].done() && !given(got[i].Error) {
				t.Errorf("%s is a number and an object", got[i].Return)
			}
		}
	})
}
