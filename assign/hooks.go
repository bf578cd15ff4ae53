package assign

import "context"

// What else has to be done at some moments of a lease. The lease is locked by this process
// at each of them.

// beforeWrites is called once the plan is on the disk and before the first write. Nothing
// has been written when it returns an error, which ends the hand-over.
func (s *Store) beforeWrites(ctx context.Context, h *Host, l *Lease) error { return nil }

// beforeUndo is called when a lease is given back, other than one whose hand-over was
// interrupted: nobody uses its devices, it is in the state releasing, and they still are
// with vfio-pci. It is called again when a release that was interrupted, or was stuck, is
// gone on with; some of the devices may be with their drivers then, or be stuck. What it
// cannot do it keeps on record; the devices are given back all the same.
func (s *Store) beforeUndo(ctx context.Context, h *Host, l *Lease) {}

// forgotten is called before a lease is removed that was taken on a kernel which does not
// run any more.
func (s *Store) forgotten(ctx context.Context, h *Host, l *Lease) error { return nil }
