package power

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"github.com/project-independence/indy/hostfs"
)

// A Battery is what is left in the batteries of the host together. The zero value is that it
// is not known, as without one.
type Battery struct {
	Known       bool `json:"known"`
	Percent     int  `json:"percent"` // 0 to 100
	Discharging bool `json:"discharging"`
}

const supplies = "sys/class/power_supply"

// maxSupplies is how many supplies are looked at.
const maxSupplies = 64

// ReadBattery reads the batteries that feed the host, /sys/class/power_supply of the
// kernel's ABI (testing/sysfs-class-power): not those of a mouse, whose scope is Device. Each
// counts by what it holds when it is full. A battery of which the kernel does not know whether
// it is charged is discharged when there are mains, and none is plugged in. The battery may
// be known although there is an error, which says what could not be read.
func ReadBattery(fsys fs.FS) (Battery, error) {
	entries, err := fs.ReadDir(fsys, supplies)
	if errors.Is(err, fs.ErrNotExist) {
		return Battery{}, nil
	}
	errs := []error{err}
	var now, full float64 // of all batteries, by the same measure
	var mains, plugged, unknown bool
	var b Battery
	for _, e := range entries[:min(len(entries), maxSupplies)] {
		at := supplies + "/" + e.Name() + "/"
		kind, err := hostfs.ReadString(fsys, at+"type")
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
			continue
		}
		if s, _ := hostfs.ReadString(fsys, at+"scope"); s == "Device" {
			continue
		}
		if kind != "Battery" {
			online, err := hostfs.ReadString(fsys, at+"online")
			mains = mains || err == nil
			plugged = plugged || err == nil && online != "0"
			continue
		}
		if present, err := hostfs.ReadString(fsys, at+"present"); err == nil && present == "0" {
			continue
		}
		percent, err := readPercent(fsys, at+"capacity")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		size := 1.0
		for _, name := range []string{"energy_full", "charge_full"} {
			if n, err := readPositive(fsys, at+name); err == nil {
				size = n
				break
			}
		}
		b.Known = true
		now += size * float64(percent)
		full += size
		status, err := hostfs.ReadString(fsys, at+"status")
		b.Discharging = b.Discharging || status == "Discharging"
		unknown = unknown || err != nil || status == "Unknown"
	}
	if b.Known {
		b.Percent = int(now / full)
		b.Discharging = b.Discharging || unknown && mains && !plugged
	}
	return b, errors.Join(errs...)
}

func readPercent(fsys fs.FS, name string) (int, error) {
	s, err := hostfs.ReadString(fsys, name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("/%s: %.20q is no percentage", name, s)
	}
	return min(n, 100), nil // some say 101
}

func readPositive(fsys fs.FS, name string) (float64, error) {
	s, err := hostfs.ReadString(fsys, name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err == nil && n <= 0 {
		err = fmt.Errorf("/%s: %d is nothing", name, n)
	}
	return float64(n), err
}

const lids = "proc/acpi/button/lid"

// ReadLid reads whether the lid is closed, /proc/acpi/button/lid/*/state. It is not known
// where there is none.
func ReadLid(fsys fs.FS) (closed, known bool) {
	entries, err := fs.ReadDir(fsys, lids)
	if err != nil {
		return false, false
	}
	for _, e := range entries[:min(len(entries), maxSupplies)] {
		s, err := hostfs.ReadString(fsys, lids+"/"+e.Name()+"/state")
		if err != nil {
			continue
		}
		if word, ok := strings.CutPrefix(s, "state:"); ok {
			word = strings.TrimSpace(word)
			known = known || word == "open" || word == "closed"
			closed = closed || word == "closed"
		}
	}
	return closed, known
}

// LidInputs returns the nodes of input devices that say when the lid is closed or opened:
// those with the switch SW_LID, bit 0 of capabilities/sw. Their names are below the root
// without the slash.
func LidInputs(fsys fs.FS) []string {
	const inputs = "sys/class/input"
	entries, err := fs.ReadDir(fsys, inputs)
	if err != nil {
		return nil
	}
	var nodes []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "event") {
			continue
		}
		s, err := hostfs.ReadString(fsys, inputs+"/"+e.Name()+"/device/capabilities/sw")
		if err != nil {
			continue
		}
		words := strings.Fields(s) // the lowest bits last
		if len(words) == 0 {
			continue
		}
		if bits, err := strconv.ParseUint(words[len(words)-1], 16, 64); err == nil && bits&1 != 0 {
			nodes = append(nodes, "dev/input/"+e.Name())
		}
	}
	return nodes
}

// The codes of linux/input-event-codes.h.
const (
	evSwitch  = 0x05
	switchLid = 0
)

// inputEvent is how long struct input_event of linux/input.h is on 64 bits.
const inputEvent = 24

// Lid reads events of an input device and says each time whether the lid is closed, until
// reading fails, which it returns; io.EOF is nothing wrong. It blocks.
func Lid(r io.Reader, changed func(closed bool)) error {
	b := bufio.NewReaderSize(r, 64*inputEvent)
	var e [inputEvent]byte
	for {
		if _, err := io.ReadFull(b, e[:]); err != nil {
			return err
		}
		kind, code, value := binary.NativeEndian.Uint16(e[16:]), binary.NativeEndian.Uint16(e[18:]), binary.NativeEndian.Uint32(e[20:])
		if kind == evSwitch && code == switchLid {
			changed(value != 0)
		}
	}
}
