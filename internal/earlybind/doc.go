// Package earlybind has vfio-pci take functions at the start of the machine, before
// their host driver can touch them.
//
// A driver override is lost when the machine starts anew, and the host driver is loaded
// from the initial file system, before any program of ours runs. What can be earlier is
// modprobe: for each function there is a file below /etc/modprobe.d that says that
// vfio-pci is loaded before the modules that would take the function, and that loading
// vfio-pci sets the function's driver_override first. This names the function by its
// address and its ids; another one under that address is left to the host, and others of
// the same model are not touched, as they would be by vfio-pci's parameter ids.
//
// A rule of udev does the same for a function that is plugged in later. Started with
// indy.early=off on the kernel's command line, the machine lets all functions be.
//
// A driver that is built into the kernel has the function before any file is read.
package earlybind
