package laptop

import (
	"fmt"
	"slices"
	"strings"

	"github.com/project-independence/indy/usb"
)

// functionText says what one function within a USB device is and can do, from the
// descriptors of its interfaces in the active configuration c.
func functionText(u *usb.Device, c usb.Configuration, f usb.Function) string {
	said := []string{f.Class.String() + " " + usbClassName(f.Class)}
	endpoints := map[uint8]bool{}
	var drivers, more []string
	for _, in := range c.Interfaces {
		if !slices.Contains(f.Interfaces, in.Number) {
			continue
		}
		for _, e := range in.Endpoints {
			endpoints[e.Address] = true
		}
		if s := specificText(in); s != "" && !slices.Contains(more, s) {
			more = append(more, s)
		}
	}
	for _, in := range u.Interfaces {
		if slices.Contains(f.Interfaces, in.Number) && in.Driver != "" && !slices.Contains(drivers, in.Driver) {
			drivers = append(drivers, in.Driver)
		}
	}
	said = append(said, or(strings.Join(drivers, " "), "no driver"), plural(len(endpoints), "endpoint"))
	if len(more) > 0 {
		return strings.Join(said, ", ") + "; " + listBy(more, "; ")
	}
	return strings.Join(said, ", ")
}

// specificText says what the descriptors of an interface's class say, in words. It is
// empty for what a person gains nothing by.
func specificText(in usb.InterfaceDescriptor) string {
	switch s := in.Specific.(type) {
	case usb.AudioControl:
		return terminalsText(s.Terminals)
	case usb.AudioStreaming:
		if s.Channels == 0 && s.Bits == 0 {
			return ""
		}
		return plural(s.Channels, "channel") + fmt.Sprintf(" of %d bits", s.Bits) + ratesText(s)
	case usb.VideoControl:
		text := terminalsText(s.Terminals)
		if s.Release.Known() {
			text = strings.TrimSuffix("UVC "+decimal(s.Release)+" "+text, " ")
		}
		return text
	case usb.VideoStreaming:
		var formats []string
		for _, v := range s.Formats {
			formats = append(formats, formatText(v))
		}
		return list(formats)
	case usb.CDC:
		return cdcText(s)
	case usb.HID:
		text := ""
		if s.ReportLength > 0 {
			text = fmt.Sprintf("report descriptor of %d bytes", s.ReportLength)
		}
		if s.Country != 0 {
			text += fmt.Sprintf(" for country %d", s.Country)
		}
		return strings.TrimPrefix(text, " ")
	case usb.SmartCard:
		text := plural(s.Slots, "slot")
		if s.PINEntry {
			text += ", PIN pad"
		}
		return text
	case usb.DFU:
		var can []string
		if s.Download {
			can = append(can, "takes a new firmware")
		}
		if s.Upload {
			can = append(can, "gives its firmware")
		}
		return list(can)
	}
	return ""
}

// terminalsText names where sound or pictures enter and leave, without the host's end.
func terminalsText(all []usb.Terminal) string {
	var names []string
	for _, t := range all {
		// 0x01xx is the way over USB itself.
		if t.Type>>8 != 0x01 && t.Name != "" && !slices.Contains(names, t.Name) {
			names = append(names, t.Name)
		}
	}
	return list(names)
}

func ratesText(s usb.AudioStreaming) string {
	var rates []string
	for _, r := range s.Rates {
		rates = append(rates, fmt.Sprint(r))
	}
	switch {
	case len(rates) == 0:
		return ""
	case s.Range:
		return " at " + strings.Join(rates, " to ") + " Hz"
	}
	return " at " + list(rates) + " Hz"
}

// formatText names a format and its largest picture.
func formatText(v usb.VideoFormat) string {
	name := strings.ToUpper(v.Kind)
	if v.FourCC != "" && len(v.FourCC) <= 4 {
		name = v.FourCC
	}
	var most usb.VideoFrame
	for _, f := range v.Frames {
		if f.Width*f.Height > most.Width*most.Height {
			most = f
		}
	}
	if most.Width == 0 {
		return name
	}
	name += fmt.Sprintf(" up to %dx%d", most.Width, most.Height)
	if n := len(most.Intervals); n > 0 && slices.Min(most.Intervals) > 0 {
		name += fmt.Sprintf(" at %.0f/s", 1/slices.Min(most.Intervals).Seconds())
	}
	return name
}

func cdcText(s usb.CDC) string {
	var text []string
	switch {
	case s.MBIM.Release.Known():
		text = append(text, "MBIM "+decimal(s.MBIM.Release))
		if s.MBIM.MaxMTU > 0 {
			text = append(text, fmt.Sprintf("packets of %d bytes", s.MBIM.MaxMTU))
		}
	case s.NCM.Release.Known():
		text = append(text, "NCM "+decimal(s.NCM.Release))
	case s.Ethernet.MaxSegment > 0:
		text = append(text, fmt.Sprintf("Ethernet, frames of %d bytes", s.Ethernet.MaxSegment))
	case s.ModemControl:
		text = append(text, "modem control")
	}
	if len(s.Data) > 0 {
		text = append(text, "data on interface "+numbers(s.Data))
	}
	return list(text)
}

// usbClassName is what a class is called (USB-IF, Defined Class Codes), as far as
// notebooks have it.
func usbClassName(c usb.Class) string {
	if !c.Known() {
		return "unknown"
	}
	name := ""
	switch c.Base() {
	case 0x01:
		name = sub(c, "audio", map[uint8]string{1: "audio control", 2: "audio streaming", 3: "MIDI"})
	case 0x02:
		name = sub(c, "communications", map[uint8]string{2: "modem", 6: "Ethernet (ECM)", 0x0a: "device management", 0x0c: "Ethernet (EEM)",
			0x0d: "network (NCM)", 0x0e: "mobile broadband (MBIM)"})
	case 0x03:
		name = "human interface"
		if c.Sub() == 1 {
			name = map[uint8]string{1: "boot keyboard", 2: "boot mouse"}[c.Protocol()]
		}
		name = or(name, "human interface")
	case 0x05:
		name = "physical feedback"
	case 0x06:
		name = "still camera or telephone (PTP)"
	case 0x07:
		name = "printer"
	case 0x08:
		name = "storage"
		if c.Protocol() == 0x62 {
			name = "storage (UAS)"
		}
	case 0x09:
		name = "hub"
	case 0x0a:
		name = "data of a communications function"
	case 0x0b:
		name = "smart card reader"
	case 0x0d:
		name = "content security"
	case 0x0e:
		name = sub(c, "video", map[uint8]string{1: "camera control", 2: "camera pictures", 3: "camera"})
	case 0x0f:
		name = "personal healthcare"
	case 0x10:
		name = "audio and video"
	case 0x11:
		name = "billboard"
	case 0x12:
		name = "USB-C bridge"
	case 0xdc:
		name = "diagnostics"
	case 0xe0:
		name = sub(c, "wireless", map[uint8]string{1: "Bluetooth"})
		if c.Sub() == 1 && c.Protocol() == 3 {
			name = "network (RNDIS)"
		}
	case 0xef:
		name = "miscellaneous"
	case 0xfe:
		name = sub(c, "application", map[uint8]string{1: "firmware update (DFU)", 2: "infrared", 3: "test and measurement"})
	case 0xff:
		name = "of its vendor's own kind"
	}
	return or(name, "of another kind")
}

func sub(c usb.Class, otherwise string, names map[uint8]string) string {
	return or(names[c.Sub()], otherwise)
}
