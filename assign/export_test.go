package assign

import (
	"time"

	"github.com/project-independence/indy/internal/journal"
)

// SetDisk keeps the leases of s on d.
func (s *Store) SetDisk(d journal.Disk) { s.disk = d }

// SetClock gives s another clock than the kernel's.
func (s *Store) SetClock(now func() time.Duration) { s.clock = now }
