package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// fakeIndy returns a self-test whose command is the shell script body.
func fakeIndy(t *testing.T, body string, host fstest.MapFS) *inside {
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

func TestGuestStep(t *testing.T) {
	for _, test := range []struct{ name, body, err string }{
		{"good", "trap 'exit 130' INT; echo N0NCE; while :; do sleep 0.1; done", ""},
		{"no number", "echo nonce", "before the guest printed the number"},
		{"only on stderr", "echo N0NCE >&2", "before the guest printed the number"},
		{"wrong status", "trap 'exit 0' INT; echo N0NCE; while :; do sleep 0.1; done", "wanted 130"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			in := fakeIndy(t, test.body, fstest.MapFS{"proc/1/cmdline": {Data: []byte("/sbin/init\x00")}})
			seen, err := in.guest(t.Context(), "x")
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Errorf("%q, %v", seen, err)
			}
		})
	}
	in := fakeIndy(t, "", fstest.MapFS{"proc/7/cmdline": {Data: []byte("/usr/bin/qemu-system-x86_64\x00-S\x00")}})
	if err := in.noQEMU(); err == nil {
		t.Error("a QEMU that still runs was not found")
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
