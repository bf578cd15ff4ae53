package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"github.com/project-independence/indy/guest/image"
)

// MakeDisk makes the qcow2 image file, which is not there yet, for an empty disk of size bytes, encrypted
// by LUKS unless there is no key. It runs
// qemu-img, as whoever QEMU runs as; without that program the error is
// errors.ErrUnsupported and names the package. On an error there is no such file.
func MakeDisk(ctx context.Context, file string, size int64, key *DiskKey) error {
	return makeImage(ctx, file, nil, key, func(made string, encrypted []string) []string {
		return append(append([]string{"create", "-q", "-f", "qcow2"}, encrypted...), made, strconv.FormatInt(size, 10))
	})
}

// ConvertDisk makes the qcow2 image file, which is not there yet, of what the open image holds in the given
// format. The image is one that [image.Check] takes: what refers to other files would be followed. Of
// root's images it reads those that whoever QEMU runs as may read. The rest is as of [MakeDisk].
func ConvertDisk(ctx context.Context, file string, open *os.File, format image.Format, key *DiskKey) error {
	name := string(format)
	if format == image.VHD {
		name = "vpc"
	}
	err := makeImage(ctx, file, open, key, func(made string, encrypted []string) []string {
		// The file that was checked, whatever has its name by now.
		return append(append([]string{"convert", "-q", "-f", name, "-O", "qcow2"}, encrypted...), "/proc/self/fd/4", made)
	})
	if err != nil {
		return fmt.Errorf("convert %s: %w", open.Name(), err)
	}
	return nil
}

func makeImage(ctx context.Context, file string, open *os.File, key *DiskKey, args func(made string, encrypted []string) []string) (err error) {
	const program = "qemu-img"
	binary, err := exec.LookPath(program)
	if err != nil {
		return fmt.Errorf("%s is not installed (%w); install the package qemu-utils (Debian, Ubuntu) or qemu-img (Fedora, Arch)", program, errors.ErrUnsupported)
	}
	cred, err := credential(User{})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			err = errors.Join(err, os.Remove(file))
		}
	}()
	if cred != nil { // it is that user's for as long as the program runs
		uid, gid := os.Geteuid(), os.Getegid()
		if err := f.Chown(int(cred.Uid), int(cred.Gid)); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Chown(uid, gid)) }()
	}
	files := []*os.File{f}
	if open != nil {
		files = append(files, open)
	}
	var encrypted []string
	if key != nil {
		pipe, err := keyPipe(key.Secret)
		if err != nil {
			return err
		}
		defer pipe.Close()
		how := []string{"encrypt.format", "luks", "encrypt.key-secret", "key"}
		if key.Random {
			how = append(how, "encrypt.iter-time", "10")
		}
		encrypted = []string{"--object", option("secret", "id", "key", "file", "/proc/self/fd/"+strconv.Itoa(3+len(files))), "-o", option("", how...)}
		files = append(files, pipe)
	}
	cmd := exec.CommandContext(ctx, binary, args("/proc/self/fd/3", encrypted)...)
	cmd.Env, cmd.Dir = []string{"LC_ALL=C"}, "/"
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, summary(string(out)))
	}
	return nil
}
