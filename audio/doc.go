// Package audio finds the sound cards of a machine from sysfs and which PCI
// function or USB device carries each of them, of the live host or of a saved
// machine.
//
// A card is what programs play to and record from; what is handed to a guest is
// what carries it. [Card] holds both, and the device nodes whose users have to let
// go first.
//
// What only some callers need is read when it is asked for: [Codecs] and what their
// pins lead to, [Streams] and which program has them open, [Sinks] at the end of HDMI
// and DisplayPort cables, [USBFormats], and [ReadDetail] with what is between the card
// and its bus.
//
// Listings are partial truth: they return what could be read together with an
// error that joins what could not.
package audio
