// Package audio finds the sound cards of a machine from sysfs and which PCI
// function or USB device carries each of them, of the live host or of a saved
// machine.
//
// A card is what programs play to and record from; what is handed to a guest is
// what carries it. [Card] holds both, and the device nodes whose users have to let
// go first.
//
// Listings are partial truth: they return what could be read together with an
// error that joins what could not.
package audio
