package assign

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	"github.com/project-independence/indy/iommu"
)

// awaitNode waits for the node by which a guest opens the group.
func (h *Host) awaitNode(ctx context.Context, g iommu.GroupID) error {
	node := "dev/vfio/" + g.String()
	ctx, cancel := context.WithTimeout(ctx, NodeTimeout)
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		_, err := fs.Lstat(h.FS, node)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("wait for /%s: %w (%w); are devtmpfs and the module vfio there?", node, context.Cause(ctx), err)
		}
		h.pause(ctx, wait)
	}
}

func (h *Host) pause(ctx context.Context, d time.Duration) {
	if h.Pause != nil {
		h.Pause(ctx, d)
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
