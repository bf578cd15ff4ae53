package cli

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/hostfs"
)

// bridgePort makes a tap interface that is a port of a bridge of the host, and returns it
// open. The kernel takes the interface away when nobody has it open any more.
func bridgePort(host *hostfs.LiveHost, bridge string) (*os.File, error) {
	fail := func(err error) (*os.File, error) {
		return nil, fmt.Errorf("network bridge:%s: %w", bridge, err)
	}
	if _, err := net.InterfaceByName(bridge); err != nil {
		return fail(cannot{fmt.Errorf("the host has no such bridge (%w)", err)})
	}
	f, err := host.OpenDevice("dev/net/tun")
	if err != nil {
		return fail(err)
	}
	if err := attachTap(f, bridge); err != nil {
		if errors.Is(err, unix.EPERM) {
			err = fmt.Errorf("only root makes ports of a bridge: %w", err)
		}
		return fail(errors.Join(err, f.Close()))
	}
	return f, nil
}

// attachTap makes an interface of f, as linux/if_tun.h has it, and a port of bridge, as
// linux/sockios.h does.
func attachTap(f *os.File, bridge string) error {
	tap, err := unix.NewIfreq("indy%d") // the kernel finds a number
	if err != nil {
		return err
	}
	tap.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(int(f.Fd()), unix.TUNSETIFF, tap); err != nil {
		return os.NewSyscallError("TUNSETIFF", err)
	}
	made, err := net.InterfaceByName(tap.Name())
	if err != nil {
		return err
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(socket)
	to, err := unix.NewIfreq(bridge)
	if err != nil {
		return err
	}
	to.SetUint32(uint32(made.Index))
	if err := unix.IoctlIfreq(socket, unix.SIOCBRADDIF, to); err != nil {
		return os.NewSyscallError("SIOCBRADDIF", err)
	}
	up, err := unix.NewIfreq(made.Name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCGIFFLAGS, up); err != nil {
		return os.NewSyscallError("SIOCGIFFLAGS", err)
	}
	up.SetUint16(up.Uint16() | unix.IFF_UP)
	return os.NewSyscallError("SIOCSIFFLAGS", unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, up))
}

// openTaps makes what the guest's network interfaces lead to.
func openTaps(env *Env, d guest.Definition, g guest.Guest) (files []*os.File, err error) {
	live, ok := env.Host.(*hostfs.LiveHost)
	for _, n := range g.NICs {
		if n.Link != guest.LinkTap {
			continue
		}
		if !ok {
			return nil, errors.New("this is not the running host")
		}
		f, err := bridgePort(live, d.Network.Bridge)
		if err != nil {
			return nil, errors.Join(err, closeAll(files))
		}
		files = append(files, f)
	}
	return files, nil
}
