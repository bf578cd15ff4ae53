package ioctl_test

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/internal/ioctl"
)

// What a filter does is shown in internal/fakehost.
func TestSuperviseNothing(t *testing.T) {
	if fd, err := ioctl.Supervise(nil); !errors.Is(err, unix.EINVAL) || fd != -1 {
		t.Errorf("%d, %v", fd, err)
	}
}
