package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/project-independence/indy/guest/qmp"
	"github.com/project-independence/indy/guest/qmp/qmptest"
)

// A device has left a guest when QEMU says so, not when it has taken the command.
func TestFault43UnplugIgnored(t *testing.T) {
	const id = "usb-1-4"
	for what, c := range map[string]struct {
		say  func(s *qmptest.Server)
		want error
		text string
	}{
		"gone": {func(s *qmptest.Server) {
			s.Event("DEVICE_DELETED", map[string]string{"path": "/machine/peripheral/" + id + "/virtio-backend"})
			s.Event("DEVICE_DELETED", map[string]string{"device": "other"})
			s.Event("DEVICE_DELETED", map[string]string{"device": id})
		}, nil, ""},
		"refused": {func(s *qmptest.Server) {
			s.Event("DEVICE_UNPLUG_GUEST_ERROR", map[string]string{"device": "other"})
			s.Event("DEVICE_UNPLUG_GUEST_ERROR", map[string]string{"device": id})
		}, ErrUnplug, "guest work: usb-1-4: the guest does not let go of it"},
		"ignored":            {func(*qmptest.Server) {}, context.DeadlineExceeded, "the guest does not let go of it: context deadline exceeded"},
		"of another ignored": {func(s *qmptest.Server) { s.Event("DEVICE_DELETED", map[string]string{"device": "other"}) }, ErrUnplug, "does not let go"},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := new(qmptest.Server)
				s.Answer = func(command string, args json.RawMessage) (any, error) {
					if command != "device_del" {
						return nil, &qmp.Error{Class: "CommandNotFound", Desc: command}
					}
					go c.say(s)
					return nil, nil
				}
				conn, err := qmp.New(t.Context(), s.Dial())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				v := &VM{name: "work", qmp: conn}
				err = v.unplug(t.Context(), id)
				if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.text) {
					t.Errorf("%v, want %v", err, c.want)
				}
			})
		})
	}
	t.Run("QEMU dies", func(t *testing.T) {
		s := new(qmptest.Server)
		client := s.Dial()
		s.Answer = func(string, json.RawMessage) (any, error) { go client.Close(); return nil, io.EOF }
		conn, err := qmp.New(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := (&VM{name: "work", qmp: conn}).unplug(t.Context(), id); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}
