package runner

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/hostfs"
)

// sleeper starts a guest that does as its program says when its power button is pressed.
func sleeper(t *testing.T, program, text string) (Dir, testRequest) {
	t.Helper()
	needQEMU(t)
	d := Dir{Name: "nap", Path: filepath.Join(root(t), "nap")}
	q := testRequest{Dir: d, Disk: bootDisk(t, program, text), Ready: guest.Ready{Serial: text}, Lost: filepath.Join(t.TempDir(), "lost")}
	launch(t, q, isReady)
	return d, q
}

func says(t *testing.T, d Dir, words string) {
	t.Helper()
	until(t, "an event "+words, func() bool {
		text, err := os.ReadFile(d.Events())
		return err == nil && strings.Contains(string(text), words)
	})
}

// A guest that sleeps by its power button is asleep before the host is, and awake after it.
func TestHoldAsleep(t *testing.T) {
	ctx := context.Background()
	d, _ := sleeper(t, sleepy, "up\r\n")
	s, err := d.Hold(ctx, SuspendRequest{Reason: HostSleep, Sleep: true, Timeout: 10})
	if err != nil || s.State != Suspended || s.Detail != "the guest sleeps (ACPI S3) because the host sleeps" || !s.Holds.Has(HostSleep) {
		t.Fatalf("%+v, %v", s, err)
	}
	until(t, "a hold that is kept", func() bool { // a little behind
		kept, err := d.read()
		return err == nil && kept.Holds.Has(HostSleep)
	})
	// The lid, too: it goes on when both are over.
	if s, err = d.Hold(ctx, SuspendRequest{Reason: LidClosed}); err != nil || len(s.Holds) != 2 {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err = d.LetGo(ctx, HostSleep); err != nil || s.State != Suspended || len(s.Holds) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err = d.LetGo(ctx, LidClosed); err != nil || s.State != Running || len(s.Holds) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	says(t, d, `"name":"WAKEUP"`)
	says(t, d, `"name":"go-on"`)
	// Asked once more, it is nothing.
	if s, err = d.LetGo(ctx, LidClosed); err != nil || s.State != Running {
		t.Errorf("%+v, %v", s, err)
	}
	events, _ := os.ReadFile(d.Events())
	if n := strings.Count(string(events), `"name":"WAKEUP"`); n != 1 {
		t.Errorf("woken %d times", n)
	}
	stopNow(t, d)
}

// A guest that does not fall asleep is paused in time, and goes on as if nothing had been.
func TestHoldNotAsleep(t *testing.T) {
	ctx := context.Background()
	d, _ := sleeper(t, printText, "up\r\n")
	began := time.Now()
	s, err := d.Hold(ctx, SuspendRequest{Reason: HostSleep, Sleep: true, Timeout: 0.3})
	if took := time.Since(began); err != nil || s.State != Suspended || s.Detail != "because the host sleeps" || took < 300*time.Millisecond || took > 3*time.Second {
		t.Fatalf("%+v, %v after %v", s, err, took)
	}
	says(t, d, `"name":"not-asleep"`)
	if s, err = d.LetGo(ctx, HostSleep); err != nil || s.State != Running {
		t.Errorf("%+v, %v", s, err)
	}
	stopNow(t, d)
}

// A guest that falls asleep only when the host is awake again is woken; one that does so by
// itself is not.
func TestHoldAsleepTooLate(t *testing.T) {
	ctx := context.Background()
	d, _ := sleeper(t, lateSleepy, "up\r\n")
	if _, err := d.Powerdown(ctx); err != nil {
		t.Fatal(err)
	}
	until(t, "it sleeps because of its power button", func() bool { return ask(t, d).State == Suspended })
	// It is not ours to wake.
	if s, err := d.Hold(ctx, SuspendRequest{Reason: HostSleep}); err != nil || len(s.Holds) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := d.LetGo(ctx, HostSleep); err != nil || s.State != Suspended {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := d.Resume(ctx); err != nil || s.State != Running {
		t.Errorf("%+v, %v", s, err)
	}
	until(t, "it has started again", func() bool {
		text, err := os.ReadFile(d.Console())
		return err == nil && strings.Count(string(text), "up") == 2
	})
	soon, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, err := d.Hold(soon, SuspendRequest{Reason: HostSleep, Sleep: true, Timeout: 10}); err == nil {
		t.Fatal("it slept in no time")
	}
	until(t, "the hold is known, whoever asked for it is gone", func() bool { return ask(t, d).Holds.Has(HostSleep) })
	if s, err := d.LetGo(ctx, HostSleep); err != nil || s.State != Running || len(s.Holds) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	until(t, "it has been woken", func() bool {
		text, err := os.ReadFile(d.Events())
		return err == nil && strings.Count(string(text), `"name":"WAKEUP"`) == 2
	})
	until(t, "it runs", func() bool { return ask(t, d).State == Running })
	stopNow(t, d)
}

// No guest goes on with a device that does not answer.
func TestHoldLostDevice(t *testing.T) {
	ctx := context.Background()
	d, q := sleeper(t, printText, "up\r\n")
	if s, err := d.Hold(ctx, SuspendRequest{Reason: HostSleep}); err != nil || s.State != Suspended {
		t.Fatalf("%+v, %v", s, err)
	}
	if err := os.WriteFile(q.Lost, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := d.LetGo(ctx, HostSleep)
	var refused *AnswerError
	if !errors.As(err, &refused) || refused.Code != http.StatusConflict || !strings.Contains(refused.Text, "pci:0000:01:00.0 does not answer") {
		t.Errorf("%v", err)
	}
	s := ask(t, d)
	if s.State != Suspended || s.Detail != "because a device of it does not work any more" || s.Holds.Has(HostSleep) || !s.Holds.Has(LostDevice) {
		t.Errorf("%+v", s)
	}
	says(t, d, `"name":"lost-device"`)
	if _, err := d.Resume(ctx); err == nil {
		t.Error("it goes on by hand")
	}
	if err := os.Remove(q.Lost); err != nil {
		t.Fatal(err)
	}
	if s, err := d.Resume(ctx); err != nil || s.State != Running || len(s.Holds) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	stopNow(t, d)
}

// What is overruled by hand is not held anew, and not let go twice.
func TestHoldOverruled(t *testing.T) {
	ctx := context.Background()
	d, _ := sleeper(t, printText, "up\r\n")
	for _, r := range []Reason{LidClosed, LowBattery} {
		if _, err := d.Hold(ctx, SuspendRequest{Reason: r}); err != nil {
			t.Fatal(err)
		}
	}
	if s, err := d.Resume(ctx); err != nil || s.State != Running || len(s.Holds) != 2 || s.Holds.Effective() {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := d.Hold(ctx, SuspendRequest{Reason: LidClosed}); err != nil || s.State != Running {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := d.Suspend(ctx); err != nil || s.State != Suspended {
		t.Errorf("%+v, %v", s, err)
	}
	for _, r := range []Reason{LidClosed, LowBattery} {
		if s, err := d.LetGo(ctx, r); err != nil || s.State != Suspended {
			t.Errorf("what somebody has stopped goes on: %+v, %v", s, err)
		}
	}
	for _, r := range []Reason{"lunch", LostDevice} {
		if _, err := d.Hold(ctx, SuspendRequest{Reason: r}); err == nil {
			t.Errorf("held because of %s", r)
		}
	}
	if _, err := d.Hold(ctx, SuspendRequest{Reason: HostSleep, Timeout: -1}); err == nil {
		t.Error("held for less than no time")
	}
	stopNow(t, d)
}

// A QEMU that hangs is told of within the time that there is, and is not held.
func TestFault36SuspendHungQEMU(t *testing.T) {
	d, _ := sleeper(t, printText, "up\r\n")
	s := ask(t, d)
	if err := syscall.Kill(s.QEMU, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(t, "QEMU stands still", func() bool { return stopped(hostfs.Live(), s.QEMU) })
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 4500*time.Millisecond)
	defer cancel()
	_, err := d.Hold(ctx, SuspendRequest{Reason: HostSleep})
	var refused *AnswerError
	if took := time.Since(began); !errors.As(err, &refused) || refused.Code != http.StatusGatewayTimeout || took > 4*time.Second {
		t.Errorf("%v after %v", err, took)
	}
	if err := syscall.Kill(s.QEMU, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	until(t, "it runs", func() bool { s := ask(t, d); return s.State == Running && len(s.Holds) == 0 })
	stopNow(t, d)
}
