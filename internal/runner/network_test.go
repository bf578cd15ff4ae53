package runner

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/hosttest"
)

// What is not counted is unknown, and never 0.
func TestCounted(t *testing.T) {
	host := fstest.MapFS{
		"sys/class/net/indy0/statistics/tx_bytes": {Data: []byte("4711\n")},
		"sys/class/net/indy1/statistics/tx_bytes": {Data: []byte("many\n")},
		"sys/class/net/indy2/statistics/tx_bytes": {Data: []byte("0\n")},
	}
	for name, want := range map[string]int64{"indy0": 4711, "indy1": -1, "indy2": 0, "indy3": -1, "": -1} {
		got := counted(host, name, "tx_bytes")
		if (got == nil) != (want < 0) || got != nil && *got != want {
			t.Errorf("%s: %v, want %d", name, got, want)
		}
	}
}

// TestTapNames asks a tap of the kernel what it is called, and what goes through it.
func TestTapNames(t *testing.T) {
	other, err := os.Open(os.DevNull) // which is none
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if got := tapNames([]*os.File{other}); len(got) != 1 || got[0] != "" {
		t.Errorf("%q", got)
	}
	tap, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		hosttest.Missing(t, "no tap can be made here: %v", err)
	}
	defer tap.Close()
	ask, err := unix.NewIfreq("indy%d")
	if err != nil {
		t.Fatal(err)
	}
	ask.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(int(tap.Fd()), unix.TUNSETIFF, ask); errors.Is(err, unix.EPERM) {
		hosttest.Missing(t, "only root makes a tap")
	} else if err != nil {
		t.Fatal(err)
	}
	got := tapNames([]*os.File{other, tap})
	if len(got) != 2 || got[0] != "" || !strings.HasPrefix(got[1], "indy") {
		t.Fatalf("%q", got)
	}
	if n := counted(hostfs.Live(), got[1], "rx_bytes"); n == nil || *n != 0 { // nothing has gone through it
		t.Errorf("%v", n)
	}
}
