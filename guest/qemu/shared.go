package qemu

import (
	"strconv"

	"github.com/project-independence/indy/guest"
)

// display says where the guest's picture is seen. Viewers are handed over one by one
// on QMP, so QEMU listens nowhere.
func (b *builder) display(g guest.Guest, l Layout) {
	gl := g.Graphics == guest.VirGL
	switch {
	case g.Screen.Kind == guest.Window:
		window := value{"type": l.Window.String(), "gl": "off", "window-close": false}
		if gl {
			window["gl"] = "on"
		}
		if g.Screen.FullScreen {
			window["full-screen"] = true
		}
		b.json("-display", window)
	case gl:
		headless := value{"type": "egl-headless"}
		if l.RenderNode != "" {
			headless["rendernode"] = l.RenderNode
		}
		b.json("-display", headless)
	default:
		b.add("-display", "none")
	}
	switch g.Screen.Kind {
	case guest.VNC:
		b.add("-vnc", "none")
	case guest.SPICE:
		b.add("-spice", option("", "port", "0", "disable-ticketing", "on", "disable-copy-paste", "on", "disable-agent-file-xfer", "on"))
	}
}

// shared adds what the guest shares with the host. It comes before the assigned
// functions, which may be others at the next start: so the addresses in the guest stay
// as they are.
func (b *builder) shared(g guest.Guest, l Layout) {
	switch g.Graphics {
	case guest.VirtIOGPU:
		b.graphics("virtio-vga")
	case guest.VirGL:
		b.graphics("virtio-vga-gl")
	case guest.StdVGA:
		b.graphics("VGA")
	}
	for i, n := range g.NICs {
		b.nic(g, i, n, l.NICs[i])
	}
	b.looks(l)
	b.audio(g, l)
	if g.TPM != "" {
		b.socket("tpm", l.TPM)
		b.add("-tpmdev", option("emulator", "id", "tpm", "chardev", "tpm"))
		b.json("-device", value{"driver": "tpm-crb", "id": "tpm", "tpmdev": "tpm"})
	}
	if g.HasUSB() {
		b.json("-device", value{"driver": "qemu-xhci", "id": "xhci", "bus": b.rootPort(), "p2": 15, "p3": 15})
	}
	b.input(g.Input)
	for i, p := range g.USB.Devices {
		b.json("-device", usbDevice(p, b.inherit(l.USB[i], "usb "+p.String())))
	}
	for i, f := range g.Folders {
		id := "folder" + strconv.Itoa(i)
		b.socket(id, l.Folders[i])
		b.json("-device", value{"driver": "vhost-user-fs-pci", "id": id, "chardev": id, "tag": f.Name, "bus": b.rootPort()})
	}
	if g.Agent {
		b.socket("agent", l.Agent)
		b.json("-device", value{"driver": "virtio-serial-pci", "id": "ports", "max_ports": 2, "bus": b.rootPort()})
		b.json("-device", value{"driver": "virtserialport", "bus": "ports.0", "chardev": "agent", "name": "org.qemu.guest_agent.0"})
	}
}

// graphics are in the first slot, where firmware looks for the boot display.
func (b *builder) graphics(driver string) {
	b.json("-device", value{"driver": driver, "id": "graphics", "bus": "pcie.0", "addr": "0x1"})
}

// nic adds the i-th network interface. It has no option ROM: a guest is not started
// from the network.
func (b *builder) nic(g guest.Guest, i int, n guest.NIC, end NICEnd) {
	id := strconv.Itoa(i)
	back := value{"id": "net" + id}
	switch {
	case n.Link == guest.LinkTap:
		back["type"], back["fd"] = "tap", strconv.Itoa(end.FD)
	case end.FD != 0:
		back["type"], back["server"] = "stream", false
		back["addr"] = value{"type": "fd", "str": strconv.Itoa(end.FD)}
	default:
		back["type"], back["restrict"] = "user", n.Isolated
	}
	b.json("-netdev", back)
	device := value{
		"driver": "virtio-net-pci", "id": "nic" + id, "netdev": "net" + id, "bus": b.rootPort(),
		"mac": g.MAC(i).String(), "romfile": "",
	}
	if n.Model == guest.E1000E {
		device["driver"] = "e1000e"
	}
	b.json("-device", device)
}

// looks adds what sees the frames that the first network interface sends, and what puts
// frames before it.
func (b *builder) looks(l Layout) {
	if l.Watch == 0 {
		return
	}
	for _, f := range []struct {
		kind, id, queue, end string
		fd                   int
	}{{"filter-mirror", watchID, "rx", "outdev", l.Watch}, {"filter-redirector", knockID, "tx", "indev", l.Knock}} {
		b.socket(f.id, f.fd)
		b.json("-object", value{"qom-type": f.kind, "id": f.id, "netdev": "net0", "queue": f.queue, f.end: f.id, "vnet_hdr_support": true})
	}
}

// audio adds the sound card and, on the host's side, a stream for each direction that
// is allowed. For the other one there are no voices, and so QEMU never opens it: what
// the guest's card might do about it does not matter.
func (b *builder) audio(g guest.Guest, l Layout) {
	a := g.Sound
	if a.Model == guest.NoSound {
		return
	}
	out, in := value{}, value{}
	host := value{"driver": l.Sound.String(), "id": "audio", "out": out, "in": in}
	switch l.Sound {
	case PipeWire, PulseAudio: // by this the host's mixer knows the guest
		out["stream-name"], in["stream-name"] = g.Name, g.Name
		if l.Sound == PulseAudio && l.SoundServer != "" {
			host["server"] = "unix:" + l.SoundServer
		}
	case WAV:
		host["path"] = "/proc/self/fd/" + strconv.Itoa(l.Recording)
	}
	if !a.Play {
		out["voices"] = 0
		if l.Sound == ALSA {
			out["dev"] = "null"
		}
	}
	if !a.Record {
		in["voices"] = 0
	}
	b.json("-audiodev", host)
	if a.Model == guest.VirtIOSound {
		streams := 1 // the first one plays
		if a.Record {
			streams = 2
		}
		b.json("-device", value{"driver": "virtio-sound-pci", "id": "sound", "audiodev": "audio", "streams": streams, "bus": b.rootPort()})
		return
	}
	codec := "hda-output"
	if a.Record {
		codec = "hda-duplex"
	}
	// where the chipset has it on a board
	b.json("-device", value{"driver": "ich9-intel-hda", "id": "sound", "bus": "pcie.0", "addr": "0x1b"})
	b.json("-device", value{"driver": codec, "id": "codec", "bus": "sound.0", "audiodev": "audio"})
}

// input adds keyboard and pointer. QEMU opens nodes of evdev by their names only,
// with rights of its own.
func (b *builder) input(in guest.Input) {
	switch in.Kind {
	case guest.VirtIOInput:
		b.json("-device", value{"driver": "virtio-keyboard-pci", "id": "keyboard", "bus": b.rootPort()})
		b.json("-device", value{"driver": "virtio-tablet-pci", "id": "tablet", "bus": b.rootPort()})
	case guest.USBInput:
		b.json("-device", value{"driver": "usb-kbd", "id": "keyboard", "bus": "xhci.0"})
		b.json("-device", value{"driver": "usb-tablet", "id": "tablet", "bus": "xhci.0"})
	}
	for i, node := range in.Evdev {
		object := value{"qom-type": "input-linux", "id": "evdev" + strconv.Itoa(i), "evdev": node, "grab-toggle": in.Switch.String()}
		if i == 0 {
			object["grab_all"], object["repeat"] = true, true
		}
		b.json("-object", object)
	}
}
