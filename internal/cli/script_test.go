package cli_test

import (
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/project-independence/indy/internal/cli"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/internal/lab"
)

var update = flag.Bool("update", false, "rewrite what the scripts compare with")

// TestMain makes this test binary the command indy when a script calls it so: with
// names of its own, whatever is installed, and its leases in the script's directory.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"indy": func() {
			env := cli.OS("test")
			env.Names = os.DirFS(os.Getenv("IDS"))
			env.LeaseDir = filepath.Join(os.Getenv("WORK"), "leases")
			env.StateDir = filepath.Join(os.Getenv("WORK"), "state")
			env.GuestDir = filepath.Join(os.Getenv("WORK"), "guests")
			env.RunDir = filepath.Join(os.Getenv("WORK"), "run")
			env.Socket = os.Getenv("DAEMON") // of guests that are not one's own
			os.Exit(cli.Main(os.Args[1:], env))
		},
	})
}

func TestScripts(t *testing.T) {
	runScripts(t, filepath.Join(hosttest.Root(t), "testdata", "script"))
}

// Guests go on when the daemon ends, is killed, or nobody reads what it tells, and the next one finds
// them: their processes are the same.
func TestFault15DaemonRestarted(t *testing.T) {
	runScripts(t, filepath.Join(hosttest.Root(t), "testdata", "faults"))
}

func runScripts(t *testing.T, dir string) {
	t.Helper()
	root := hosttest.Root(t)
	testscript.Run(t, testscript.Params{
		Dir:           dir,
		UpdateScripts: *update,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"bootable": bootable, "bootdisk": bootDisk, "sleepydisk": sleepyDisk, "logind": (&scriptLogind{t: t}).command,
			"conforms": func(ts *testscript.TestScript, _ bool, args []string) { conformsLines(ts, root, args[0]) },
		},
		Condition: func(what string) (bool, error) {
			if what == "root" {
				return os.Geteuid() == 0, nil
			}
			if what != "ovmf" {
				return false, fmt.Errorf("there is no condition %q", what)
			}
			_, err := os.Stat("/usr/share/OVMF/OVMF_CODE_4M.ms.fd")
			return err == nil || os.Getenv("CI") == "true", nil
		},
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOSTS", filepath.Join(root, "testdata", "hosts"))
			env.Setenv("IDS", filepath.Join(root, "testdata", "ids"))
			env.Setenv("BAD", filepath.Join(root, "testdata", "bad"))
			env.Defer(func() { endGuests(t, filepath.Join(env.WorkDir, "run")) })
			return nil
		},
	})
}

// endGuests ends the guests that a script which has failed left running: each has a process
// of its own.
func endGuests(t *testing.T, dir string) {
	left, err := filepath.Glob(filepath.Join(dir, "*", "state.json"))
	if err != nil {
		t.Error(err)
	}
	for _, name := range left {
		var state struct{ PID int }
		b, err := os.ReadFile(name)
		if err == nil {
			err = json.Unmarshal(b, &state)
		}
		if err != nil {
			t.Errorf("guests that run: %s: %v", name, err)
		}
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", state.PID)) // it may have ended
		if c := string(cmdline); strings.Contains(c, "\x00runner\x00") || strings.Contains(c, "\x00attend\x00") {
			_ = syscall.Kill(state.PID, syscall.SIGKILL)
		}
	}
}

// conformsLines checks standard output of the last command against a schema in docs; of
// JSON lines, each: conforms NAME.
func conformsLines(ts *testscript.TestScript, root, name string) {
	docs := []string{ts.ReadFile("stdout")}
	if name == "guest-event" {
		docs = strings.Split(strings.TrimSpace(docs[0]), "\n")
	}
	for _, doc := range docs {
		ts.Check(conforms(root, name, []byte(doc)))
	}
}

// bootDisk writes a disk that a guest starts from, which writes text to its serial port and
// halts: bootdisk FILE TEXT.
func bootDisk(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(lab.NVMeImage(ts.MkAbs(args[0]), args[1]))
}

// bootable writes the image of a CD-ROM that UEFI can start, or with a second word a BIOS
// alone: bootable FILE [bios].
func bootable(ts *testscript.TestScript, _ bool, args []string) {
	const sector = 2048
	b := make([]byte, 20*sector)
	copy(b[16*sector:], "\x01CD001\x01")
	copy(b[17*sector:], "\x00CD001\x01EL TORITO SPECIFICATION")
	b[17*sector+71] = 19 // where the catalogue is
	copy(b[18*sector:], "\xffCD001\x01")
	c := b[19*sector:]
	c[0], c[30], c[31], c[32] = 1, 0x55, 0xaa, 0x88
	if len(args) < 2 {
		c[1] = 0xef
	}
	// All 16-bit words of the first entry have the sum 0.
	var sum uint16
	for i := 0; i < 32; i += 2 {
		if i != 28 {
			sum += binary.LittleEndian.Uint16(c[i:])
		}
	}
	binary.LittleEndian.PutUint16(c[28:], -sum)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o644))
}
