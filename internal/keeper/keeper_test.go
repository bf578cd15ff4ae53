package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest"
	"github.com/project-independence/indy/guest/qemu"
	"github.com/project-independence/indy/internal/runner"
)

// A house is a Host that notes what it was asked for.
type house struct {
	guest  guest.Guest
	key    []byte
	lost   error // of Check
	fails  error // of Hold
	waits  bool  // Hold waits until it is given up
	mu     sync.Mutex
	called []string
}

func (h *house) note(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.called = append(h.called, what)
}

func (h *house) calls() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.called, " ")
}

func (h *house) Resolve(_ context.Context, told *slog.Logger) (Resolved, error) {
	h.note("resolve")
	told.With("guest", h.guest.Name).Info("a need is met", "by", 7)
	return Resolved{Guest: h.guest, Devices: []string{"usb:1-1"}, Accelerator: qemu.TCG, Seat: qemu.Seat{RuntimeDir: "/run/user/7"}}, nil
}

func (h *house) Hold(ctx context.Context) (Held, error) {
	h.note("hold")
	if h.waits {
		<-ctx.Done()
		return Held{}, ctx.Err()
	}
	if h.fails != nil {
		return Held{}, h.fails
	}
	tap, err := os.Open("/dev/zero")
	if err != nil {
		return Held{}, err
	}
	node, err := os.Open("/dev/null")
	return Held{[]*os.File{tap}, []*os.File{node}, [][]byte{slices.Clone(h.key)}}, err
}

func (h *house) Started() { h.note("started") }

func (h *house) Check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lost
}

func (h *house) Forgets() []string { return []string{"pci:0000:01:00.0 forgets"} }

func (h *house) Reopen(i int) (*os.File, error) {
	if i != 0 {
		return nil, fs.ErrNotExist
	}
	return os.Open("/dev/null")
}

func (h *house) Release() error {
	h.note("release")
	return nil
}

func (h *house) Rights() qemu.Rights { return nil }

func explain(err error) runner.Failure { return runner.Failure{Message: err.Error(), Exit: 4} }

// kept starts a keeper for a runner, which is this test, and returns what becomes of it.
func kept(t *testing.T, h Host) (*Client, <-chan error) {
	t.Helper()
	near, far, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- serve(near, Config{Host: h, QEMU: qemu.Options{Binary: "/nonexistent/qemu"}, Gone: func() {}, Explain: explain})
	}()
	c, err := NewClient(far)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, ended
}

func isNamed(f *os.File, name string) bool {
	got, err := os.Readlink(filepath.Join("/proc/self/fd", strings.TrimPrefix(fdName(f), "/")))
	return err == nil && got == name
}

func fdName(f *os.File) string {
	b, _ := json.Marshal(f.Fd())
	return string(b)
}

// A whole life: what the host says comes to the runner, files open and keys as they are.
func TestKeeper(t *testing.T) {
	h := &house{guest: guest.Guest{Name: "work", Memory: 64 << 20, Disks: []guest.Disk{{File: "/dev/null"}}}, key: []byte("secret")}
	c, ended := kept(t, h)
	var lines strings.Builder
	r, err := c.Resolve(t.Context(), slog.New(slog.NewTextHandler(&lines, nil)))
	if err != nil || !reflect.DeepEqual(r.Guest, h.guest) || r.Accelerator != qemu.TCG || !slices.Equal(r.Devices, []string{"usb:1-1"}) {
		t.Fatalf("%+v, %v", r, err)
	}
	if !strings.Contains(lines.String(), `msg="a need is met guest=work by=7"`) {
		t.Errorf("it was told %q", lines.String())
	}
	held, err := c.Hold(t.Context())
	if err != nil || len(held.Taps) != 1 || len(held.USB) != 1 || !isNamed(held.Taps[0], "/dev/zero") || !isNamed(held.USB[0], "/dev/null") ||
		len(held.Keys) != 1 || string(held.Keys[0]) != "secret" {
		t.Fatalf("%+v, %v", held, err)
	}
	closeAll(append(held.Taps, held.USB...))
	c.Started()
	if err := c.Check(); err != nil {
		t.Error(err)
	}
	h.mu.Lock()
	h.lost = fs.ErrNotExist
	h.mu.Unlock()
	var said *Error
	if err := c.Check(); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) || !errors.As(err, &said) || said.Failure.Exit != 4 {
		t.Errorf("%v", err)
	}
	if all := c.Forgets(); !slices.Equal(all, []string{"pci:0000:01:00.0 forgets"}) {
		t.Errorf("%q", all)
	}
	f, err := c.Reopen(0)
	if err != nil || !isNamed(f, "/dev/null") {
		t.Errorf("%v", err)
	}
	closeAll([]*os.File{f})
	if _, err := c.Reopen(1); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := c.Release(); err != nil {
		t.Error(err)
	}
	_ = c.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := h.calls(); got != "resolve hold started release" {
		t.Error(got)
	}
	if _, err := c.Reopen(0); !errors.Is(err, errGone) {
		t.Errorf("of one that has ended: %v", err)
	}
}

