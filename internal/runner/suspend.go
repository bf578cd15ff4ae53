package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"time"
)

// A SuspendRequest says how a guest is to stand still, and why.
type SuspendRequest struct {
	// Reason is why; empty is ByHand.
	Reason Reason `json:"reason"`

	// Sleep presses the guest's power button, so that its system puts itself to sleep
	// (ACPI S3) and its drivers make its devices ready for that. One that does not is paused
	// after Timeout.
	Sleep bool `json:"sleep"`

	// Timeout is how long it may take to fall asleep, in seconds; 0 is thirty.
	Timeout float64 `json:"timeout"`

	// Unplug makes the guest's devices ready for the host's sleep: USB devices, of which who
	// opened them loses hold then, are taken from the guest, and given back when it goes on; of
	// others it is told which do not keep what the guest told them.
	Unplug bool `json:"unplug"`
}

// A ResumeRequest says which reason for standing still is over.
type ResumeRequest struct {
	// Reason is which; empty is ByHand, with which the guest goes on whatever others there
	// are.
	Reason Reason `json:"reason"`
}

// The times of falling asleep.
const (
	defaultDoze = 30 * time.Second
	maxDoze     = 10 * time.Minute
	dozePoll    = 20 * time.Millisecond

	// lateDoze is how long after its power button was pressed a guest that falls asleep does
	// so because of that.
	lateDoze = 5 * time.Minute
)

// returnLimit is how long devices may take to answer after the host has slept.
const returnLimit = 2 * time.Second

// readAsked reads a request, which may be empty.
func readAsked(q *http.Request, v any) error {
	if err := json.NewDecoder(q.Body).Decode(v); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("what is asked is not understood: %w", err)
	}
	return nil
}

func (s *server) suspend(w http.ResponseWriter, q *http.Request) {
	var how SuspendRequest
	err := readAsked(q, &how)
	if how.Reason == "" {
		how.Reason = ByHand
	}
	if err = errors.Join(err, checkReason(how.Reason)); err == nil && !(how.Timeout >= 0 && how.Timeout <= maxDoze.Seconds()) {
		err = fmt.Errorf("%g seconds are no time to wait", how.Timeout)
	}
	if err != nil {
		answerError(w, http.StatusBadRequest, err)
		return
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // it may take long, and is heard all the while
	s.answerThen(w, q, s.r.suspend(q.Context(), how))
}

func (s *server) resume(w http.ResponseWriter, q *http.Request) {
	var how ResumeRequest
	err := readAsked(q, &how)
	if how.Reason == "" {
		how.Reason = ByHand
	}
	if err = errors.Join(err, checkReason(how.Reason)); err != nil {
		answerError(w, http.StatusBadRequest, err)
		return
	}
	s.answerThen(w, q, s.r.resume(q.Context(), how.Reason))
}

// answerThen answers with what the guest is doing then, which QEMU may take a moment to say.
func (s *server) answerThen(w http.ResponseWriter, q *http.Request, err error) {
	if err != nil {
		refuse(w, err)
		return
	}
	if _, err := s.r.doingNow(q.Context()); err == nil {
		s.r.beaten()
	}
	answer(w, s.r.look())
}

// suspend has the guest stand still for a reason. It does so at most once for each.
func (r *runner) suspend(ctx context.Context, how SuspendRequest) error {
	r.holding.Lock()
	defer r.holding.Unlock()
	doing, err := r.doingNow(ctx)
	if err != nil {
		return err
	}
	holds := r.holds()
	if holds.Has(how.Reason) && how.Reason != ByHand {
		return nil
	}
	stands := holds.Effective()
	if doing != "running" && !stands && how.Reason != ByHand {
		return nil // by itself, and goes on by itself
	}
	// What is to be taken back is known before it is done, whatever becomes of who asks.
	r.keepHolds(holds.With(how.Reason, sinceBoot()))
	r.event("hold", map[string]any{"reason": how.Reason, "sleep": how.Sleep})
	if how.Unplug {
		r.forgets()
		r.unplug(ctx)
	}
	if doing != "running" {
		return nil
	}
	if how.Sleep && r.doze(ctx, how.Timeout) || ctx.Err() != nil {
		return nil
	}
	soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandTimeout)
	defer cancel()
	if err := r.command(soon, "stop", nil, nil); err != nil {
		r.keepHolds(holds)
		r.event("hold-failed", map[string]any{"reason": how.Reason, "error": err.Error()})
		return err
	}
	return nil
}

