package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/project-independence/indy/bench/internal/peers"
)

// install gets the peers that are missing.
func install(ctx context.Context) {
	peers.Install(ctx, map[string]string{
		"driverctl": "driverctl", "virsh": "libvirt-clients", "libvirtd": "libvirt-daemon libvirt-daemon-driver-qemu",
	})
}

// versions says which peers were measured.
func versions(ctx context.Context) map[string]string {
	return peers.Versions(ctx, map[string][]string{
		"driverctl": {"dpkg-query", "-W", "-f=${Version}", "driverctl"},
		"libvirt":   {"libvirtd", "--version"},
	})
}

// A missing peer is told in the report.
var errMissing = errors.New("not installed")

// startLibvirt starts the daemon that virsh talks to, with what Debian's package would
// set up, in the scratch layer of the emulated laptop. There is no udev and no D-Bus.
func startLibvirt(ctx context.Context) (stop func(), err error) {
	for _, program := range []string{"virsh", "libvirtd"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, errMissing
		}
	}
	if err := addLines(map[string]string{
		"/etc/passwd": "libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin\n",
		"/etc/group":  "libvirt-qemu:x:64055:\nkvm:x:64056:\n",
	}); err != nil {
		return nil, err
	}
	for name, text := range map[string]string{
		"/run/libvirtd.conf":     "auth_unix_rw = \"none\"\nlog_outputs = \"3:file:/run/libvirtd.log\"\n",
		"/etc/libvirt/qemu.conf": "user = \"root\"\ngroup = \"root\"\nsecurity_driver = \"none\"\ncgroup_controllers = []\n",
	} {
		if err := os.MkdirAll("/etc/libvirt", 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	daemon := exec.CommandContext(ctx, "libvirtd", "-f", "/run/libvirtd.conf")
	if err := daemon.Start(); err != nil {
		return nil, err
	}
	stop = func() { _, _ = daemon.Process.Kill(), daemon.Wait() }
	for range 60 {
		out, err := exec.CommandContext(ctx, "virsh", virshURI, "nodedev-list", "--cap", "pci").Output()
		if err == nil && strings.Contains(string(out), "pci_0000_02_00_0") {
			return stop, nil
		}
		time.Sleep(500 * time.Millisecond)
	}
	log, _ := os.ReadFile("/run/libvirtd.log")
	stop()
	return nil, fmt.Errorf("libvirtd lists no devices: %s", log)
}

const virshURI = "--connect=qemu:///system"

func addLines(more map[string]string) error {
	for name, lines := range more {
		f, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
		if err != nil {
			return err
		}
		_, err = f.WriteString(lines)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}
