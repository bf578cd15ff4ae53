package lab

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"path/filepath"
	"time"
)

// selfTestLimit is far more than the self-test takes on a slow machine.
const selfTestLimit = 15 * time.Minute

// SelfTest proves with the given indy program, in an emulated laptop from l, that
// devices go to a guest and come back. It writes a line to out for each step that
// has passed, and returns an error for the first that does not.
//
// The proof that a guest runs from the assigned disk is a random number that is only
// on that disk: SelfTest writes it to the disk's boot sector, boots the laptop, and
// runs "INDY selftest --inside --nonce NUMBER" there, which has to call
// [SelfTestInside]. The number must appear on the guest's serial line.
func SelfTest(ctx context.Context, l *Lab, indy string, out io.Writer) error {
	indy, err := filepath.Abs(indy)
	if err != nil {
		return err
	}
	if indy, err = filepath.EvalSymlinks(indy); err != nil {
		return err
	}
	nonce := rand.Text()
	sector, err := BootSector("this guest runs from the assigned disk " + nonce)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, selfTestLimit,
		fmt.Errorf("the self-test took longer than %v", selfTestLimit))
	defer cancel()
	begun := time.Now()
	fmt.Fprintf(out, "booting the emulated laptop: Linux %s, Intel IOMMU, software emulation\n", l.KernelVersion())
	status, err := l.Run(ctx, Machine{
		Args:   []string{indy, "selftest", "--inside", "--nonce", nonce},
		Stdout: out,
		sector: sector,
	})
	if err != nil {
		return err
	}
	if status != 0 {
		return fmt.Errorf("the self-test failed inside the emulated laptop, exit status %d", status)
	}
	fmt.Fprintf(out, "the emulated laptop is off again after %.0f s\n", time.Since(begun).Seconds())
	return nil
}
