package qemu

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"syscall"

	"github.com/project-independence/indy/guest"
)

// own is the rights of this process.
type own struct {
	o    Options
	cred *syscall.Credential
}

// Open opens a file.
func (own) Open(name string, write bool) (*os.File, error) {
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	if st, err := os.Stat(name); err == nil && st.Mode()&fs.ModeDevice != 0 && write {
		flag |= syscall.O_EXCL // nobody else may mount it or swap to it meanwhile
	}
	f, err := os.OpenFile(name, flag|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if errors.Is(err, syscall.EBUSY) {
		err = fmt.Errorf("the host uses this disk, and a guest that writes to it would destroy what is on it: %w", err)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// KVM opens /dev/kvm for a QEMU that cannot do so itself.
func (w own) KVM() (*os.File, error) { return openKVM(w.cred) }

// Variables opens the file of UEFI's variables.
func (own) Variables(name string, template *os.File) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		if err := create(name, io.NewSectionReader(template, 0, maxVariables)); err != nil {
			return nil, err
		}
		f, err = os.OpenFile(name, os.O_RDWR, 0)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// TPM starts swtpm.
func (w own) TPM(dir string) (*os.File, Child, error) { return child(startTPM(dir, w.cred)) }

// Passt starts passt.
func (w own) Passt(servers []netip.Addr) (*os.File, Child, error) {
	return child(startPasst(servers, w.cred))
}

// Folder starts virtiofsd.
func (w own) Folder(f guest.SharedFolder) (*os.File, Child, error) {
	return child(startFolder(f, w.cred))
}

// child has no child that is a nil pointer.
func child(f *os.File, p *process, err error) (*os.File, Child, error) {
	if err != nil {
		return nil, nil, err
	}
	return f, p, nil
}

// QEMU starts QEMU.
func (w own) QEMU(ctx context.Context, m Machine, files []*os.File) (Child, []Measure, error) {
	binary, err := resolve(w.o.Binary)
	if err != nil {
		return nil, nil, err
	}
	args, err := Args(m.Guest, m.Layout)
	if err != nil {
		return nil, nil, err
	}
	c := command{binary: binary, args: args, files: files, cred: w.cred}
	if len(m.Guest.Devices) > 0 {
		c.memlock = uint64(m.Guest.Memory) + 1<<30
	}
	if m.Guest.Screen.Kind == guest.Window || m.Layout.Sound == PipeWire || m.Layout.Sound == PulseAudio {
		if c.env, err = m.Seat.environment(); err != nil {
			return nil, nil, err
		}
	}
	if len(w.o.Jail) > 0 {
		if c.jail, err = newCell(m, binary, w.o.Jail); err != nil {
			return nil, nil, err
		}
		c.jail.done = ctx.Done()
	}
	p, measures, err := confined(c, w.o.logger().With("guest", m.Guest.Name))
	if err != nil {
		return nil, nil, err
	}
	return p, measures, nil
}
