package qemu

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// A Seal is what a credential is encrypted with, by systemd-creds.
type Seal string

// The seals. A credential opens only where it was made. The zero value is none of them.
const (
	HostSeal Seal = "host"      // a key in a file of root's on this host
	TPMSeal  Seal = "tpm2"      // the TPM 2.0 of this host, as long as it starts the same way (PCR 7)
	BothSeal Seal = "host+tpm2" // both of them
	NoSeal   Seal = "null"      // a key that everybody knows
)

// CredentialSeal returns what the credential in a file says that it is encrypted with, which is
// the zero value if that is none of those known here.
func CredentialSeal(file string) (Seal, error) {
	text, err := readCredential(file)
	return sealOf(text), err
}

// sealOf goes by what a credential begins with: 16 bytes, as systemd's creds-util.h lists them.
// Those of systemd 250 to 257 are here; one of another version is tried as it is.
func sealOf(text []byte) Seal {
	const length = 16
	text = bytes.Join(bytes.Fields(text), nil)
	kind := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	if n, _ := base64.StdEncoding.Decode(kind, text); n < length { // damage behind them is systemd's to tell
		return ""
	}
	switch hex.EncodeToString(kind[:length]) {
	case "5a1c6a86df9d4096b1d5a65e0862f19a", "55b9ed1d38594d43a8319d2ebb332ac6":
		return HostSeal
	case "0c7cc07b117645919c4b0bea08bc20fe", "faf7eb9341e3412ca1a436f95a29362f":
		return TPMSeal
	case "93a894094874449090caf2fc93cab553", "ef4ac13679a9480ea7db68897f9f165d",
		"af4950a849134eb1a73846304ff30c05", "adbc4ca3efb64201ba881b6f2e4095ea":
		return BothSeal
	case "058469daf6f54324800549da0f8ea2fb":
		return NoSeal
	}
	return ""
}

// takesTPM reports whether a TPM has to be asked.
func (s Seal) takesTPM() bool { return s == TPMSeal || s == BothSeal }

// tpmNode is the node of the TPM 2.0 that systemd-creds asks. The kernel makes none for a TPM 1.2.
const tpmNode = "/dev/tpmrm0"

// errNoTPM is errors.ErrUnsupported.
const errNoTPM = lacking("this host has no TPM 2.0 that can be used (" + tpmNode + " is not there); turn it on in the firmware's setup (Intel: PTT, AMD: fTPM)")

// checkTPM returns an error where the seal takes a TPM, and there is none.
func (s Seal) checkTPM() error {
	if !s.takesTPM() {
		return nil
	}
	if _, err := os.Stat(tpmNode); errors.Is(err, fs.ErrNotExist) {
		return errNoTPM
	}
	return nil
}

// explain says what systemd-creds does not: why a credential of a TPM does not open.
func (s Seal) explain(err error) error {
	if !s.takesTPM() || errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return fmt.Errorf("%w; it was sealed to a TPM 2.0, and opens with no other, nor with that one after it was cleared or when the host is started in another way, as with Secure Boot switched (PCR 7)", err)
}
