package laptop

// The codes of what speaks against handing over single USB devices, virtual functions and
// mediated devices, beside those of whole functions.
const (
	NotThere      Code = "not-there"      // no such device in this machine
	NotConfigured Code = "not-configured" // a USB device that the kernel does not use
	USBClaimed    Code = "usb-claimed"    // a program has claimed an interface of the USB device
	NoVirtual     Code = "no-virtual"     // virtual functions cannot be made of it
	NoMediated    Code = "no-mediated"    // mediated devices of this type cannot be made of it
)
