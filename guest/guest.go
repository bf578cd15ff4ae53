package guest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/project-independence/indy/pci"
)

// The bounds that Validate holds a guest to.
const (
	MaxCPUs    = 255      // without an interrupt-remapping unit inside the guest
	MinMemory  = 16 << 20 // below it no firmware starts
	MaxMemory  = 4 << 40
	MaxDisks   = 16
	MaxDevices = 32
	MaxNICs    = 8
	MaxUSB     = 13 // the controller has 15 ports, and keyboard and tablet may want two
	maxFolders = 16
	MaxEvdev   = 16
	maxSATA    = 6 // the ports of the chipset's controller
)

// A Guest is a virtual machine to be run. Name and Memory must be given; every
// other zero value is a choice, named at its field.
type Guest struct {
	// Name is [a-z0-9][a-z0-9-]{0,62}.
	Name string

	// CPUs is the number of processors; 0 is 1.
	CPUs int

	// Memory is the size of the guest's memory in bytes, in whole MiB.
	Memory int64

	// Firmware is what starts the guest; the zero value is BIOS.
	Firmware Firmware

	// SecureBoot has the firmware start only what is signed with a key that Microsoft, or a
	// system in the guest, has enrolled. Only with UEFI; the variables are those of such a
	// firmware.
	SecureBoot bool

	// Variables is the file that keeps the UEFI variables, boot entries among them,
	// from one run to the next. It is made at the first start. Empty: they last as
	// long as the run. Only with UEFI.
	Variables string

	// Disks are the guest's disks, in boot order.
	Disks []Disk

	// Devices are the host's PCI functions assigned to the guest, which come after
	// the disks in boot order. Functions of one device (0000:01:00.0 and .1) appear
	// as functions of one device in the guest if function 0 is among them.
	Devices []pci.Address

	// ROMs are option ROMs for some of the devices. A device without has none.
	ROMs []ROM

	// TPM is the directory that keeps the state of the guest's TPM 2.0, made at the
	// first start. Empty: the guest has none.
	TPM string

	// NICs are the guest's network interfaces; nil is no network at all.
	NICs []NIC

	// Sound is the guest's sound card; the zero value is none.
	Sound SoundCard

	// Graphics is what the guest draws with; the zero value is nothing.
	Graphics Graphics

	// Screen is where what the guest draws is seen; the zero value is nowhere.
	Screen Screen

	// Input is what moves the guest's pointer and types; the zero value is what the
	// chipset has, a PS/2 keyboard and mouse.
	Input Input

	// USB are the host's USB devices that are assigned to the guest; the zero value
	// is none, nor anything to plug one in.
	USB USB

	// Folders are the host's folders that the guest sees; nil is none.
	Folders []SharedFolder

	// Agent gives the guest a serial port, org.qemu.guest_agent.0 on virtio, on which its
	// QEMU guest agent can be asked whether it is there.
	Agent bool
}

// A Firmware is the program a guest's processor starts with.
type Firmware int

// The firmwares.
const (
	BIOS Firmware = iota
	UEFI
)

// String returns "bios" or "uefi".
func (f Firmware) String() string {
	switch f {
	case BIOS:
		return "bios"
	case UEFI:
		return "uefi"
	}
	return fmt.Sprintf("Firmware(%d)", int(f))
}

// ParseFirmware reads what String writes.
func ParseFirmware(s string) (Firmware, error) {
	switch s {
	case "bios":
		return BIOS, nil
	case "uefi":
		return UEFI, nil
	}
	return 0, fmt.Errorf("firmware %s: expected bios or uefi", quote(s))
}

// Validate returns nil if g can be run as far as can be said without looking at a
// host, and otherwise an error with every reason why not, joined.
func (g Guest) Validate() error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("guest %s: "+format, append([]any{quote(g.Name)}, args...)...))
	}
	if err := ValidateName(g.Name); err != nil {
		errs = append(errs, err)
	}
	if g.CPUs < 0 || g.CPUs > MaxCPUs {
		bad("cpus: %d is not between 1 and %d", g.CPUs, MaxCPUs)
	}
	switch {
	case g.Memory < MinMemory || g.Memory > MaxMemory:
		bad("memory: %s is not between %s and %s", FormatSize(g.Memory), FormatSize(MinMemory), FormatSize(MaxMemory))
	case g.Memory%(1<<20) != 0:
		bad("memory: %d bytes are not whole MiB", g.Memory)
	}
	if g.Firmware != BIOS && g.Firmware != UEFI {
		bad("firmware: %v is none", g.Firmware)
	}
	if g.Variables != "" && g.Firmware != UEFI {
		bad("variables: only UEFI keeps any")
	}
	if g.SecureBoot && g.Firmware != UEFI {
		bad("secure boot: only UEFI has it")
	}
	if strings.ContainsRune(g.Variables, 0) {
		bad("variables: a file name has no zero byte")
	}
	for _, err := range validateDisks(g.Disks) {
		bad("%w", err)
	}
	for _, err := range validateDevices(g.Devices) {
		bad("%w", err)
	}
	for _, err := range slices.Concat(validateROMs(g.ROMs, g.Devices), g.validateShared()) {
		bad("%w", err)
	}
	return errors.Join(errs...)
}

// ValidateName returns nil if name can be a guest's name, [a-z0-9][a-z0-9-]{0,62}.
func ValidateName(name string) error {
	ok := len(name) >= 1 && len(name) <= 63 && name[0] != '-'
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-'
	}
	if !ok {
		return fmt.Errorf("guest name %s: expected 1 to 63 of a-z, 0-9 and -, not starting with -", quote(name))
	}
	return nil
}

func validateDevices(devices []pci.Address) (errs []error) {
	if len(devices) > MaxDevices {
		errs = append(errs, fmt.Errorf("devices: %d are more than %d", len(devices), MaxDevices))
	}
	seen := make(map[pci.Address]bool, len(devices))
	for i, a := range devices {
		switch {
		case !a.IsValid():
			errs = append(errs, fmt.Errorf("device %d: no address", i+1))
		case seen[a]:
			errs = append(errs, fmt.Errorf("device %v: given twice", a))
		}
		seen[a] = true
	}
	return errs
}

// validateShared says what is wrong with what the guest shares with the host.
func (g Guest) validateShared() (errs []error) {
	if strings.ContainsRune(g.TPM, 0) {
		errs = append(errs, errors.New("tpm: a file name has no zero byte"))
	}
	return slices.Concat(errs, validateNICs(g.NICs), g.Sound.validate(), validateScreen(g.Graphics, g.Screen),
		g.Input.validate(), g.USB.validate(), validateFolders(g.Folders))
}

// quote keeps an error message readable and on one line whatever text it quotes.
func quote(s string) string {
	if len(s) > 128 {
		s = s[:128] + "..."
	}
	return fmt.Sprintf("%q", s)
}
