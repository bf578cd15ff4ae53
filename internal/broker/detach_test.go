package broker

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestDetached is what TestDetach starts: it says what it is, in the file it is given.
func TestDetached(t *testing.T) {
	file := os.Args[len(os.Args)-1]
	if !strings.HasSuffix(file, "/detached") {
		t.Skip("started by TestDetach alone")
	}
	sid, err := unix.Getsid(0)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for fd := range 64 {
		target, err := os.Readlink(fmt.Sprint("/proc/self/fd/", fd))
		if err == nil && (fd < 3 || strings.HasPrefix(target, filepath.Dir(file))) { // and what the runtime opens
			open = append(open, target)
		}
	}
	said := fmt.Sprintf("session %v, %s, %v, %v\n", sid == os.Getpid(), dir, os.Environ(), open)
	if err := os.WriteFile(file+".new", []byte(said), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

func TestDetach(t *testing.T) {
	file := filepath.Join(t.TempDir(), "detached")
	mine, err := os.Create(filepath.Join(filepath.Dir(file), "mine"))
	if err != nil {
		t.Fatal(err)
	}
	defer mine.Close()
	if err := Detach("/bin", "-test.run=^TestDetached$", file); err != nil {
		t.Fatal(err)
	}
	var said []byte
	for end := time.Now().Add(20 * time.Second); said == nil; time.Sleep(5 * time.Millisecond) {
		said, _ = os.ReadFile(file)
		if time.Now().After(end) {
			t.Fatal("it has not said what it is")
		}
	}
	if want := "session true, /, [PATH=/bin], [/dev/null /dev/null /dev/null]\n"; string(said) != want {
		t.Errorf("%s; want %s", said, want)
	}
}
