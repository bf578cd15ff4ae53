package assign

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/project-independence/indy/hostfs"
)

// A work carries out a plan or takes it back, and notes each write before it is made.
type work struct {
	host *Host
	plan *Plan
	note func(op string, step int) error

	begun int          // steps that may have been made; only these are taken back
	stuck []StuckWrite // devices that get no other write
	told  []string     // what whoever looks should know
}

// Apply carries out a plan. Before each step it checks that ctx is not done, that the
// device is the one which was planned for and is as the plan found it; after each it reads
// back what the kernel made of the write. On any error everything is undone in reverse,
// also when ctx is done, and the error is a *[PartialError] only if that failed too.
//
// It keeps no lease: [Store.Assign] does, and survives the end of the process. It blocks as
// long as the drivers take to let go and to bind, and up to [NodeTimeout] for the group's
// node.
func (h *Host) Apply(ctx context.Context, p *Plan) error {
	w := &work{host: h, plan: p, note: func(string, int) error { return nil }}
	return w.applyOrUndo(ctx)
}

// Undo takes back every step of a plan, in reverse, whether it was carried out or
// not: what already is as before is left alone, and so is what somebody else has changed
// meanwhile. It goes on after an error and returns all of them.
func (h *Host) Undo(p *Plan) error {
	w := &work{host: h, plan: p, note: func(string, int) error { return nil }, begun: len(p.Steps)}
	return w.undo()
}

func (w *work) applyOrUndo(ctx context.Context) error {
	err := w.apply(ctx)
	if err == nil {
		return nil
	}
	if left := w.undo(); left != nil {
		return &PartialError{Cause: err, Left: []error{left}}
	}
	return err
}

func (w *work) apply(ctx context.Context) error {
	if err := w.loaded(); err != nil {
		return err
	}
	for i, s := range w.plan.Steps {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := w.same(s); err != nil {
			return &OpError{"assign", s.Device, err}
		}
		if err := w.host.expect(s, s.Prior); err != nil {
			return &OpError{"assign", s.Device, fmt.Errorf("changed since it was planned: %w", err)}
		}
		if err := w.note(opDo, i); err != nil {
			return err
		}
		w.begun = i + 1
		if s.Keeps() {
			continue
		}
		// The driver of a USB interface may have let go of it with another.
		if s.Prior.What != s.Do.After.What && w.host.expect(s, s.Do.After) == nil {
			continue
		}
		if err := w.write(s, s.Do); err != nil {
			return &OpError{"assign", s.Device, err}
		}
	}
	for _, g := range w.plan.Groups {
		if err := w.host.awaitNode(ctx, g); err != nil {
			return err
		}
		if w.host.Viable == nil {
			continue
		}
		if err := w.host.Viable(g); err != nil {
			return err
		}
	}
	if err := w.host.checkMade(ctx, w.plan); err != nil {
		return err
	}
	return w.complete()
}

// loaded says that a plan for vfio-pci cannot work without it.
func (w *work) loaded() error {
	if !slices.ContainsFunc(w.plan.Steps, func(s Step) bool { return s.Do.After == Check{What: driver, Is: VFIODriver} }) {
		return nil
	}
	_, err := fs.Stat(w.host.FS, "sys/bus/pci/drivers/"+VFIODriver)
	if err != nil {
		err = &lacking{"the driver vfio-pci is not loaded; run: modprobe vfio-pci", err}
	}
	return err
}

// lacking says what this host would need. It is errors.ErrUnsupported.
type lacking struct {
	what string
	err  error // what the kernel said
}

func (e *lacking) Error() string { return e.what + " (" + e.err.Error() + ")" }

func (e *lacking) Is(target error) bool { return target == errors.ErrUnsupported }

func (e *lacking) Unwrap() error { return e.err }

// complete looks once more at each device: it may have been unplugged, or been taken by
// another driver, since its last step.
func (w *work) complete() error {
	for _, s := range w.lastSteps() {
		err := w.same(s)
		if err == nil && !s.Keeps() {
			err = w.host.expect(s, s.Do.After)
		}
		if err != nil {
			return &OpError{"assign", s.Device, err}
		}
	}
	return nil
}

