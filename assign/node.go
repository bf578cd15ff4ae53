package assign

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/iommu"
)

// awaitNode waits for the node by which a guest opens the group. The kernel makes it in
// devtmpfs before the function is bound; where something else makes the nodes, it does so
// when it hears of the group.
func (h *Host) awaitNode(ctx context.Context, g iommu.GroupID) error {
	node := "dev/vfio/" + g.String()
	ctx, cancel := context.WithTimeout(ctx, NodeTimeout)
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		info, err := fs.Lstat(h.FS, node)
		if err == nil && info.Mode()&(fs.ModeDir|fs.ModeSymlink|fs.ModeNamedPipe|fs.ModeSocket) != 0 {
			err = fmt.Errorf("%s, and not the node of the group; remove it: rm -r /%s", info.Mode().Type(), node)
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return h.noNode(node, g, context.Cause(ctx), err)
		}
		h.pause(ctx, wait)
	}
}

// noNode says what a person can do about a node that does not come.
func (h *Host) noNode(node string, g iommu.GroupID, cause, err error) error {
	if !errors.Is(cause, context.DeadlineExceeded) {
		return fmt.Errorf("wait for /%s: %w", node, cause)
	}
	e := fmt.Errorf("wait for /%s: %w after %s (%w)", node, cause, NodeTimeout, err)
	if !errors.Is(err, fs.ErrNotExist) {
		return e
	}
	number, err := hostfs.ReadString(h.FS, "sys/class/vfio/"+g.String()+"/dev")
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; the kernel has no such node either: is the module vfio whole, and built with VFIO_GROUP?", e)
	}
	major, minor, _ := strings.Cut(number, ":")
	return fmt.Errorf("%w; the kernel has it as %s, and nobody has made it below /dev: mount devtmpfs there, "+
		"or have udev do it (udevadm trigger --action=add --subsystem-match=vfio), or by hand (mknod /%s c %s %s)",
		e, number, node, major, minor)
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
