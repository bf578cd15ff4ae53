// Hardwareguest is all that runs in Linux guests to which devices are assigned: their first
// process, and what udhcpc calls. It drives whatever PCI functions it finds, one after the
// other, and says what came of it, a line each, on the serial port.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() != 1 {
		lease()
		return
	}
	for _, m := range [][2]string{{"proc", "proc"}, {"sysfs", "sys"}, {"devtmpfs", "dev"}} {
		if err := unix.Mount(m[0], "/"+m[1], m[0], 0, ""); err != nil && err != unix.EBUSY {
			say("mount /%s: %v", m[1], err)
		}
	}
	say("up after %s s", strings.Fields(read("/proc/uptime") + " ?")[0])
	drivers := []struct {
		class   string // what the class of a function begins with
		modules []string
		drive   func() error
	}{
		{"0x0108", []string{"nvme"}, store},
		{"0x0403", []string{"snd_hda_codec_generic", "snd_hda_intel", "snd_mixer_oss", "snd_pcm_oss"}, play},
		{"0x0200", []string{"e1000e"}, ask},
		{"0x0380", []string{"bochs"}, paint},
		{"0x0c0330", []string{"xhci_pci", "usbhid", "hid_generic", "evdev"}, listen},
	}
	functions, err := filepath.Glob("/sys/bus/pci/devices/*/class")
	if err != nil || len(functions) == 0 {
		say("%d functions, %v", len(functions), err)
	}
	driven, failed := 0, 0
	for _, d := range drivers {
		for _, f := range functions {
			if !strings.HasPrefix(read(f), d.class) {
				continue
			}
			driven++
			err := load(d.modules)
			if err == nil {
				err = d.drive()
			}
			if err != nil {
				failed++
				say("%s: %v", d.class, err)
			}
		}
	}
	say("drove %d, failed %d", driven, failed)
	for {
		time.Sleep(time.Hour)
	}
}

func say(format string, args ...any) { fmt.Printf("guest: "+format+"\r\n", args...) }

func read(name string) string {
	text, err := os.ReadFile(name)
	if err != nil {
		say("%v", err)
	}
	return strings.TrimSpace(string(text))
}

// load loads modules and what they need.
func load(names []string) error {
	for _, name := range names {
		for file := range strings.Lines(read("/modules/" + name + ".load")) {
			f, err := os.Open("/modules/" + strings.TrimSpace(file))
			if err != nil {
				return err
			}
			err = unix.FinitModule(int(f.Fd()), "", 0)
			f.Close()
			if err != nil && err != unix.EEXIST {
				return fmt.Errorf("%s: %w", file, err)
			}
		}
	}
	return nil
}

