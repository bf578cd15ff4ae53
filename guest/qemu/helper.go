package qemu

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/project-independence/indy/guest"
)

// A helper is a program that serves one guest beside its QEMU, as the same user. It
// ends when QEMU's end of its socket closes.
type helper struct {
	name string
	*process
}

// helperTimeout is how long a helper may take to end after QEMU.
const helperTimeout = 2 * time.Second

// serve starts binary on the files, of which the first is descriptor 3.
func serve(name, binary string, args []string, cred *syscall.Credential, files ...*os.File) (*process, error) {
	p, err := launch(command{binary: binary, args: args, files: files, cred: cred})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// finish waits for the helper, whose socket must have been closed, and ends it if need be.
func (h *helper) finish() {
	timer := time.NewTimer(helperTimeout)
	defer timer.Stop()
	select {
	case <-h.done:
	case <-timer.C:
		h.kill(errUnresponsive)
		<-h.done
	}
}

// failed returns nil while the helper runs, and if it ended well or from here.
func (h *helper) failed() error {
	select {
	case <-h.done:
	default:
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.cause != nil || h.end.Err == nil && h.end.Status == 0 {
		return nil
	}
	return h.words()
}

// words says how the helper ended, which it must have.
func (h *helper) words() error {
	text := h.name + " ended"
	if h.end.Err == nil {
		text += ": " + ending(h.end.Status)
	}
	if said := summary(quietly(h.stderr.String())); said != "" {
		text += ": " + said
	}
	return errors.New(text)
}

// quietly leaves out what passt says of a syslog that it cannot reach.
func quietly(stderr string) string {
	var b strings.Builder
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "Failed to send ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func findHelper(pkg string, names ...string) (string, error) {
	for _, name := range names {
		path, err := exec.LookPath(name)
		if err == nil {
			return filepath.Abs(path)
		}
	}
	return "", fmt.Errorf("%s is not installed (%w); install the package %s", names[0], errors.ErrUnsupported, pkg)
}

// startTPM starts swtpm on the state in dir and returns QEMU's end of its control
// channel.
func startTPM(dir string, cred *syscall.Credential) (*os.File, *process, error) {
	binary, err := findHelper("swtpm", "swtpm")
	if err != nil {
		return nil, nil, err
	}
	state, err := openTPMState(dir, cred)
	if err != nil {
		return nil, nil, err
	}
	defer state.Close()
	ours, theirs, err := socketFiles("tpm")
	if err != nil {
		return nil, nil, err
	}
	defer theirs.Close()
	// By its descriptor, the directory is found whatever its name and whoever may not
	// look into those above it.
	h, err := serve("swtpm", binary, []string{
		"socket", "--tpm2", "--tpmstate", "dir=/proc/self/fd/4,mode=0600", "--ctrl", "type=unixio,clientfd=3",
		"--terminate",
	}, cred, theirs, state)
	if err != nil {
		ours.Close()
		return nil, nil, err
	}
	return ours, h, nil
}

// maxTPMState is more files than the state of a TPM has.
const maxTPMState = 16

// openTPMState opens the directory dir, made if it does not exist, and gives what is in
// it to cred: whom QEMU runs as may be another one at each start.
func openTPMState(dir string, cred *syscall.Credential) (*os.File, error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	d, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if cred == nil {
		return d, nil
	}
	if err := giveTPMState(d, cred); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// giveTPMState changes the owner of d and of the files in it. They were written by
// somebody who may not do so: whatever is not a plain file of one name is refused.
func giveTPMState(d *os.File, cred *syscall.Credential) error {
	entries, err := d.ReadDir(maxTPMState + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if len(entries) > maxTPMState {
		return fmt.Errorf("%s: not the state of a TPM: it has more than %d files", d.Name(), maxTPMState)
	}
	var files []*os.File
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for _, e := range entries {
		name := filepath.Join(d.Name(), e.Name())
		fd, err := unix.Openat(int(d.Fd()), e.Name(), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return &fs.PathError{Op: "open", Path: name, Err: err}
		}
		files = append(files, os.NewFile(uintptr(fd), name))
		if err := checkTPMFile(fd); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for _, f := range append(files, d) {
		if err := f.Chown(int(cred.Uid), int(cred.Gid)); err != nil {
			return err
		}
	}
	return nil
}

// checkTPMFile returns an error if fd is no plain file of one name, or is locked by
// another swtpm, which would lose the right to what it has yet to write.
func checkTPMFile(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1 {
		return errors.New("not the state of a TPM, but a link or something else than a file")
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_GETLK, &lock); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	if lock.Type != unix.F_UNLCK {
		return fmt.Errorf("the TPM is in use by process %d: %w", lock.Pid, syscall.EBUSY)
	}
	return nil
}

func findVirtiofsd() (string, error) {
	return findHelper("virtiofsd", "virtiofsd", "/usr/libexec/virtiofsd", "/usr/lib/virtiofsd")
}

// startFolder starts virtiofsd on a folder and returns QEMU's end of its socket.
func startFolder(f guest.SharedFolder, cred *syscall.Credential) (*os.File, *process, error) {
	binary, err := findVirtiofsd()
	if err != nil {
		return nil, nil, err
	}
	if info, err := os.Stat(f.Path); err != nil {
		return nil, nil, err
	} else if !info.IsDir() {
		return nil, nil, &fs.PathError{Op: "open", Path: f.Path, Err: syscall.ENOTDIR}
	}
	// It takes a listening socket only. Ours is the first one in the queue, and
	// afterwards nobody finds it.
	dir, err := os.MkdirTemp("", "indy-folder-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir)
	name := &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"}
	listener, err := net.ListenUnix("unix", name)
	if err != nil {
		return nil, nil, err
	}
	defer listener.Close()
	conn, err := net.DialUnix("unix", nil, name)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close()
	theirs, err := listener.File()
	if err != nil {
		return nil, nil, err
	}
	defer theirs.Close()
	ours, err := conn.File()
	if err != nil {
		return nil, nil, err
	}
	args := []string{"--fd", "3", "--shared-dir", f.Path, "--sandbox", "namespace"}
	if f.ReadOnly {
		args = append(args, "--readonly")
	}
	h, err := serve("virtiofsd", binary, args, cred, theirs)
	if err != nil {
		ours.Close()
		return nil, nil, err
	}
	return ours, h, nil
}

// socketFiles returns both ends of a connection, to be handed to two children.
func socketFiles(name string) (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name), nil
}
