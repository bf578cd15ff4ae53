package daemon

import (
	"context"
	"io"
	"net/http"
	"os"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

type tapeIn struct {
	One
	Follow bool `query:"follow" doc:"Go on with what comes, until the guest has ended; it also ends with the daemon, and when who asked may be told no more"`
}

// A tape is what a runner keeps and goes on with.
type tape struct {
	verb   Verb
	open   func(Runner) (*os.File, error)
	follow func(Runner, context.Context) (io.ReadCloser, error)
	kind   string
}

// tapeOf answers with what is kept, or with that and what comes.
func (d *Daemon) tapeOf(t tape) func(context.Context, *tapeIn) (*huma.StreamResponse, error) {
	return func(ctx context.Context, in *tapeIn) (*huma.StreamResponse, error) {
		if !in.Follow {
			return streamed(d.kept(t.open, t.kind)(ctx, &in.One))
		}
		r, err := d.runs(ctx, in.Name)
		if err != nil {
			return nil, err
		}
		select {
		case d.consoles <- struct{}{}:
		default:
			return nil, huma.Error503ServiceUnavailable("too many follow what guests do")
		}
		ctx, cancel := context.WithCancel(ctx)
		said, err := t.follow(r, ctx)
		if err != nil {
			cancel()
			<-d.consoles
			return nil, answered(err)
		}
		may := d.mayStill(ctx, t.verb, in.Name)
		return &huma.StreamResponse{Body: func(c huma.Context) {
			defer func() { <-d.consoles }()
			defer said.Close()
			defer cancel()
			c.SetHeader("Content-Type", t.kind)
			_, w := humago.Unwrap(c)
			ended, looked := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(looked)
				d.whileMay(may, ended)
				cancel() // which ends what is read
			}()
			pass(w, said)
			close(ended)
			<-looked
		}}, nil
	}
}

// pass writes what is read at once, until it ends or is not taken any more.
func pass(w http.ResponseWriter, from io.Reader) {
	c := http.NewResponseController(w)
	buf := make([]byte, 32<<10)
	for err := c.Flush(); err == nil; { // so that who asks knows that it is heard
		n, rerr := from.Read(buf)
		if _, err = w.Write(buf[:n]); err == nil {
			err = c.Flush()
		}
		if rerr != nil {
			return
		}
	}
}

// streamed makes an answer of bytes one of the kind that may also go on.
func streamed(kept *bytesOut, err error) (*huma.StreamResponse, error) {
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		c.SetHeader("Content-Type", kept.ContentType)
		_, _ = c.BodyWriter().Write(kept.Body) // to somebody who has gone
	}}, nil
}

// mayStill returns what says whether who asks may do something with a guest still: its
// definition may become another one, also in ways other than by the daemon.
func (d *Daemon) mayStill(ctx context.Context, v Verb, name string) func() bool {
	who := callerOf(ctx)
	return func() bool {
		locked, err := running[One](d)(ctx, &One{name})
		if err == nil && May(who.Role, v, locked) {
			return true
		}
		if ctx.Err() == nil {
			d.Logger.Info("somebody may do this no more", "verb", v, "guest", name, "uid", who.Peer.UID)
		}
		return false
	}
}
