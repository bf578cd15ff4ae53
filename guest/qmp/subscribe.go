package qmp

import "sync/atomic"

// A Subscription receives events from the moment it was made.
type Subscription struct {
	conn    *Conn
	c       chan Event
	names   map[string]bool // nil: all
	dropped atomic.Uint64
}

// eventQueue is how many events wait for a subscriber before more are lost.
const eventQueue = 256

// Subscribe returns a subscription to the events of the given names, or to all
// events if no name is given. It must be closed when it is not wanted any more.
func (c *Conn) Subscribe(names ...string) *Subscription {
	s := &Subscription{conn: c, c: make(chan Event, eventQueue)}
	if len(names) > 0 {
		s.names = make(map[string]bool, len(names))
		for _, name := range names {
			s.names[name] = true
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.done:
		close(s.c)
	default:
		c.subs[s] = struct{}{}
	}
	return s
}

// C delivers the events in the order in which QEMU sent them. It is closed when
// the subscription or the connection is, after the events that are still queued.
func (s *Subscription) C() <-chan Event { return s.c }

// Dropped returns how many events were lost because C was not read in time.
func (s *Subscription) Dropped() uint64 { return s.dropped.Load() }

// Close ends the subscription. Closing again does nothing.
func (s *Subscription) Close() {
	s.conn.mu.Lock()
	defer s.conn.mu.Unlock()
	if _, ok := s.conn.subs[s]; ok {
		delete(s.conn.subs, s)
		close(s.c)
	}
}

// publish gives e to everyone who wants it and has room for it.
func (c *Conn) publish(e Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.subs {
		if s.names != nil && !s.names[e.Name] {
			continue
		}
		select {
		case s.c <- e:
		default:
			s.dropped.Add(1)
		}
	}
}