// lastSteps returns the last step of each device.
func (w *work) lastSteps() []Step {
	last := map[string]int{}
	for i, s := range w.plan.Steps {
		last[s.dir()] = i
	}
	var steps []Step
	for _, i := range slices.Sorted(maps.Values(last)) {
		steps = append(steps, w.plan.Steps[i])
	}
	return steps
}

// undo takes back the steps that were begun, in reverse.
func (w *work) undo() error {
	var errs []error
	left := map[string]bool{} // devices that get no write any more
	for _, s := range w.stuck {
		w.leave(left, s.Bus, s.Device)
		errs = append(errs, &OpError{"give back", s.Device, &s.StuckError})
	}
	failed := map[string]bool{}
	for i, s := range slices.Backward(w.plan.Steps[:w.begun]) {
		dir := s.dir()
		if left[dir] || len(s.Undo) == 0 {
			continue
		}
		if err := w.same(s); err != nil {
			left[dir] = true
			if slices.Contains(w.plan.made(), dir) && errors.Is(err, ErrDeviceLost) {
				continue // the plan makes it, and has not yet, or it has been taken away again
			}
			if errors.Is(err, ErrOtherDevice) && i == w.begun-1 {
				errs = append(errs, w.undoOther(i, s))
			}
			if errors.Is(err, ErrDeviceLost) || errors.Is(err, ErrOtherDevice) {
				w.tell("%s: %v; nothing of it is left to give back", s.Device, err)
				continue // nobody is owed it any more
			}
			errs = append(errs, &OpError{"give back", s.Device, err})
			continue
		}
		for _, u := range s.Undo {
			err := w.undoOne(i, s, u)
			if err == nil {
				continue
			}
			if errors.Is(err, ErrDeviceLost) {
				w.tell("%s: %v; nothing of it is left to give back", s.Device, err)
				left[dir] = true
				break
			}
			failed[dir] = true
			errs = append(errs, &OpError{"give back", s.Device, err})
			if errors.Is(err, ErrStuck) {
				w.leave(left, s.Bus, s.Device)
				break
			}
		}
	}
	w.tellForeign(left, failed)
	return errors.Join(errs...)
}

// leave notes that a device from which a write has not come back gets no other. Neither does
// the function of which it is a virtual one that the plan has made: taking that away waits
// for the same, with the lock of the host's own device.
func (w *work) leave(left map[string]bool, bus, device string) {
	left[deviceDir(bus, device)] = true
	for _, v := range w.plan.VFs {
		mine := func(f VirtualFunction) bool { return bus == "" && f.Address.String() == device }
		if v.Made && slices.ContainsFunc(v.Functions, mine) {
			left[deviceDir("", v.Physical.String())] = true
		}
	}
}

// undoOther takes back what the last step wrote to a device that came into the place of the
// planned one just before the write: a new device comes without an override. Of what was
// written earlier it has nothing.
func (w *work) undoOther(step int, s Step) error {
	if ours, err := w.host.holds(s, s.Do.After); err != nil || !ours || s.Do.After.What != override {
		return nil // it has gone, too, or was not written to
	}
	for _, u := range s.Undo {
		if u.After.What != override {
			continue
		}
		if err := w.undoOne(step, s, u); err != nil && !errors.Is(err, ErrDeviceLost) {
			return &OpError{"give back", s.Device, err}
		}
	}
	return nil
}

// undoOne makes one write of a step's undo, unless it need not or must not be made.
func (w *work) undoOne(step int, s Step, u Write) error {
	value, err := w.host.read(s, u.After.What)
	switch {
	case err != nil:
		return err
	case u.After.holds(value):
		return nil
	}
	if u.Only != nil {
		if u.Only.What != u.After.What {
			value, err = w.host.read(s, u.Only.What)
		}
		if err != nil || !u.Only.holds(value) {
			return err
		}
	}
	// The device matters more than the note, which a full disk may refuse.
	_ = w.note(opUndo, step)
	err = w.write(s, u)
	if err != nil && !errors.Is(err, ErrStuck) {
		if holds, herr := w.host.holds(s, u.After); herr == nil && holds {
			return nil // somebody else was quicker
		}
	}
	return err
}

