package assign

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/pci"
)

// A Reset is what came of resetting a function.
type Reset struct {
	Tried    []Try  `json:"tried"`            // in their order; empty when the kernel knows no way
	Method   string `json:"method,omitempty"` // the one that reset it
	Verified bool   `json:"verified"`         // it was reset, and answers as the device that it is
}

// A Try is one way in which a function was to be reset.
type Try struct {
	Method string `json:"method"`          // of reset_method; "any" where the kernel names none, "hot" of a bus whose functions are all ours, "usbfs" of a USB device
	Error  string `json:"error,omitempty"` // what the kernel said, or what is wrong afterwards
}

// The methods that are not in reset_method.
const (
	anyMethod = "any"
	hotMethod = "hot"
)

// Weak reports whether the only thing that is known to have been done is the way through
// D3hot and back (pm), or what a kernel does that does not say what. A function is to reset
// itself on that way unless it says otherwise, and not every one does: QEMU's network cards
// answer afterwards, with all in their registers that was there before.
func (r Reset) Weak() bool { return r.Method == "pm" || r.Method == anyMethod }

// notMethod stands for ENOTTY: there is no such method, or it does not work on this function
// by itself, or the link of a bus that was reset has not come back in time.
const notMethod = "ENOTTY: this method does not work on it"

// notOpen is said of a bus that was not to be reset, because vfio-pci does not have all
// functions on it.
const notOpen = "vfio-pci does not have all on its bus"

// impossible reports whether there is no way to reset the function, for all that the kernel
// says, so that nothing was done to it.
func (r Reset) impossible() bool {
	undone := []string{notMethod, notOpen, notUSB, quirked}
	return !slices.ContainsFunc(r.Tried, func(t Try) bool { return !slices.Contains(undone, t.Error) })
}

// String says in one line how it went.
func (r Reset) String() string {
	if len(r.Tried) == 0 {
		return "the kernel knows no way to reset it"
	}
	var all []string
	for _, t := range r.Tried {
		if t.Error == "" {
			all = append(all, "reset by "+t.Method)
			continue
		}
		all = append(all, "reset by "+t.Method+" failed: "+t.Error)
	}
	return strings.Join(all, "; ")
}

// Reset resets functions that no driver but vfio-pci has and nobody uses, each by the
// kernel's methods in the kernel's order, one at a time, until one works and the function
// answers afterwards; after one that is weak (see [Reset.Weak]) the next are tried, too. What
// is left is reset with its whole bus if all on that bus is among the given functions. What one method said is noted, and does not keep the next from
// being tried.
//
// The result has one Reset for each function, with those of a plan restored to the
// methods that it found; p may be nil. The error joins what else went wrong: methods that
// could not be put back as they were, and a *[StuckError], after which the function gets
// no other write. It blocks as long as the kernel does: a function may be waited for for
// a minute.
func (h *Host) Reset(devices []pci.Address, p *Plan) (map[pci.Address]Reset, error) {
	results, _, err := h.reset(devices, p, nil, func(pci.Address) bool { return true })
	return results, err
}

// reset is Reset, with the writes that have not come back. Those that are done are not reset
// again, but with others on their bus. A function that need not be reset thoroughly is done
// with after its way through D3hot.
func (h *Host) reset(devices []pci.Address, p *Plan, done map[string]Reset, thorough func(pci.Address) bool) (map[pci.Address]Reset, []StuckWrite, error) {
	results := make(map[pci.Address]Reset, len(devices))
	var errs []error
	w := &work{host: h}
	for _, a := range devices {
		if r, ok := done[a.String()]; ok {
			results[a] = r
			continue
		}
		r, err := w.resetOne(a, p, thorough(a))
		results[a] = r
		if err != nil {
			errs = append(errs, &OpError{"reset", a.String(), err})
		}
	}
	if err := w.resetBuses(devices, results, thorough); err != nil {
		errs = append(errs, err)
	}
	return results, w.stuck, errors.Join(errs...)
}