// doze presses the power button and waits until the guest sleeps or has ended.
func (r *runner) doze(ctx context.Context, seconds float64) bool {
	limit := time.Duration(math.Ceil(seconds * float64(time.Second)))
	if limit <= 0 {
		limit = defaultDoze
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := r.command(ctx, "system_powerdown", nil, nil); err != nil {
		return false
	}
	r.mu.Lock()
	r.pressed = time.Now()
	vm := r.vm
	r.mu.Unlock()
	for {
		switch doing, err := r.doingNow(ctx); {
		case err != nil:
		case doing == "suspended", doing == "shutdown":
			return true
		}
		select {
		case <-vm.Done():
			return true
		case <-ctx.Done():
			r.logger.Warn("the guest has not fallen asleep, and is paused", "within", limit)
			r.event("not-asleep", map[string]any{"within": limit.Seconds()})
			return false
		case <-time.After(dozePoll):
		}
	}
}

// resume takes back one reason for standing still, and lets the guest go on when there is no
// other and its devices work.
func (r *runner) resume(ctx context.Context, reason Reason) error {
	r.holding.Lock()
	defer r.holding.Unlock()
	doing, err := r.doingNow(ctx)
	if err != nil {
		return err
	}
	before := r.holds()
	after := before.Without(reason)
	if reason != ByHand && (!before.Has(reason) || after.Effective()) {
		r.keepHolds(after)
		return nil
	}
	command := ""
	switch {
	case doing == "suspended":
		command = "system_wakeup"
	case doing == "paused", reason == ByHand && doing != "running":
		command = "cont"
	}
	if command == "" || reason != ByHand && !before.Effective() { // somebody has let it go on, or it does
		r.keepHolds(after)
		r.plug(ctx)
		return nil
	}
	if err := r.devicesWork(ctx); err != nil {
		r.keepHolds(after.With(LostDevice, sinceBoot()))
		r.event("lost-device", map[string]any{"error": err.Error()})
		return fmt.Errorf("guest %s does not go on: %w: %w", r.Dir.Name, errLost, err)
	}
	soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), commandTimeout)
	defer cancel()
	r.plug(soon)
	if err := r.command(soon, command, nil, nil); err != nil {
		return err // and the hold stays, so that it is tried again
	}
	r.keepHolds(after)
	r.event("go-on", map[string]any{"reason": reason})
	return nil
}

// errLost is that a guest cannot go on without its devices.
var errLost = errors.New("a device that is assigned to it does not work")

// devicesWork waits for the guest's devices to answer, which may take a moment after the host
// has slept.
func (r *runner) devicesWork(ctx context.Context) error {
	r.mu.Lock()
	check := r.devices.Check
	r.mu.Unlock()
	if check == nil {
		return nil
	}
	for end := time.Now().Add(returnLimit); ; {
		err := check()
		if err == nil || time.Now().After(end) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// doingNow returns QEMU's word for what the guest is doing, asked now.
func (r *runner) doingNow(ctx context.Context) (string, error) {
	if _, err := r.answering(ctx); err != nil {
		return "", err
	}
	return r.pulse.last(), nil
}

func (r *runner) holds() Holds {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status.Holds
}

// keepHolds changes the holds, of which the state file has a copy.
func (r *runner) keepHolds(h Holds) {
	r.change(func(s *Status) { s.Holds = h })
}

// wokenLate wakes a guest that falls asleep when nobody wants it to sleep any more.
func (r *runner) wokenLate() {
	r.mu.Lock()
	late := !r.pressed.IsZero() && time.Since(r.pressed) < lateDoze && !r.status.Holds.Effective() && !r.asked
	if late {
		r.pressed = time.Time{}
	}
	r.mu.Unlock()
	if !late {
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
		defer cancel()
		r.logger.Info("the guest fell asleep after it was to go on, and is woken")
		if err := r.command(ctx, "system_wakeup", nil, nil); err != nil {
			r.logger.Warn("it is not woken", "err", err)
		}
	}()
}

// forgets tells which devices do not keep what the guest told them.
func (r *runner) forgets() {
	r.mu.Lock()
	ask := r.devices.Forgets
	r.mu.Unlock()
	if ask == nil {
		return
	}
	for _, why := range ask() {
		r.logger.Warn("a device of the guest does not keep what it was told", "device", why)
		r.event("forgets", map[string]any{"device": why})
	}
}

// unplug takes the USB devices from the guest. What is not taken stays.
func (r *runner) unplug(ctx context.Context) {
	r.mu.Lock()
	vm, g := r.vm, r.guest
	r.mu.Unlock()
	for i, p := range g.USB.Devices {
		if r.unplugged[i] {
			continue
		}
		if err := vm.DetachUSB(ctx, p); err != nil {
			r.logger.Warn("a USB device stays with the guest", "device", p.String(), "err", err)
			continue
		}
		if r.unplugged == nil {
			r.unplugged = map[int]bool{}
		}
		r.unplugged[i] = true
		r.event("unplugged", map[string]any{"device": "usb:" + p.String()})
	}
}

// plug gives the guest the USB devices back that were taken from it.
func (r *runner) plug(ctx context.Context) {
	if len(r.unplugged) == 0 {
		return
	}
	r.mu.Lock()
	vm, g, reopen := r.vm, r.guest, r.devices.Reopen
	r.mu.Unlock()
	for i, p := range g.USB.Devices {
		if !r.unplugged[i] {
			continue
		}
		delete(r.unplugged, i)
		err := errors.New("nobody says how it is opened")
		var f *os.File
		if reopen != nil {
			f, err = reopen(i)
		}
		if err == nil {
			err = errors.Join(vm.AttachUSB(ctx, p, f), f.Close())
		}
		if err != nil {
			r.logger.Warn("a USB device does not come back", "device", p.String(), "err", err)
			r.event("lost-device", map[string]any{"device": "usb:" + p.String(), "error": err.Error()})
			continue
		}
		r.event("plugged", map[string]any{"device": "usb:" + p.String()})
	}
}
