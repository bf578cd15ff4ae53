package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// maxCredential is how long the file of a credential may be; one with a key of the TPM and a
// signed policy has a few kilobytes.
const maxCredential = 64 << 10

// OpenCredential returns what a credential holds, the key to a disk. It runs systemd-creds, which
// asks the TPM where that is what it was encrypted with; root alone has the key of the host. The name of the credential is that
// of its file. The error is errors.ErrUnsupported, and names what is missing, without the program, and without a TPM
// where it takes one. A credential that is encrypted with no key is refused.
func OpenCredential(ctx context.Context, file string) ([]byte, error) {
	text, err := readCredential(file)
	if err != nil {
		return nil, err
	}
	seal := sealOf(text)
	if seal == NoSeal {
		return nil, fmt.Errorf("the credential %s is encrypted with no key, so that whoever reads it has the key to the disk; make it again by systemd-creds encrypt --with-key=host, tpm2 or host+tpm2", file)
	}
	var secret []byte
	if err = seal.checkTPM(); err == nil {
		secret, err = systemdCreds(ctx, bytes.NewReader(text), "decrypt", "--newline=no", "--name="+filepath.Base(file), "-", "-")
	}
	if err != nil {
		return nil, fmt.Errorf("open the credential %s: %w", file, seal.explain(err))
	}
	if err := CheckKey(secret); err != nil {
		clear(secret)
		return nil, fmt.Errorf("the credential %s: %w", file, err)
	}
	return secret, nil
}

// readCredential reads a credential, as it is.
func readCredential(file string) ([]byte, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	var text []byte
	if info.Mode().IsRegular() {
		if text, err = io.ReadAll(io.LimitReader(f, maxCredential+1)); err != nil {
			return nil, err
		}
	}
	if len(text) == 0 || len(text) > maxCredential {
		return nil, fmt.Errorf("%s is no credential, which is a file of at most %d bytes", file, maxCredential)
	}
	return text, nil
}

// MakeCredential makes the file, which is not there yet, of a credential that holds the secret. On an
// error there is no such file; else it is as of [OpenCredential].
func MakeCredential(ctx context.Context, file string, seal Seal, secret []byte) (err error) {
	if seal != HostSeal && seal != TPMSeal {
		return fmt.Errorf("a credential is not encrypted with %q; expected %s or %s", seal, HostSeal, TPMSeal)
	}
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, &fs.PathError{Op: "create", Path: file, Err: fs.ErrExist})
	}
	var text []byte
	if err = seal.checkTPM(); err == nil {
		text, err = systemdCreds(ctx, bytes.NewReader(secret), "encrypt", "--with-key="+string(seal), "--name="+filepath.Base(file), "-", "-")
	}
	if got := sealOf(text); err == nil && got != seal && got != "" {
		err = fmt.Errorf("systemd-creds was to encrypt with %s, and did so with %s", seal, got)
	}
	if err != nil {
		return fmt.Errorf("make the credential %s: %w", file, err)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		err = errors.Join(err, os.Remove(file))
	}
	return err
}

// systemdCreds runs systemd-creds with an input, and returns its output.
func systemdCreds(ctx context.Context, in io.Reader, args ...string) ([]byte, error) {
	const program = "systemd-creds"
	binary, err := exec.LookPath(program)
	if err != nil {
		return nil, lacking(program + " is not installed; install the package systemd, of version 250 or later (252 in Debian 12)")
	}
	out := bounded{b: make([]byte, 0, maxCredential)} // which is not moved, so that it can be overwritten
	said := new(tail)
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env, cmd.Dir = []string{"LC_ALL=C"}, "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, said
	if err := cmd.Run(); err != nil {
		clear(out.b)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if words := summary(said.String()); words != "" {
			err = fmt.Errorf("%w: %s", err, words)
		}
		if w := said.String(); strings.Contains(w, "TPM2 support not installed") || strings.Contains(w, "TPM2 support is not installed") {
			err = lacking(strings.TrimSuffix(err.Error(), ".") + "; install the packages libtss2-esys-3.0.2-0, libtss2-rc0 and libtss2-tcti-device0 (Debian 12), or tpm2-tss")
		}
		return nil, fmt.Errorf("%s: %w", program, err)
	}
	return out.b, nil
}

// bounded takes as much as it has room for.
type bounded struct{ b []byte }

func (o *bounded) Write(p []byte) (int, error) {
	if len(p) > cap(o.b)-len(o.b) {
		return 0, fmt.Errorf("more than %d bytes", cap(o.b))
	}
	o.b = append(o.b, p...)
	return len(p), nil
}