// await waits until something has a name of the pattern that is wanted, and returns it.
func await(pattern string, wanted func(name string) bool) (string, error) {
	for range 1200 {
		names, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		for _, name := range names {
			if wanted == nil || wanted(name) {
				return name, nil
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return "", fmt.Errorf("no %s", pattern)
}

// Where on the disk something is read, and where something is written.
const (
	readAt  = 1 << 20
	writeAt = 2 << 20
	block   = 4096
)

// store reads a block of the disk, and writes it to another place in capitals.
func store() error {
	name, err := await("/dev/nvme0n1", nil)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, block)
	if _, err := f.ReadAt(b, readAt); err != nil {
		return err
	}
	text := strings.TrimRight(string(b), "\x00")
	if _, err := f.WriteAt([]byte(strings.ToUpper(string(b))), writeAt); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	say("read from the disk: %s", text)
	return nil
}

// Requests of the Open Sound System, include/uapi/linux/soundcard.h.
const (
	dspSync     = 0x5001
	dspSpeed    = 0xc0045002
	dspFormat   = 0xc0045005
	dspChannels = 0xc0045006
	dspFragment = 0xc004500a
	mixerWrite  = 0xc0044d00
)

// play plays a tone of 523 Hz for two seconds. All of it fits into the buffer before it begins,
// so that it makes no difference how slow the guest is.
func play() error {
	const rate, hertz = 48000, 523
	for _, name := range []string{"/dev/dsp", "/dev/mixer"} { // which comes a little later
		if _, err := await(name, nil); err != nil {
			return err
		}
	}
	mixer, err := os.OpenFile("/dev/mixer", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer mixer.Close()
	for channel := range 25 { // those that there are
		_ = unix.IoctlSetPointerInt(int(mixer.Fd()), uint(mixerWrite|channel), 100|100<<8)
	}
	f, err := os.OpenFile("/dev/dsp", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, set := range [][2]int{
		{dspFragment, 16<<16 | 15}, {dspFormat, 0x10}, {dspChannels, 2}, {dspSpeed, rate}, // 16 bits, little-endian
	} {
		if err := unix.IoctlSetPointerInt(int(f.Fd()), uint(set[0]), set[1]); err != nil {
			return fmt.Errorf("%#x: %w", set[0], err)
		}
	}
	var tone []byte
	for i := range 2 * rate {
		v := uint16(int16(12000 * math.Sin(2*math.Pi*hertz*float64(i)/rate)))
		tone = append(tone, byte(v), byte(v>>8), byte(v), byte(v>>8))
	}
	if _, err := f.Write(tone); err != nil {
		return err
	}
	if err := unix.IoctlSetInt(int(f.Fd()), dspSync, 0); err != nil {
		return err
	}
	card, _, _ := strings.Cut(read("/proc/asound/cards"), "\n")
	say("played %d Hz on %s", hertz, strings.Join(strings.Fields(card), " "))
	return nil
}

// ask asks for an address.
func ask() error {
	name, err := await("/sys/class/net/*", func(name string) bool { return filepath.Base(name) != "lo" })
	if err != nil {
		return err
	}
	name = filepath.Base(name)
	for _, args := range [][]string{
		{"ifconfig", name, "up"},
		{"udhcpc", "-i", name, "-n", "-q", "-f", "-t", "30", "-T", "2", "-s", "/init"},
	} {
		cmd := exec.Command("/bin/busybox", args...)
		cmd.Stdout = os.Stdout
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("%v: %w", args, err)
		}
	}
	return nil
}

// lease is what udhcpc calls when something has happened.
func lease() {
	if len(os.Args) > 1 && os.Args[1] == "bound" {
		say("lease %s of %s", os.Getenv("ip"), os.Getenv("serverid"))
	}
}

// colours are those of the stripes that paint draws, from the top, as blue, green, red.
var colours = [][4]byte{{0x20, 0x40, 0xc0}, {0x30, 0xb0, 0x10}, {0xd0, 0x50, 0x30}, {0x10, 0xd0, 0xe0}}

// paint fills the screen.
func paint() error {
	name, err := await("/dev/fb0", nil)
	if err != nil {
		return err
	}
	const dir = "/sys/class/graphics/fb0/"
	var width, height, stride int
	if _, err := fmt.Sscanf(read(dir+"virtual_size"), "%d,%d", &width, &height); err != nil {
		return err
	}
	if _, err := fmt.Sscan(read(dir+"stride"), &stride); err != nil {
		return err
	}
	if bits := read(dir + "bits_per_pixel"); bits != "32" {
		return fmt.Errorf("%s bits", bits)
	}
	picture := make([]byte, 0, stride*height)
	for y := range height {
		line := make([]byte, stride)
		for x := range width {
			copy(line[4*x:], colours[y*len(colours)/height][:])
		}
		picture = append(picture, line...)
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(picture); err != nil && !errors.Is(err, io.ErrShortWrite) {
		return err
	}
	say("painted %dx%d by %s", width, height, read(dir+"name"))
	return nil
}

// listen waits until i, n, d and y have been typed on a USB keyboard.
func listen() error {
	name, err := await("/sys/class/input/event*", func(name string) bool {
		return strings.HasPrefix(read(name+"/device/phys"), "usb-") && strings.Contains(read(name+"/device/name"), "Keyboard")
	})
	if err != nil {
		return err
	}
	if name, err = await("/dev/input/"+filepath.Base(name), nil); err != nil {
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	say("listening to %s", read("/sys/class/input/"+filepath.Base(name)+"/device/name"))
	word := "...."
	for !strings.HasSuffix(word, "indy") {
		event := make([]byte, 24) // struct input_event of linux/input.h: time, type, code, value
		if _, err := io.ReadFull(f, event); err != nil {
			return err
		}
		const isKey, pressed = 1, 1
		if binary.LittleEndian.Uint16(event[16:]) != isKey || binary.LittleEndian.Uint32(event[20:]) != pressed {
			continue
		}
		key, ok := map[uint16]string{23: "i", 49: "n", 32: "d", 21: "y"}[binary.LittleEndian.Uint16(event[18:])]
		if !ok {
			key = "?"
		}
		word = word[1:] + key
	}
	say("typed: %s", word)
	return nil
}
