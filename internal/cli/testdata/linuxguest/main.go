// Linuxguest is all that runs in the Linux guests of the tests: their first process, and what
// udhcpc calls. What it is to do it has from the kernel's command line, of which the kernel
// gives words with = to its first process as environment. What it finds out it says, a line
// each, on the serial port.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	if os.Getpid() != 1 {
		if err := lease(); err != nil {
			say("lease: %v", err)
			os.Exit(1)
		}
		return
	}
	if err := begin(); err != nil {
		say("begin: %v", err)
	}
	for _, job := range []struct {
		name string
		do   func(string) error
	}{{"COLOUR", paint}, {"TONE", play}, {"DHCP", network}, {"AGENT", agent}, {"KEEP", keep}} {
		if how := os.Getenv(job.name); how != "" {
			go func() {
				if err := job.do(how); err != nil {
					say("%s: %v", job.name, err)
				}
			}()
		}
	}
	say("up")
	select {}
}

func say(format string, args ...any) { fmt.Printf("guest: "+format+"\r\n", args...) }

// begin mounts what the kernel shows and loads its modules.
func begin() error {
	var errs []error
	for _, m := range [][2]string{{"proc", "proc"}, {"sysfs", "sys"}, {"devtmpfs", "dev"}, {"tmpfs", "tmp"}} {
		errs = append(errs, os.MkdirAll("/"+m[1], 0o755))
		if err := unix.Mount(m[0], "/"+m[1], m[0], 0, ""); err != nil && err != unix.EBUSY {
			errs = append(errs, fmt.Errorf("mount /%s: %w", m[1], err))
		}
	}
	modules, err := filepath.Glob("/modules/*.ko") // in their order
	errs = append(errs, err)
	for _, name := range modules {
		f, err := os.Open(name)
		if err == nil {
			err = unix.FinitModule(int(f.Fd()), "", 0)
			f.Close()
		}
		if err != nil && err != unix.EEXIST {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// await waits for what devices are waited for, and returns the first.
func await(pattern string) (string, error) {
	for range 600 {
		if names, _ := filepath.Glob(pattern); len(names) > 0 {
			return names[0], nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return "", fmt.Errorf("no %s", pattern)
}

// paint fills the screen with a colour, RRGGBB.
func paint(colour string) error {
	rgb, err := strconv.ParseUint(colour, 16, 24)
	if err != nil {
		return err
	}
	if _, err := await("/sys/bus/virtio/drivers/virtio_gpu/virtio*"); err != nil {
		return err
	}
	name, err := await("/dev/fb0")
	if err != nil {
		return err
	}
	text, err := os.ReadFile("/sys/class/graphics/fb0/bits_per_pixel")
	if err != nil || strings.TrimSpace(string(text)) != "32" {
		return fmt.Errorf("%q bits, %v", text, err)
	}
	pixels := bytes.Repeat([]byte{byte(rgb), byte(rgb >> 8), byte(rgb >> 16), 0}, 1<<20)
	for i := 0; ; i++ {
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.Write(pixels) // to its end, which is before that of pixels
		f.Close()
		if err != nil && !errors.Is(err, unix.EFBIG) && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, io.ErrShortWrite) {
			return err
		}
		if i == 0 {
			say("painted %s", colour)
		}
		time.Sleep(time.Second) // over what the kernel's console blinks with
	}
}

// keep writes a word to the second disk, unless there is one already, which it says.
func keep(word string) error {
	name, err := await("/dev/vdb")
	if err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_SYNC, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	sector := make([]byte, 512)
	if _, err := io.ReadFull(f, sector); err != nil {
		return err
	}
	if before := bytes.TrimRight(sector, "\x00"); len(before) > 0 {
		say("found %s", before)
		return nil
	}
	copy(sector, word)
	if _, err := f.WriteAt(sector, 0); err != nil {
		return err
	}
	say("wrote %s", word)
	return nil
}

// Requests of the Open Sound System, include/uapi/linux/soundcard.h.
const (
	dspSpeed    = 0xc0045002
	dspFormat   = 0xc0045005
	dspChannels = 0xc0045006
	mixerWrite  = 0xc0044d00
)

// play plays a tone of so many Hz for ever.
func play(hertz string) error {
	const rate = 48000
	hz, err := strconv.ParseFloat(hertz, 64)
	if err != nil {
		return err
	}
	for _, name := range []string{"/dev/dsp", "/dev/mixer"} { // which comes a little later
		if _, err := await(name); err != nil {
			return err
		}
	}
	mixer, err := os.OpenFile("/dev/mixer", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	for channel := range 25 { // those that there are
		_ = unix.IoctlSetPointerInt(int(mixer.Fd()), uint(mixerWrite|channel), 100|100<<8)
	}
	f, err := os.OpenFile("/dev/dsp", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	for _, set := range [][2]int{{dspFormat, 0x10}, {dspChannels, 2}, {dspSpeed, rate}} { // 16 bits, little-endian
		if err := unix.IoctlSetPointerInt(int(f.Fd()), uint(set[0]), set[1]); err != nil {
			return err
		}
	}
	second := make([]byte, 0, rate*4)
	for i := range rate {
		v := uint16(int16(12000 * math.Sin(2*math.Pi*hz*float64(i)/rate)))
		second = append(second, byte(v), byte(v>>8), byte(v), byte(v>>8))
	}
	for i := 0; ; i++ {
		if _, err := f.Write(second); err != nil {
			return err
		}
		if i == 0 {
			say("played %s Hz", hertz)
		}
	}
}

// network asks for an address, or has the one of ADDRESS-ROUTER, shouts and listens on the wire, and calls others.
func network(how string) error {
	if _, err := await("/sys/class/net/eth0"); err != nil {
		return err
	}
	if err := busybox("ifconfig", "lo", "127.0.0.1"); err != nil {
		return err
	}
	if err := busybox("ifconfig", "eth0", "up"); err != nil {
		return err
	}
	go func() {
		if err := shout(); err != nil {
			say("shout: %v", err)
		}
	}()
	if address, router, ok := strings.Cut(how, "-"); ok {
		err := errors.Join(busybox("ifconfig", "eth0", address, "netmask", "255.255.255.0"), busybox("route", "add", "default", "gw", router))
		if err != nil {
			return err
		}
	} else if err := busybox("udhcpc", "-i", "eth0", "-n", "-q", "-t", "20", "-T", "1", "-s", "/init"); err != nil {
		return err
	}
	if port := os.Getenv("LISTEN"); port != "" {
		if os.Getenv("LATE") != "" {
			time.Sleep(3 * time.Second)
		}
		l, err := net.Listen("tcp", ":"+port)
		if err != nil {
			return err
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				say("called by %s", c.RemoteAddr())
				c.Close()
			}
		}()
		say("listens on %s", port)
	}
	for _, address := range strings.Split(os.Getenv("CALL"), ",") {
		if address != "" {
			go call(address)
		}
	}
	return nil
}

// call says what somebody answers.
func call(address string) {
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		say("call %s: no: %v", address, err)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(c, "this is %s\n", os.Getenv("NAME"))
	text, err := io.ReadAll(io.LimitReader(c, 100))
	say("call %s: %q, %v", address, text, err)
}

// etherType is one that is left to experiments, IEEE 802.
const etherType = 0x88b5

// shout sends frames to all who are on the same wire, and says who else does so.
func shout() error {
	i, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	const network = etherType>>8 | etherType&0xff<<8
	s, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, network)
	if err != nil {
		return err
	}
	if err := unix.Bind(s, &unix.SockaddrLinklayer{Protocol: network, Ifindex: i.Index}); err != nil {
		return err
	}
	frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, i.HardwareAddr...)
	frame = append(frame, etherType>>8, etherType&0xff)
	frame = append(frame, make([]byte, 46)...)
	copy(frame[14:], os.Getenv("NAME"))
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := unix.Recvfrom(s, b, 0)
			if err != nil {
				say("shout: %v", err)
				return
			}
			if l, ok := from.(*unix.SockaddrLinklayer); ok && l.Pkttype != unix.PACKET_OUTGOING {
				say("heard %q", b[:n])
			}
		}
	}()
	for n := 1; ; n++ {
		if err := unix.Sendto(s, frame, 0, &unix.SockaddrLinklayer{Protocol: network, Ifindex: i.Index, Halen: 6}); err != nil {
			return err
		}
		if n%20 == 0 {
			say("shouted %d times", n)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// lease is what udhcpc calls when it has a lease.
func lease() error {
	if len(os.Args) < 2 || os.Args[1] != "bound" {
		return nil
	}
	e := os.Getenv
	if err := busybox("ifconfig", e("interface"), e("ip"), "netmask", e("subnet")); err != nil {
		return err
	}
	if router, _, _ := strings.Cut(e("router"), " "); router != "" {
		_ = busybox("route", "add", "-host", router, "dev", e("interface")) // it may be outside the network
		if err := busybox("route", "add", "default", "gw", router); err != nil {
			return err
		}
	}
	say("lease %s router %s", e("ip"), e("router"))
	return nil
}

func busybox(args ...string) error {
	out, err := exec.Command("/bin/busybox", args...).CombinedOutput()
	if bytes.Contains(out, []byte("guest: ")) { // what it was told to call
		os.Stdout.Write(out)
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %.200s", strings.Join(args, " "), err, out)
	}
	return nil
}

// agent answers as the QEMU guest agent does: by that, if it is there, and else what is asked
// of one that is waited for. After some seconds, because an agent is not there at once.
func agent(how string) error {
	ports, err := await("/dev/vport*p*")
	if err != nil {
		return err
	}
	if how == "garbage" {
		f, err := os.OpenFile(ports, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		said := bytes.Repeat([]byte("{\"return\":{\"a\":[[[[\x1b[2J\xff\x00\n{\"return\":{}}\n{\"return\":7}\n"), 1000)
		for i := 0; ; i++ {
			if _, err := f.Write(said); err != nil {
				return err
			}
			if i == 10 {
				say("said garbage")
			}
		}
	}
	time.Sleep(3 * time.Second)
	if _, err := os.Stat("/bin/qemu-ga"); err == nil {
		cmd := exec.Command("/bin/qemu-ga", "-m", "virtio-serial", "-p", ports, "-t", "/tmp", "-f", "/tmp/pid")
		say("agent runs")
		out, err := cmd.CombinedOutput()
		return fmt.Errorf("%w: %s", err, out)
	}
	f, err := os.OpenFile(ports, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	say("agent runs")
	for r := bufio.NewReader(f); ; {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return err
		}
		line = line[bytes.LastIndexByte(line, 0xff)+1:]
		var asked struct {
			Execute   string
			Arguments struct{ ID int64 }
		}
		if err := json.Unmarshal(line, &asked); err != nil {
			return err
		}
		switch asked.Execute {
		case "guest-sync-delimited":
			_, err = fmt.Fprintf(f, "\xff{\"return\": %d}\n", asked.Arguments.ID)
		case "guest-ping":
			_, err = io.WriteString(f, "{\"return\": {}}\n")
		default:
			_, err = io.WriteString(f, "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"no\"}}\n")
		}
		if err != nil {
			return err
		}
	}
}
