package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/project-independence/indy/guest/qmp"
)

// The oldest QEMU that is supported.
const (
	MinMajor = 7
	MinMinor = 2
)

const program = "qemu-system-x86_64"

// Find returns the path of QEMU. Without one the error is errors.ErrUnsupported
// and names the packages.
func Find() (string, error) {
	path, err := exec.LookPath(program)
	if err == nil {
		return path, nil
	}
	const redHat = "/usr/libexec/qemu-kvm"
	if info, err := os.Stat(redHat); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
		return redHat, nil
	}
	return "", lacking(program + " is not installed; install the package qemu-system-x86 (Debian, Ubuntu, Fedora, Arch) or qemu-kvm (RHEL)")
}

// lacking says what this host would need. It is errors.ErrUnsupported.
type lacking string

func (e lacking) Error() string { return string(e) }

func (e lacking) Is(target error) bool { return target == errors.ErrUnsupported }

// resolve returns the absolute path of binary, or of what Find finds if it is empty.
func resolve(binary string) (string, error) {
	if binary == "" {
		return Find()
	}
	path, err := exec.LookPath(binary)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// Version asks binary, or what Find finds if it is empty, for its version. One below MinMajor.MinMinor is returned
// together with an error that is errors.ErrUnsupported.
func Version(ctx context.Context, binary string) (qmp.Version, error) {
	binary, err := resolve(binary)
	if err != nil {
		return qmp.Version{}, err
	}
	cred, err := credential(User{})
	if err != nil {
		return qmp.Version{}, err
	}
	cmd := exec.CommandContext(ctx, binary, "--version")
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	out, err := cmd.Output()
	if err != nil {
		return qmp.Version{}, fmt.Errorf("%s --version: %w", binary, err)
	}
	v, err := parseVersion(out)
	if err != nil {
		return qmp.Version{}, fmt.Errorf("%s: %w", binary, err)
	}
	return v, checkVersion(v)
}

func parseVersion(out []byte) (v qmp.Version, err error) {
	line, _, _ := bytes.Cut(out, []byte("\n"))
	if n, _ := fmt.Sscanf(string(line), "QEMU emulator version %d.%d.%d", &v.Major, &v.Minor, &v.Micro); n < 2 {
		return qmp.Version{}, fmt.Errorf("no version in %.80q", line)
	}
	return v, nil
}

func checkVersion(v qmp.Version) error {
	if !v.AtLeast(MinMajor, MinMinor) {
		return lacking(fmt.Sprintf("QEMU %v is older than %d.%d, which is needed", v, MinMajor, MinMinor))
	}
	return nil
}
