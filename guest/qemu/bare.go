package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/qmp"
)

// A BareStart is how long a QEMU took that was started by itself.
type BareStart struct {
	Answered time.Duration // until it answered on QMP
	Going    time.Duration // until it had been told to run the guest's processors, and did

	// Without is what the guest has of the host, and this QEMU had not, in words.
	Without []string
}

// Bare measures what of a start of g is QEMU's own: it starts a QEMU of the same machine
// at once, without a jail and without anything that serves it, and ends it when the
// processors run. The guest may run meanwhile: each disk is an empty one of the same size
// in memory, UEFI's variables are those of a new guest, and what else a guest has of the
// host is left out. Of o it takes Binary, User and Accelerator, which may not be Auto.
func Bare(ctx context.Context, g guest.Guest, o Options) (BareStart, error) {
	b, err := bareStart(ctx, g, o)
	if err != nil {
		return BareStart{}, &OpError{"start a bare QEMU for", g.Name, err}
	}
	return b, nil
}

func bareStart(ctx context.Context, g guest.Guest, o Options) (b BareStart, err error) {
	g, b.Without = ownMachine(g)
	h := inheritance{rights: own{}}
	defer h.close()
	l := Layout{Accelerator: o.Accelerator}
	for i, d := range g.Disks {
		f, err := memoryFile("disk", nil, emptyDisk(d))
		if err != nil {
			return b, err
		}
		g.Disks[i].Format, g.Disks[i].File, g.Disks[i].Key = guest.Raw, "empty", guest.Key{}
		l.Disks = append(l.Disks, DiskFile{FD: h.add(f, "an empty disk")})
	}
	if g.Firmware == guest.UEFI {
		if err := newVariables(&h, g, &l); err != nil {
			return b, err
		}
	}
	if o.Binary, err = resolve(o.Binary); err != nil {
		return b, err
	}
	cred, err := credential(o.User)
	if err != nil {
		return b, err
	}
	if l.Accelerator == KVM {
		f, err := openKVM(cred)
		if err != nil {
			return b, err
		}
		if f != nil {
			l.KVM = h.add(f, kvmNode)
		}
	}
	control, far, err := socketpair("qmp")
	if err != nil {
		return b, err
	}
	defer control.Close()
	l.QMP = h.add(far, "qmp")
	console, far, err := socketpair("serial")
	if err != nil {
		return b, err
	}
	defer console.Close()
	l.Serial = h.add(far, "serial")
	args, err := Args(g, l)
	if err != nil {
		return b, err
	}
	said := new(tail)
	cmd := exec.CommandContext(ctx, o.Binary, args...)
	cmd.Env, cmd.Dir, cmd.Stderr, cmd.ExtraFiles = []string{}, "/", said, h.files
	cmd.SysProcAttr, cmd.WaitDelay = attributes(cred), time.Second
	cmd.SysProcAttr.Pdeathsig = 0 // which would be that of a thread
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return b, err
	}
	h.close()
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // that it was killed
		if text := summary(said.String()); err != nil && text != "" {
			err = fmt.Errorf("%w: %s", errors.Join(err, ctx.Err()), text)
		}
	}()
	conn, err := qmp.New(ctx, control)
	if err != nil {
		return b, err
	}
	defer conn.Close()
	b.Answered = time.Since(begun)
	if err := conn.Call(ctx, "cont", nil, nil); err != nil {
		return b, err
	}
	b.Going = time.Since(begun)
	return b, nil
}

// ownMachine returns g without what it has of the host, which is returned in words.
func ownMachine(g guest.Guest) (guest.Guest, []string) {
	own := guest.Guest{Name: g.Name, CPUs: g.CPUs, Memory: g.Memory, Firmware: g.Firmware, SecureBoot: g.SecureBoot, Variables: g.Variables, Graphics: g.Graphics}
	own.Disks = append(own.Disks, g.Disks...) // not those of the caller
	var without []string
	leave := func(has bool, what string) {
		if has {
			without = append(without, what)
		}
	}
	if g.Graphics == guest.VirGL { // drawn by the host
		own.Graphics = guest.VirtIOGPU
		leave(true, "OpenGL")
	}
	leave(len(g.Devices) > 0, "assigned functions")
	leave(g.HasUSB(), "USB")
	leave(len(g.NICs) > 0, "network")
	leave(g.Screen.Kind != guest.NoScreen, "viewers")
	leave(g.Sound.Model != guest.NoSound, "sound")
	leave(g.TPM != "", "TPM")
	leave(len(g.Folders) > 0, "folders")
	return own, without
}

// emptyDisk is the size of the file that stands for a disk, that of a disk in another format
// than raw being unknown without a look into it: what is not written takes no memory.
func emptyDisk(d guest.Disk) int64 {
	const least = 1 << 20
	info, err := os.Stat(d.File)
	if err != nil || !info.Mode().IsRegular() {
		return least
	}
	return max(least, (info.Size()+511)&^511)
}

// newVariables has UEFI's variables be those of a guest that was never started.
func newVariables(h *inheritance, g guest.Guest, l *Layout) error {
	f, err := os.MkdirTemp("", "indy-bare-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(f)
	g.Variables = f + "/variables"
	l.Code, l.Variables, err = openUEFI(h, g)
	return err
}
