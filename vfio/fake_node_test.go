package vfio

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func (n *fakeNode) value(r request, arg uintptr) (v int, err error) {
	n.k.mu.Lock()
	defer n.k.mu.Unlock()
	err = n.answer(r, func() error {
		switch {
		case r == getAPIVersion:
			v = n.k.version
		case r == checkExtension:
			v = n.k.iommus[arg]
		case r == setIOMMU && n.iommu == 0 && n.groups > 0 && n.k.iommus[arg] > 0:
			n.iommu = arg
		case r == groupUnsetContainer && n.group != nil && n.container != nil:
			n.leave()
		case r == deviceReset && n.dev != nil && n.dev.flags&1 != 0:
			n.dev.resets++
		default:
			return syscall.EINVAL
		}
		return nil
	})
	return v, err
}

func (n *fakeNode) data(r request, b []byte) error {
	n.k.mu.Lock()
	defer n.k.mu.Unlock()
	return n.answer(r, func() error {
		u := binary.NativeEndian
		if int(u.Uint32(b)) > len(b) || r != groupGetStatus && u.Uint32(b) < 8 {
			panic(fmt.Sprintf("%v: argsz %d, buffer %d", r, u.Uint32(b), len(b)))
		}
		if r >= iommuGetInfo {
			return n.dma(r, b, nil)
		}
		switch {
		case n.ofGroup != nil && n.attached == 0 && r != deviceAttachPT:
			return syscall.EINVAL // nothing before it is bound
		case r == deviceAttachPT && n.container != nil:
			n.k.note(r, b)
			if !n.container.ioas[u.Uint32(b[8:])] {
				return syscall.ENOENT
			}
			n.attached = u.Uint32(b[8:])
		case r == deviceSetInterrupts && n.dev != nil:
			return n.interrupts(b, nil)
		case r == deviceHotReset && n.dev != nil:
			return n.hotReset(b, nil)
		case r == groupGetStatus && n.group != nil:
			flags := uint32(0xf0) // bits of a later kernel
			if n.group.viable() {
				flags |= 1
			}
			if n.container != nil {
				flags |= 2
			}
			u.PutUint32(b[4:], flags)
		case r == deviceGetInfo && n.dev != nil:
			u.PutUint32(b[4:], n.dev.flags)
			u.PutUint32(b[8:], n.dev.regions)
			u.PutUint32(b[12:], n.dev.irqs)
		case r == deviceGetRegion && n.dev != nil:
			info, ok := n.dev.region[u.Uint32(b[8:])]
			if !ok {
				return syscall.EINVAL
			}
			copy(b[4:8], info[4:])
			copy(b[16:32], info[16:])
			u.PutUint32(b[12:], 0)
			if len(b) >= len(info) && len(info) > regionInfoSize {
				copy(b[regionInfoSize:], info[regionInfoSize:])
				copy(b[12:16], info[12:])
			}
			if grown := max(u.Uint32(info), uint32(len(info))); int(grown) > len(b) {
				u.PutUint32(b, grown)
			}
		case r == deviceGetInterrupt && n.dev != nil:
			irq, ok := n.dev.irq[u.Uint32(b[8:])]
			if !ok {
				return syscall.EINVAL
			}
			u.PutUint32(b[4:], irq[0])
			u.PutUint32(b[12:], irq[1])
		case r == deviceHotResetInfo && n.dev != nil:
			if n.dev.affected == nil {
				return syscall.ENODEV
			}
			u.PutUint32(b[8:], uint32(len(n.dev.affected)))
			if n.ofGroup != nil {
				u.PutUint32(b[4:], hotResetByDevice)
				if len(n.dev.notOwned) == 0 {
					u.PutUint32(b[4:], hotResetByDevice|hotResetOwned)
				}
			}
			if len(b) < hotResetHeader+len(n.dev.affected)*hotResetEntry {
				return syscall.ENOSPC
			}
			for i, a := range n.dev.affected {
				e := b[hotResetHeader+i*hotResetEntry:]
				u.PutUint32(e, a.Group.Uint32())
				if n.ofGroup != nil {
					u.PutUint32(e, 1)
					if n.dev.notOwned[a] {
						u.PutUint32(e, notOwned)
					}
				}
				u.PutUint16(e[4:], uint16(a.Address.Domain()))
				e[6], e[7] = a.Address.Bus(), a.Address.Device()<<3|a.Address.Function()
			}
		default:
			return syscall.ENOTTY
		}
		return nil
	})
}

