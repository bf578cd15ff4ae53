package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakeIndy returns a self-test whose command is the shell script body.
func fakeIndy(t *testing.T, body string, host fs.FS) *inside {
	t.Helper()
	indy := filepath.Join(t.TempDir(), "indy")
	if err := os.WriteFile(indy, []byte("#!/bin/sh\n"+body), 0o755); err != nil {
		t.Fatal(err)
	}
	return &inside{indy: indy, nonce: "N0NCE", host: host}
}

// TestSelfTestInsideOutside: on a machine that is no lab nothing is run.
func TestSelfTestInsideOutside(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "ran")
	in := fakeIndy(t, "touch "+mark, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := SelfTestInside(ctx, in.indy, "N0NCE", t.Output()); err == nil {
		t.Error("no error outside the emulated laptop")
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the command ran outside the emulated laptop")
	}
}

// A guest as these tests fake it: a QEMU in a directory that stands for /proc, with
// the status line STATUS, until an interrupt.
const fakeGuest = `qemu=PROC/proc/7
mkdir -p $qemu && printf '/usr/bin/qemu-system-x86_64\0-S\0' >$qemu/cmdline && printf 'STATUS\n' >$qemu/status
trap 'rm -r $qemu; exit 130' INT
echo N0NCE
while :; do sleep 0.1; done`

// What /proc/PID/status says of a process without rights, for printf.
const confinedStatus = `Uid:\t65534\t65534\nGid:\t65534\t65534\nNoNewPrivs:\t1\nSeccomp:\t2\n` +
	`CapInh:\t0000\nCapPrm:\t0000\nCapEff:\t0000\nCapBnd:\t0000\nCapAmb:\t0000`

func TestGuestStep(t *testing.T) {
	for _, test := range []struct{ name, body, status, err string }{
		{"good", fakeGuest, confinedStatus, ""},
		{"not all told", fakeGuest, "Uid:\\t65534", "1 of the 9"},
		{"root", fakeGuest, "Uid:\\t0\\t65534", "Uid is 0"},
		{"capable", fakeGuest, "CapEff:\\t0000000000000020", "CapEff is 0000000000000020"},
		{"privileges to gain", fakeGuest, "NoNewPrivs:\\t0", "NoNewPrivs is 0"},
		{"any system call", fakeGuest, "Seccomp:\\t0", "Seccomp is 0"},
		{"no QEMU", "echo N0NCE; while :; do sleep 0.1; done", "", "no QEMU runs"},
		{"QEMU stays", strings.Replace(fakeGuest, "rm -r $qemu; ", "", 1), confinedStatus, "still runs"},
		{"no number", "echo nonce", "", "before the guest printed the number"},
		{"only on stderr", "echo N0NCE >&2", "", "before the guest printed the number"},
		{"wrong status", strings.Replace(fakeGuest, "exit 130", "exit 0", 1), confinedStatus, "wanted 130"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "proc"), 0o755); err != nil {
				t.Fatal(err)
			}
			in := fakeIndy(t, strings.NewReplacer("PROC", dir, "STATUS", test.status).Replace(test.body), os.DirFS(dir))
			seen, err := in.guest(t.Context(), "x")
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("%q, %v", seen, err)
			}
		})
	}
}

func TestCommandStatus(t *testing.T) {
	in := fakeIndy(t, "echo out; echo err >&2; exit 4", nil)
	if _, err := in.want(t.Context(), 4, "assign"); err != nil {
		t.Error(err)
	}
	_, err := in.want(t.Context(), 0, "assign", "x")
	for _, want := range []string{"indy assign x", "exit status 4", "stdout: out", "stderr: err"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not contain %q", err, want)
		}
	}
	if err := fakeIndy(t, "echo not json", nil).read(t.Context(), new(leaseList), "leases"); err == nil {
		t.Error("no error for output that is not JSON")
	}
}

func TestGroupsStep(t *testing.T) {
	const good = `{"iommu":{"enabled":true,"kind":"intel","interrupt_remapping":true},
		"groups":[{"id":3,"devices":["0000:04:02.0","0000:03:00.0","0000:04:01.0"]}]}`
	for name, test := range map[string]struct {
		json string
		ok   bool
	}{
		"good":        {good, true},
		"off":         {strings.Replace(good, `"enabled":true`, `"enabled":false`, 1), false},
		"no remap":    {strings.Replace(good, `_remapping":true`, `_remapping":false`, 1), false},
		"no bridge":   {strings.Replace(good, `"0000:03:00.0",`, ``, 1), false},
		"other group": {strings.ReplaceAll(good, `0000:04:01.0`, `0000:05:00.0`), false},
	} {
		var list groupList
		if err := json.Unmarshal([]byte(test.json), &list); err != nil {
			t.Fatal(err)
		}
		if _, err := list.check(); (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDevicesStep(t *testing.T) {
	const nvmeOnly = `{"devices":[{"id":"pci:0000:02:00.0","bus":"pci","address":"0000:02:00.0","role":"storage",
		"vendor_id":"1b36","device_id":"0010","driver":"nvme","iommu_group":12,"verdict":"refused"}]}`
	var list deviceList
	if err := json.Unmarshal([]byte(nvmeOnly), &list); err != nil {
		t.Fatal(err)
	}
	_, err := list.check()
	for _, want := range []string{"0000:02:00.0 is listed as", "0000:00:1b.0, role audio, is not listed"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not contain %q", err, want)
		}
	}
	list.Devices[0].Verdict = "assignable"
	if _, err := list.check(); err == nil || strings.Contains(err.Error(), "0000:02:00.0") {
		t.Errorf("a correct entry is blamed: %v", err)
	}
}

// TestStepsStop: the first step that fails ends the self-test and names itself.
func TestStepsStop(t *testing.T) {
	var out bytes.Buffer
	ok := func(context.Context) (string, error) { return "seen", nil }
	fails := func(context.Context) (string, error) { return "", context.Canceled }
	never := func(context.Context) (string, error) { t.Error("went on"); return "", nil }
	err := (&inside{}).run(t.Context(), &out, []step{{"first", ok}, {"second", fails}, {"third", never}})
	if err == nil || !strings.Contains(err.Error(), "step 2 of 3, second") || out.String() != "ok  1  first: seen\n" {
		t.Errorf("%v\n%s", err, &out)
	}
}
