package laptop

// The codes of what the host loses with a device, beside those of [Finding]s that every
// listing has.
const (
	Hibernation  Code = "hibernation"    // carries the disk to which the host would hibernate
	OnlyKeyboard Code = "only-keyboard"  // leaves the host without a keyboard
	OnlyPointer  Code = "only-pointer"   // leaves the host without mouse, touchpad or touchscreen
	NetworkInUse Code = "network-in-use" // carries a network interface that is up, or a VPN
	StreamOpen   Code = "stream-open"    // a program plays or records
	NodeOpen     Code = "node-open"      // a process has a node below /dev open or mapped
	Console      Code = "console"        // carries a console of the kernel
	Screen       Code = "screen"         // a screen that is plugged in goes dark
	RadioSwitch  Code = "radio-switch"   // a switch that stays with the host can turn the radio off
)
