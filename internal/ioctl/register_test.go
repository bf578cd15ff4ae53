package ioctl_test

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/internal/ioctl"
)

func TestRegisters(t *testing.T) {
	b, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(b)
	end := int64(len(b))
	for _, at := range []int64{0, 4, 64, end - 4} {
		if !ioctl.Store32(b, at, 0x11223344+uint32(at)) {
			t.Errorf("no store at %d", at)
		}
		if got := binary.NativeEndian.Uint32(b[at:]); got != 0x11223344+uint32(at) {
			t.Errorf("at %d: %#x in memory", at, got)
		}
		if got, ok := ioctl.Load32(b, at); !ok || got != 0x11223344+uint32(at) {
			t.Errorf("at %d: %#x, %t", at, got, ok)
		}
	}
	before := string(b)
	for _, at := range []int64{-4, -1, 1, 2, 3, end - 3, end, end + 4, -1 << 63, 1<<63 - 1} {
		if _, ok := ioctl.Load32(b, at); ok || ioctl.Store32(b, at, 1) {
			t.Errorf("an access at %d", at)
		}
	}
	if _, ok := ioctl.Load32(nil, 0); ok || string(b) != before {
		t.Error("an access that was refused happened")
	}
}

// TestStoreOnlyStores reads what the compiler made of a store: on a PC an exchange would
// be right for memory, and would read a device's register.
func TestStoreOnlyStores(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("an exchange is what it takes on amd64 alone")
	}
	archive := filepath.Join(t.TempDir(), "ioctl.a")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", archive, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), "go", "tool", "objdump", "-s", `ioctl\.store$`, archive).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	code := string(out)
	if !regexp.MustCompile(`MOVL \w+, 0\(\w+\)`).MatchString(code) || strings.Contains(code, "XCHG") || strings.Contains(code, "LOCK") {
		t.Errorf("not one plain store:\n%s", code)
	}
}

func TestPointing(t *testing.T) {
	zero, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer zero.Close()
	to := make([]byte, 8)
	control(t, zero, func(fd uintptr) {
		for _, c := range []struct {
			len, at int
			to      []byte
			want    error
		}{
			{16, 8, to, unix.ENOTTY}, {16, 0, to, unix.ENOTTY}, {16, 9, to, unix.EINVAL},
			{16, -1, to, unix.EINVAL}, {7, 0, to, unix.EINVAL}, {16, 8, nil, unix.EINVAL},
		} {
			b := make([]byte, c.len)
			if _, err := ioctl.Pointing(fd, ioctl.IO(';', 113), b, c.at, c.to); err != c.want {
				t.Errorf("%d bytes, at %d: %v, want %v", c.len, c.at, err, c.want)
			}
			if c.want == unix.ENOTTY && binary.NativeEndian.Uint64(b[c.at:]) == 0 {
				t.Error("no address was put in")
			}
		}
	})
}