// A runner that ends, whatever it does, leaves nothing with the guest.
func TestKeeperReleases(t *testing.T) {
	for name, test := range map[string]struct {
		do    func(*Client)
		calls string
	}{
		"before anything": {func(*Client) {}, ""},
		"resolved":        {func(c *Client) { _, _ = c.Resolve(context.Background(), slog.Default()) }, "resolve release"},
		"holding": {func(c *Client) {
			_, _ = c.Resolve(context.Background(), slog.Default())
			_, _ = c.Hold(context.Background())
		}, "resolve hold release"},
	} {
		h := &house{guest: guest.Guest{Name: "work"}}
		c, ended := kept(t, h)
		test.do(c)
		_ = c.Close()
		if err := <-ended; err != nil || h.calls() != test.calls {
			t.Errorf("%s: %q, %v", name, h.calls(), err)
		}
	}
}

// Who stops a guest that is starting is not kept waiting by its devices.
func TestKeeperCancels(t *testing.T) {
	h := &house{waits: true}
	c, ended := kept(t, h)
	if _, err := c.Resolve(t.Context(), slog.Default()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := c.Hold(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	// Nor is who ends it.
	h = &house{waits: true}
	c, ended2 := kept(t, h)
	if _, err := c.Resolve(t.Context(), slog.Default()); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = c.Hold(context.Background()) }()
	for !strings.HasSuffix(h.calls(), "hold") {
		time.Sleep(time.Millisecond)
	}
	_ = c.Close()
	if err := <-ended2; err != nil || h.calls() != "resolve hold release" {
		t.Errorf("%q, %v", h.calls(), err)
	}
	_ = ended
}

// What a runner asks for that is not its guest's is refused, each by itself.
func TestKeeperRefuses(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	disk, cd, rom, other := file("disk"), file("cd"), file("rom"), file("other")
	g := guest.Guest{
		Name: "work", Memory: 64 << 20, Variables: filepath.Join(dir, "vars"), TPM: filepath.Join(dir, "tpm"),
		Disks: []guest.Disk{{File: disk}, {File: cd, ReadOnly: true, CDROM: true}}, ROMs: []guest.ROM{{File: rom}},
		Folders: []guest.SharedFolder{{Path: "/srv", Name: "srv", ReadOnly: true}},
	}
	h := &house{guest: g}
	c, _ := kept(t, h)
	folder, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	plain, err := os.Open(other)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	machine := func(change func(*qemu.Machine), files ...*os.File) func() error {
		return func() error {
			m := qemu.Machine{Guest: g, Layout: qemu.Layout{Accelerator: qemu.TCG}}
			change(&m)
			_, _, err := c.QEMU(context.Background(), m, files)
			return err
		}
	}
	opens := func(name string, write bool) func() error {
		return func() error {
			f, err := c.Open(name, write)
			if err == nil {
				err = errors.Join(f.Close(), errDone)
			}
			return err
		}
	}
	early := map[string]func() error{
		"hold":    func() error { _, err := c.Hold(context.Background()); return err },
		"check":   c.Check,
		"reopen":  func() error { _, err := c.Reopen(0); return err },
		"a disk":  opens(disk, true),
		"QEMU":    machine(func(*qemu.Machine) {}),
		"no verb": func() error { _, err := c.ask(context.Background(), "unbind", nil, nil); return err },
	}
	for name, do := range early {
		if err := do(); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s before it is resolved: %v", name, err)
		}
	}
	if _, err := c.Resolve(t.Context(), slog.Default()); err != nil {
		t.Fatal(err)
	}
	if err := machine(func(*qemu.Machine) {})(); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("QEMU before the devices are held: %v", err)
	}
	if held, err := c.Hold(t.Context()); err != nil {
		t.Fatal(err)
	} else {
		closeAll(append(held.Taps, held.USB...))
	}
	for name, do := range map[string]func() error{
		"to resolve again":   func() error { _, err := c.Resolve(context.Background(), slog.Default()); return err },
		"to hold again":      func() error { _, err := c.Hold(context.Background()); return err },
		"another file":       opens(other, false),
		"the same by a way":  opens(filepath.Join(dir, "..", filepath.Base(dir), "disk")+"/../disk", false),
		"a CD-ROM to write":  opens(cd, true),
		"a ROM to write":     opens(rom, true),
		"a device":           opens("/dev/mem", true),
		"other variables":    func() error { _, err := c.Variables(other, plain); return err },
		"variables of a dir": func() error { _, err := c.Variables(g.Variables, folder); return err },
		"another TPM":        func() error { _, _, err := c.TPM(dir); return err },
		"no TPM":             func() error { _, _, err := c.TPM(""); return err },
		"passt without NAT":  func() error { _, _, err := c.Passt([]netip.Addr{netip.MustParseAddr("10.0.0.1")}); return err },
		"a folder to write":  func() error { _, _, err := c.Folder(guest.SharedFolder{Path: "/srv", Name: "srv"}); return err },
		"another folder": func() error {
			_, _, err := c.Folder(guest.SharedFolder{Path: "/", Name: "srv", ReadOnly: true})
			return err
		},
		"more memory":          machine(func(m *qemu.Machine) { m.Guest.Memory *= 2 }),
		"another name":         machine(func(m *qemu.Machine) { m.Guest.Name = "home" }),
		"another input":        machine(func(m *qemu.Machine) { m.Guest.Input.Evdev = []string{"/dev/input/event0"} }),
		"a render node":        machine(func(m *qemu.Machine) { m.RenderNode = "/dev/mem" }),
		"a render node by way": machine(func(m *qemu.Machine) { m.Layout.RenderNode = "/dev/dri/renderD/../../mem" }),
		"another sound server": machine(func(m *qemu.Machine) { m.Layout.SoundServer = "/run/user/8/pulse/native" }),
		"a directory":          machine(func(*qemu.Machine) {}, folder),
		"no process to kill":   func() error { return notThere((&child{c: c, number: 9}).Kill()) },
		"process 0":            func() error { return notThere((&child{c: c}).Kill()) },
	} {
		if err := do(); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, do := range map[string]func() error{
		"a disk": opens(disk, true), "a CD-ROM": opens(cd, false), "a ROM": opens(rom, false),
	} {
		if err := do(); !errors.Is(err, errDone) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// That it is this guest is found before QEMU is looked for, which is not there.
	if err := machine(func(*qemu.Machine) {}, plain)(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its QEMU: %v", err)
	}
	if err := c.Release(); err != nil {
		t.Error(err)
	}
	for name, do := range early {
		if err := do(); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s after its devices were given back: %v", name, err)
		}
	}
}

