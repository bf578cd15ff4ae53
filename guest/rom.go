package guest

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/project-independence/indy/pci"
)

// A ROM is a file that takes the place of the option ROM of an assigned function. What
// the function itself holds is never run in a guest: another guest may have written it.
type ROM struct {
	Device pci.Address // one of the guest's devices
	File   string      // name of the file on the host
	SHA256 Digest      // of what is in it; any other content is refused
}

// A Digest is a SHA-256.
type Digest [sha256.Size]byte

// ParseDigest reads the 64 hexadecimal digits that String writes, in either case.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	if b, err := hex.DecodeString(s); err != nil || copy(d[:], b) != len(d) || len(b) != len(d) {
		return Digest{}, fmt.Errorf("sha256 %s: expected %d hexadecimal digits", quote(s), 2*len(d))
	}
	return d, nil
}

// String returns 64 hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

func validateROMs(roms []ROM, devices []pci.Address) (errs []error) {
	given := make(map[pci.Address]int, len(devices)) // how many ROMs each device has
	for _, a := range devices {
		given[a] = 0
	}
	for i, r := range roms {
		n, ok := given[r.Device]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("ROM %d: %v is not among the devices", i+1, r.Device))
			continue
		case n > 0:
			errs = append(errs, fmt.Errorf("ROM of %v: given twice", r.Device))
		case r.File == "" || strings.ContainsRune(r.File, 0):
			errs = append(errs, fmt.Errorf("ROM of %v: no file name", r.Device))
		case r.SHA256 == Digest{}:
			errs = append(errs, fmt.Errorf("ROM of %v: no sha256", r.Device))
		}
		given[r.Device]++
	}
	return errs
}
