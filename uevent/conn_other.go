//go:build !linux

package uevent

import (
	"context"
	"errors"
	"fmt"
)

// A Conn receives the kernel's events. Here there is none.
type Conn struct{}

// Listen fails: there are no such events here.
func Listen(Options) (*Conn, error) {
	return nil, fmt.Errorf("listen to the kernel's events: %w", errors.ErrUnsupported)
}

// Close does nothing.
func (c *Conn) Close() error { return nil }

// Read fails: there are no such events here.
func (c *Conn) Read(context.Context) (Event, error) { return Event{}, errors.ErrUnsupported }
