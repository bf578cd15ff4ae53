package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// unplugLimit is how long a device may take to leave the guest, if the context does not say.
const unplugLimit = 10 * time.Second

// ErrUnplug is that a device stays with the guest, which does not let go of it.
var ErrUnplug = errors.New("the guest does not let go of it")

// unplug takes the device id from the guest. That QEMU takes the command says nothing:
// a guest may be asked, and may refuse or not listen. It waits until the device is gone,
// the guest has refused, or ctx or the time is over.
func (v *VM) unplug(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, unplugLimit)
	defer cancel()
	heard := v.qmp.Subscribe("DEVICE_DELETED", "DEVICE_UNPLUG_GUEST_ERROR")
	defer heard.Close()
	if err := v.qmp.Call(ctx, "device_del", map[string]string{"id": id}, nil); err != nil {
		return err
	}
	for {
		select {
		case e, ok := <-heard.C():
			if !ok {
				return fmt.Errorf("guest %s: %s: QEMU has ended", v.name, id)
			}
			// Of a part of a device, as the network card's queue, there is a path and no id.
			var of struct {
				Device string `json:"device"`
			}
			if err := json.Unmarshal(e.Data, &of); err != nil || of.Device != id {
				continue
			}
			if e.Name == "DEVICE_DELETED" {
				return nil
			}
			return fmt.Errorf("guest %s: %s: %w", v.name, id, ErrUnplug)
		case <-ctx.Done():
			return fmt.Errorf("guest %s: %s: %w: %w", v.name, id, ErrUnplug, context.Cause(ctx))
		}
	}
}