// A guest whose devices are not had is not started, and who does not take answers is not served on.
func TestKeeperWithoutDevices(t *testing.T) {
	h := &house{guest: guest.Guest{Name: "work", Memory: 64 << 20}, fails: errors.New("refused")}
	c, _ := kept(t, h)
	if _, err := c.Resolve(t.Context(), slog.Default()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Hold(t.Context()); err == nil || err.Error() != "refused" {
		t.Errorf("%v", err)
	}
	for name, do := range map[string]func() error{
		"QEMU": func() error {
			_, _, err := c.QEMU(context.Background(), qemu.Machine{Guest: h.guest, Layout: qemu.Layout{Accelerator: qemu.TCG}}, nil)
			return err
		},
		"hold":   func() error { _, err := c.Hold(context.Background()); return err },
		"reopen": func() error { _, err := c.Reopen(0); return err },
		"check":  c.Check,
	} {
		if err := do(); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Who asks and takes no answers has no more than so many requests.
func TestKeeperUnheard(t *testing.T) {
	h := &house{}
	near, far, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- serve(near, Config{Host: h, Explain: explain, Gone: func() {}}) }()
	c, err := connOf(far)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// Answers are as long as can be, so that few of them fill the socket.
	for i := range 100 * maxAsked {
		if err := send(c, packet{Number: uint64(i + 1), Verb: verb(strings.Repeat("x", 30))}, nil); err != nil {
			break // it has ended
		}
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the keeper goes on")
	}
}

var errDone = errors.New("done")

func notThere(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fs.ErrPermission
	}
	return err
}

// What nobody can mean ends the runner's time, and its devices are given back.
func TestKeeperHostile(t *testing.T) {
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	many := make([]int, maxFiles+1)
	for i := range many {
		many[i] = int(null.Fd())
	}
	before := openFiles(t)
	for name, do := range map[string]func(*net.UnixConn) error{
		"no JSON": func(c *net.UnixConn) error { _, err := c.Write([]byte("{")); return err },
		"nothing": func(c *net.UnixConn) error { _, err := c.Write(nil); return err },
		"a list":  func(c *net.UnixConn) error { _, err := c.Write([]byte("[]")); return err },
		"too long": func(c *net.UnixConn) error {
			_, err := c.Write([]byte(`{"number":1,"verb":"` + strings.Repeat("a", maxPacket) + `"}`))
			return err
		},
		"too many files": func(c *net.UnixConn) error {
			_, _, err := c.WriteMsgUnix([]byte(`{"number":2,"verb":"check"}`), unix.UnixRights(many...), nil)
			return err
		},
		"number 0": func(c *net.UnixConn) error { return send(c, packet{Verb: checkVerb}, []*os.File{null}) },
		"a number twice": func(c *net.UnixConn) error {
			return errors.Join(send(c, packet{Number: 3, Verb: holdVerb}, nil), send(c, packet{Number: 3, Verb: holdVerb}, nil))
		},
		"too much at once": func(c *net.UnixConn) error {
			for i := range maxAsked + 1 {
				if err := send(c, packet{Number: uint64(i + 4), Verb: holdVerb}, nil); err != nil {
					return nil // it has ended
				}
			}
			return nil
		},
	} {
		h := &house{waits: true}
		near, far, err := pair()
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- serve(near, Config{Host: h, Explain: explain, Gone: func() {}}) }()
		c, err := connOf(far)
		if err != nil {
			t.Fatal(err)
		}
		err = send(c, packet{Number: 1, Verb: resolveVerb}, nil)
		for p := (packet{}); err == nil && p.Number != 1; { // it is told something first
			p, _, err = receive(c)
		}
		if err == nil {
			err = do(c)
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		select {
		case err := <-ended:
			if err != nil || !strings.HasSuffix(h.calls(), "release") && h.calls() != "" {
				t.Errorf("%s: %q, %v", name, h.calls(), err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: the keeper goes on", name)
		}
		_ = c.Close()
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d files are open, and %d were", after, before)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// A guest is the same when it comes back from the runner: else QEMU would never be started for it.
func TestGuestRoundTrip(t *testing.T) {
	var g guest.Guest
	fill(t, reflect.ValueOf(&g).Elem(), 1)
	once, err := json.Marshal(g)
	if err != nil {
		t.Fatal(err)
	}
	var back guest.Guest
	if err := json.Unmarshal(once, &back); err != nil {
		t.Fatal(err)
	}
	twice, err := json.Marshal(back)
	if err != nil || string(once) != string(twice) || !reflect.DeepEqual(g, back) {
		t.Errorf("%s\n%s\n%v", once, twice, err)
	}
}

// fill gives everything in v another value than zero, with lists of two.
func fill(t *testing.T, v reflect.Value, n int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if !v.Type().Field(i).IsExported() {
				continue
			}
			fill(t, v.Field(i), n+i)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range 2 {
			fill(t, v.Index(i), n+i)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(t, v.Index(i), n+i)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
	case reflect.String:
		v.SetString(strings.Repeat("a", n%7+1))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(n%2 + 1))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(n%2 + 1))
	default:
		t.Fatalf("a %s", v.Kind())
	}
}

func FuzzReceive(f *testing.F) {
	f.Add([]byte(`{"number":1,"verb":"resolve"}`))
	f.Add([]byte(`{"number":1,"verb":"qemu","body":{"Guest":{"Name":"a"}}}`))
	f.Add([]byte(`{"number":1,"verb":"open","body":{"Name":"/etc/shadow","Write":true}}`))
	f.Add([]byte(`{"number":18446744073709551615,"verb":"kill","body":-1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		h := &house{guest: guest.Guest{Name: "work"}}
		near, far, err := pair()
		if err != nil {
			t.Fatal(err)
		}
		c, err := connOf(far)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() {
			ended <- serve(near, Config{Host: h, QEMU: qemu.Options{Binary: "/nonexistent"}, Gone: func() {}, Explain: explain})
		}()
		_ = send(c, packet{Number: 1 << 60, Verb: resolveVerb}, nil)
		_, _ = c.Write(text[:min(len(text), maxPacket)])
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, c)
		_ = c.Close()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	})
}
