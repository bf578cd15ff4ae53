package vfio

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"
)

func TestViable(t *testing.T) {
	bind := func(driver string) func(*kernel) {
		return func(k *kernel) { k.groups[seven].drivers["0000:02:00.1"] = driver }
	}
	tests := map[string]struct {
		change func(k *kernel)
		viable error
		texts  []string
		inUse  error
	}{
		"alone":     {func(*kernel) {}, nil, nil, nil},
		"held":      {bind("snd_hda_intel"), ErrNotViable, []string{"use group 7: ", "0000:02:00.1 is bound to snd_hda_intel"}, nil},
		"bridge":    {bind("pcieport"), nil, nil, nil},
		"open":      {func(k *kernel) { k.groups[seven].busy = true }, syscall.EBUSY, []string{"open group 7: "}, syscall.EBUSY},
		"no node":   {func(k *kernel) { k.groups[seven].drivers = map[string]string{nvme.String(): "nvme"} }, fs.ErrNotExist, []string{"bound to nvme"}, nil},
		"no answer": {func(k *kernel) { k.fail = failOn("VFIO_GROUP_GET_STATUS", syscall.EIO) }, syscall.EIO, []string{"use group 7: "}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			k := newKernel()
			test.change(k)
			if err := viable(k.host(), seven); test.viable != nil {
				wantError(t, err, test.viable, test.texts...)
			} else if err != nil {
				t.Errorf("viable: %v", err)
			}
			// What another process was told comes to the same.
			var flags uint32
			node, asked := k.host().open("/dev/vfio/7")
			if asked == nil {
				var status Status
				if status, asked = (&Group{id: seven, host: k.host(), node: node}).status(); status.Viable {
					flags = 1
				}
				if err := node.Close(); err != nil {
					t.Error(err)
				}
			}
			if want, err := viable(k.host(), seven), Verdict(k.host().fsys, seven, flags, asked); fmt.Sprint(err) != fmt.Sprint(want) {
				t.Errorf("verdict: %v, want %v", err, want)
			}
			if err := inUse(k.host(), seven); !errors.Is(err, test.inUse) || test.inUse == nil && err != nil {
				t.Errorf("in use: %v, want %v", err, test.inUse)
			}
			if len(k.open) > 0 {
				t.Errorf("%d files are still open", len(k.open))
			}
		})
	}
}
