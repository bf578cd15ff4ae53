package qemu

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"strings"
	"time"

	"github.com/project-independence/indy/guest"
)

// probeTimeout is how long the probe guest may take on KVM. Where KVM works it
// needs a tenth of that, and where firmware alone takes longer KVM is no gain.
const probeTimeout = 2 * time.Second

// Probe decides between KVM and TCG and says why in words. KVM is chosen only if a
// guest really runs on it: that /dev/kvm opens proves little, since in a virtual
// machine it may run firmware and die of the first 64-bit kernel. The guest is a boot
// sector that enters 64-bit mode and executes what kernels execute there.
//
// Of o it takes Binary, User, Rights and Logger. The error is nil unless there is no QEMU
// that starts, or ctx ended.
func Probe(ctx context.Context, o Options) (Accelerator, string, error) {
	var err error
	if o.Binary, err = resolve(o.Binary); err != nil {
		return TCG, "", err
	}
	rights, err := o.rights()
	if err != nil {
		return TCG, "", err
	}
	node, err := rights.KVM()
	if node != nil {
		node.Close()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return TCG, "there is no /dev/kvm: the modules kvm_intel or kvm_amd are not loaded, or virtualisation is off in the firmware or for this virtual machine", nil
	case errors.Is(err, fs.ErrPermission):
		return TCG, "/dev/kvm is there, but may not be opened; add the user to the group kvm", nil
	case err != nil:
		return TCG, fmt.Sprintf("/dev/kvm is there, but does not open: %v", err), nil
	}
	start := time.Now()
	limit, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	err = probe(limit, o, KVM)
	switch {
	case ctx.Err() != nil:
		return TCG, "", ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return TCG, fmt.Sprintf("/dev/kvm is there, but a probe guest on it was not done in %v", probeTimeout), nil
	case err != nil && strings.Contains(err.Error(), "kvm-accel.device"):
		return TCG, "/dev/kvm is there, but QEMU before 9.0 has to open it by itself, and the user it runs as may not; let it, or install a newer QEMU", nil
	case err != nil:
		return TCG, fmt.Sprintf("/dev/kvm is there, but a probe guest died on it: %v", err), nil
	}
	return KVM, fmt.Sprintf("a probe guest ran on /dev/kvm in %v", time.Since(start).Round(time.Millisecond)), nil
}

// probeGuest is the guest that is run to see whether KVM works.
func probeGuest() guest.Guest {
	return guest.Guest{Name: "probe", Memory: 64 << 20, Disks: []guest.Disk{{File: "probe"}}}
}

// IsProbe reports whether m is what [Probe] starts, which has nothing of the host but its processors.
func IsProbe(m Machine) bool {
	return reflect.DeepEqual(m.Guest, probeGuest()) && m.RenderNode == "" && m.Layout.RenderNode == "" && m.Layout.SoundServer == ""
}

// probe runs the probe guest and returns nil if it says its line before ctx ends.
func probe(ctx context.Context, o Options, a Accelerator) error {
	sector, err := hex.DecodeString(probeCode)
	if err != nil {
		return err
	}
	sector = append(sector, make([]byte, 510-len(sector))...)
	sector = append(sector, 0x55, 0xaa)
	disk, err := memoryFile("probe", sector, 1<<20)
	if err != nil {
		return err
	}
	o = Options{Binary: o.Binary, User: o.User, Rights: o.Rights, Logger: o.Logger}
	rights, err := o.rights()
	if err != nil {
		return err
	}
	h := inheritance{rights: rights}
	defer h.close()
	l := Layout{Accelerator: a, NoReboot: true, Disks: []DiskFile{{FD: h.add(disk, "probe")}}}
	g := probeGuest()
	said := &waiter{text: []byte(probeText), found: make(chan struct{})}
	o.Serial = said
	vm, err := run(ctx, g, o, l, &h)
	if err != nil {
		return err
	}
	kill := func(why error) {
		vm.proc.kill(why)
		vm.Wait()
	}
	select {
	case <-said.found:
		kill(nil)
		return nil
	case <-vm.Done():
	case <-ctx.Done():
		kill(ctx.Err())
		return ctx.Err()
	}
	var op *OpError
	if errors.As(vm.Err(), &op) {
		return op.Err
	}
	return errors.New("it reset the machine")
}

// A waiter closes found when text has been written to it.
type waiter struct {
	text  []byte
	got   []byte
	found chan struct{}
	over  bool
}

func (w *waiter) Write(p []byte) (int, error) {
	if !w.over && len(w.got) < 64<<10 {
		w.got = append(w.got, p...)
		if bytes.Contains(w.got, w.text) {
			w.over = true
			close(w.found)
		}
	}
	return len(p), nil
}

// probeText is what the probe guest says when all has gone well.
const probeText = "indy: long mode runs"

// probeCode is the boot sector in testdata/probe.S, without the zeros at its end
// and its signature.
const probeCode = "" +
	"fafc31c08ed88ec08ed0bc007cbf0010b90020f3abc70600100320c70600200330c706003083000f" +
	"20e0660d200600000f22e066b8001000000f22d866b9800000c00f320d00010f30660f0116227d0f" +
	"20c024fb660d030000800f22c066ea657c00000800b8100000008ed88ec08ed0bc007c000031c00f" +
	"a283f8077233b80700000031c90fa2f7c3000100007422b903000000ba05000000c4e2f1f7c2c4e2" +
	"f3f7d8c4e3fbf0f0018d043383f819756ab807000000f20f2ac0f20f58c00f29042500600000f30f" +
	"6f0c2500600000660fefc0660febc1f20f2cd883fb0e753bb81e7d00006689042500420000bb0800" +
	"008e891c25024200000f011c25287d000031edcd2083fd01751166baf803be507d0000ac84c07403" +
	"eeebf8f4ebfdffc548cf1700387d00000f020040000000000000660f1f4400000000000000000000" +
	"ffff0000009baf00ffff00000093cf00696e64793a206c6f6e67206d6f64652072756e730d0a"
