package vfio_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/project-independence/indy/pci"
	"github.com/project-independence/indy/vfio"
)

// That a granted node can be opened is shown by every guest of the self-test, whose
// QEMU is not root.
func TestGrantOfNothing(t *testing.T) {
	revoke, err := vfio.Grant(pci.NewGroupID(4_000_000), 65534, 65534)
	var op *vfio.OpError
	if revoke != nil || !errors.Is(err, fs.ErrNotExist) || !errors.As(err, &op) || op.Group != pci.NewGroupID(4_000_000) {
		t.Errorf("%v", err)
	}
}
