package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	virshURI     = "--connect=qemu:///system"
	serialSocket = "/run/bench-serial"
)

// domain is the guest as libvirt describes it.
const domain = `<domain type='qemu'><name>bench</name><memory unit='MiB'>128</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type><boot dev='hd'/></os>
<features><acpi/></features><on_reboot>restart</on_reboot>
<devices>
<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='%s'/><target dev='sda' bus='sata'/></disk>
<serial type='unix'><source mode='connect' path='%s'/></serial>
<controller type='usb' model='none'/><memballoon model='none'/>
</devices></domain>
`

// startLibvirt starts the daemon that virsh talks to, as Debian's package would but for what
// this host lacks: no D-Bus, and limits of control groups only where it has the controllers.
// The guest is defined before: what is measured is its start alone.
func startLibvirt(ctx context.Context, disk string) (c contender, end func(), err error) {
	for _, program := range []string{"virsh", "libvirtd"} {
		if _, err := exec.LookPath(program); err != nil {
			return c, nil, errors.New("not installed")
		}
	}
	for name, line := range map[string]string{
		"/etc/passwd": "libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin\n", "/etc/group": "libvirt-qemu:x:64055:\nkvm:x:64056:\n",
	} {
		if err := appended(name, line); err != nil {
			return c, nil, err
		}
	}
	for name, text := range map[string]string{
		"/run/libvirtd.conf":     "auth_unix_rw = \"none\"\nlog_outputs = \"3:file:/run/libvirtd.log\"\n",
		"/etc/libvirt/qemu.conf": "security_driver = \"none\"\nstdio_handler = \"file\"\nremember_owner = 0\nnamespaces = []\n", // of its own it makes none over a hidden KVM
		"/run/bench.xml":         fmt.Sprintf(domain, disk, serialSocket),
	} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return c, nil, err
		}
	}
	// Where KVM is there and does not work, libvirt would ask QEMU anew what it can, at each
	// start. Nobody uses it here.
	if err := os.WriteFile("/run/no-kvm", nil, 0o600); err != nil {
		return c, nil, err
	}
	if err := unix.Mount("/run/no-kvm", "/dev/kvm", "", unix.MS_BIND, ""); err != nil && !errors.Is(err, unix.ENOENT) {
		return c, nil, err
	}
	daemon := exec.CommandContext(ctx, "libvirtd", "-f", "/run/libvirtd.conf")
	if err := daemon.Start(); err != nil {
		return c, nil, err
	}
	end = func() { _, _ = daemon.Process.Kill(), daemon.Wait() }
	for range 60 {
		if err = command(ctx, "virsh", virshURI, "define", "/run/bench.xml"); err == nil {
			return contender{virshStart, startByVirsh}, end, nil
		}
		time.Sleep(250 * time.Millisecond)
	}
	log, _ := os.ReadFile("/run/libvirtd.log")
	end()
	return c, nil, fmt.Errorf("%w: %s", err, log)
}

// appended has a file of the host have one line more in this mount namespace.
func appended(name, line string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	copied := filepath.Join("/run", filepath.Base(name))
	if err := os.WriteFile(copied, append(text, line...), 0o644); err != nil {
		return err
	}
	return unix.Mount(copied, name, "", unix.MS_BIND, "")
}

func startByVirsh(ctx context.Context) (t timing, err error) {
	l, err := net.Listen("unix", serialSocket)
	if err != nil {
		return t, err
	}
	defer l.Close()
	if err := os.Chmod(serialSocket, 0o666); err != nil {
		return t, err
	}
	begun := time.Now()
	first := make(chan time.Duration, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
			first <- time.Since(begun)
		}
		_, _ = io.Copy(io.Discard, c)
	}()
	if err := command(ctx, "virsh", virshURI, "start", "bench"); err != nil {
		return t, err
	}
	t.running = time.Since(begun)
	select {
	case t.serial = <-first:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return t, errors.Join(err, command(context.WithoutCancel(ctx), "virsh", virshURI, "destroy", "bench"))
}