// resetOne resets one function by the methods that it has for itself.
func (w *work) resetOne(a pci.Address, p *Plan, thorough bool) (r Reset, err error) {
	dir := deviceDir("", a.String())
	if d, err := pci.Driver(w.host.FS, a); err != nil {
		return r, err
	} else if d != "" && d != VFIODriver {
		return r, fmt.Errorf("the driver %s has it, and would lose its device under its hands: %w", d, ErrRefused)
	}
	now, err := hostfs.ReadString(w.host.FS, dir+"/reset_method")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// Before Linux 5.15 there is only a file reset, where there is any way.
		if _, err := fs.Lstat(w.host.FS, dir+"/reset"); err != nil {
			return r, ignoreNotExist(err)
		}
		err := w.try(&r, a, anyMethod)
		return r, ignoreFailed(err)
	case err != nil:
		return r, err
	}
	was := now
	if p != nil {
		was = p.resetMethods(a, now) // somebody may have ended in the middle of this
	}
	methods := strings.Fields(was)
	for _, m := range methods {
		if m != now {
			if err := w.setResetMethods(a, m); err != nil {
				if errors.Is(err, ErrStuck) {
					return r, err
				}
				r.Tried = append(r.Tried, Try{m, kernelWords(err)})
				continue
			}
			now = m
		}
		err = w.try(&r, a, m)
		if errors.Is(err, ErrStuck) || err == nil && !(thorough && r.Weak()) {
			break
		}
	}
	if errors.Is(err, ErrStuck) {
		return r, err // whatever is written to it now would wait, too
	}
	if now != was {
		return r, w.setResetMethods(a, was)
	}
	return r, nil
}

// try resets function a by the method that is set, and looks at it afterwards.
func (w *work) try(r *Reset, a pci.Address, method string) error {
	err := w.write(Step{Device: a.String()}, Write{
		File: deviceDir("", a.String()) + "/reset", Value: "1", After: Check{What: present, Is: "yes"},
	})
	if err == nil {
		err = w.answers(a)
	}
	r.Tried = append(r.Tried, Try{Method: method, Error: kernelWords(err)})
	switch {
	case err == nil:
		r.Verified, r.Method = true, method
	case err != nil && !strings.HasPrefix(kernelWords(err), "ENOTTY"):
		r.Verified, r.Method = false, "" // it did answer, and may not any more
	}
	return err
}

func (w *work) setResetMethods(a pci.Address, methods string) error {
	file := deviceDir("", a.String()) + "/reset_method"
	return w.write(Step{Device: a.String()}, Write{File: file, Value: methods, After: Check{What: resetMethods, Is: methods}})
}

const resetMethods = "reset_method"

// resetMethods returns the methods that the plan found, or now if it says nothing.
func (p *Plan) resetMethods(a pci.Address, now string) string {
	for _, s := range p.Steps {
		for _, w := range s.Undo {
			if s.Bus == "" && s.Device == a.String() && w.After.What == resetMethods {
				return w.Value
			}
		}
	}
	return now
}

// answers returns nil if function a says who it is. That wakes it: without power it
// would read as all ones, which is also how one reads that did not survive its reset.
func (h *Host) answers(a pci.Address) error {
	c, err := pci.ReadConfig(h.FS, a)
	if errors.Is(err, pci.ErrNoAnswer) {
		if state, perr := pci.PowerState(h.FS, a); perr == nil && state == "D3cold" {
			c, err = h.woken(a)
		}
	}
	if err != nil {
		return err
	}
	head, err := c.Header()
	if err != nil {
		return err
	}
	f, err := pci.ReadFunction(h.FS, a)
	if err != nil {
		return err
	}
	// A virtual function does not say its ids.
	if is, want := pair(head.Vendor, head.Device), pair(f.Vendor, f.Device); is != "" && want != "" && is != want {
		return fmt.Errorf("it says that it is %s and not %s", is, want)
	}
	return nil
}

