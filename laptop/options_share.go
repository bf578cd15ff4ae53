package laptop

import "slices"

// share offers what the host can give a guest of a device without handing it over, by
// the device's roles.
func (c *choices) share() {
	d := c.d
	for _, r := range d.Roles {
		how, cost, available := sharing(r)
		if how == "" || slices.ContainsFunc(c.options, func(o Option) bool { return o.Kind == Share && o.Detail == how }) {
			continue
		}
		if !available {
			how += "; indy cannot do this yet"
		}
		c.options = append(c.options, Option{
			Kind: Share, Device: d.ID(), Available: available, Detail: how, Cost: cost, Evidence: d.path(),
		})
	}
}

// path is the file that shows that there is the device.
func (d *Device) path() string {
	switch {
	case d.PCI != nil:
		return evidence(d.PCI.Address, "class")
	case d.USB != nil:
		return "/sys/bus/usb/devices/" + d.Where()
	}
	return "/sys/devices/" + d.Other.Path
}

// sharing says how a role is shared, what that costs the host, and whether indy can do
// it today. A role of which the host has nothing to give but the device is not shared.
func sharing(r Role) (how, cost string, available bool) {
	const cheap = "the host keeps the device and the guest depends on the host's driver"
	switch r {
	case Storage:
		return "keep the disk, and give the guest an image on it: indy run --disk FILE.qcow2",
			"room on the host's file system, and some speed", true
	case Audio:
		return "share it through the host's sound server, with an emulated sound card in the guest: audio: {play: true} in its definition", cheap, true
	case Ethernet:
		return "share the network by NAT or a bridge, with a virtio network card in the guest: network: nat in its definition", cheap, true
	case WLAN, WWAN, Modem: // none of them carries the frames of another station, so no bridge
		return "share the network by NAT, with a virtio network card in the guest: network: nat in its definition", cheap, true
	case GPU:
		return "share it by virtio-gpu, with the host's driver drawing for the guest: display: {kind: virgl} in its definition", cheap + "; slower 3D", true
	case Webcam:
		return "share the picture: the host reads the webcam and feeds the guest", cheap, false
	case SmartCard:
		return "share the cards through the host's pcscd, with an emulated reader in the guest", cheap, false
	case TPM:
		return "give the guest a TPM in software, of its own: tpm: true in its definition", "the guest's secrets are then not held by the chip", true
	case Input:
		return "keep it, and pass keys and pointer on to the guest that is on the screen: display: {kind: virtio, where: window} in its definition", cheap, true
	case Printer:
		return "share the printer over the guest's network", cheap, false
	}
	return "", "", false
}

// alone offers what hangs on a USB controller without the controller.
func (c *choices) alone() {
	if c.d.PCI == nil || c.d.Role() != USBController || len(c.Carried(c.d.PCI.Address)) == 0 {
		return
	}
	c.options = append(c.options, Option{
		Kind: DeviceAlone, Device: c.d.ID(), Evidence: c.d.path(), Available: true, worth: worth{certainty: unsure},
		Detail: "hand over only the device that the guest needs, by its port path, without the USB controller on which it hangs",
		Cost:   "the host keeps the controller and all else on it",
	})
}
