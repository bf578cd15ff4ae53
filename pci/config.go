package pci

import (
	"errors"
	"fmt"
	"io/fs"
)

const (
	maxConfig    = 4096   // configuration space of a PCI Express function
	baseConfig   = 256    // of a conventional function, and of any the part before 0x100
	headerLength = 64     // what everybody may read
	allOnes      = 0xff   // each byte of what nothing answers to
	noVendor     = 0xffff // in virtual functions; their ids are in SR-IOV
)

// What a question about configuration space may end in besides an answer. "Not
// there" is only ErrNoCapability; the others mean that it is not known.
var (
	// ErrNoAnswer: every byte reads as ones. The function sleeps in D3cold, or is gone.
	ErrNoAnswer = errors.New("configuration space reads as all ones: the function sleeps in D3cold or is gone")
	// ErrUnread: the answer is in bytes that were not read. Without root the kernel
	// gives 64 bytes, and 256 where it cannot reach extended configuration space.
	ErrUnread = errors.New("not among the bytes of configuration space that were read; reading all of them takes root")
	// ErrMalformed: what was read contradicts the specification, such as a chain of
	// capabilities that loops.
	ErrMalformed = errors.New("what the function says of itself is malformed")
	// ErrNoCapability: the function does not have the capability.
	ErrNoCapability = errors.New("the function has no such capability")
)

// A Config is what was read of a function's configuration space, from its
// beginning on: 64 bytes without root (128 of a CardBus bridge), 256 of a
// conventional function, 4096 of a PCI Express one. The zero Config knows nothing:
// all questions to it end in [ErrUnread]. Configs are comparable.
//
// The bytes come from the device and are untrusted; whatever they are, methods
// return in bounded time.
type Config struct{ b string }

// NewConfig returns the Config of data, from offset 0 on. More than 4096 bytes are
// an error.
func NewConfig(data []byte) (Config, error) {
	if len(data) > maxConfig {
		return Config{}, fmt.Errorf("configuration space of %d bytes; there are at most %d", len(data), maxConfig)
	}
	return Config{string(data)}, nil
}

// ReadConfig reads what the caller may see of a function's configuration space,
// from /sys/bus/pci/devices/ADDRESS/config. Reading it wakes a function that is
// suspended and may block for the time that takes, at most some seconds; no listing
// of this package does it.
//
// The error is an *[OpError]. It is [ErrNoAnswer] when all bytes are ones; the
// Config is returned all the same.
func ReadConfig(fsys fs.FS, a Address) (Config, error) {
	data, err := fs.ReadFile(fsys, devices+"/"+a.String()+"/config")
	var c Config
	if err == nil {
		c, err = NewConfig(data)
	}
	if err == nil && c.Len() > 0 && !c.Answers() {
		err = ErrNoAnswer
	}
	if err != nil {
		return c, opError("read config of", a, err)
	}
	return c, nil
}

// Len returns how many bytes are known.
func (c Config) Len() int { return len(c.b) }

// Bytes returns a copy of the bytes that are known.
func (c Config) Bytes() []byte { return []byte(c.b) }

// Answers reports whether any byte of the header that is known is not 0xff. A
// vendor id of ffff alone says nothing: virtual functions have it.
func (c Config) Answers() bool {
	for i := range min(len(c.b), headerLength) {
		if c.b[i] != allOnes {
			return true
		}
	}
	return false
}

// header says why nothing can be said of the header.
func (c Config) header() error {
	switch {
	case len(c.b) < headerLength:
		return ErrUnread
	case !c.Answers():
		return ErrNoAnswer
	}
	return nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

// Registers are little-endian. The callers have checked that they are there.

func le16(s string, at int) uint16 { return uint16(s[at]) | uint16(s[at+1])<<8 }
func le32(s string, at int) uint32 { return uint32(le16(s, at)) | uint32(le16(s, at+2))<<16 }
func le64(s string, at int) uint64 { return uint64(le32(s, at)) | uint64(le32(s, at+4))<<32 }

func bit[T uint8 | uint16 | uint32 | uint64](v T, n int) bool { return v>>n&1 != 0 }