// answers is [Host.answers], which may not come back either.
func (w *work) answers(a pci.Address) error {
	err := w.host.answers(a)
	if stuck := (*StuckError)(nil); errors.As(err, &stuck) {
		w.stuck = append(w.stuck, StuckWrite{Device: a.String(), StuckError: *stuck})
	}
	return err
}

// woken reads configuration space of a function that the kernel does not wake for it.
func (h *Host) woken(a pci.Address) (pci.Config, error) {
	file := deviceDir("", a.String()) + "/" + control
	was, err := pci.RuntimeControl(h.FS, a)
	if err != nil {
		return pci.Config{}, err
	}
	if err := h.FS.WriteFile(file, []byte("on")); err != nil {
		return pci.Config{}, err
	}
	c, err := pci.ReadConfig(h.FS, a)
	if was != "on" {
		err = errors.Join(err, h.FS.WriteFile(file, []byte(was)))
	}
	return c, err
}

// resetBuses resets the buses of functions that nothing else has reset, if all on them is
// among devices.
func (w *work) resetBuses(devices []pci.Address, results map[pci.Address]Reset, thorough func(pci.Address) bool) error {
	done := func(a pci.Address) bool { return results[a].Verified && !(results[a].Weak() && thorough(a)) }
	left := slices.DeleteFunc(slices.Clone(devices), done)
	if w.host.ResetBus == nil || len(left) == 0 {
		return nil
	}
	functions, err := pci.Functions(w.host.FS)
	if err != nil {
		return fmt.Errorf("reset a bus: %w", err)
	}
	var errs []error
	for _, a := range left {
		if done(a) {
			continue // with another on its bus
		}
		bus, err := pci.ReadBusReset(w.host.FS, a, functions)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !bus.Possible() || bus.Alone() || len(bus.Outside(devices)) > 0 ||
			slices.ContainsFunc(bus.Functions, func(b pci.Address) bool { return waitsFor(w.stuck, b.String()) }) {
			continue
		}
		if !w.host.canOpen(bus.Functions) {
			r := results[a]
			r.Tried = append(slices.Clone(r.Tried), Try{hotMethod, notOpen})
			results[a] = r
			continue
		}
		err = w.host.ResetBus(bus.Functions)
		for _, b := range bus.Functions {
			r, failed := results[b], err
			if failed == nil {
				failed = w.answers(b)
			}
			r.Tried = append(slices.Clone(r.Tried), Try{hotMethod, kernelWords(failed)})
			switch {
			case failed == nil:
				r.Verified, r.Method = true, hotMethod
			case err == nil:
				r.Verified, r.Method = false, "" // it was reset and does not answer
			}
			results[b] = r
		}
		// None of them gets another write until the kernel has come back.
		if stuck := (*StuckError)(nil); errors.As(err, &stuck) {
			for _, b := range bus.Functions {
				w.stuck = append(w.stuck, StuckWrite{Device: b.String(), StuckError: *stuck})
				errs = append(errs, &OpError{"reset", b.String(), stuck})
			}
		}
	}
	return errors.Join(errs...)
}

// canOpen reports whether vfio-pci has all the functions. Without that the kernel cannot be
// shown that they are ours, and resets no bus; a failed reset would be another thing.
func (h *Host) canOpen(functions []pci.Address) bool {
	return !slices.ContainsFunc(functions, func(a pci.Address) bool {
		d, err := pci.Driver(h.FS, a)
		return err == nil && d != VFIODriver
	})
}

// kernelWords is what the kernel said, with the name of the number that it gave.
func kernelWords(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return ""
	case errors.Is(err, syscall.ENOTTY):
		return notMethod // the kernel's text is about terminals
	case errors.As(err, &errno):
		return fmt.Sprintf("%s (errno %d)", errno.Error(), int(errno))
	}
	return err.Error()
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// ignoreFailed drops what is noted in the Reset.
func ignoreFailed(err error) error {
	if errors.Is(err, ErrStuck) {
		return err
	}
	return nil
}
