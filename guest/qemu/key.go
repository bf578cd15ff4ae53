package qemu

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/project-independence/indy/guest"
)

// A DiskKey is the key to a disk that is encrypted by LUKS.
type DiskKey struct {
	// Secret is as [CheckKey] wants it.
	Secret []byte

	// Random says that nobody can guess it, as of [NewKey]: it is not made slow to try, which would
	// make each start slow.
	Random bool
}

// NewKey returns a key of 256 random bits, in hexadecimal digits.
func NewKey() DiskKey {
	var b [32]byte
	_, _ = rand.Read(b[:]) // which never fails
	defer clear(b[:])
	return DiskKey{hex.AppendEncode(nil, b[:]), true}
}

// CheckKey returns nil if QEMU takes the secret for a key: 1 to [guest.MaxKey] bytes of UTF-8
// without a zero byte. The error does not say what it is.
func CheckKey(secret []byte) error {
	switch {
	case len(secret) == 0:
		return errors.New("the key to the disk is empty")
	case len(secret) > guest.MaxKey:
		return fmt.Errorf("the key to the disk has %d bytes, more than %d", len(secret), guest.MaxKey)
	case !utf8.Valid(secret) || bytes.IndexByte(secret, 0) >= 0:
		return errors.New("the key to the disk is no text in UTF-8 without zero bytes, which QEMU wants; base64 makes one of anything")
	}
	return nil
}

// A KeyError is that a key does not open the disk that it is for.
type KeyError struct {
	File string // of the disk
}

// wrongKey is what QEMU says of one.
const wrongKey = "Invalid password, cannot unlock any keyslot"

// Error names the disk, and says what QEMU does.
func (e *KeyError) Error() string {
	return "the key does not open the disk " + e.File + " (QEMU: " + wrongKey + ")"
}

// keyError returns the error of a QEMU that could not open a disk for want of the right key,
// and otherwise err.
func keyError(g guest.Guest, err error) error {
	var exit *ExitError
	if !errors.As(err, &exit) {
		return err
	}
	for line := range strings.Lines(exit.Stderr) {
		if !strings.Contains(line, wrongKey) {
			continue
		}
		for i, d := range g.Disks {
			if d.Key.Kind != guest.NoKey && strings.Contains(line, `"node-name":"node`+strconv.Itoa(i)+`"`) {
				return &KeyError{d.File}
			}
		}
	}
	return err
}

// openKeys makes, for each disk that is encrypted, a pipe with its key, and returns their
// descriptors. A pipe is read once: when QEMU has the key it is nowhere else.
func openKeys(h *inheritance, g guest.Guest, o Options) ([]int, error) {
	var fds []int
	for i, d := range g.Disks {
		if d.Key.Kind == guest.NoKey {
			continue
		}
		if fds == nil {
			fds = make([]int, len(g.Disks))
		}
		if i >= len(o.Keys) {
			return nil, fmt.Errorf("disk %d: %s is encrypted, and there is no key to it", i+1, d.File)
		}
		f, err := keyPipe(o.Keys[i])
		if err != nil {
			return nil, fmt.Errorf("disk %d: %w", i+1, err)
		}
		fds[i] = h.add(f, "the key to "+d.File)
	}
	return fds, nil
}

// keyPipe returns a pipe from which whoever inherits it reads the secret.
func keyPipe(secret []byte) (*os.File, error) {
	if err := CheckKey(secret); err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	// It is opened anew by its name in /proc, where nobody comes to it who may not trace who has it.
	if err = r.Chmod(0o444); err == nil {
		_, err = w.Write(secret) // less than a pipe holds
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// forget overwrites the keys.
func (o Options) forget() {
	for _, k := range o.Keys {
		clear(k)
	}
}

// keyID is what QEMU calls the key to the i-th disk.
func keyID(i int) string { return "key" + strconv.Itoa(i) }

// keys has QEMU read the keys of the disks.
func (b *builder) keys(g guest.Guest, l Layout) {
	for i, d := range g.Disks {
		if d.Key.Kind != guest.NoKey {
			// QEMU does not look for secrets in its sets of descriptors.
			b.json("-object", value{"qom-type": "secret", "id": keyID(i), "file": "/proc/self/fd/" + strconv.Itoa(l.Keys[i])})
		}
	}
}
