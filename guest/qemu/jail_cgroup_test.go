package qemu

import (
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// TestOurs holds which processes are moved to make room for a guest's control group.
func TestOurs(t *testing.T) {
	child := exec.Command("/bin/sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(child.Process.Pid)
	for p, want := range map[string]bool{
		strconv.Itoa(os.Getpid()): true, pid: true, strconv.Itoa(os.Getppid()): false, "1": false,
	} {
		if got := ours(p); got != want {
			t.Errorf("process %s: %v", p, got)
		}
	}
	_ = child.Process.Kill()
	_ = child.Wait()
	if !ours(pid) {
		t.Error("a process that has ended keeps the others from being moved")
	}
}
