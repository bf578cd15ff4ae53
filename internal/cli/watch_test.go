package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/project-independence/indy/hostfs"
	"github.com/project-independence/indy/internal/cli"
	"github.com/project-independence/indy/internal/hosttest"
	"github.com/project-independence/indy/uevent"
)

// A feed is a kernel that says what it is told to: events, and errors.
type feed struct {
	news   chan any
	closed bool
}

func (f *feed) Read(ctx context.Context) (uevent.Event, error) {
	select {
	case <-ctx.Done():
		return uevent.Event{}, ctx.Err()
	case n := <-f.news:
		if err, ok := n.(error); ok {
			return uevent.Event{}, err
		}
		return n.(uevent.Event), nil
	}
}

func (f *feed) Close() error {
	f.closed = true
	return nil
}

// A watched is a machine under indy watch. Its time is that of a synctest bubble.
type watched struct {
	t     *testing.T
	tree  *hostfs.Tree
	feed  *feed
	reads int   // of the bus of PCI
	fail  error // of the bus of USB

	mu           sync.Mutex
	stdout, errs bytes.Buffer
	code         chan int
}

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stdout.Write(p)
}

// taken returns what has been written since it was asked last.
func (w *watched) taken() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.stdout.Reset()
	return w.stdout.String()
}

const hub = "pci0000:00/0000:00:14.0/usb1"

// watch runs indy watch --for 1h on a small machine in a bubble, calls play, and waits for its end.
func watch(t *testing.T, code int, play func(*watched), args ...string) *watched {
	t.Helper()
	w := &watched{t: t, tree: new(hostfs.Tree), feed: &feed{news: make(chan any, 1000)}, code: make(chan int, 1)}
	w.function("0000:00:14.0", "xhci_hcd", "C0330", "8086:A0ED")
	w.function("0000:00:1f.6", "e1000e", "20000", "8086:15FB")
	w.put("sys/kernel/uevent_seqnum", "100\n")
	w.put("proc/self/mountinfo", "")
	if err := w.tree.Mkdir("sys/bus/usb/devices"); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		w.t = t
		w.feed.news = make(chan any, 1000) // of the bubble
		w.code = make(chan int, 1)
		env := cli.Env{Host: w.host(), Names: os.DirFS(path.Join(hosttest.Root(t), "testdata", "ids")), Stdout: w, Stderr: &w.errs, Getenv: os.Getenv,
			Listen: func() (cli.Events, error) { return w.feed, nil }}
		go func() { w.code <- cli.Main(append([]string{"watch", "--for", "1h"}, args...), &env) }()
		synctest.Wait()
		play(w)
		if got := <-w.code; got != code {
			t.Errorf("exit %d, want %d: %s", got, code, &w.errs)
		}
		if !w.feed.closed {
			t.Error("still listening")
		}
	})
	return w
}

// host is the tree, with the reads of its buses counted and failing on demand.
func (w *watched) host() hostfs.FS {
	return hosttest.Failing{Tree: w.tree, Fail: func(name string) error {
		switch name {
		case "sys/bus/pci/devices":
			w.reads++
		case "sys/bus/usb/devices":
			return w.fail
		}
		return nil
	}}
}

