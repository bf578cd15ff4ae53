package keeper

import (
	"errors"
	"os"
	"time"
)

// endLimit is how long a runner may take to end when it has nothing more to ask.
const endLimit = 20 * time.Second

// A Runner is a process that was started; see [broker.Apart], which is one.
type Runner interface {
	Kill()
	Wait()
}

// Keep starts a runner by start, which gives it the socket for [NewClient], and does for it what
// it asks until it has ended. The error is that of starting it, or of giving the devices back
// for one that did not do so itself.
func Keep(c Config, start func(socket *os.File) (Runner, error)) error {
	near, far, err := pair()
	if err != nil {
		return err
	}
	r, err := start(far)
	if err = errors.Join(err, far.Close()); err != nil {
		return errors.Join(err, near.Close())
	}
	go func() {
		r.Wait()
		_ = near.Close() // which ends what is asked, also if somebody else has the other end
	}()
	err = serve(near, c)
	late := time.AfterFunc(endLimit, r.Kill)
	defer late.Stop()
	r.Wait()
	return err
}
