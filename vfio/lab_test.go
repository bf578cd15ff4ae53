package vfio_test

import (
	"testing"

	"github.com/project-independence/indy/internal/lab/labtest"
)

// TestLab runs TestLive in the emulated laptop.
func TestLab(t *testing.T) { labtest.RunTest(t, "./vfio", "^TestLive", "") }
