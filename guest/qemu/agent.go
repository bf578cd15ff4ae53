package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"time"
)

// The bounds of what is heard from a guest's agent. It is read as long as it is waited
// for, and not afterwards.
const (
	maxAnswer  = 4 << 10 // bytes of one answer; longer ones are passed over
	maxAnswers = 4 << 20 // bytes of all that is said before the one that is waited for
	askAgain   = 2 * time.Second
)

// AwaitAgent waits until the QEMU guest agent answers, which is a program that the guest
// must have installed. It is asked what changes nothing, guest-sync-delimited and guest-ping of
// QEMU's qga/qapi-schema.json. The guest must have Agent set; AwaitAgent may be called
// once, as nobody speaks to the agent after it. What the guest says is not believed to be
// anything else than an answer: the error is that of ctx, that QEMU has ended, or that the
// guest says too much that is none.
func (v *VM) AwaitAgent(ctx context.Context) error {
	conn := v.agent.Swap(nil)
	if conn == nil {
		return &OpError{"ask the agent of", v.name, fmt.Errorf("it is asked already, or the guest has no port for one: %w", errors.ErrUnsupported)}
	}
	defer (*conn).Close()
	if err := awaitAgent(ctx, *conn, rand.Int64N(1<<52), askAgain); err != nil {
		return &OpError{"ask the agent of", v.name, err}
	}
	return nil
}

// awaitAgent asks with numbers from first on, again and again, because what is said to a
// guest that has no agent yet may be lost. Whatever number comes back, it is an answer.
func awaitAgent(ctx context.Context, conn net.Conn, first int64, again time.Duration) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	next := first
	var heard agentAnswers
	buf := make([]byte, maxAnswer)
	for total, synced := 0, false; ; {
		if !synced {
			// The byte ends what the agent has read of something else.
			if err := say(ctx, conn, again, fmt.Sprintf("\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":%d}}\n", next)); err != nil {
				return err
			}
			next++
		}
		for end := time.Now().Add(again); ; {
			if err := deadline(ctx, conn.SetReadDeadline, end); err != nil {
				return err
			}
			n, err := conn.Read(buf)
			if total += n; total > maxAnswers {
				return fmt.Errorf("the guest has said %d bytes that are no answer", total)
			}
			asked := false
			for _, a := range heard.add(buf[:n]) {
				id, isNumber := a.number()
				switch {
				case !synced && isNumber && id >= first && id < next:
					synced = true
					asked = true
				case synced && a.done():
					return nil
				}
			}
			if asked {
				if err := say(ctx, conn, again, "{\"execute\":\"guest-ping\"}\n"); err != nil {
					return err
				}
				end = time.Now().Add(again)
			}
			if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
				synced = false // it was restarted in between
				break
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				return ended(err)
			}
		}
	}
}

// say writes text. A guest that does not read is no error: it may later.
func say(ctx context.Context, conn net.Conn, within time.Duration, text string) error {
	if err := deadline(ctx, conn.SetWriteDeadline, time.Now().Add(within)); err != nil {
		return err
	}
	_, err := io.WriteString(conn, text)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
		return ended(err)
	}
	return nil
}

// deadline sets a deadline, unless ctx has ended, which sets one of its own.
func deadline(ctx context.Context, set func(time.Time) error, end time.Time) error {
	if err := set(end); err != nil {
		return ended(err)
	}
	return ctx.Err()
}

// ended is what an error of a socket to QEMU means.
func ended(err error) error { return fmt.Errorf("QEMU has closed it: %w", err) }

// An agentAnswer is what a guest agent may answer.
type agentAnswer struct {
	Return json.RawMessage `json:"return"`
	Error  json.RawMessage `json:"error"`
}

// number returns the number that it is, as the answer to guest-sync.
func (a agentAnswer) number() (n int64, ok bool) {
	return n, given(a.Return) && json.Unmarshal(a.Return, &n) == nil
}

// done reports whether it answers guest-ping: by nothing, or that it is forbidden.
func (a agentAnswer) done() bool {
	var none map[string]json.RawMessage
	return given(a.Error) || given(a.Return) && json.Unmarshal(a.Return, &none) == nil
}

func given(v json.RawMessage) bool { return len(v) > 0 && !bytes.Equal(v, []byte("null")) }

// agentAnswers cuts what a guest says into answers: lines of JSON, and a byte FFh starts
// anew.
type agentAnswers struct {
	line []byte
	long bool // and the rest of it does not matter
}

func (r *agentAnswers) add(p []byte) (list []agentAnswer) {
	for _, c := range p {
		switch {
		case c == 0xff:
			r.line, r.long = r.line[:0], false
		case c == '\n':
			var a agentAnswer
			if !r.long && json.Unmarshal(r.line, &a) == nil && (given(a.Return) || given(a.Error)) {
				list = append(list, a)
			}
			r.line, r.long = r.line[:0], false
		case len(r.line) == maxAnswer:
			r.long = true
		default:
			r.line = append(r.line, c)
		}
	}
	return list
}