func (n *fakeNode) files(r request, b []byte, at int, files ...holder) error {
	n.k.mu.Lock()
	defer n.k.mu.Unlock()
	return n.answer(r, func() error {
		u := binary.NativeEndian
		for i, f := range files {
			number := uint32(100 + i)
			if f == nil {
				number = math.MaxUint32
			}
			u.PutUint32(b[at+4*i:], number)
		}
		switch {
		case r == groupSetContainer && n.group != nil:
			c := files[0].(*fakeNode)
			if n.container != nil || !n.group.viable() {
				return syscall.EPERM
			}
			n.container = c
			c.groups++
		case r == deviceBindIOMMUFD && n.ofGroup != nil:
			n.k.note(r, b)
			switch {
			case n.container != nil:
				return syscall.EINVAL
			case n.ofGroup.node != nil:
				return syscall.EBUSY
			case !n.ofGroup.viable():
				return syscall.EPERM
			}
			n.container = files[0].(*fakeNode)
			n.ofGroup.byNode++
			u.PutUint32(b[12:], 77)
		case r == deviceSetInterrupts && n.dev != nil:
			return n.interrupts(b, files)
		case r == deviceHotReset && n.dev != nil:
			return n.hotReset(b, files)
		default:
			return syscall.ENOTTY
		}
		return nil
	})
}

func (n *fakeNode) hold(call func(fd uintptr)) error {
	call(99)
	return nil
}

// interrupts is VFIO_DEVICE_SET_IRQS as vfio-pci does it.
func (n *fakeNode) interrupts(b []byte, files []holder) error {
	u := binary.NativeEndian
	flags, index, start, count := u.Uint32(b[4:]), u.Uint32(b[8:]), u.Uint32(b[12:]), u.Uint32(b[16:])
	have, ok := n.dev.irq[index]
	switch {
	case !ok || start >= max(have[1], 1) || count > have[1]-start:
		return syscall.EINVAL
	case flags == irqEventFD|irqTrigger && len(files) == int(count) && len(b) == irqSetSize+4*int(count):
		if n.dev.enabled == nil {
			n.dev.enabled = map[uint32][]event{}
		}
		for _, f := range files {
			n.dev.enabled[index] = append(n.dev.enabled[index], f.(event))
		}
	case flags == irqNone|irqTrigger && count == 0:
		delete(n.dev.enabled, index)
	case flags == irqNone|irqTrigger:
		n.dev.send(index, int(start))
	case flags == irqNone|irqMask && have[0]&2 != 0:
		n.dev.masked = true
	case flags == irqNone|irqUnmask && have[0]&2 != 0:
		n.dev.masked = false
	default:
		return syscall.ENOTTY
	}
	return nil
}

// send is what the device does to interrupt.
func (d *fakeDevice) send(index uint32, n int) {
	one := binary.NativeEndian.AppendUint64(nil, 1)
	if all := d.enabled[index]; n < len(all) && !d.masked {
		all[n].file.Write(one)
		d.masked = d.irq[index][0]&4 != 0
	}
}

// hotReset is VFIO_DEVICE_PCI_HOT_RESET.
func (n *fakeNode) hotReset(b []byte, files []holder) error {
	var names []string
	for _, f := range files {
		names = append(names, f.(*fakeNode).name)
	}
	switch count := int(binary.NativeEndian.Uint32(b[8:])); {
	case count != len(files) || len(b) != 12+4*count || count > len(n.dev.affected):
		return syscall.EINVAL
	case (n.ofGroup != nil) != (count == 0) || len(n.dev.notOwned) > 0:
		return syscall.EPERM
	}
	n.dev.hotResets = append(n.dev.hotResets, names)
	return nil
}

