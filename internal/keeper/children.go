package keeper

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"sync"

	"github.com/project-independence/indy/guest/qemu"
)

// maxChildren is how many processes may have been started for a guest: QEMU, what serves it, and
// probes.
const maxChildren = 64

// children are the processes that were started for a guest, by their numbers from 1 on.
type children struct {
	mu   sync.Mutex
	all  []qemu.Child
	over bool // none is started any more
}

// start starts one more.
func (c *children) start(start func() (qemu.Child, []qemu.Measure, error)) (childBody, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || len(c.all) >= maxChildren {
		return childBody{}, fmt.Errorf("%w: no more processes", fs.ErrPermission)
	}
	p, measures, err := start()
	if err != nil {
		return childBody{}, err
	}
	c.all = append(c.all, p)
	return childBody{uint64(len(c.all)), p.PID(), measures}, nil
}

// get returns the process whose number is in body.
func (c *children) get(body json.RawMessage) (qemu.Child, error) {
	var n uint64
	if err := json.Unmarshal(body, &n); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n == 0 || n > uint64(len(c.all)) {
		return nil, fmt.Errorf("%w: no process %d", fs.ErrNotExist, n)
	}
	return c.all[n-1], nil
}

// kill ends one.
func (c *children) kill(body json.RawMessage) error {
	p, err := c.get(body)
	if err != nil {
		return err
	}
	return p.Kill()
}

// wait waits for one to end.
func (c *children) wait(ctx context.Context, body json.RawMessage) (any, error) {
	p, err := c.get(body)
	if err != nil {
		return nil, err
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	end := p.End()
	b := endBody{Status: uint32(end.Status), OutOfMemory: end.OutOfMemory, Memory: end.Memory, Stderr: []byte(end.Stderr)}
	if end.Err != nil {
		b.Unknown = end.Err.Error()
	}
	return b, nil
}

// end ends all, and waits until nothing of them is left.
func (c *children) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	for _, p := range c.all {
		select {
		case <-p.Done():
		default:
			_ = p.Kill() // or it has just ended
		}
	}
	for _, p := range c.all {
		<-p.Done()
	}
}
