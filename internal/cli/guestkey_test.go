package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest"
)

func TestReadKeyFile(t *testing.T) {
	for in, want := range map[string]struct{ key, err string }{
		"a key":   {"a key", ""},
		"a key\n": {"a key", ""}, "a key\n\n": {"a key\n", ""}, " \r\n": {" \r", ""},
		"": {"", "is empty"}, "\n": {"", "is empty"}, "a\x00b": {"", "zero bytes"},
		strings.Repeat("x", guest.MaxKey) + "\n":  {strings.Repeat("x", guest.MaxKey), ""},
		strings.Repeat("x", guest.MaxKey+1):       {"", "more than 512"},
		strings.Repeat("x", guest.MaxKey+1) + "x": {"", "more than 512"},
		strings.Repeat("x", 1<<20):                {"", "more than 512"},
	} {
		for _, file := range []string{"-", filepath.Join(t.TempDir(), "key")} {
			if file != "-" {
				if err := os.WriteFile(file, []byte(in), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := (&keyFlag{file}).readFile(&Env{Stdin: strings.NewReader(in)})
			if string(got) != want.key || (err == nil) != (want.err == "") || err != nil && !strings.Contains(err.Error(), want.err) {
				t.Errorf("%.20q from %s: %.20q, %v; want %+v", in, file, got, err, want)
			}
		}
	}
}

// Who starts a guest without a passphrase that it needs is told so, and so is the log of one
// that was to start by itself.
func TestDiskKeys(t *testing.T) {
	asks := guest.Guest{Name: "work", Disks: []guest.Disk{{File: "/a"}, {File: "/b", Format: guest.Qcow2, Key: guest.Key{Kind: guest.Passphrase}}}}
	if _, err := diskKeys(t.Context(), asks, nil); err == nil || !strings.Contains(err.Error(), "the disk /b has a passphrase, and nobody is here to say it; start the guest with indy guest start work") {
		t.Errorf("%v", err)
	}
	said := []byte("a passphrase")
	keys, err := diskKeys(t.Context(), asks, said)
	if err != nil || len(keys) != 2 || keys[0] != nil || string(keys[1]) != "a passphrase" || !bytes.Equal(said, make([]byte, len(said))) {
		t.Errorf("%q, %v, %q", keys, err, said)
	}
	if keys, err := diskKeys(t.Context(), guest.Guest{Disks: []guest.Disk{{File: "/a"}}}, nil); keys != nil || err != nil {
		t.Errorf("%q, %v", keys, err)
	}
}

// terminal returns both ends of a terminal.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

// TestAskSecret asks on a real terminal, which shows nothing of what is typed.
func TestAskSecret(t *testing.T) {
	for name, tt := range map[string]struct {
		typed string
		anew  bool
		want  string
		err   string
	}{
		"once":    {"hunter2\r", false, "hunter2", ""},
		"twice":   {"hunter2\rhunter2\r", true, "hunter2", ""},
		"another": {"hunter2\rhunter3\r", true, "", "not the same"},
		"nothing": {"\r", false, "", "is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			master, slave := terminal(t)
			seen := make(chan string, 1)
			go func() {
				b := make([]byte, 4096)
				time.Sleep(300 * time.Millisecond) // or it is shown before it is asked for
				for _, line := range strings.SplitAfter(tt.typed, "\r") {
					_, _ = master.WriteString(line)
					time.Sleep(300 * time.Millisecond)
				}
				n, _ := master.Read(b)
				seen <- string(b[:n])
			}()
			var asked bytes.Buffer
			got, err := (&keyFlag{}).read(t.Context(), &Env{Stdin: slave, Stderr: &asked}, "Passphrase", tt.anew)
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) || err == nil && string(got) != tt.want {
				t.Errorf("%q, %v", got, err)
			}
			_, _ = slave.WriteString("end")
			if text := <-seen; strings.Contains(text, "hunter") || !strings.Contains(text, "end") {
				t.Errorf("the terminal shows %q", text)
			}
			if !strings.HasPrefix(asked.String(), "Passphrase: ") {
				t.Errorf("asked %q", asked.String())
			}
		})
	}
}
