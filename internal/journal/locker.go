package journal

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLocks bounds what is read of /proc/locks: some ten thousand locks.
const maxLocks = 1 << 20

// Locker looks at all locks of the kernel (/proc/locks).
func (osDisk) Locker(name string) (pid int, err error) {
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	f, err := os.Open("/proc/locks")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxLocks))
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(uint64(st.Dev)), unix.Minor(uint64(st.Dev)), st.Ino)
	return locker(text, file), err
}

// locker finds who has taken the flock(2) of a file, as in `7: FLOCK  ADVISORY  WRITE 812
// 00:1a:1234 0 EOF` (proc_locks(5)). Who waits for one has -> behind its number.
func locker(text []byte, file string) (pid int) {
	for line := range bytes.Lines(text) {
		f := strings.Fields(string(line))
		if len(f) < 6 || f[1] != "FLOCK" || f[5] != file {
			continue
		}
		if n, err := strconv.Atoi(f[4]); err == nil && n > 0 {
			return n
		}
	}
	return 0
}
