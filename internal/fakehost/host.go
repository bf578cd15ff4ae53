package fakehost

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/internal/ioctl"
	"github.com/project-independence/indy/internal/sim"
)

// A Host is a host that a program takes for the real one. It is for one program at a
// time where hooks count operations, and otherwise for any number.
type Host struct {
	dir, root, state string // what it is built in, what programs see as /, what they keep

	kernel  atomic.Pointer[sim.Kernel]
	hook    atomic.Pointer[Hook]
	ops     atomic.Int64
	starts  chan *start
	closed  chan struct{}
	helpers sync.WaitGroup
}

// A start is a process to be started by the thread that has the filter.
type start struct {
	cmd *exec.Cmd
	err chan error
}

// Options say which host a [Host] is.
type Options struct {
	// Plain has what programs keep in /run and /var without a hook, which costs less.
	Plain bool
}

// New returns a host with the kernel k on which programs can be run, and ends it when
// the test does. It skips the test where that cannot be done, and fails it where CI is
// "true".
func New(t testing.TB, k *sim.Kernel, opts Options) *Host {
	t.Helper()
	require(t)
	h := &Host{starts: make(chan *start), closed: make(chan struct{})}
	h.kernel.Store(k)
	t.Cleanup(h.close)
	if err := h.build(opts); err != nil {
		t.Fatalf("a host of its own for the real command: %v", err)
	}
	return h
}

// Kernel returns the kernel that programs see.
func (h *Host) Kernel() *sim.Kernel { return h.kernel.Load() }

// StateDir returns the directory in which the real host has what programs see as /run
// and /var, to be read or damaged without a hook.
func (h *Host) StateDir() string { return h.state }

// Root returns the directory that programs see as /. Operations below it are those of a
// program: they are told to the hook.
func (h *Host) Root() string { return h.root }

// SetHook has every operation told to f from now on; nil lets everything be done. It
// counts operations from 0 again.
func (h *Host) SetHook(f Hook) {
	h.ops.Store(0)
	if f == nil {
		h.hook.Store(nil)
		return
	}
	h.hook.Store(&f)
}

