package qemu

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest"
)

// Firmware returns where distributions keep UEFI firmware without Secure Boot, in the
// order in which it is looked for: the code, and variables as they come from the factory.
func Firmware() [][2]string {
	return [][2]string{
		{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},           // Debian, Ubuntu
		{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},                 // older ones
		{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},       // Fedora
		{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},   // Arch
		{"/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"}, // SUSE
		{"/usr/share/qemu/edk2-x86_64-code.fd", "/usr/share/qemu/edk2-i386-vars.fd"},     // QEMU's own
	}
}

// openUEFI opens the firmware that g wants and g's variables: with Secure Boot what the descriptors
// of the host say, which tell what a firmware is made to do, and otherwise what Firmware finds.
func openUEFI(h *inheritance, g guest.Guest) (code, variables int, err error) {
	if !g.SecureBoot {
		return openFirmware(h, g, Firmware())
	}
	return openSecure(h, g, descriptorDirs())
}

// openSecure is openUEFI of what has Secure Boot.
func openSecure(h *inheritance, g guest.Guest, dirs []string) (code, variables int, err error) {
	found, damaged := secureFirmware(dirs)
	var pairs [][2]string
	for _, f := range found {
		pairs = append(pairs, [2]string{f.Code, f.Variables})
	}
	code, variables, err = openFirmware(h, g, pairs)
	if errors.Is(err, errors.ErrUnsupported) {
		err = lacking("there is no UEFI firmware with Secure Boot here, of which a descriptor in " + dirs[len(dirs)-1] +
			" says secure-boot, enrolled-keys and requires-smm; install the package ovmf (Debian, Ubuntu), edk2-ovmf (Fedora) or qemu-ovmf-x86_64 (SUSE)")
		if damaged != nil {
			err = fmt.Errorf("%w: %w", err, damaged)
		}
	}
	return code, variables, err
}

// openFirmware opens the code of the UEFI firmware and the guest's variables, of the first
// of the pairs that is there.
func openFirmware(h *inheritance, g guest.Guest, pairs [][2]string) (code, variables int, err error) {
	for _, pair := range pairs {
		f, err := os.Open(pair[0])
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		code = h.add(f, pair[0])
		template, err := os.ReadFile(pair[1])
		if err != nil {
			return 0, 0, err
		}
		v, err := openVariables(h.rights, g.Variables, template)
		if err != nil {
			return 0, 0, err
		}
		return code, h.add(v, v.Name()), nil
	}
	return 0, 0, lacking("there is no UEFI firmware here; install the package ovmf (Debian, Ubuntu), edk2-ovmf (Fedora, Arch) or qemu-ovmf-x86_64 (SUSE)")
}

// openVariables opens the file name, made from template if it does not exist, or
// without a name a copy of template that nobody else has.
func openVariables(r Rights, name string, template []byte) (*os.File, error) {
	factory, err := memoryFile("uefi-variables", template, int64(len(template)))
	if err != nil || name == "" {
		return factory, err
	}
	defer factory.Close()
	f, err := r.Variables(name, factory)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() != int64(len(template))) {
		err = fmt.Errorf("%s does not hold the variables of this firmware, which are a file of %d bytes", name, len(template))
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// maxVariables is more than the variables of a firmware are.
const maxVariables = 16 << 20

// create makes the file name with content, whole or not at all.
func create(name string, content io.Reader) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".variables-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = io.Copy(f, content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Link(f.Name(), name); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// memoryFile returns a file of size bytes that begins with content and is in no
// directory.
func memoryFile(name string, content []byte, size int64) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	_, err = io.NewOffsetWriter(f, 0).Write(content)
	if err = errors.Join(err, f.Truncate(size)); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
