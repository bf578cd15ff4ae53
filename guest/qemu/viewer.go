package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/qmp"
)

// AddViewer hands QEMU a connection of a viewer of the guest's display, which must be
// VNC or SPICE; of SPICE, a viewer has several. The viewer is not asked for a password.
// QEMU gets a descriptor of its own; conn stays the caller's. It blocks until QEMU
// answers or ctx ends.
func (v *VM) AddViewer(ctx context.Context, conn *os.File) error {
	if v.display != guest.VNC && v.display != guest.SPICE {
		return fmt.Errorf("guest %s: its display is %v, which has no viewers: %w", v.name, v.display, errors.ErrUnsupported)
	}
	name := "viewer" + strconv.FormatInt(v.viewers.Add(1), 10)
	if err := v.qmp.CallFile(ctx, conn, "getfd", map[string]any{"fdname": name}, nil); err != nil {
		return err
	}
	args := map[string]any{"protocol": v.display.String(), "fdname": name, "skipauth": true}
	err := v.qmp.Call(ctx, "add_client", args, nil)
	var refused *qmp.Error
	if errors.As(err, &refused) {
		err = errors.Join(err, v.qmp.Call(ctx, "closefd", map[string]any{"fdname": name}, nil))
	}
	return err
}

// acceptPause keeps a listener that fails from keeping a processor busy.
const acceptPause = 200 * time.Millisecond

// welcome hands QEMU whoever connects to l, until l is closed.
func (v *VM) welcome(l net.Listener) {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // such as too many files open, which may pass
			v.log.Warn("a viewer was not received", "err", err)
			time.Sleep(acceptPause)
			continue
		}
		if err := v.receive(conn); err != nil {
			v.log.Warn("a viewer was turned away", "err", err)
		}
		conn.Close()
	}
}

func (v *VM) receive(conn net.Conn) error {
	c, ok := conn.(interface{ File() (*os.File, error) })
	if !ok {
		return fmt.Errorf("%T is no socket", conn)
	}
	f, err := c.File()
	if err != nil {
		return err
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	return v.AddViewer(ctx, f)
}
