package runner

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/qemu"
	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
)

// A testRequest is what a runner of these tests is started with.
type testRequest struct {
	Dir      Dir
	Disk     string
	Graphics bool
	Ready    guest.Ready
	Refuse   string // why nothing can be prepared
	Released string // a file that is made when the devices are given back
	Crash    string // with what the runner crashes when it is to give the devices back
	Lost     string // a file that is there when a device does not work
}

// TestMain lets this program be a runner, and a stranger who asks one.
func TestMain(m *testing.M) {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "run-a-guest":
		if err := runTest(); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	case len(os.Args) == 3 && os.Args[1] == "ask-for-status":
		d := Dir{Name: filepath.Base(os.Args[2]), Path: os.Args[2]}
		s, err := d.Status(context.Background(), hostfs.Live())
		fmt.Printf("%v %v\n", s.State, err)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func runTest() error {
	var q testRequest
	announce, err := Inherit(&q)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return Run(ctx, Config{
		Dir: q.Dir, Host: hostfs.Live(), Announce: announce,
		Explain: func(err error) Failure { return Failure{Message: err.Error(), Exit: 1} },
		Prepare: func(_ context.Context, told *slog.Logger, passed func(PhaseName)) (Prepared, error) {
			if q.Refuse != "" {
				return Prepared{}, errors.New(q.Refuse)
			}
			told.Info("prepared")
			passed(PhaseResolved)
			passed(PhaseDevices)
			g := guest.Guest{Name: q.Dir.Name, Memory: 32 << 20, Disks: []guest.Disk{{File: q.Disk}}}
			if q.Graphics {
				g.Graphics = guest.StdVGA
			}
			return Prepared{
				Guest: g, Options: qemu.Options{Accelerator: qemu.TCG}, Ready: q.Ready, Devices: []string{"usb:1-1"},
				Release: func() error {
					if q.Crash != "" {
						panic(q.Crash)
					}
					return os.WriteFile(q.Released, nil, 0o600)
				},
				Check: func() error {
					if _, err := os.Stat(q.Lost); err == nil && q.Lost != "" {
						return errors.New("pci:0000:01:00.0 does not answer")
					}
					return nil
				},
			}, nil
		},
	})
}

// The programs of boot sectors, at 7c00h, with their text behind them.
const (
	printText = "baf803be127cac84c07403eeebf8f4ebfd" // writes its text to the serial port, halts
	echo      = "bafd03eca80174f8baf803eceeebf1"     // the serial port's input to its output

	// PM1_EN.PWRBTN before its text, as a button that is pressed earlier is not heard; wait for
	// PM1_STS.PWRBTN, clear it, PM1_CNT = S3 (ACPI 4.8.3; 0x600 is where the firmware puts it).
	// What wakes up is the firmware, which starts it again.
	sleepy = "ba0206b80001ef" + "baf803be2c7cac84c07403eeebf8" + "ba0006edf6c40174f7" + "b80001ef" + "ba0406b80124efebea"
	// The same with eight million reads of port 80h in between, which take a moment.
	lateSleepy = "ba0206b80001ef" + "baf803be387cac84c07403eeebf8" + "ba0006edf6c40174f7" + "b80001ef" + "bb800031c9e480e2fc4b75f7" + "ba0406b80124efebde"
)

// bootDisk makes a disk that starts program.
func bootDisk(t *testing.T, program, text string) string {
	t.Helper()
	b, err := hex.DecodeString(program)
	if err != nil {
		t.Fatal(err)
	}
	disk := make([]byte, 1<<20)
	copy(disk, append(append(b, 0), text...))
	binary.BigEndian.PutUint16(disk[510:], 0x55aa)
	name := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(name, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func needQEMU(t *testing.T) {
	t.Helper()
	if _, err := qemu.Find(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		hosttest.Missing(t, "%v", err)
	}
}

// detach starts this program as a runner, as broker.DetachWith does with indy. It may crash with
// what is in says, and has to say nothing otherwise.
func detach(t *testing.T, says string) func([]*os.File) error {
	return func(files []*os.File) error {
		cmd := exec.Command("/proc/self/exe", "run-a-guest")
		cmd.Dir, cmd.Env, cmd.ExtraFiles = "/", []string{"PATH=" + os.Getenv("PATH")}, files
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		said, err := os.CreateTemp(t.TempDir(), "stderr")
		if err != nil {
			return err
		}
		cmd.Stderr = said
		if err := cmd.Start(); err != nil {
			return err
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = cmd.Wait()
		}()
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			<-ended
			text, err := os.ReadFile(said.Name())
			if err != nil || !strings.HasPrefix(string(text), says) || says == "" && len(text) > 0 { // such as a race, or a panic
				t.Errorf("a runner wrote to its standard error: %v\n%s", err, text)
			}
		})
		return nil
	}
}

// root is a directory for those of guests, with a name that leaves room for a socket's.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "indy")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// launch starts a guest and waits for what is wanted of its status.
func launch(t *testing.T, q testRequest, wanted func(Status) bool) Status {
	t.Helper()
	if q.Released == "" {
		q.Released = filepath.Join(t.TempDir(), "released")
	}
	says := ""
	if q.Crash != "" {
		says = "panic: " + q.Crash
	}
	l, err := Launch(q.Dir, hostfs.Live(), q, detach(t, says))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for {
		s, err := l.Next()
		if wanted(s) {
			return s
		}
		if err != nil {
			log, _ := os.ReadFile(q.Dir.Log())
			t.Fatalf("%v: %+v, %+v\n%s", err, s, s.Failure, log)
		}
	}
}

func runs(s Status) bool { return s.State == Running }

func isReady(s Status) bool { return s.Ready }

// until waits for what is wanted.
func until(t *testing.T, what string, wanted func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !wanted(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// ask returns the status, which must come within 200 ms whatever it is: at least once in a
// few times, as what runs beside this test takes its time, too.
func ask(t *testing.T, d Dir) (s Status) {
	t.Helper()
	var took time.Duration
	for range 8 {
		began := time.Now()
		var err error
		if s, err = d.Status(context.Background(), hostfs.Live()); err != nil {
			t.Fatal(err)
		}
		if took = time.Since(began); took <= 200*time.Millisecond {
			return s
		}
	}
	t.Errorf("the status took %v", took)
	return s
}

func stopNow(t *testing.T, d Dir) {
	t.Helper()
	if _, err := d.Stop(context.Background(), StopRequest{Force: true}); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(d.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", d.Path, err)
	}
}

func alive(pid int) bool {
	f, err := readStat(hostfs.Live(), pid)
	return err == nil && f.state != "Z" && f.state != "X"
}

func hasLine(text []byte, words string) bool { return bytes.Contains(text, []byte(words)) }
