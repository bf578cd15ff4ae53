package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"sync"

	"github.com/project-independence/indy/guest/qemu"
	"github.com/project-independence/indy/internal/runner"
)

// maxAsked is how much a runner may have asked for at once. For each process that was started for
// it there is one request that waits.
const maxAsked = 128

// A Config is what a keeper does, for one guest.
type Config struct {
	Host Host // in this process; its Rights are nil

	// QEMU says how QEMU is started: User, Jail and Logger of it.
	QEMU qemu.Options

	// Gone takes the guest's directory away, if it is empty.
	Gone func()

	// Explain says of an error what the runner is told.
	Explain func(error) runner.Failure
}

// A keeper answers one runner.
type keeper struct {
	Config
	conn     *net.UnixConn
	rights   qemu.Rights
	children children

	holding  sync.Mutex // one at a time who changes what is held
	resolved *Resolved  // nil before
	tried    bool       // to hold
	held     bool
	started  bool
	released bool

	mu      sync.Mutex
	running map[uint64]context.CancelFunc // requests by their numbers
}

// serve answers on conn until the runner has ended, or closes it. Then everything that was
// started is ended, and the devices are given back; the error is that of this.
func serve(conn *net.UnixConn, c Config) error {
	k := &keeper{Config: c, conn: conn, running: make(map[uint64]context.CancelFunc)}
	var err error
	if k.rights, err = qemu.NewRights(c.QEMU); err != nil {
		return errors.Join(err, conn.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for {
		p, files, err := receive(conn)
		if err != nil {
			break // it has ended, or says what nobody understands
		}
		if !k.begin(ctx, p, files, &all) {
			break
		}
	}
	cancel()
	_ = conn.Close() // whoever is about to answer does not wait for it
	all.Wait()
	k.children.end()
	return k.release()
}

// begin answers a request beside the others. It reports false if there are too many.
func (k *keeper) begin(ctx context.Context, p packet, files []*os.File, all *sync.WaitGroup) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p.Verb == cancelVerb {
		closeAll(files)
		if cancel := k.running[p.Number]; cancel != nil {
			cancel()
		}
		return true
	}
	if _, twice := k.running[p.Number]; twice || p.Number == 0 || len(k.running) >= maxAsked {
		closeAll(files)
		return false
	}
	ctx, k.running[p.Number] = context.WithCancel(ctx)
	all.Go(func() {
		out, given, err := k.do(ctx, p.Verb, p.Body, files)
		closeAll(files)
		answer := packet{Number: p.Number}
		if err == nil {
			answer.Body, err = json.Marshal(out)
		}
		if err != nil {
			answer.Body, answer.Error = nil, errorOf(err, k.Explain)
		}
		err = send(k.conn, answer, given)
		clear(answer.Body) // there may be a key in it
		if secret, ok := out.(json.RawMessage); ok {
			clear(secret)
		}
		if err != nil && !errors.Is(err, net.ErrClosed) {
			_ = send(k.conn, packet{Number: p.Number, Error: errorOf(err, k.Explain)}, nil)
		}
		closeAll(given)
		k.mu.Lock()
		defer k.mu.Unlock()
		k.running[p.Number]()
		delete(k.running, p.Number) // so that no more wait for who does not take answers
	})
	return true
}

// do does what a verb is. The files that it returns are closed when they have been sent.
func (k *keeper) do(ctx context.Context, v verb, body json.RawMessage, files []*os.File) (out any, given []*os.File, err error) {
	switch v {
	case resolveVerb:
		out, err = k.resolve(ctx)
	case holdVerb:
		return k.hold(ctx)
	case startedVerb:
		err = k.while(func() error {
			if k.started {
				return errOrder
			}
			k.started = true
			k.Host.Started()
			return nil
		})
	case checkVerb:
		err = k.while(k.Host.Check)
	case forgetsVerb:
		err = k.while(func() error {
			out = k.Host.Forgets()
			return nil
		})
	case reopenVerb:
		return k.reopen(body)
	case releaseVerb:
		err = k.release()
	case goneVerb:
		k.Gone()
	case killVerb:
		err = k.children.kill(body)
	case waitVerb:
		out, err = k.children.wait(ctx, body)
	default:
		return k.doRights(ctx, v, body, files)
	}
	return out, nil, err
}

// errOrder is that what is asked for has no place then.
var errOrder = fmt.Errorf("%w: not now", fs.ErrPermission)

// while does something while the guest holds its devices, which are not given back meanwhile.
func (k *keeper) while(do func() error) error {
	k.holding.Lock()
	defer k.holding.Unlock()
	if !k.held || k.released {
		return errOrder
	}
	return do()
}

func (k *keeper) resolve(ctx context.Context) (*Resolved, error) {
	k.holding.Lock()
	defer k.holding.Unlock()
	if k.resolved != nil || k.released {
		return nil, errOrder
	}
	r, err := k.Host.Resolve(ctx, slog.New(&teller{send: k.tell}))
	if err != nil {
		return nil, err
	}
	k.resolved = &r
	return &r, nil
}

func (k *keeper) hold(ctx context.Context) (any, []*os.File, error) {
	k.holding.Lock()
	defer k.holding.Unlock()
	if k.resolved == nil || k.tried || k.released {
		return nil, nil, errOrder
	}
	k.tried = true
	h, err := k.Host.Hold(ctx)
	if err != nil {
		return nil, nil, err
	}
	k.held = true
	defer func() {
		for _, key := range h.Keys {
			clear(key)
		}
	}()
	body, err := json.Marshal(heldBody{len(h.Taps), len(h.USB), h.Keys})
	if err != nil {
		closeAll(append(h.Taps, h.USB...))
		return nil, nil, err
	}
	return json.RawMessage(body), append(h.Taps[:len(h.Taps):len(h.Taps)], h.USB...), nil
}

func (k *keeper) reopen(body json.RawMessage) (any, []*os.File, error) {
	var i int
	if err := json.Unmarshal(body, &i); err != nil {
		return nil, nil, err
	}
	var f *os.File
	err := k.while(func() (err error) {
		if i < 0 {
			return errOrder
		}
		f, err = k.Host.Reopen(i)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return nil, []*os.File{f}, nil
}

// release gives the devices back, once.
func (k *keeper) release() error {
	k.holding.Lock()
	defer k.holding.Unlock()
	if k.released {
		return nil
	}
	k.released = true
	if k.resolved == nil {
		return nil
	}
	k.children.end() // what has a device open keeps it
	return k.Host.Release()
}

// tell tells the runner a line for the guest's log.
func (k *keeper) tell(level slog.Level, text string) {
	body, err := json.Marshal(lineBody{level, text[:min(len(text), maxPacket/8)]})
	if err == nil {
		_ = send(k.conn, packet{Verb: logVerb, Body: body}, nil) // to a runner that has ended it is told to nobody
	}
}
