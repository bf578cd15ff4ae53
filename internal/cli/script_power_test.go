package cli_test

import (
	"encoding/binary"
	"encoding/hex"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/project-independence/indy/internal/logindtest"
)

// A scriptLogind is the logind of a script: logind start, sleep, which returns when guests are
// ready, and awake.
type scriptLogind struct {
	t     testing.TB
	login *logindtest.Logind
}

func (l *scriptLogind) command(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: logind start|sleep|awake")
	}
	holders := func(n int) {
		for end := time.Now().Add(10 * time.Second); l.login.Holders("sleep") != n; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				ts.Fatalf("%d wait for the host's sleep, and not %d", l.login.Holders("sleep"), n)
			}
		}
	}
	switch args[0] {
	case "start":
		b := logindtest.StartBus(l.t)
		l.login = b.StartLogind(false, false)
		ts.Setenv("DBUS_SYSTEM_BUS_ADDRESS", b.Address)
	case "sleep":
		holders(1)
		l.login.Sleep(true)
		holders(0)
	case "awake":
		l.login.Sleep(false)
		holders(1)
	}
}

// sleepyDisk writes a disk whose program says a text on the serial port, and goes to sleep (ACPI
// S3) each time that the power button is pressed: sleepydisk FILE TEXT. See the tests of
// internal/runner.
func sleepyDisk(ts *testscript.TestScript, _ bool, args []string) {
	program, err := hex.DecodeString("ba0206b80001ef" + "baf803be2c7cac84c07403eeebf8" + "ba0006edf6c40174f7" + "b80001ef" + "ba0406b80124efebea")
	ts.Check(err)
	disk := make([]byte, 1<<20)
	copy(disk, append(append(program, 0), args[1]+"\r\n"...))
	binary.BigEndian.PutUint16(disk[510:], 0x55aa)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), disk, 0o644))
}
