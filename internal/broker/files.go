package broker

import (
	"path"
	"strings"
)

// writable are the files that may be written, as patterns of [path.Match]. Everything
// else is refused, whoever asks: what goes wrong above ends here.
var writable = []string{
	"sys/bus/pci/drivers/*/bind",
	"sys/bus/pci/drivers/*/unbind",
	"sys/bus/pci/drivers_probe",
	"sys/bus/pci/rescan",
	"sys/bus/pci/devices/*/driver_override",
	"sys/bus/pci/devices/*/driver/unbind",
	"sys/bus/pci/devices/*/power/control",
	"sys/bus/pci/devices/*/reset",
	"sys/bus/pci/devices/*/reset_method",
	"sys/bus/pci/devices/*/remove",
	"sys/bus/pci/devices/*/rescan",
	"sys/bus/pci/devices/*/sriov_numvfs",
	"sys/bus/pci/devices/*/sriov_drivers_autoprobe",
	"sys/bus/pci/devices/*/mdev_supported_types/*/create",

	"sys/bus/usb/drivers/*/bind",
	"sys/bus/usb/drivers/*/unbind",
	"sys/bus/usb/drivers_probe",
	"sys/bus/usb/devices/*/authorized",
	"sys/bus/usb/devices/*/authorized_default",
	"sys/bus/usb/devices/*/interface_authorized_default",
	"sys/bus/usb/devices/*/bConfigurationValue",
	"sys/bus/usb/devices/*/remove",
	"sys/bus/usb/devices/*/power/control",

	"usbfs/*/reset", // no file of the kernel, see resetUSB

	"sys/class/mdev_bus/*/mdev_supported_types/*/create",
	"sys/bus/mdev/devices/*/remove",
	"sys/bus/mdev/drivers/*/bind",
	"sys/bus/mdev/drivers/*/unbind",
}

// waits are the files whose reading takes the lock of the device, which whoever unbinds
// its driver holds: driver_override_show of drivers/pci/pci-sysfs.c in many kernels, and
// sriov_numvfs_show of drivers/pci/iov.c from Linux 5.5 to 6.8. Configuration space waits,
// and cannot be killed, while the function is being reset (pci_wait_cfg of
// drivers/pci/access.c), for as long as that hangs.
var waits = []string{
	"sys/bus/pci/devices/*/driver_override",
	"sys/bus/pci/devices/*/sriov_numvfs",
	"sys/bus/pci/devices/*/config",
}

func among(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, _ := path.Match(p, name); ok {
			return true
		}
	}
	return false
}

// device says which device a call is about, so that one that is stuck is left alone:
// by the name of its bus and its own, or by the file where that is about none.
func device(name, value string) string {
	e := strings.Split(name, "/")
	if e[0] == "rtnetlink" && len(e) > 1 {
		return "pci " + e[1]
	}
	if len(e) == 3 && e[0] == "usbfs" {
		return "usb " + e[1]
	}
	if len(e) < 4 || e[0] != "sys" || e[1] != "bus" {
		return name
	}
	switch last := e[len(e)-1]; {
	case e[3] == "devices" && len(e) > 4:
		return e[2] + " " + e[4]
	case last == "bind", last == "unbind", last == "drivers_probe":
		return e[2] + " " + strings.TrimSpace(value)
	}
	return name
}
