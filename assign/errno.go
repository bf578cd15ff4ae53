package assign

import (
	"errors"
	"fmt"
	"io"
	"syscall"
)

// meanings says in a sentence what an error of a write means, by the file's last element
// and the error. An error without a row has that of "", or none: it is not understood.
// Whatever it means, no write is made again and what was done is taken back.
var meanings = map[string]map[error]string{
	"": {
		syscall.EIO:       "the hardware or its driver failed",
		syscall.EBUSY:     "something still uses the device",
		syscall.ENODEV:    "the device is not there, or not in the state this needs",
		syscall.EPERM:     "the kernel does not permit it: not root, or locked down",
		syscall.EACCES:    "not permitted: it takes root, and a security module may forbid it to root",
		syscall.EINVAL:    "the kernel does not take this value",
		syscall.ENOENT:    "there is no such file: the kernel or the driver is without it, or the device has gone",
		syscall.EAGAIN:    "the kernel says to try later; nothing is tried twice",
		syscall.EINTR:     "a signal interrupted it; whether it was done is looked up",
		syscall.ENOMEM:    "the kernel is out of memory",
		syscall.ENOTTY:    "the device cannot do that",
		syscall.ETIMEDOUT: "the device did not answer in time",
		io.ErrShortWrite:  "the kernel took a part of the value; what it made of that is looked up",
	},
	"driver_override": {
		syscall.EINVAL: "the kernel does not take this name for a driver",
		syscall.ENOENT: "this function, or this kernel, has no driver_override",
	},
	"unbind": {
		syscall.EBUSY:  "the driver does not let go: something still uses the device",
		syscall.ENODEV: "the driver does not have the device any more",
		syscall.ENOENT: "there is no such driver any more: its module was unloaded",
	},
	"bind": {
		syscall.EBUSY:  "another driver has the device already",
		syscall.ENODEV: "the driver does not take the device: an override names another one, or it has gone",
		syscall.EINVAL: "the driver refused the device",
		syscall.ENOENT: "there is no such driver: its module is not loaded any more",
		syscall.EIO:    "the driver could not start the device",
		syscall.EPERM:  "the driver refused the device",
	},
	"drivers_probe": {
		syscall.ENODEV: "the device has gone",
		syscall.EINVAL: "the driver refused the device",
		syscall.EBUSY:  "the driver cannot have the device now",
	},
	"control": {
		syscall.EINVAL: "the kernel does not take this value for power saving",
		syscall.EIO:    "the device did not wake up",
	},
}

// explain adds to the error of a write what it means.
func explain(file string, err error) error {
	for _, kind := range []string{base(file), ""} {
		for cause, meaning := range meanings[kind] {
			if errors.Is(err, cause) {
				return fmt.Errorf("%w: %s", err, meaning)
			}
		}
	}
	return fmt.Errorf("%w: not an error that is expected here", err)
}

// notDone says why a write that succeeded did not do what it is for.
func notDone(w Write, err error) error {
	why := ""
	if base(w.File) == "drivers_probe" {
		why = "; the kernel reports no error when the driver refuses the device or defers it: see dmesg"
	}
	return fmt.Errorf("after writing %q to /%s: %w%s", w.Value, w.File, err, why)
}