// tellForeign says which devices are not as before because somebody else has changed them
// meanwhile.
func (w *work) tellForeign(left, failed map[string]bool) {
	type about struct{ dir, what string }
	last := map[about]Write{}
	var order []about
	step := map[about]Step{}
	for _, s := range slices.Backward(w.plan.Steps[:w.begun]) {
		for _, u := range s.Undo {
			key := about{s.dir(), u.After.What}
			if _, ok := last[key]; !ok {
				order = append(order, key)
			}
			last[key], step[key] = u, s
		}
	}
	for _, key := range order {
		if left[key.dir] || failed[key.dir] {
			continue
		}
		// What the plan has made, and has taken away again, is not missed.
		if err := w.host.expect(step[key], last[key].After); err != nil && !errors.Is(err, ErrDeviceLost) {
			w.tell("%s: %v; somebody else has changed that meanwhile, and it is left so", step[key].Device, err)
		}
	}
}

func (w *work) tell(format string, args ...any) {
	w.told = append(w.told, fmt.Sprintf(format, args...))
}

// write makes one write and reads back what the kernel made of it.
func (w *work) write(s Step, u Write) error {
	err := w.host.FS.WriteFile(u.File, []byte(u.Value))
	switch stuck := (*StuckError)(nil); {
	case errors.As(err, &stuck):
		w.stuck = append(w.stuck, StuckWrite{s.Bus, s.Device, *stuck})
	case err != nil:
		err = explain(u.File, err)
		if _, gone := fs.Lstat(w.host.FS, s.dir()); errors.Is(gone, fs.ErrNotExist) && s.Do.After.What != present {
			err = fmt.Errorf("%w: %w", ErrDeviceLost, err)
		}
	default:
		// A write that succeeded proves nothing: drivers_probe does so when no driver
		// took the function.
		if err = w.host.expect(s, u.After); err != nil {
			err = notDone(u, err)
		}
	}
	if w.host.Did != nil {
		w.host.Did(s.Device, u, err)
	}
	return err
}

// same says that the step's device is no longer the one that was planned for.
func (w *work) same(s Step) error {
	i := slices.IndexFunc(w.plan.Identities, func(id Identity) bool { return id.Bus == s.Bus && id.Device == s.Device })
	if i < 0 {
		_, err := fs.Lstat(w.host.FS, s.dir())
		if errors.Is(err, fs.ErrNotExist) && s.Do.After.What != present && s.Prior.What != present {
			return ErrDeviceLost
		}
		return nil
	}
	return w.plan.Identities[i].check(w.host.FS)
}

// expect reads the device's state and says how it differs from what c demands.
func (h *Host) expect(s Step, c Check) error {
	value, err := h.read(s, c.What)
	if err != nil || c.holds(value) {
		return err
	}
	return fmt.Errorf("expected that %s; it is %s", c, cmp.Or(value, "none"))
}

// holds reports whether the device is as c demands.
func (h *Host) holds(s Step, c Check) (bool, error) {
	value, err := h.read(s, c.What)
	return err == nil && c.holds(value), err
}

func (h *Host) read(s Step, what string) (string, error) {
	value, err := readCheck(h.FS, s.dir(), what)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", ErrDeviceLost, err)
	}
	return value, err
}

// readCheck reads what a [Check] is about of the device in dir.
func readCheck(fsys fs.FS, dir, what string) (value string, err error) {
	switch what {
	case present:
		_, err = fs.Lstat(fsys, dir)
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		return "yes", err
	default:
		name := dir + "/" + what
		if isLink(what) {
			value, err = hostfs.ReadLinkBase(fsys, name)
			break
		}
		if strings.HasPrefix(what, setting) {
			name = settingsOf(dir) + "/" + what
		}
		if value, err = hostfs.ReadString(fsys, name); value == "(null)" {
			value = ""
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		// A device that is there has none of it, or it is no longer there.
		_, err = fs.Lstat(fsys, dir)
	}
	return value, err
}
