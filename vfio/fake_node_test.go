package vfio

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"syscall"
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
		case r == setIOMMU && n.iommu == 0 && n.k.iommus[arg] > 0:
			n.iommu = arg
		case r == groupUnsetContainer && n.group != nil && n.container != nil:
			n.container = nil
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
		if int(u.Uint32(b)) > len(b) {
			panic(fmt.Sprintf("%v: argsz %d, buffer %d", r, u.Uint32(b), len(b)))
		}
		switch {
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
			if len(b) < hotResetHeader+len(n.dev.affected)*hotResetEntry {
				return syscall.ENOSPC
			}
			for i, a := range n.dev.affected {
				e := b[hotResetHeader+i*hotResetEntry:]
				u.PutUint32(e, a.Group.Uint32())
				u.PutUint16(e[4:], uint16(a.Address.Domain()))
				e[6], e[7] = a.Address.Bus(), a.Address.Device()<<3|a.Address.Function()
			}
		default:
			return syscall.ENOTTY
		}
		return nil
	})
}

func (n *fakeNode) attach(container node) error {
	n.k.mu.Lock()
	defer n.k.mu.Unlock()
	return n.answer(groupSetContainer, func() error {
		if n.container != nil || !n.group.viable() {
			return syscall.EPERM
		}
		n.container = container.(*fakeNode)
		return nil
	})
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
		d = &fakeNode{k: n.k, name: name, dev: &n.group.device}
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
	if err := n.k.call("pread"); err != nil {
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

// Close lets go even when it fails, as close(2) does.
func (n *fakeNode) Close() error {
	n.k.mu.Lock()
	defer n.k.mu.Unlock()
	if !n.k.open[n] {
		return &fs.PathError{Op: "close", Path: n.name, Err: fs.ErrClosed}
	}
	delete(n.k.open, n)
	if n.group != nil {
		n.group.node = nil
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
