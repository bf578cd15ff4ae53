package runner

import (
	"context"
	"sync"
	"time"

	"github.com/project-independence/indy/guest/qemu"
)

// The deadlines of QEMU.
const (
	beatPause      = time.Second           // between an answer and the next question
	silence        = 2 * time.Second       // after which QEMU is said not to answer
	quickly        = 50 * time.Millisecond // in which it answers whoever wants to know
	commandTimeout = 5 * time.Second       // of what somebody asks of it
)

// A pulse asks QEMU again and again what it is doing. There is never more than one question
// without an answer: those of a QEMU that does not read would fill its socket.
type pulse struct {
	ask  func(context.Context) (string, error)
	kick chan struct{} // to ask now

	mu       sync.Mutex
	asked    time.Time // when the question was asked that has no answer; zero without one
	doing    string    // QEMU's word for it
	begun    uint64    // questions, of which the last may have no answer yet
	ended    uint64    // questions that have one
	answered chan struct{}
}

func newPulse(vm *qemu.VM) *pulse {
	return newPulseOf(func(ctx context.Context) (string, error) {
		var s struct {
			Status string `json:"status"`
		}
		err := vm.QMP().Call(ctx, "query-status", nil, &s)
		return s.Status, err
	})
}

func newPulseOf(ask func(context.Context) (string, error)) *pulse {
	return &pulse{ask: ask, kick: make(chan struct{}, 1), answered: make(chan struct{})}
}

// beat asks until the guest has ended. changed is called after each answer, and when there
// has been none for too long.
func (p *pulse) beat(ended <-chan struct{}, changed func()) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-ended
		cancel()
	}()
	for {
		late := time.AfterFunc(silence, changed)
		p.mu.Lock()
		p.asked = time.Now()
		p.begun++
		p.mu.Unlock()
		doing, err := p.ask(ctx)
		late.Stop()
		if err != nil {
			return // the connection is over, and so is the guest soon
		}
		p.mu.Lock()
		p.asked, p.doing = time.Time{}, doing
		p.ended++
		close(p.answered)
		p.answered = make(chan struct{})
		p.mu.Unlock()
		changed()
		pause := time.NewTimer(beatPause)
		select {
		case <-pause.C:
		case <-p.kick:
			pause.Stop()
		case <-ended:
			pause.Stop()
			return
		}
	}
}

// now asks whether QEMU answers, and waits for a moment.
func (p *pulse) now() (doing string, answers bool) {
	t := time.NewTimer(quickly)
	defer t.Stop()
	answers = p.wait(t.C, nil)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.doing, answers
}

// wait returns true once QEMU has answered a question that is asked from now on: one that it
// was asked before says what it did before.
func (p *pulse) wait(late <-chan time.Time, done <-chan struct{}) bool {
	p.mu.Lock()
	wanted := p.begun + 1
	p.mu.Unlock()
	for {
		p.mu.Lock()
		answered, enough := p.answered, p.ended >= wanted
		p.mu.Unlock()
		if enough {
			return true
		}
		p.again()
		select {
		case <-answered:
		case <-late:
			return false
		case <-done:
			return false
		}
	}
}

// await returns nil once QEMU has answered a question that is asked now.
func (p *pulse) await(ctx context.Context) error {
	late := time.NewTimer(silence)
	defer late.Stop()
	switch {
	case p.wait(late.C, ctx.Done()):
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return errSilent
}

// again has it ask at once.
func (p *pulse) again() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// silent reports whether QEMU has not answered for too long, and for how long.
func (p *pulse) silent() (bool, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.asked.IsZero() {
		return false, 0
	}
	d := time.Since(p.asked)
	return d >= silence, d
}

// last is QEMU's last word for what the guest is doing.
func (p *pulse) last() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.doing
}
