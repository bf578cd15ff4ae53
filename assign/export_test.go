package assign

import (
	"encoding/json"
	"time"

	"github.com/project-independence/indy/internal/journal"
)

// SetDisk keeps the leases of s on d.
func (s *Store) SetDisk(d journal.Disk) { s.disk = d }

// SetClock gives s another clock than the kernel's.
func (s *Store) SetClock(now func() time.Duration) { s.clock = now }

// Replay makes a lease of records, with the number of steps that were begun.
func Replay(name string, records []json.RawMessage, torn bool) (*Lease, int, error) {
	l, at, err := replay(name, records, torn)
	return l, at.begun, err
}
