package fakehost

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/internal/ioctl"
	"github.com/project-independence/indy/internal/sim"
)

// What linux/seccomp.h says of the calls that a listener answers.
const (
	notifReceive = 0xc0502100 // _IOWR('!', 0, struct seccomp_notif)
	notifSend    = 0xc0182101 // _IOWR('!', 1, struct seccomp_notif_resp)
	notifValid   = 0x40082102 // _IOW('!', 2, __u64)

	notifSize, respSize = 80, 24
)

// The requests of linux/vfio.h that are answered, without their type.
const (
	getAPIVersion  = 100
	checkExtension = 101
	setIOMMU       = 102
	groupGetStatus = 103
	setContainer   = 104
	unsetContainer = 105
)

// vfioFilter lets everything be but ioctls of VFIO's, which are of type ';' and have
// neither size nor direction. Offsets are those of struct seccomp_data.
func vfioFilter() []unix.SockFilter {
	const number, request = 0, 24
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	jump := func(how uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | how | unix.BPF_K, Jt: yes, Jf: no, K: k}
	}
	ret := func(what uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: what} }
	return []unix.SockFilter{
		load(number),
		jump(unix.BPF_JEQ, unix.SYS_IOCTL, 0, 4),
		load(request),
		jump(unix.BPF_JGE, ';'<<8|getAPIVersion, 0, 2),
		jump(unix.BPF_JGT, ';'<<8|0xff, 1, 0),
		ret(unix.SECCOMP_RET_USER_NOTIF),
		ret(unix.SECCOMP_RET_ALLOW),
	}
}

// answer answers VFIO's ioctls until stop is closed or no process is left that could
// ask.
func (h *Host) answer(listener int) {
	defer unix.Close(listener)
	for {
		poll := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 100)
		select {
		case <-h.closed:
			return
		default:
		}
		if n <= 0 && (err == nil || err == unix.EINTR) {
			continue
		}
		if err != nil || poll[0].Revents&unix.POLLIN == 0 {
			return
		}
		var asked [notifSize]byte
		if _, err := ioctl.Struct(uintptr(listener), notifReceive, asked[:]); err != nil {
			continue // who asked is dead
		}
		h.answerOne(listener, asked[:])
	}
}

func (h *Host) answerOne(listener int, asked []byte) {
	word := func(at int) uint64 { return binary.NativeEndian.Uint64(asked[at:]) }
	id, pid := asked[:8], int(binary.NativeEndian.Uint32(asked[8:]))
	const args = 8 + 8 + 16 // id, pid and flags, and in the data nr, arch and ip
	value, errno := h.ioctl(pid, int(word(args)), uint8(word(args+8)), uintptr(word(args+16)), func() bool {
		_, err := ioctl.Struct(uintptr(listener), notifValid, append([]byte(nil), id...))
		return err == nil
	})
	var answer [respSize]byte
	copy(answer[:], id)
	binary.NativeEndian.PutUint64(answer[8:], uint64(value))
	binary.NativeEndian.PutUint32(answer[16:], uint32(-int32(errno)))
	// It fails if who asked has died meanwhile.
	_, _ = ioctl.Struct(uintptr(listener), notifSend, answer[:])
}

// ioctl does what request asks of fd of the process pid, which still asks if valid.
func (h *Host) ioctl(pid, fd int, request uint8, arg uintptr, valid func() bool) (int64, syscall.Errno) {
	target, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
	if err != nil {
		return 0, unix.EBADF
	}
	node := path.Base(target)
	if path.Base(path.Dir(target)) != "vfio" {
		return 0, unix.ENOTTY
	}
	if node == "vfio" {
		switch request {
		case getAPIVersion, setIOMMU:
			return 0, 0
		case checkExtension:
			if arg == 1 || arg == 3 { // type 1 and its second version
				return 1, 0
			}
			return 0, 0
		}
		return 0, unix.ENOTTY
	}
	switch request {
	case setContainer, unsetContainer:
		return 0, 0
	case groupGetStatus:
		var flags uint32
		if groupViable(h.Kernel(), node) {
			flags = 1
		}
		// argsz is 8, and the flags follow it.
		if !valid() || poke(pid, arg+4, binary.NativeEndian.AppendUint32(nil, flags)) != nil {
			return 0, unix.EFAULT
		}
		return 0, 0
	}
	return 0, unix.ENOTTY
}

// poke writes into the memory of a process.
func poke(pid int, at uintptr, data []byte) error {
	f, err := os.OpenFile("/proc/"+strconv.Itoa(pid)+"/mem", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, int64(at))
	return errors.Join(err, f.Close())
}

// groupViable says what VFIO says of a group: none of its functions has a driver of the
// host. Bridges, and the drivers pcieport and pci-stub, do not count.
func groupViable(k *sim.Kernel, group string) bool {
	dir := "sys/kernel/iommu_groups/" + group + "/devices"
	members, err := k.ReadDir(dir)
	if err != nil {
		return false
	}
	for _, m := range members {
		driver, err := k.ReadLink(dir + "/" + m.Name() + "/driver")
		switch d := path.Base(driver); {
		case errors.Is(err, unix.ENOENT), d == "vfio-pci", d == "pci-stub", d == "pcieport":
		default:
			return false
		}
	}
	return true
}
