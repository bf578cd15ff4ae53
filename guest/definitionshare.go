package guest

import (
	"path"

	"github.com/project-independence/indy/usb"
)

// Share adds to g, which [Definition.Guest] made of d, what d says of what the guest shares
// with the host: its network, display, sound, folders and TPM, and devices that are assigned
// by USB. Files with relative names are in dir. seat is whether somebody sits before the
// machine, so that windows can be opened.
//
// Of each it is the least: a need that is shared adds nothing but the network, without
// addresses of its own, for one that is a network interface, and playing for a sound card.
// Graphics without a place to see them are still there. The result is valid, or there is an
// error.
func (d Definition) Share(g Guest, dir string, seat bool, devices []usb.PortPath) (Guest, error) {
	network, sound := d.Network, d.Audio
	for _, n := range d.Devices {
		switch {
		case n.How != Share:
		case n.Want == WantAudio && sound == (Audio{}):
			sound.Play = true
		case (n.Want == WantWLAN || n.Want == WantEthernet || n.Want == WantWWAN || n.Want == WantModem) && network.Kind == NoNetwork:
			network.Kind = NAT
		}
	}
	switch network.Kind {
	case NAT:
		g.NICs = []NIC{{Link: LinkNAT}}
	case Bridged:
		g.NICs = []NIC{{Link: LinkTap}}
	}
	if sound != (Audio{}) {
		g.Sound = SoundCard{Model: HDA, Play: sound.Play, Record: sound.Record}
	}
	switch d.Display.Kind {
	case VirtioDisplay:
		g.Graphics = VirtIOGPU
	case VirglDisplay:
		g.Graphics = VirGL
	}
	if g.Graphics != NoGraphics {
		g.Screen = d.Display.screen(seat)
	}
	if g.Screen.Kind != NoScreen {
		g.Input.Kind = USBInput // its pointer can be put where that of the viewer is
	}
	if g.Screen.Kind == Window && d.Autostart != nil {
		g.Screen.FullScreen = d.Autostart.Fullscreen
	}
	g.Agent = d.Autostart != nil && d.Autostart.Ready.Agent
	for _, f := range d.Folders {
		g.Folders = append(g.Folders, SharedFolder(f))
	}
	if d.TPM {
		g.TPM = path.Join(dir, "tpm")
	}
	g.USB.Devices = append(g.USB.Devices, devices...)
	if err := g.Validate(); err != nil {
		return Guest{}, err
	}
	return g, nil
}

// screen is where a display is seen.
func (d Display) screen(seat bool) Screen {
	switch {
	case d.Where == InWindow, d.Where == WhereverSeen && seat:
		return Screen{Kind: Window}
	case d.Where == OnVNC:
		return Screen{Kind: VNC}
	case d.Where == OnSPICE:
		return Screen{Kind: SPICE}
	}
	return Screen{}
}