func (n *fakeNode) device(name string) (node, error) {
	n.k.mu.Lock()
	defer n.k.mu.Unlock()
	var d *fakeNode
	err := n.answer(groupGetDevice, func() error {
		switch {
		case n.container == nil || n.container.iommu == 0:
			return syscall.EINVAL
		case n.group.drivers[name] != "vfio-pci":
			return syscall.ENODEV
		}
		d = &fakeNode{n.k, name, &fakeState{refs: 1, dev: &n.group.device}}
		n.k.open[d] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

func (n *fakeNode) ReadAt(b []byte, off int64) (int, error) {
	n.k.mu.Lock()
	defer n.k.mu.Unlock()
	err := error(fs.ErrClosed)
	if n.k.open[n] {
		err = n.k.call("pread")
	}
	if err != nil {
		return 0, &fs.PathError{Op: "read", Path: n.name, Err: err}
	}
	at := off - n.dev.configAt
	if at < 0 || at >= int64(len(n.dev.config)) {
		return 0, io.EOF
	}
	c := copy(b, n.dev.config[at:])
	if c < len(b) {
		return c, io.EOF
	}
	return c, nil
}

func (n *fakeNode) WriteAt(b []byte, off int64) (int, error) {
	n.k.mu.Lock()
	defer n.k.mu.Unlock()
	err := error(fs.ErrClosed)
	if n.k.open[n] {
		err = n.k.call("pwrite")
	}
	at := off - n.dev.configAt
	if err == nil && (at < 0 || at+int64(len(b)) > int64(len(n.dev.config))) {
		err = syscall.EINVAL
	}
	if err != nil {
		return 0, &fs.PathError{Op: "write", Path: n.name, Err: err}
	}
	return copy(n.dev.config[at:], b), nil
}

// mmap maps memory of this process in place of the device's.
func (n *fakeNode) mmap(off int64, size, prot int) ([]byte, error) {
	n.k.mu.Lock()
	defer n.k.mu.Unlock()
	err := n.k.call("mmap")
	var b []byte
	if err == nil {
		b, err = unix.Mmap(-1, 0, size, prot, unix.MAP_SHARED|unix.MAP_ANON)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "mmap", Path: n.name, Err: err}
	}
	n.dev.memory = b
	n.dev.mapped++
	return b, nil
}

func (n *fakeNode) duplicate() (*os.File, error) {
	n.k.mu.Lock()
	defer n.k.mu.Unlock()
	err := n.k.call("duplicate")
	if err != nil {
		return nil, &fs.PathError{Op: "duplicate", Path: n.name, Err: err}
	}
	null, err := os.Open(os.DevNull)
	if err == nil {
		fd, _ := unix.FcntlInt(null.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		null.Close()
		null = os.NewFile(uintptr(fd), n.name)
		n.k.passed[null] = n.fakeState
	}
	return null, err
}

// leave takes a group out of its container, which forgets all mappings with the last.
func (n *fakeNode) leave() {
	if c := n.container; c != nil {
		n.container = nil
		if c.groups--; c.groups == 0 {
			c.iommu, c.maps = 0, nil
		}
	}
}

// Close lets go even when it fails, as close(2) does.
func (n *fakeNode) Close() error {
	n.k.mu.Lock()
	defer n.k.mu.Unlock()
	if !n.k.open[n] {
		return &fs.PathError{Op: "close", Path: n.name, Err: fs.ErrClosed}
	}
	delete(n.k.open, n)
	if n.refs--; n.refs == 0 {
		switch {
		case n.group != nil:
			n.group.node = nil
			n.leave()
		case n.ofGroup != nil && n.container != nil:
			n.ofGroup.byNode--
		}
	}
	if err := n.k.call("close"); err != nil {
		return &fs.PathError{Op: "close", Path: n.name, Err: err}
	}
	return nil
}

// answer is what is common to all ioctls.
func (n *fakeNode) answer(r request, does func() error) error {
	err := error(fs.ErrClosed)
	if n.k.open[n] {
		if err = n.k.call(r.String()); err == nil {
			err = does()
		}
	}
	if err != nil {
		return &fs.PathError{Op: r.String(), Path: n.name, Err: err}
	}
	return nil
}