// Reset makes the host one with the kernel k on which nothing has run yet. No program
// may run.
func (h *Host) Reset(k *sim.Kernel) error {
	h.SetHook(nil)
	h.kernel.Store(k)
	// The directories themselves stay: they are mounted.
	for _, dir := range []string{"run", "var/lib"} {
		entries, err := os.ReadDir(filepath.Join(h.state, dir))
		for _, e := range entries {
			err = errors.Join(err, os.RemoveAll(filepath.Join(h.state, dir, e.Name())))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (h *Host) makeState() error {
	var errs []error
	for _, dir := range []string{"run", "var/lib"} {
		errs = append(errs, os.MkdirAll(filepath.Join(h.state, dir), 0o755))
	}
	return errors.Join(errs...)
}

func (h *Host) op(o Op) Fault {
	f := h.hook.Load()
	if f == nil {
		return Fault{}
	}
	o.N = int(h.ops.Add(1) - 1)
	fault := (*f)(o)
	if fault.Wait != nil {
		// At the end of the test everybody gets an answer.
		wait, either := fault.Wait, make(chan struct{})
		go func() {
			select {
			case <-wait:
			case <-h.closed:
			}
			close(either)
		}()
		fault.Wait = either
	}
	return fault
}

func (h *Host) build(opts Options) (err error) {
	if h.dir, err = os.MkdirTemp("", "indy-fakehost-"); err != nil {
		return err
	}
	if err := mount("tmpfs", h.dir, "tmpfs", 0); err != nil {
		return err
	}
	h.root, h.state = filepath.Join(h.dir, "root"), filepath.Join(h.dir, "state")
	kernel, state := filepath.Join(h.dir, "kernel"), filepath.Join(h.dir, "hooked")
	for _, dir := range []string{
		kernel, state, h.root + "/sys", h.root + "/proc", h.root + "/dev/vfio", h.root + "/run", h.root + "/var", h.root + "/tmp", h.root + "/bin",
	} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := h.makeState(); err != nil {
		return err
	}
	if err := h.serve(newKernelFS(h), kernel, &fuse.MountOptions{}); err != nil {
		return err
	}
	if opts.Plain {
		state = h.state
	} else if err := h.serveState(state); err != nil {
		return err
	}
	if err := unix.Mknod(h.root+"/dev/null", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		return fmt.Errorf("make /dev/null: %w", err)
	}
	for from, to := range map[string]string{
		kernel + "/sys": "/sys", kernel + "/dev/vfio": "/dev/vfio", state + "/run": "/run", state + "/var": "/var", "/proc": "/proc",
	} {
		if err := mount(from, h.root+to, "", unix.MS_BIND|unix.MS_REC); err != nil {
			return err
		}
	}
	// What the kernel says of itself in /proc is the simulated one's; processes, mounts
	// and networks are real.
	facts, err := h.Kernel().ReadDir("proc")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range facts {
		if _, err := os.Stat("/proc/" + e.Name()); err != nil || !e.Type().IsRegular() {
			continue
		}
		if err := mount(kernel+"/proc/"+e.Name(), h.root+"/proc/"+e.Name(), "", unix.MS_BIND); err != nil {
			return err
		}
	}
	ready := make(chan error)
	h.helpers.Add(1)
	go h.startProcesses(ready)
	return <-ready
}

func (h *Host) serveState(at string) error {
	node, err := newStateFS(h, h.state)
	if err != nil {
		return err
	}
	return h.serve(gofs.NewNodeFS(node, &gofs.Options{}), at, &fuse.MountOptions{})
}

func mount(from, to, kind string, flags uintptr) error {
	if err := unix.Mount(from, to, kind, flags, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", from, to, err)
	}
	return nil
}

func (h *Host) serve(f fuse.RawFileSystem, at string, opts *fuse.MountOptions) error {
	opts.FsName, opts.Name = "indy-fakehost", "fakehost"
	opts.DirectMountStrict = true // there may be no fusermount
	opts.DisableXAttrs = true
	opts.DisableReadDirPlus = true
	opts.DirectMountFlags = unix.MS_NOSUID
	s, err := fuse.NewServer(f, at, opts)
	if err != nil {
		return err
	}
	h.helpers.Add(1)
	go func() {
		defer h.helpers.Done()
		s.Serve()
	}()
	return s.WaitMount()
}

// startProcesses is the thread whose children ask before they make VFIO's ioctls. It
// ends with its thread, which nothing else may run on.
func (h *Host) startProcesses(ready chan<- error) {
	defer h.helpers.Done()
	runtime.LockOSThread()
	// The names of the real host's network interfaces would be taken for the simulated ones.
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		ready <- fmt.Errorf("unshare the network: %w", err)
		return
	}
	listener, err := ioctl.Supervise(vfioFilter())
	if err != nil {
		ready <- fmt.Errorf("supervise VFIO's ioctls by seccomp: %w", err)
		return
	}
	h.helpers.Add(1)
	go func() {
		defer h.helpers.Done()
		h.answer(listener)
	}()
	ready <- nil
	for {
		select {
		case s := <-h.starts:
			s.err <- s.cmd.Start()
		case <-h.closed:
			return
		}
	}
}

// Install puts a program of the real host into the host, as /bin/NAME.
func (h *Host) Install(name, program string) error {
	at := filepath.Join(h.root, "bin", name)
	if err := os.WriteFile(at, nil, 0o755); err != nil {
		return err
	}
	return mount(program, at, "", unix.MS_BIND)
}

// Command returns a command that runs /bin/NAME on the host. It is started by
// [Host.Start].
func (h *Host) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command("/bin/"+name, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/bin", "HOME=/"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: h.root, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Helper returns a command that runs a helper of [Main] on the host, with env, as K=V, in
// its environment. The test binary is the file program; if that is empty, the one that
// runs. It is started by [Host.Start].
func (h *Host) Helper(program, name string, env ...string) *exec.Cmd {
	cmd := exec.Command(cmp.Or(program, "/proc/self/exe"), "-test.run=^$")
	cmd.Env = append(append(os.Environ(), helperVariable+"="+name, rootVariable+"="+h.root), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Start starts a command so that it and its children find VFIO.
func (h *Host) Start(cmd *exec.Cmd) error {
	s := &start{cmd, make(chan error)}
	select {
	case h.starts <- s:
		return <-s.err
	case <-h.closed:
		return os.ErrClosed
	}
}

// Run runs /bin/NAME to its end and returns how it ended and what it wrote. The error is
// that it could not be run.
func (h *Host) Run(name string, args ...string) (Result, error) {
	cmd := h.Command(name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := h.Start(cmd); err != nil {
		return Result{}, err
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	return Result{
		Code: cmd.ProcessState.ExitCode(), Killed: cmd.ProcessState.ExitCode() < 0, Stdout: stdout.String(), Stderr: stderr.String(),
	}, err
}

// A Result is how a program ended.
type Result struct {
	Code           int  // its exit code, -1 if it was killed
	Killed         bool // by a signal
	Stdout, Stderr string
}

func (h *Host) close() {
	close(h.closed)
	if h.dir != "" {
		// Also what is mounted below it goes.
		_ = unix.Unmount(h.dir, unix.MNT_DETACH)
		_ = os.Remove(h.dir)
	}
	h.helpers.Wait()
}
