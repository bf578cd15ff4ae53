package guest

import (
	"fmt"
	"path"
	"strings"
)

// A Key says where the key to an encrypted disk comes from. It is not the key, which no
// definition holds.
type Key struct {
	Kind KeyKind

	// File is the credential, with Credential.
	File string
}

// A KeyKind is a way to the key of a disk.
type KeyKind int

// The ways. The zero value is that there is no key, as the disk is not encrypted.
const (
	NoKey KeyKind = iota

	// Passphrase is what somebody says when the guest is started.
	Passphrase

	// Credential is a file encrypted by systemd-creds, with a key of the host, of its TPM
	// 2.0, or both. It is named, to systemd, as the file is.
	Credential
)

// MaxKey is how long a key to a disk may be: bytes of UTF-8 without a zero byte, as QEMU takes it.
const MaxKey = 512

// String returns none, passphrase or credential:FILE.
func (k Key) String() string {
	switch k.Kind {
	case NoKey:
		return "none"
	case Passphrase:
		return "passphrase"
	case Credential:
		return "credential:" + k.File
	}
	return fmt.Sprintf("KeyKind(%d)", int(k.Kind))
}

// ParseKey reads what String writes of a disk that is encrypted.
func ParseKey(s string) (Key, error) {
	file, is := strings.CutPrefix(s, "credential:")
	switch {
	case is && file != "":
		return Key{Credential, file}, nil
	case s == "passphrase":
		return Key{Kind: Passphrase}, nil
	}
	return Key{}, fmt.Errorf("expected passphrase or credential:FILE, found %s%s", quote(s), nearest(s, []string{"passphrase", "credential:"}))
}

// CredentialName is the name that the credential has to systemd-creds, which is encrypted
// with it: the last part of its file's.
func (k Key) CredentialName() string { return path.Base(k.File) }

// badKey says why a disk cannot have the key, or nothing.
func (d Disk) badKey() string {
	switch k := d.Key; {
	case k.Kind < NoKey || k.Kind > Credential:
		return k.String() + " is no key"
	case (k.File != "") != (k.Kind == Credential):
		return "a credential, and no other key, is in a file"
	case strings.ContainsRune(k.File, 0):
		return "the name of a credential has no zero byte"
	case k.Kind == Credential && (k.CredentialName() == "." || k.CredentialName() == ".." || k.CredentialName() == "/" || len(k.CredentialName()) > maxCredentialName):
		return fmt.Sprintf("%s is no name of a credential, which is a file's of at most %d bytes", quote(k.File), maxCredentialName)
	case k.Kind != NoKey && (d.CDROM || d.Format != Qcow2):
		return "only a qcow2 disk can be encrypted; it goes with format: qcow2"
	}
	return ""
}

// maxCredentialName is what systemd takes: a name in a folder, which no other credential has.
const maxCredentialName = 255

// AsksPassphrase reports whether a disk of the guest is opened by a passphrase, so that nothing
// starts it but somebody who knows that.
func (d Definition) AsksPassphrase() bool {
	for _, k := range d.Disks {
		if k.Key.Kind == Passphrase {
			return true
		}
	}
	return false
}