func (w *watched) put(name, text string) {
	w.t.Helper()
	if err := w.tree.Put(name, []byte(text)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) link(target, name string) {
	w.t.Helper()
	_ = w.tree.Remove(name)
	if err := w.tree.Symlink(target, name); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watched) function(address, driver, class, id string) {
	w.t.Helper()
	dir := "devices/pci0000:00/" + address
	text := "PCI_CLASS=" + class + "\nPCI_ID=" + id + "\nPCI_SUBSYS_ID=0000:0000\n"
	if driver != "" {
		text = "DRIVER=" + driver + "\n" + text
	}
	w.put("sys/"+dir+"/uevent", text)
	w.link("../../../"+dir, "sys/bus/pci/devices/"+address)
}

// plug plugs in a USB device with one interface.
func (w *watched) plug(port, product string, number int, class, driver string) {
	w.t.Helper()
	dir := "devices/" + hub + "/" + port
	w.put("sys/"+dir+"/uevent", fmt.Sprintf("DEVTYPE=usb_device\nDRIVER=usb\nPRODUCT=%s\nTYPE=0/0/0\nBUSNUM=001\nDEVNUM=%03d\n", product, number))
	w.link("../../../"+dir, "sys/bus/usb/devices/"+port)
	w.drive(port, class, driver)
}

func (w *watched) drive(port, class, driver string) {
	w.t.Helper()
	name := port + ":1.0"
	text := "DEVTYPE=usb_interface\nPRODUCT=0/0/0\nTYPE=0/0/0\nINTERFACE=" + class + "\n"
	if driver != "" {
		text = "DRIVER=" + driver + "\n" + text
	}
	w.put("sys/devices/"+hub+"/"+port+"/"+name+"/uevent", text)
	w.link("../../../devices/"+hub+"/"+port+"/"+name, "sys/bus/usb/devices/"+name)
}

func (w *watched) unplug(port string) {
	w.t.Helper()
	for _, name := range []string{"sys/bus/usb/devices/" + port + ":1.0", "sys/bus/usb/devices/" + port, "sys/devices/" + hub + "/" + port} {
		if err := w.tree.Remove(name); err != nil {
			w.t.Fatal(err)
		}
	}
}

func event(action uevent.Action, subsystem, path string, number uint64) uevent.Event {
	e := uevent.Event{Action: action, Subsystem: subsystem, Path: path, Seqnum: number}
	if subsystem == "usb" && !strings.Contains(path, ":1.") {
		e.DevType = "usb_device"
	}
	return e
}

func (w *watched) tell(action uevent.Action, subsystem, device string, number uint64) {
	w.feed.news <- event(action, subsystem, "/devices/"+device, number)
}

// expect waits for a second, in which everything has to be shown, and compares.
func (w *watched) expect(situation, want string) {
	w.t.Helper()
	time.Sleep(time.Second)
	synctest.Wait()
	if d := cmp.Diff(want, w.taken()); d != "" {
		w.t.Errorf("%s:\n%s", situation, d)
	}
}

func TestWatch(t *testing.T) {
	w := watch(t, 0, func(w *watched) {
		w.expect("nothing has happened", "")

		w.plug("1-3", "46d/843/13", 5, "14/1/0", "")
		w.tell(uevent.Add, "usb", hub+"/1-3", 101)
		w.tell(uevent.Add, "usb", hub+"/1-3/1-3:1.0", 102)
		w.expect("plugged in", "+ webcam          usb:1-3           -              046d:0843\n")

		w.drive("1-3", "14/1/0", "uvcvideo")
		w.tell(uevent.Bind, "usb", hub+"/1-3/1-3:1.0", 103)
		w.expect("bound", "~ webcam          usb:1-3           uvcvideo       046d:0843 (driver was none)\n")

		card := "devices/" + hub + "/1-3/1-3:1.0/sound/card1"
		w.put("sys/"+card+"/id", "C930e\n")
		w.link("../../"+card, "sys/class/sound/card1")
		w.put("sys/"+card+"/controlC1/uevent", "")
		w.link("../../"+card+"/controlC1", "sys/class/sound/controlC1")
		w.tell(uevent.Add, "sound", card[len("devices/"):], 104)
		w.expect("with a card", "~ webcam, audio   usb:1-3           uvcvideo       046d:0843 (was webcam; nodes were /dev/bus/usb/001/005)\n")
		if err := errors.Join(w.tree.Remove("sys/class/sound/card1"), w.tree.Remove("sys/class/sound/controlC1")); err != nil {
			w.t.Fatal(err)
		}

		w.unplug("1-3")
		w.tell(uevent.Unbind, "usb", hub+"/1-3/1-3:1.0", 104)
		w.tell(uevent.Remove, "usb", hub+"/1-3/1-3:1.0", 105)
		w.tell(uevent.Remove, "usb", hub+"/1-3", 106)
		w.expect("unplugged", "- webcam, audio   usb:1-3           uvcvideo       046d:0843\n")

		w.function("0000:00:1f.6", "vfio-pci", "20000", "8086:15FB")
		w.tell(uevent.Unbind, "pci", "pci0000:00/0000:00:1f.6", 107)
		w.tell(uevent.Bind, "pci", "pci0000:00/0000:00:1f.6", 108)
		w.expect("given to VFIO", "~ ethernet        pci:0000:00:1f.6  vfio-pci       Intel 8086:15fb (driver was e1000e)\n")

		w.put("sys/devices/pci0000:00/0000:00:1f.6/net/eth0/uevent", "")
		w.tell(uevent.Add, "net", "pci0000:00/0000:00:1f.6/net/eth0", 109)
		w.expect("nothing is different", "")
	})
	if w.errs.Len() > 0 {
		t.Errorf("%s", &w.errs)
	}
}

// A phone that switches to tethering, a dock in an update, and one plugged out and in
// again in a moment: the same port, but the device that was there has gone.
func TestWatchReplaced(t *testing.T) {
	watch(t, 0, func(w *watched) {
		w.plug("1-3", "18d1/4ee1/440", 5, "255/255/0", "")
		w.tell(uevent.Add, "usb", hub+"/1-3", 101)
		w.expect("plugged in", "+ usb-device      usb:1-3           -              18d1:4ee1\n")

		w.plug("1-3", "18d1/4ee3/440", 6, "224/1/3", "rndis_host")
		w.tell(uevent.Remove, "usb", hub+"/1-3", 102)
		w.tell(uevent.Add, "usb", hub+"/1-3", 103)
		w.expect("another product", "- usb-device      usb:1-3           -              18d1:4ee1\n"+
			"+ ethernet        usb:1-3           rndis_host     18d1:4ee3\n")

		w.plug("1-3", "18d1/4ee3/440", 7, "224/1/3", "rndis_host")
		w.tell(uevent.Add, "usb", hub+"/1-3", 105)
		w.expect("another number", "- ethernet        usb:1-3           rndis_host     18d1:4ee3\n"+
			"+ ethernet        usb:1-3           rndis_host     18d1:4ee3\n")

		w.drive("1-3", "8/6/50", "usb-storage")
		w.tell(uevent.Change, "usb", hub+"/1-3", 106)
		w.expect("another configuration", "~ storage         usb:1-3           usb-storage    18d1:4ee3 (driver was rndis_host; was ethernet)\n")

		w.tell(uevent.Remove, "pci", "pci0000:00/0000:00:1f.6", 107)
		w.tell(uevent.Add, "pci", "pci0000:00/0000:00:1f.6", 108)
		w.expect("removed and found again", "- ethernet        pci:0000:00:1f.6  e1000e         Intel 8086:15fb\n"+
			"+ ethernet        pci:0000:00:1f.6  e1000e         Intel 8086:15fb\n")

		// It went before the machine was read, so what is there came after.
		w.tell(uevent.Remove, "pci", "pci0000:00/0000:00:1f.6", 100)
		w.expect("an old event", "")
	})
}

// Events that never pause are shown twice a second, and each change once.
func TestWatchStorm(t *testing.T) {
	w := watch(t, 0, func(w *watched) {
		before := w.reads
		for i := range 100 { // for five seconds
			if i%10 == 0 {
				w.plug("1-3", "46d/843/13", 5+i, "14/1/0", "uvcvideo")
			}
			w.tell(uevent.Add, "usb", hub+"/1-3", uint64(101+i))
			time.Sleep(50 * time.Millisecond)
			synctest.Wait()
			if got := strings.Count(w.taken(), "+ webcam"); (i == 9 || i == 19) && got != 1 || i%10 < 9 && got != 0 {
				w.t.Errorf("%d lines in step %d", got, i)
			}
		}
		time.Sleep(time.Second)
		if n := w.reads - before; n < 9 || n > 11 {
			w.t.Errorf("read %d times in a storm of five seconds", n)
		}
		w.taken()
		before = w.reads
		for _, e := range []uevent.Event{
			event(uevent.Change, "power_supply", "/devices/LNXSYSTM:00/PNP0C0A:00/power_supply/BAT0", 900),
			event(uevent.Change, "drm", "/devices/pci0000:00/0000:00:02.0/drm/card0", 901),
			event(uevent.Add, "net", "/devices/virtual/net/veth0", 902),
			event(uevent.Add, "bdi", "/devices/virtual/bdi/8:0", 903),
			event(uevent.Add, "cpu", "/devices/system/cpu/cpu1", 904),
			event(uevent.Change, "mem", "/devices/virtual/mem/null", 905),
		} {
			w.feed.news <- e
		}
		w.expect("of no matter", "")
		if w.reads != before {
			w.t.Errorf("read %d times for nothing", w.reads-before)
		}
	})
	if w.errs.Len() > 0 {
		t.Errorf("%s", &w.errs)
	}
}

func TestWatchOverflow(t *testing.T) {
	w := watch(t, 0, func(w *watched) {
		w.plug("1-3", "46d/843/13", 5, "14/1/0", "uvcvideo")
		w.feed.news <- uevent.ErrOverflow
		w.expect("events were dropped", "+ webcam          usb:1-3           uvcvideo       046d:0843\n")
	})
	if !strings.Contains(w.errs.String(), "dropped events that were not read in time; all devices were read again") {
		t.Errorf("%s", &w.errs)
	}
	w = watch(t, 0, func(w *watched) {
		w.feed.news <- fmt.Errorf("%w: odd", uevent.ErrMalformed)
		w.expect("an odd one", "")
	})
	if !strings.Contains(w.errs.String(), "odd; all devices were read again") {
		t.Errorf("%s", &w.errs)
	}
}

func TestWatchJSON(t *testing.T) {
	watch(t, 0, func(w *watched) {
		lines := func() (events []string) {
			time.Sleep(time.Second)
			synctest.Wait()
			for line := range strings.Lines(w.taken()) {
				validate(w.t, "watch", []byte(line))
				var got struct {
					Event  string
					Device *struct{ ID, Driver string }
				}
				if err := json.Unmarshal([]byte(line), &got); err != nil || !strings.HasSuffix(line, "\n") {
					w.t.Errorf("%v: %q", err, line)
				}
				s := got.Event
				if got.Device != nil {
					s += " " + got.Device.ID + " " + got.Device.Driver
				}
				events = append(events, s)
			}
			return events
		}
		expect := func(want ...string) {
			w.t.Helper()
			if d := cmp.Diff(want, lines()); d != "" {
				w.t.Error(d)
			}
		}
		expect("added pci:0000:00:14.0 xhci_hcd", "added pci:0000:00:1f.6 e1000e")
		w.plug("1-3", "46d/843/13", 5, "14/1/0", "uvcvideo")
		w.feed.news <- uevent.ErrOverflow
		expect("resync", "added usb:1-3 uvcvideo")
		w.drive("1-3", "14/1/0", "usbfs")
		w.tell(uevent.Bind, "usb", hub+"/1-3/1-3:1.0", 103)
		expect("changed usb:1-3 usbfs")
		w.unplug("1-3")
		w.tell(uevent.Remove, "usb", hub+"/1-3", 104)
		expect("removed usb:1-3 usbfs")
	}, "--json", "--initial")
}

func TestWatchRole(t *testing.T) {
	watch(t, 0, func(w *watched) {
		w.expect("what is there", "+ ethernet        pci:0000:00:1f.6  e1000e         Intel 8086:15fb\n")
		w.plug("1-3", "46d/843/13", 5, "14/1/0", "uvcvideo")
		w.tell(uevent.Add, "usb", hub+"/1-3", 101)
		w.expect("a webcam", "")
		w.drive("1-3", "2/6/0", "cdc_ether")
		w.tell(uevent.Bind, "usb", hub+"/1-3/1-3:1.0", 102)
		w.expect("that becomes one", "~ ethernet        usb:1-3           cdc_ether      046d:0843 (driver was uvcvideo; was webcam)\n")
		w.drive("1-3", "14/1/0", "uvcvideo")
		w.tell(uevent.Bind, "usb", hub+"/1-3/1-3:1.0", 103)
		w.expect("and none again", "~ webcam          usb:1-3           uvcvideo       046d:0843 (driver was cdc_ether; was ethernet)\n")
	}, "--role", "ethernet", "--initial")
}

// What cannot be read now has not gone; once it has, it is told.
func TestWatchPartly(t *testing.T) {
	w := watch(t, 1, func(w *watched) {
		w.plug("1-3", "46d/843/13", 5, "14/1/0", "uvcvideo")
		w.plug("1-4", "46d/843/13", 6, "14/1/0", "uvcvideo")
		w.tell(uevent.Add, "usb", hub+"/1-3", 101)
		w.expect("plugged in", "+ webcam          usb:1-3           uvcvideo       046d:0843\n+ webcam          usb:1-4           uvcvideo       046d:0843\n")
		w.unplug("1-4")
		w.fail = syscall.EIO
		w.tell(uevent.Remove, "usb", hub+"/1-4", 102)
		w.tell(uevent.Add, "pci", "pci0000:00/0000:00:1f.6", 103)
		w.expect("one has gone", "- webcam          usb:1-4           uvcvideo       046d:0843\n")
		w.tell(uevent.Change, "pci", "pci0000:00/0000:00:1f.6", 104)
		w.expect("the same error again", "")
	})
	if n := strings.Count(w.errs.String(), "not all could be read"); n != 2 { // when it happened, and at the end
		t.Errorf("told %d times: %s", n, &w.errs)
	}
}

// A device that vanishes while it is read, and one whose attributes do, end nothing.
func TestWatchVanishing(t *testing.T) {
	watch(t, 0, func(w *watched) {
		w.link("../../../devices/"+hub+"/1-9", "sys/bus/usb/devices/1-9") // which leads nowhere by now
		w.tell(uevent.Add, "usb", hub+"/1-9", 101)
		w.expect("gone before it was read", "")
		if err := w.tree.Remove("sys/bus/usb/devices/1-9"); err != nil {
			w.t.Fatal(err)
		}
		w.tell(uevent.Remove, "usb", hub+"/1-9", 102)
		w.expect("and it is gone", "")
		w.plug("1-3", "46d/843/13", 5, "14/1/0", "uvcvideo")
		w.tell(uevent.Add, "usb", hub+"/1-3", 103)
		w.expect("the next one", "+ webcam          usb:1-3           uvcvideo       046d:0843\n")
	})
}

func TestWatchFails(t *testing.T) {
	c := newConsole(t)
	c.expect(5, "", "listen to the kernel's events", "watch", "--for", "1s")
	c.env.Listen = func() (cli.Events, error) {
		return nil, fmt.Errorf("socket: %w (%w)", syscall.EPERM, errors.ErrUnsupported)
	}
	c.expect(5, "", "operation not permitted", "watch", "--for", "1s")
	c.env.Listen = func() (cli.Events, error) { return nil, syscall.EMFILE }
	c.expect(1, "", "too many open files", "watch", "--for", "1s")
	broken := &feed{news: make(chan any, 1)}
	broken.news <- fs.ErrClosed
	c.env.Listen = func() (cli.Events, error) { return broken, nil }
	c.expect(1, "", "closed", "watch", "--for", "1m")
	if !broken.closed {
		t.Error("still listening")
	}
}

// full is a standard output that takes one line.
type full struct{ lines int }

func (f *full) Write(p []byte) (int, error) {
	if f.lines++; f.lines > 1 {
		return 0, syscall.ENOSPC
	}
	return len(p), nil
}

func TestWatchCannotWrite(t *testing.T) {
	c := newConsole(t)
	for _, format := range []string{"--json", "--json=false"} {
		var errs bytes.Buffer
		env := c.env
		env.Stdout, env.Stderr = new(full), &errs
		env.Listen = func() (cli.Events, error) { return &feed{}, nil }
		if code := cli.Main([]string{"watch", "--initial", format}, &env); code != 1 || !strings.Contains(errs.String(), "no space left") {
			t.Errorf("exit %d: %s", code, &errs)
		}
	}
}

// A reader that goes away ends a watch in which nothing happens.
func TestWatchReaderGone(t *testing.T) {
	r, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c := newConsole(t)
	env := c.env
	env.Stdout, env.Stderr = out, new(bytes.Buffer)
	env.Listen = func() (cli.Events, error) { return &feed{}, nil }
	code := make(chan int)
	go func() { code <- cli.Main([]string{"watch"}, &env) }()
	time.Sleep(50 * time.Millisecond)
	_ = r.Close()
	select {
	case got := <-code:
		if got == 0 {
			t.Error("exit 0")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("still watching")
	}
}

// The kernel's own events: one that matters makes indy look again, at nothing new.
func TestWatchHere(t *testing.T) {
	probe, err := uevent.Listen(uevent.Options{})
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		hosttest.Missing(t, "no events here: %v", err)
	}
	_ = probe.Close()
	var out, errs bytes.Buffer
	env := cli.OS("test")
	env.Stdout, env.Stderr = &out, &errs
	begin := time.Now()
	code := cli.Main([]string{"watch", "--for", "300ms", "--role", "printer"}, env)
	if took := time.Since(begin); code > 1 || took < 300*time.Millisecond || took > 20*time.Second {
		t.Errorf("exit %d after %v: %s%s", code, took, &out, &errs)
	}
}
