package audio

// A Widget is what a node of a codec is for, in the kernel's word.
type Widget string

// The widgets.
const (
	AudioOutput   Widget = "Audio Output"
	AudioInput    Widget = "Audio Input"
	AudioMixer    Widget = "Audio Mixer"
	AudioSelector Widget = "Audio Selector"
	PinComplex    Widget = "Pin Complex"
	PowerWidget   Widget = "Power Widget"
	VolumeKnob    Widget = "Volume Knob Widget"
	BeepGenerator Widget = "Beep Generator Widget"
	VendorDefined Widget = "Vendor Defined Widget"
	UnknownWidget Widget = "UNKNOWN Widget"
)

// A Node is one widget of a codec.
type Node struct {
	// ID is the number by which the codec is asked about the node.
	ID uint8

	// Capabilities is the parameter Audio Widget Capabilities, wcaps in the dump.
	Capabilities Word

	// PinCapabilities is the parameter Pin Capabilities, Pincap in the dump. Unknown for
	// other widgets than pins.
	PinCapabilities Word

	// Default is where the pin leads, Pin Default in the dump. Unknown for other widgets
	// than pins.
	Default PinDefault
}

// Bits of Audio Widget Capabilities and of Pin Capabilities, sections 7.3.4.6 and
// 7.3.4.9 of the High Definition Audio Specification.
const (
	capStereo, capAmpIn, capAmpOut, capDigital = 1 << 0, 1 << 1, 1 << 2, 1 << 9

	pinDetect, pinHeadphone, pinOut, pinIn = 1 << 2, 1 << 3, 1 << 4, 1 << 5
	pinHDMI, pinDP                         = 1 << 7, 1 << 24
)

// Widget returns what the node is for, UnknownWidget when it does not say.
func (n Node) Widget() Widget {
	if !n.Capabilities.known {
		return UnknownWidget
	}
	switch n.Capabilities.v >> 20 & 15 {
	case 0:
		return AudioOutput
	case 1:
		return AudioInput
	case 2:
		return AudioMixer
	case 3:
		return AudioSelector
	case 4:
		return PinComplex
	case 5:
		return PowerWidget
	case 6:
		return VolumeKnob
	case 7:
		return BeepGenerator
	case 15:
		return VendorDefined
	}
	return UnknownWidget
}

// Channels returns how many channels the node has, 0 when it does not say.
func (n Node) Channels() int {
	if !n.Capabilities.known {
		return 0
	}
	return int(n.Capabilities.v>>13&7<<1|n.Capabilities.v&capStereo) + 1
}

// Digital reports whether the node says that it carries a digital stream.
func (n Node) Digital() bool { return n.Capabilities.v&capDigital != 0 }

// Amplifiers reports whether the node says that it has an amplifier at its inputs, and
// one at its output.
func (n Node) Amplifiers() (in, out bool) {
	return n.Capabilities.v&capAmpIn != 0, n.Capabilities.v&capAmpOut != 0
}

// Input reports whether a pin says that it can take a signal in.
func (n Node) Input() bool { return n.PinCapabilities.v&pinIn != 0 }

// Output reports whether a pin says that it can give a signal out.
func (n Node) Output() bool { return n.PinCapabilities.v&pinOut != 0 }

// Headphone reports whether a pin says that it can drive headphones.
func (n Node) Headphone() bool { return n.PinCapabilities.v&pinHeadphone != 0 }

// HDMI reports whether a pin says that it leads to HDMI. Codecs of Realtek's have
// another meaning for that bit, on pins that are not digital.
func (n Node) HDMI() bool { return n.PinCapabilities.v&pinHDMI != 0 && n.Digital() }

// DisplayPort reports whether a pin says that it leads to DisplayPort.
func (n Node) DisplayPort() bool { return n.PinCapabilities.v&pinDP != 0 }

// Detects reports whether the machine can tell that something is plugged in: the pin
// says it can, and the board does not say otherwise.
func (n Node) Detects() bool {
	return n.PinCapabilities.v&pinDetect != 0 && !n.Default.NoPresence()
}

// Describe returns what a person would call what a pin leads to, as Internal Speaker or
// Headphone jack, left; see [PinDefault.Describe]. It is empty for other widgets.
func (n Node) Describe() string {
	if n.Widget() != PinComplex && !n.Default.known {
		return ""
	}
	return n.Default.Describe()
}
