package gpu

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/project-independence/indy/pci"
)

const switcheroo = "sys/kernel/debug/vgaswitcheroo/switch"

const maxClients = 64

// A SwitchClient is one of the functions between which the kernel can switch, by
// vga_switcheroo: the GPUs of a hybrid laptop and the sound functions of GPUs.
type SwitchClient struct {
	Function pci.Address
	Discrete bool // DIS, else IGD: what the laptop's firmware calls integrated
	Audio    bool

	// Active is of the GPU whose outputs are in use where they can be switched; on
	// laptops without a MUX it is the one that booted, for good.
	Active  bool
	Powered bool
	Dynamic bool // its driver powers it off while it is idle; nothing is to be switched
}

// ParseSwitcheroo reads lines as 0:DIS:+:DynPwr:0000:01:00.0 and
// 1:IGD-Audio: :Off:0000:00:1f.3, as drivers/gpu/vga/vga_switcheroo.c writes them.
// The error joins one for each line that is none; the others are returned.
func ParseSwitcheroo(data []byte) ([]SwitchClient, error) {
	var clients []SwitchClient
	var errs []error
	for line := range bytes.Lines(data) {
		s := strings.TrimRight(string(line), "\n")
		if s == "" {
			continue
		}
		if len(clients)+len(errs) == maxClients {
			errs = append(errs, fmt.Errorf("more than %d lines", maxClients))
			break
		}
		c, err := parseClient(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("line %.64q: %w", s, err))
			continue
		}
		clients = append(clients, c)
	}
	return clients, errors.Join(errs...)
}

func parseClient(s string) (SwitchClient, error) {
	var c SwitchClient
	field := strings.SplitN(s, ":", 5)
	if len(field) < 5 {
		return c, errors.New("expected number, name, +, power and address, with colons between")
	}
	name, audio := strings.CutSuffix(field[1], "-Audio")
	if name != "DIS" && name != "IGD" {
		return c, errors.New("expected DIS or IGD")
	}
	power, dynamic := strings.CutPrefix(field[3], "Dyn")
	if power != "Pwr" && power != "Off" {
		return c, errors.New("expected Pwr or Off")
	}
	a, err := pci.ParseAddress(field[4])
	if err != nil {
		return c, err
	}
	return SwitchClient{Function: a, Discrete: name == "DIS", Audio: audio, Active: field[2] == "+", Powered: power == "Pwr", Dynamic: dynamic}, nil
}

// ReadSwitcheroo reads /sys/kernel/debug/vgaswitcheroo/switch, which root alone may
// and which is there when drivers of two GPUs of a hybrid laptop are. The error is
// an *[OpError]: [fs.ErrNotExist] without it, [fs.ErrPermission] without rights.
func ReadSwitcheroo(fsys fs.FS) ([]SwitchClient, error) {
	data, err := fs.ReadFile(fsys, switcheroo)
	if err != nil {
		return nil, &OpError{"read the switch of hybrid graphics", "", err}
	}
	clients, err := ParseSwitcheroo(data)
	if err != nil {
		err = &OpError{"read the switch of hybrid graphics", "", err}
	}
	return clients, err
}
